"""Many files at once: equal ones once, the largest first, ten thousand without trouble."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from scripts.models import gate, layout
from scripts.models.flight import Share
from scripts.models.gather import contents
from scripts.models.outcome import SyncResult
from scripts.models.sources.base import RemoteFile, Resolved
from scripts.models.transfer import wanted_objects
from tests.models.support import SPECS, VERSION, World


def test_equal_contents_stand_together_and_the_largest_come_first() -> None:
    def file(path: str, size_bytes: int, digest: str) -> RemoteFile:
        return RemoteFile(path, size_bytes, digest * 64, f"sha256:{digest * 64}")

    files = (file("a", 5, "1"), file("b", 9, "2"), file("c", 5, "1"), file("d", 7, "3"))
    groups = contents(wanted_objects([Resolved(SPECS[0], "r", files)], VERSION).values())
    prefix = f"{layout.folder('ollama', VERSION)}/"
    assert [[item.name.removeprefix(prefix) for item in group] for group in groups] == [["b"], ["d"], ["a", "c"]]


@pytest.mark.process
def test_a_content_that_has_two_names_travels_once(world: World) -> None:
    world.ollama.put("library/tiny:1b", "r1", {"blobs/x": b"same" * 100, "blobs/y": b"same" * 100, "blobs/z": b"other"})
    result = world.sync(specs=world.specs[:1])
    assert world.ollama.received == 405
    assert (result.upstream_bytes, result.reused_bytes) == (405, 400)
    assert gate.read(world.bucket, world.keys).problems == ()


@pytest.mark.full
@pytest.mark.process
@pytest.mark.timeout(600)
@pytest.mark.parametrize("tasks", [1, 4])
def test_ten_thousand_files_are_published_in_one_task_and_in_four(world: World, tasks: int) -> None:
    world.hub.put("acme/mini", "c1", {f"snapshots/c1/{n:05}": b"file %d" % n for n in range(10_000)})
    results: list[SyncResult] = []

    def work(index: int) -> None:
        own = replace(world, said=[])
        share = Share(index, tasks, "job-1")
        results.append(own.sync(specs=world.specs[1:], share=share, execution="job-1", lease_ttl_s=60.0))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(tasks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(result.outcome for result in results) == ["placed"] * (tasks - 1) + ["published"]
    published = next(result for result in results if result.outcome == "published")
    assert published.upstream_bytes == sum(len(b"file %d" % n) for n in range(10_000))
    trusted = world.trusted()
    assert sum(len(model.files) for model in trusted.manifest.models) == 10_000
    assert gate.read(world.bucket, world.keys).problems == ()
    assert world.names(layout.TMP) == []
