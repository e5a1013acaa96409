"""Lifecycle rules: refused when invalid, carried out by the clock, at once, or only shown."""

from __future__ import annotations

import datetime
import http.client
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions as google

pytestmark = pytest.mark.process
ROOT = Path(__file__).resolve().parents[2]
DAY_S = 86400


def _rules(client: Any, name: str, *rules: dict[str, Any], versioning: bool = False) -> Any:
    bucket = client.bucket(name)
    bucket.lifecycle_rules = list(rules)
    bucket.versioning_enabled = versioning
    return client.create_bucket(bucket)


def _rule(kind: str, storage_class: str = "", **condition: Any) -> dict[str, Any]:
    action = {"type": kind, **({"storageClass": storage_class} if storage_class else {})}
    return {"action": action, "condition": condition}


def _run(standin: Any, bucket: str, *, dry_run: bool = False) -> dict[str, Any]:
    found = standin.post("/_local/lifecycle", {"bucket": bucket, "dry_run": dry_run})["buckets"]
    assert [report["bucket"] for report in found] == [bucket]
    return dict(found[0])


def _names(bucket: Any) -> list[str]:
    return [blob.name for blob in bucket.list_blobs()]


INVALID = [
    _rule("Delete"),
    _rule("Vanish", age=1),
    _rule("Delete", age=-1),
    _rule("Delete", age="soon"),
    _rule("Delete", createdBefore="01/02/2026"),
    _rule("Delete", isLive="yes"),
    _rule("Delete", matchesPrefix="a"),
    _rule("Delete", matchesStorageClass=["FAST"]),
    _rule("Delete", colour="red"),
    _rule("Delete", "NEARLINE", age=1),
    _rule("SetStorageClass", age=1),
    _rule("SetStorageClass", "FAST", age=1),
    _rule("AbortIncompleteMultipartUpload", isLive=True),
    {"action": {"type": "Delete"}},
    {"condition": {"age": 1}},
]


@pytest.mark.parametrize("rule", INVALID, ids=json.dumps)
def test_an_invalid_rule_is_refused(client: Any, bucket: Any, rule: dict[str, Any]) -> None:
    with pytest.raises(google.BadRequest):
        _rules(client, "never-made-by-rules", rule)
    assert client.lookup_bucket("never-made-by-rules") is None
    bucket.lifecycle_rules = [rule]
    with pytest.raises(google.BadRequest):
        bucket.patch()
    bucket.reload()
    assert list(bucket.lifecycle_rules) == []


def test_a_day_of_the_clock_carries_the_rules_out(standin: Any, connect: Callable[..., Any]) -> None:
    client = connect(standin.url)
    bucket = _rules(client, "daily", _rule("Delete", age=3, matchesPrefix=[".tmp/"]))
    for name in (".tmp/old", "kept"):
        bucket.blob(name).upload_from_string("x")
    standin.post("/_local/clock", {"advance_s": 2.5 * DAY_S})
    assert _names(bucket) == [".tmp/old", "kept"]
    bucket.blob(".tmp/young").upload_from_string("x")
    standin.post("/_local/clock", {"advance_s": 1.6 * DAY_S})
    assert _names(bucket) == [".tmp/young", "kept"]


