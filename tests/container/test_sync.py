"""The sync job as a real process against the stand-in: exactly one last word, whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts import lease
from scripts.errors import ExitCode
from scripts.models import gate
from scripts.settings.types import ModelSpec
from tests.cloud.proxy import Headers, troubled
from tests.conftest import StandIn
from tests.faults import faulty

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


def of_task(execution: str, index: int) -> int:
    """The process of a task: found by its environment."""
    wanted = {f"CLOUD_RUN_EXECUTION={execution}".encode(), f"CLOUD_RUN_TASK_INDEX={index}".encode()}
    for place in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            found = set(place.read_bytes().split(b"\0"))
            command = (place.parent / "cmdline").read_bytes().split(b"\0")
            if wanted <= found and b"scripts.container" in command:
                return int(place.parent.name)
    return 0


@pytest.mark.parametrize("killed", [False, True])
def test_several_tasks_pull_once_and_publish_one_version(world: Any, common_standin: StandIn, killed: bool) -> None:
    specs = tuple(
        replace(world.model(2_000_000, seed), name=f"llm-{seed}", source=f"library/{world.name}:t{seed}")
        for seed in (1, 2, 3)
    )
    for seed in (1, 2, 3):
        asked = {"kind": "ollama", "name": f"library/{world.name}", "tag": f"t{seed}"}
        world.control("/_local/upstreams/tags", {**asked, "size_bytes": 2_000_000, "seed": seed})
    job = world.job(world.runtime(*specs, sync_mode=True), tasks=3, retries=1)
    slow = faulty(common_standin, "upstream.blobs.get", kind="slow", rate_bytes_s=1_000_000, count=100)
    with slow if killed else contextlib.nullcontext():
        execution = world.run.run_job(job).name
        if killed:
            kill(execution, 1)
        ended = world.run.wait_execution(execution, timeout_s=120)
    assert ended.succeeded, ended
    trusted = gate.read(world.bucket, (world.key,)).trusted
    assert trusted is not None
    assert {model.name for model in trusted.manifest.models} == {"llm-1", "llm-2", "llm-3"}
    assert [info.name for info in world.bucket.list("statements/")] == ["statements/1.dsse.json"]
    assert world.bucket.list(".tmp/", versions=True) == []
    pulled = world.control("/_local/upstreams")["by_client"][execution]["bytes"]
    distinct = sum({file.sha256: file.size_bytes for m in trusted.manifest.models for file in m.files}.values())
    # Manifests come with the metadata. Who was killed loses what it had not placed: at most its share of the weights.
    lost = 2_000_000 if killed else 0
    assert distinct - 10_000 <= pulled <= distinct + lost


def kill(execution: str, index: int) -> None:
    """kill -9 a task as soon as it runs."""
    deadline = time.monotonic() + 60
    while not (pid := of_task(execution, index)):
        assert time.monotonic() < deadline, f"task {index} of {execution} did not start"
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)


Answer = tuple[int, Headers, bytes]


def other_bytes(path: str, status: int, headers: Headers, data: bytes) -> Answer:
    """An upstream that serves something else than it announces."""
    return status, headers, bytes([data[0] ^ 1]) + data[1:] if "/upstream/blobs/" in path and data else data


def half(path: str, status: int, headers: Headers, data: bytes) -> Answer:
    """An upstream that takes half of each file for the whole."""
    if "/upstream/blobs/" not in path:
        return status, headers, data
    return 200, [each for each in headers if each[0].lower() != "content-range"], data[: len(data) // 2]


def climbing(path: str, status: int, headers: Headers, data: bytes) -> Answer:
    """A hub that names a file outside of its repository."""
    return status, headers, data.replace(b'"config.json"', b'"../config.json"') if "/api/models/" in path else data


@contextmanager
def upstream(world: Any, standin: Any, alter: Callable[..., Answer]) -> Iterator[dict[str, str]]:
    """Another upstream in front of the stand-in; variables of a container that uses it."""
    with troubled(world.url) as proxy:
        proxy.alter = lambda *answer: alter(answer[0], *_leading_to(proxy.url)(*answer))
        yield {"MODELSHELF_ENDPOINT": proxy.url}


def withdrawn(world: Any, standin: Any) -> Any:
    return upstream(
        world, standin,
        lambda path, status, headers, data: (404, [], b"{}") if "/upstream/" in path else (status, headers, data),
    )  # fmt: skip


@contextmanager
def refused(world: Any, standin: Any, kind: str, **options: Any) -> Iterator[dict[str, str]]:
    """The bucket refuses to take anything; the lease of publishers is not meant."""
    with faulty(standin, "storage.objects.*", kind, bucket=world.name, count="forever", **options) as fault:
        yield {}
        assert fault.fired


# What goes wrong, how the job ends, what it says, what its remedy says.
Ways = Callable[[Any, Any], Any]
FAILURES: dict[str, tuple[Ways, ExitCode, str, str]] = {
    "the model is gone upstream": (withdrawn, ExitCode.REFUSED, "404", "source"),
    "other bytes than announced": (lambda w, s: upstream(w, s, other_bytes), ExitCode.FAILED, "sha256", "upstream"),
    "half of a file": (lambda w, s: upstream(w, s, half), ExitCode.FAILED, "bytes", ""),
    "names that climb": (lambda w, s: upstream(w, s, climbing), ExitCode.FAILED, "../config.json", "Do not use"),
    "no permission from the first call": (lambda w, s: refused(w, s, "403"), ExitCode.UNREACHABLE, "", "role"),
    "no permission from the 15th call": (lambda w, s: refused(w, s, "403", nth=15), ExitCode.UNREACHABLE, "", "role"),
    "the quota is used up": (
        lambda w, s: refused(w, s, "403-quota", object="ollama/*"), ExitCode.FAILED, "quota", "raise the quota",
    ),
    "no permission to sign off": (
        lambda w, s: refused(w, s, "403", object="statements/2*"), ExitCode.UNREACHABLE, "statements/2", "role",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILURES)
def test_whatever_fails_is_told_and_the_published_version_serves(world: Any, common_standin: Any, name: str) -> None:
    way, code, words, remedy = FAILURES[name]
    version = world.publish(world.model())
    hub = {"kind": "huggingface", "name": f"acme/{world.name}", "files": {"config.json": 50, "weights": 5000}}
    world.control("/_local/upstreams/tags", hub)
    tag = {"kind": "ollama", "name": f"library/{world.name}", "tag": "2", "size_bytes": 60_000, "seed": 7}
    world.control("/_local/upstreams/tags", tag)
    specs = (
        ModelSpec("hub", "huggingface", f"acme/{world.name}"), ModelSpec("second", "ollama", f"library/{world.name}:2"),
    )  # fmt: skip
    with way(world, common_standin) as more:
        child = world.start(world.runtime(*specs, sync_mode=True), "sync", **more)
        assert child.end() == code, child.entries
    word = last_word(child)
    assert (word["message"], word["severity"]) == ("model sync failed", "ERROR")
    assert words in word["error"] and remedy in word["remedy"]
    assert "stack" not in word
    reading = gate.read(world.bucket, (world.key,))
    assert reading.trusted is not None and reading.problems == ()
    assert (reading.trusted.version, reading.trusted.serial) == (version, 1)
    assert world.sync(*specs)["changed"] is True


def test_a_redirect_to_another_host_carries_no_token(world: Any) -> None:
    spec = world.model()
    with troubled(world.url) as registry, troubled(world.url) as elsewhere:
        other = elsewhere.url.replace("127.0.0.1", "localhost")
        registry.alter = _leading_to(other)
        child = world.start(world.runtime(spec, sync_mode=True), "sync", MODELSHELF_ENDPOINT=registry.url)
        assert child.end() == 0, child.entries
        assert any("/manifests/" in path for path in registry.authorized)
        assert any("/upstream/blobs/" in line for line in elsewhere.seen)
        assert elsewhere.authorized == []


def _leading_to(other: str) -> Any:
    def alter(path: str, status: int, headers: Headers, data: bytes) -> Answer:
        moved = [
            (key, f"{other}/{value.split('/', 3)[3]}" if key.lower() == "location" else value) for key, value in headers
        ]
        return status, moved if "/blobs/sha256" in path else headers, data

    return alter
