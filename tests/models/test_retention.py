"""What is kept and why; what goes, goes whole, and never what somebody needs."""

from __future__ import annotations

import pytest

from scripts import lease
from scripts.errors import Conflict
from scripts.models import gate, holds, layout, retention, shelf
from scripts.models.holds import Holds
from scripts.models.retention import Pruning
from scripts.models.shelf import LEASE
from tests.models.support import World
from tests.models.test_rollback import back, never_activated, published

pytestmark = pytest.mark.process


def prune(world: World, todo: Pruning) -> int:
    with lease.hold(world.bucket, LEASE, "pruning", seen=todo.seen.lease) as held:
        fresh = shelf.settled(held, todo, lambda: retention.prepare(world.bucket, world.keys, keep=1))
        return retention.carry_out(world.bucket, held, fresh)


def there(world: World) -> set[str]:
    """Versions of which any object is left, in any generation."""
    names = [info.name for info in world.bucket.list(versions=True) if not info.name.startswith("audit/")]
    parts = {part.removesuffix(".json").removesuffix(".done") for name in names for part in name.split("/")}
    return {part for part in parts if layout.is_version(part)}


def test_the_newest_are_kept_and_the_rest_goes_with_every_generation(world: World) -> None:
    versions = published(world, 5)
    todo = retention.prepare(world.bucket, world.keys, keep=3)
    assert [item.version for item in todo.doomed] == versions[:2]
    assert todo.kept[versions[4]] == ("active", "one of the newest 3")
    expected = todo.freed_bytes
    assert expected > 0 and todo.plan().lines()[0].startswith(f"- version {versions[0]}: ")
    assert prune(world, todo) == expected
    assert there(world) == set(versions[2:])
    assert gate.read(world.bucket, world.keys).problems == ()
    assert retention.prepare(world.bucket, world.keys, keep=3).plan().empty


def test_active_held_pinned_and_live_ones_stay_however_old(world: World) -> None:
    versions = published(world, 6)
    back(world, to=versions[0])
    holds.change(world.bucket, lambda found: Holds(found.hold, (versions[1],)))
    todo = retention.prepare(world.bucket, world.keys, keep=1, live=[versions[2]])
    assert todo.kept == {
        versions[5]: ("readers fall back to it", "one of the newest 1"),
        versions[2]: ("named by a live revision",),
        versions[1]: ("pinned",),
        versions[0]: ("active", "held"),
    }
    prune(world, todo)
    assert there(world) == {versions[0], versions[1], versions[2], versions[5]}


def test_what_a_killed_run_left_goes_too(world: World) -> None:
    (version,) = published(world, 1)
    unborn = "20200101T000000Z-0badc0de"
    world.bucket.create_object(f"ollama/{unborn}/blobs/x", b"x" * 10)
    world.bucket.create_object(f".tmp/{unborn}/ollama/blobs/y", b"y" * 5)
    world.bucket.create_object("ollama/notes.txt", b"not ours")
    todo = retention.prepare(world.bucket, world.keys, keep=3)
    assert (todo.freed_bytes, len(todo.plan().lines())) == (15, 2)
    assert prune(world, todo) == 15
    assert there(world) == {version}
    assert world.names("ollama/notes") == ["ollama/notes.txt"]


def test_done_goes_first_and_the_manifest_last(world: World) -> None:
    versions = published(world, 2)
    (doomed,) = retention.prepare(world.bucket, world.keys, keep=1, live=()).doomed or (None,)
    assert doomed is None  # the older one is what readers would fall back to
    versions += published(world, 4)[2:]
    (*_, doomed) = retention.prepare(world.bucket, world.keys, keep=1).doomed
    assert doomed is not None
    assert doomed.objects[0].name == layout.done_name(doomed.version)
    assert doomed.objects[-1].name == layout.manifest_name(doomed.version)


def test_a_bucket_that_moved_meanwhile_loses_nothing(world: World) -> None:
    versions = published(world, 5)
    todo = retention.prepare(world.bucket, world.keys, keep=1)
    back(world, to=versions[0])
    with pytest.raises(Conflict, match="nothing was done"):
        prune(world, todo)
    assert there(world) == set(versions)


def test_what_was_never_active_counts_for_nothing(world: World) -> None:
    published(world, 2)
    dead = never_activated(world)
    versions = published(world, 3)
    todo = retention.prepare(world.bucket, world.keys, keep=3)
    assert {item.version: item.why for item in todo.doomed}[dead] == "never activated: no statement names it"
    assert set(todo.kept) == set(versions)
    prune(world, todo)
    assert dead not in there(world) and set(versions) <= there(world)


def test_what_readers_take_stays_however_many_forged_statements_lie_above(world: World) -> None:
    versions = published(world, 5)
    back(world, to=versions[0])
    holds.change(world.bucket, lambda found: Holds(None, found.pins))
    for serial in range(7, 40):
        world.bucket.create_object(layout.statement_name(serial), b"forged")
    todo = retention.prepare(world.bucket, world.keys, keep=3)
    assert todo.kept[versions[0]] == ("active",)
    prune(world, todo)
    reading = gate.read(world.bucket, world.keys)
    assert reading.trusted is not None and reading.trusted.version == versions[0]