def test_the_clock_s_day_is_kept_over_a_restart(
    tmp_path: Path, standin_at: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    first = standin_at(tmp_path / "cloud")
    bucket = _rules(connect(first.url), "missed", _rule("Delete", age=0))
    bucket.blob("x").upload_from_string("x")
    first.post("/_local/clock", {"advance_s": 0.6 * DAY_S})
    first.stop()
    second = standin_at(tmp_path / "cloud")
    bucket = connect(second.url).bucket("missed")
    assert _names(bucket) == ["x"]
    second.post("/_local/clock", {"advance_s": 0.5 * DAY_S})
    assert _names(bucket) == []


def test_only_so_many_newer_versions_stay(client: Any, shared_standin: Any) -> None:
    bucket = _rules(client, "newer", _rule("Delete", numNewerVersions=2, isLive=False), versioning=True)
    for text in "abcde":
        bucket.blob("doc").upload_from_string(text)
    bucket.blob("alone").upload_from_string("x")
    assert _run(shared_standin, "newer", dry_run=True)["deleted"] == 3
    assert len(list(bucket.list_blobs(versions=True))) == 6
    report = _run(shared_standin, "newer")
    assert (report["deleted"], report["kept"], {change["name"] for change in report["changes"]}) == (3, 0, {"doc"})
    left = [blob.download_as_text() for blob in bucket.list_blobs(versions=True) if blob.name == "doc"]
    assert left == ["d", "e"]
    assert _run(shared_standin, "newer")["deleted"] == 0


def test_a_live_object_becomes_noncurrent_first(client: Any, shared_standin: Any) -> None:
    bucket = _rules(
        client,
        "stages",
        _rule("Delete", age=0, isLive=True, matchesSuffix=[".log"]),
        _rule("Delete", daysSinceNoncurrentTime=0, isLive=False),
        versioning=True,
    )
    for name in ("a.log", "a.txt"):
        bucket.blob(name).upload_from_string("x")
    report = _run(shared_standin, "stages")
    assert (report["archived"], report["deleted"]) == (1, 0)
    assert _names(bucket) == ["a.txt"] and len(list(bucket.list_blobs(versions=True))) == 2
    report = _run(shared_standin, "stages")
    assert (report["archived"], report["deleted"]) == (0, 1)
    assert [blob.name for blob in bucket.list_blobs(soft_deleted=True)] == ["a.log"]


def test_classes_change_without_a_new_generation_and_deletion_comes_first(client: Any, shared_standin: Any) -> None:
    bucket = _rules(
        client,
        "classes",
        _rule("SetStorageClass", "NEARLINE", age=0),
        _rule("SetStorageClass", "ARCHIVE", age=0, matchesPrefix=["cold"]),
        _rule("Delete", age=0, matchesPrefix=["gone"]),
        _rule("SetStorageClass", "STANDARD", matchesStorageClass=["COLDLINE"], matchesPrefix=["never"]),
    )
    for name in ("cold", "gone", "warm"):
        bucket.blob(name).upload_from_string("x")
    before = bucket.get_blob("warm")
    report = _run(shared_standin, "classes")
    assert (report["changed"], report["deleted"]) == (2, 1)
    assert {blob.name: blob.storage_class for blob in bucket.list_blobs()} == {"cold": "ARCHIVE", "warm": "NEARLINE"}
    after = bucket.get_blob("warm")
    assert (after.generation, after.metageneration) == (before.generation, before.metageneration + 1)


def test_dates_and_custom_times(client: Any, shared_standin: Any) -> None:
    bucket = _rules(
        client,
        "dates",
        _rule("Delete", createdBefore="2020-01-01"),
        _rule("Delete", daysSinceCustomTime=30, matchesPrefix=["since"]),
        _rule("Delete", customTimeBefore="2021-06-01", matchesPrefix=["before"]),
    )
    for name, year in (("since", 2022), ("before-old", 2020), ("before-new", 2022), ("since-none", 0)):
        blob = bucket.blob(name)
        if year:
            blob.custom_time = datetime.datetime(year, 1, 1, tzinfo=datetime.UTC)
        blob.upload_from_string("x")
    assert _run(shared_standin, "dates")["deleted"] == 2
    assert _names(bucket) == ["before-new", "since-none"]


def test_holds_and_retention_are_stronger_than_rules(client: Any, shared_standin: Any) -> None:
    bucket = _rules(client, "strong", _rule("Delete", age=0))
    for name in ("free", "held"):
        bucket.blob(name).upload_from_string("x")
    held = bucket.get_blob("held")
    held.temporary_hold = True
    held.patch()
    report = _run(shared_standin, "strong")
    assert (report["deleted"], report["kept"]) == (1, 1)
    assert "hold" in next(change["detail"] for change in report["changes"] if change["did"] == "kept")
    held.temporary_hold = False
    held.patch()
    bucket.retention_period = 3600
    bucket.patch()
    assert _run(shared_standin, "strong")["kept"] == 1
    assert _names(bucket) == ["held"]


def test_multipart_uploads_are_given_up(client: Any, standin: Any, connect: Callable[..., Any]) -> None:
    _rules(connect(standin.url), "uploads", _rule("AbortIncompleteMultipartUpload", age=2, matchesPrefix=["slow"]))
    for name in ("slow", "other"):
        connection = http.client.HTTPConnection("127.0.0.1", standin.port, timeout=30)
        connection.request("POST", f"/uploads/{name}?uploads")
        key = re.search(rb"<UploadId>(.+?)</UploadId>", connection.getresponse().read())[1].decode()  # type: ignore[index]
        connection.request("PUT", f"/uploads/{name}?partNumber=1&uploadId={key}", b"part")
        connection.getresponse().read()
    assert _run(standin, "uploads")["aborted"] == 0
    standin.post("/_local/clock", {"advance_s": 3 * DAY_S})
    connection.request("GET", "/uploads?uploads")
    listed = connection.getresponse().read().decode()
    assert re.findall("<Key>(.*?)</Key>", listed) == ["other"]
    assert len([path for path in (standin.state / "storage").rglob("*") if path.is_file()]) == 1


def test_many_objects_in_several_slices(client: Any, shared_standin: Any) -> None:
    """More generations of one name than a slice holds, beside many names."""
    bucket = _rules(client, "slices", _rule("Delete", numNewerVersions=1), versioning=True)
    for number in range(620):
        bucket.blob("busy").upload_from_string(str(number))
    assert _run(shared_standin, "slices")["deleted"] == 619
    assert bucket.blob("busy").download_as_text() == "619"


def _invoke(standin: Any, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MODELSHELF_ENDPOINT": standin.url}
    argv = [sys.executable, "-m", "invoke", "local.lifecycle", *arguments]
    return subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_shows_first_and_acts_with_now(client: Any, shared_standin: Any) -> None:
    bucket = _rules(client, "command", _rule("Delete", age=0))
    bucket.blob("x").upload_from_string("x")
    shown = _invoke(shared_standin, "--bucket", "command")
    assert (shown.returncode, shown.stdout.splitlines()[0]) == (2, "command: 1 would be deleted"), shown.stderr
    assert _names(bucket) == ["x"]
    done = _invoke(shared_standin, "--now", "--bucket", "command", "--json")
    assert (done.returncode, json.loads(done.stdout)["buckets"][0]["deleted"]) == (0, 1), done.stderr
    assert _names(bucket) == []
    unknown = _invoke(shared_standin, "--now", "--bucket", "never-made")
    assert unknown.returncode != 0 and "no bucket 'never-made'" in unknown.stderr


def test_a_rule_never_makes_an_object_warmer(client: Any, shared_standin: Any, bucket: Any) -> None:
    for kept in ("ARCHIVE", "COLDLINE", "NEARLINE", "STANDARD", "REGIONAL"):
        blob = bucket.blob(kept)
        blob.storage_class = kept
        blob.upload_from_string(b"")
    bucket.add_lifecycle_set_storage_class_rule("COLDLINE", age=0)
    bucket.patch()
    shared_standin.post("/_local/lifecycle", {"bucket": bucket.name})
    found = {blob.name: blob.storage_class for blob in client.list_blobs(bucket)}
    assert found == {name: "ARCHIVE" if name == "ARCHIVE" else "COLDLINE" for name in found}
