"""Several tasks of one execution make one version: shared out, agreed on, signed, and published by the last one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from scripts import audit, lease
from scripts.errors import OpsError, Refused
from scripts.models import flight, gate, holds, layout, publish
from scripts.models.flight import Share
from scripts.models.holds import Hold, Holds
from scripts.models.outcome import SyncResult
from scripts.models.retention import Retain
from scripts.models.shelf import LEASE
from scripts.models.sources.base import RemoteFile, Resolved
from scripts.models.transfer import Wanted
from tests.crash.ledger import expire
from tests.models.support import SPECS, FolderSource, World, blob, hub_files, ollama_files

pytestmark = pytest.mark.process
BLOBS = [bytes([65 + number]) * 400_000 for number in range(7)]


def item(name: str, size_bytes: int) -> list[Wanted]:
    file = RemoteFile(name, size_bytes, None, f"made:{name}")
    return [Wanted(name, Resolved(SPECS[0], "r", (file,)), file)]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_content_is_one_tasks_and_the_loads_are_alike(count: int) -> None:
    sizes = sorted((number * 7919 % 97 for number in range(1, 60)), reverse=True)
    groups = [item(f"f{number}", size << 20) for number, size in enumerate(sizes)]
    shares = [flight.mine(groups, Share(index, count, "e")) for index in range(count)]
    assert sorted(group[0].name for share in shares for group in share) == sorted(group[0].name for group in groups)
    loads = [sum(group[0].file.size_bytes for group in share) for share in shares]
    assert max(loads) - min(loads) <= max(sizes) << 20
    assert len({frozenset(group[0].name for group in share) for share in shares}) == count


@pytest.fixture
def filled(world: World) -> World:
    world.ollama.put("library/tiny:1b", "r1", ollama_files(*BLOBS))
    world.hub.put("acme/mini", "c1", hub_files("c1", config=b"{}", weights=b"w" * 5000))
    return world


def task(world: World, index: int, count: int = 3, **options: object) -> SyncResult:
    """One task, with connections to its upstreams of its own; world counts what all of them pull."""
    own = replace(world, said=[])
    try:
        return own.sync(share=Share(index, count, "job-1"), execution="job-1", lease_ttl_s=300.0, **options)
    finally:
        for mine, every in ((own.ollama, world.ollama), (own.hub, world.hub)):
            every.opened.extend(mine.opened)
            every.received += mine.received


def whole(world: World) -> None:
    """One version, every file pulled once, nothing left over."""
    assert gate.read(world.bucket, world.keys).problems == ()
    assert world.names("statements/") == ["statements/1.dsse.json"]
    assert world.names(".tmp/") == []
    assert len(world.ollama.opened) == len(set(world.ollama.opened)) == len(BLOBS) + 1
    assert world.ollama.received == sum(map(len, BLOBS)) + len("\n".join(map(blob, BLOBS)))


def test_tasks_at_once_publish_one_version(filled: World) -> None:
    results: list[SyncResult] = []
    threads = [threading.Thread(target=lambda n=n: results.append(task(filled, n))) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(result.outcome for result in results) == ["placed", "placed", "published"]
    whole(filled)
    published = next(result for result in results if result.outcome == "published")
    assert published.upstream_bytes == filled.ollama.received + filled.hub.received
    (record,) = audit.recent(filled.bucket, 0)
    assert (record["outcome"], record["details"]["upstream_bytes"]) == ("published", published.upstream_bytes)
    assert lease.holder_of(filled.bucket, LEASE) is None
    assert {task(filled, number).outcome for number in range(3)} == {"up_to_date"}


def test_the_last_task_publishes_in_whatever_order_they_end(filled: World) -> None:
    assert [task(filled, number).outcome for number in (1, 0, 2)] == ["placed", "placed", "published"]
    whole(filled)


class Broken(FolderSource):
    """An upstream that has lost one blob for now."""

    def open(self, resolved: Resolved, file: RemoteFile, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        if file.path == blob(BLOBS[3]):
            raise OpsError("the upstream has trouble")
        return super().open(resolved, file, start, stop)


def test_a_task_that_fails_is_run_again_alone(filled: World) -> None:
    sources = {"ollama": Broken(filled.upstream, "ollama"), "huggingface": filled.hub}
    outcomes: dict[int, str] = {}
    for number in range(3):
        try:
            outcomes[number] = task(filled, number, sources=sources).outcome
        except OpsError as error:
            assert "trouble" in error.message
    (failed,) = {0, 1, 2} - set(outcomes)
    assert set(outcomes.values()) == {"placed"}
    assert filled.names("statements/") == []
    placed = {"/".join(name.split("/")[2:]) for name in filled.names("ollama/")}
    filled.ollama.opened.clear()
    assert task(filled, failed).outcome == "published"
    assert gate.read(filled.bucket, filled.keys).problems == ()
    assert filled.names(".tmp/") == []
    # what the others placed was not touched again, nor what the failed one had placed before it failed
    assert not placed & set(filled.ollama.opened)
    assert blob(BLOBS[3]) in filled.ollama.opened


def test_the_task_that_published_last_dies_and_is_run_again(filled: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [task(filled, number).outcome for number in (0, 1)] == ["placed", "placed"]
    with monkeypatch.context() as patch:
        patch.setattr(publish, "commit", dies)
        with pytest.raises(OpsError, match="died"):
            task(filled, 2)
    filled.ollama.opened.clear()
    assert task(filled, 2).outcome == "published"
    assert filled.ollama.opened == []
    assert filled.names("statements/") == ["statements/1.dsse.json"]
    assert gate.read(filled.bucket, filled.keys).problems == ()


def dies(*_: object) -> None:
    raise OpsError("it died before the commit")


def test_another_execution_waits_for_the_whole_group(filled: World) -> None:
    assert task(filled, 0).outcome == "placed"
    with pytest.raises(Refused, match="execution job-1"):
        filled.sync(share=Share(0, 3, "job-2"), execution="job-2", wait_s=0.0)
    expire(filled)  # the group has died, and its lease lapses: another execution begins a version of its own
    assert filled.sync(execution="job-3", wait_s=30.0).outcome == "published"
    assert filled.names(".tmp/") == []
    assert len(filled.ollama.opened) == len(set(filled.ollama.opened))


@pytest.mark.parametrize("where", ["files", "signature"])
def test_what_another_task_placed_is_not_believed_unsigned(filled: World, where: str) -> None:
    assert task(filled, 0).outcome == "placed"
    assert task(filled, 1).outcome == "placed"
    (note,) = [name for name in filled.names(".tmp/") if name.endswith("flight.dsse.json")]
    version = note.split("/")[1]
    name = layout.share_name(version, 0)
    if where == "files":
        found = filled.bucket.read(name)
        assert found is not None
        filled.overwrite(name, found[0].replace(b'"upstream_bytes": ', b'"upstream_bytes": 1'))
    else:
        other = filled.bucket.read(layout.share_name(version, 1).replace(".json", ".dsse.json"))
        assert other is not None
        signature = name.replace(".json", ".dsse.json")
        filled.overwrite(signature, other[0])
    with pytest.raises(OpsError, match="what task 0 placed is not believed"):
        while task(filled, 2).outcome != "published":
            pass
    assert filled.names("statements/") == []


def test_a_hold_that_came_while_all_tasks_were_dead_is_respected(filled: World) -> None:
    """A hold at what is active makes no statement: the serial does not tell that somebody was there."""
    first = task(replace(filled, specs=filled.specs[1:]), 0, count=1)
    assert task(filled, 0).outcome == "placed"
    expire(filled)
    hold = Hold(first.version, "found bad", "2026-11-20T02:00:00Z", "somebody")
    with lease.hold(filled.bucket, LEASE, "rollback", wait_s=30.0):
        holds.change(filled.bucket, lambda found: Holds(hold, found.pins))
    filled.ollama.opened.clear()
    assert {task(filled, number).outcome for number in (1, 2, 0)} == {"held"}
    assert filled.ollama.opened == []
    assert filled.trusted().version == first.version


def test_no_task_gives_the_lease_back_while_another_prunes(filled: World) -> None:
    filled.sync()
    asked, holders = threading.Event(), []

    def live() -> set[str]:
        asked.set()
        others.join(60)
        holders.append(lease.holder_of(filled.bucket, LEASE))
        return set()

    def rest() -> None:
        asked.wait(60)
        assert {task(filled, number).outcome for number in (1, 2)} == {"up_to_date"}

    others = threading.Thread(target=rest)
    others.start()
    assert task(filled, 0, retain=Retain(3, live)).outcome == "up_to_date"
    assert [holder.owner for holder in holders if holder is not None] == ["execution job-1"]
    assert lease.holder_of(filled.bucket, LEASE) is None, "it is given back by who worked"
