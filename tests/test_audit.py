"""Audit records: complete, immutable, without secrets, found again by time."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scripts import audit
from scripts.cloud.storage import Bucket, open_bucket
from scripts.errors import Conflict
from scripts.plan import Action, Change, Plan
from tests.conftest import StandIn

PLAN = Plan("deploy", (Change(Action.UPDATE, "service tabular-service", "spec.image", "a", "b"),))


@pytest.fixture
def bucket(common_standin: StandIn, tmp_path: Path) -> Bucket:
    made = open_bucket("p", common_standin.url, "audit-" + hashlib.sha256(str(tmp_path).encode()).hexdigest()[:16])
    made.create("europe-west1", {})
    return made


def write(bucket: Bucket, **changes: object) -> str:
    values: dict[str, object] = {
        "command": "deploy", "environment": "staging", "plan": PLAN, "outcome": "changed",
        "started_at": datetime.now(UTC) - timedelta(seconds=2), "details": {"revision": "r-1"}, **changes,
    }  # fmt: skip
    return audit.record(bucket, **values)  # type: ignore[arg-type]


@pytest.mark.process
def test_a_record_says_who_did_what_when_and_how_it_ended(bucket: Bucket) -> None:
    name = write(bucket)
    assert re.fullmatch(r"audit/\d{8}T\d{6}Z-[0-9a-f]{8}\.json", name)
    found = bucket.read(name)
    assert found is not None
    value = json.loads(found[0])
    assert set(value) == {
        "schema_version", "command", "environment", "actor", "host", "plan", "outcome", "started_at", "duration_s",
        "commit", "details",
    }  # fmt: skip
    assert value["plan"]["changes"][0]["target"] == "service tabular-service"
    assert value["actor"] and value["host"]
    assert value["duration_s"] >= 2
    with pytest.raises(Conflict):
        bucket.create_object(name, b"rewritten")


@pytest.mark.process
def test_secrets_do_not_get_in(bucket: Bucket) -> None:
    name = write(bucket, plan=None, details={"line": ["token=abc123 and hf_abcdefghijklmnopqrstuvwx"]})
    found = bucket.read(name)
    assert found is not None
    assert b"abc123" not in found[0] and b"hf_abc" not in found[0]


@pytest.mark.process
def test_recent_records_come_oldest_first(bucket: Bucket) -> None:
    old = "audit/20200101T000000Z-00000000.json"
    bucket.create_object(old, b'{"command": "old"}')
    bucket.create_object("audit/20300101T000000Z-00000000.json", b"{torn")
    bucket.create_object("audit/notes.txt", b"?")
    written = [write(bucket, command=command, started_at=0.0) for command in ("one", "two")]
    since = datetime.now(UTC) - timedelta(hours=1)
    assert {record["name"] for record in audit.recent(bucket, since)} == set(written)
    assert next(record["command"] for record in audit.recent(bucket, 0)) == "old"


def test_the_commit_is_that_of_the_checkout() -> None:
    assert re.fullmatch(r"[0-9a-f]{40}|", audit.commit())


def test_the_commit_is_found_in_every_form_of_git_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "ROOT", tmp_path)
    assert audit.commit() == ""
    git = tmp_path / ".git"
    git.mkdir()
    (git / "HEAD").write_text("a" * 40 + "\n")
    assert audit.commit() == "a" * 40
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    (git / "packed-refs").write_text("# pack-refs\n" + "b" * 40 + " refs/heads/main\n")
    assert audit.commit() == "b" * 40
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "refs" / "heads" / "main").write_text("c" * 40 + "\n")
    assert audit.commit() == "c" * 40
    linked = tmp_path / "linked"
    (git / "worktrees" / "w").mkdir(parents=True)
    (git / "worktrees" / "w" / "HEAD").write_text("ref: refs/heads/main\n")
    (git / "worktrees" / "w" / "commondir").write_text("../..\n")
    linked.mkdir()
    (linked / ".git").write_text(f"gitdir: {git / 'worktrees' / 'w'}\n")
    monkeypatch.setattr(audit, "ROOT", linked)
    assert audit.commit() == "c" * 40


@pytest.mark.process
def test_the_newest_come_first_and_no_more_are_read_than_asked_for(bucket: Bucket) -> None:
    began = datetime.now(UTC)
    for number in range(20):
        write(bucket, command=f"c{number:02}", started_at=began + timedelta(milliseconds=number))
    bucket.create_object("audit/20200101T000000Z-00000000.json", b"{torn")
    bucket.create_object("audit/readme.txt", b"{}")
    found = [record["command"] for record in audit.latest(bucket, 100)]
    assert sorted(found) == [f"c{number:02}" for number in range(20)]
    assert len([*audit.latest(bucket, 3)]) == 3
    names = [record["name"][:23] for record in audit.latest(bucket, 100)]
    assert names == sorted(names, reverse=True)
