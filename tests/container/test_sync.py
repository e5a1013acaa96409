"""The sync job as a real process against the stand-in: exactly one last word, whatever happens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from scripts import lease
from scripts.errors import ExitCode

pytestmark = pytest.mark.process
ENDS = ("model sync succeeded", "model sync failed")


def last_word(child: Any) -> dict[str, Any]:
    """The one entry that tells the outcome, which is also the last."""
    ends = [entry for entry in child.entries if entry["message"] in ENDS]
    assert len(ends) == 1, child.entries
    assert child.entries[-1] == ends[0]
    return ends[0]


def test_a_first_sync_publishes_and_a_second_finds_nothing_to_do(world: Any) -> None:
    spec = world.model()
    first = world.sync(spec)
    assert (first["severity"], first["changed"], first["serial"]) == ("INFO", True, 1)
    assert first["upstream_bytes"] > 50_000
    assert first["version"] == first["manifest_version"]
    assert first["moved"] == []
    assert first["duration_s"] > 0
    second = world.start(world.runtime(spec, sync_mode=True))  # `start` runs the sync when MODEL_SYNC_MODE=1
    assert second.end() == 0
    word = last_word(second)
    assert (word["changed"], word["upstream_bytes"], word["version"]) == (False, 0, first["version"])


def test_a_tag_that_moved_is_reported_and_not_activated(world: Any) -> None:
    first = world.sync(world.model(seed=1))
    again = world.sync(world.model(seed=2))
    (moved,) = again["moved"]
    assert moved["source"] == f"library/{world.name}:1b"
    assert (again["version"], again["changed"]) == (first["version"], False)


def test_what_goes_wrong_is_told_once_with_its_remedy(world: Any) -> None:
    spec = world.model()
    cases: list[tuple[Any, dict[str, str], ExitCode, str]] = [
        (world.runtime(spec, sync_mode=True, bucket="no-such-bucket-x"), {}, ExitCode.REFUSED, "no-such-bucket-x"),
        (world.runtime(spec, sync_mode=True, signing_key=""), {}, ExitCode.REFUSED, "MODEL_SIGNING_KEY"),
        (world.runtime(spec, sync_mode=True), {"MODEL_SPECS": "{"}, ExitCode.REFUSED, "MODEL_SPECS"),
        (world.runtime(spec, sync_mode=True, trusted_keys=()), {}, ExitCode.REFUSED, "key"),
    ]
    for runtime, changes, code, named in cases:
        child = world.start(runtime, "sync", **changes)
        assert child.end() == code, child.entries
        word = last_word(child)
        assert (word["message"], word["severity"]) == ("model sync failed", "ERROR")
        assert named in word["error"]
        assert word["remedy"]
        assert "stack" not in word


def test_a_model_that_is_gone_upstream_fails_the_sync(world: Any) -> None:
    spec = world.model()
    world.control("/_local/upstreams/tags", {"kind": "ollama", "name": f"library/{world.name}", "withdrawn": True})
    child = world.start(world.runtime(spec, sync_mode=True), "sync")
    assert child.end() != 0
    assert world.name in last_word(child)["error"]
    assert list(world.bucket.list("statements/")) == []


def test_sigterm_while_waiting_for_another_publisher_is_a_failure_told_once(world: Any) -> None:
    with lease.hold(world.bucket, "publish", "a test that keeps the job waiting"):
        child = world.start(world.runtime(world.model(), sync_mode=True), "sync")
        child.until("model sync started")
        assert child.stop() == ExitCode.INTERRUPTED
    assert "SIGTERM" in last_word(child)["error"]


def test_upstreams_that_are_down_leave_the_published_version_alone(world: Any) -> None:
    first = world.sync(world.model())
    spec = replace(world.model(), name="renamed")
    world.control("/_local/upstreams/tags", {"kind": "ollama", "name": f"library/{world.name}", "withdrawn": True})
    child = world.start(world.runtime(spec, sync_mode=True), "sync")
    assert child.end() != 0
    assert last_word(child)["message"] == "model sync failed"
    assert [each.name for each in world.bucket.list("manifests/")] == [
        f"manifests/{first['version']}.done", f"manifests/{first['version']}.json",
    ]  # fmt: skip
