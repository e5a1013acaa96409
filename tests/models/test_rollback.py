"""Back to an earlier version: a new statement, a hold, few calls; and no way back to what is not whole."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from scripts import audit, lease
from scripts.errors import BadInput, Conflict, NotFound
from scripts.models import copies, gate, holds, layout, leftovers, manifest, publish, rollback, shelf
from scripts.models.manifest import Model, ModelFile
from scripts.models.publish import Publisher
from scripts.models.rollback import Rollback
from scripts.models.shelf import LEASE
from scripts.models.statements import Trusted
from tests.models.support import World
from tests.models.test_glance import Calls

pytestmark = pytest.mark.process


def published(world: World, count: int) -> list[str]:
    """So many versions, oldest first, each of its own content."""
    versions = []
    for number in range(count):
        revision = f"r-{number}"
        world.ollama.put("library/tiny:1b", revision, {f"blobs/sha256-{number:02}": revision.encode()})
        world.hub.put("acme/mini", revision, {"refs/main": revision.encode(), f"snapshots/{revision}/x": b"x"})
        versions.append(world.sync(specs=tuple(replace(spec, revision=revision) for spec in world.specs)).version)
    return versions


def back(world: World, **values: Any) -> Trusted:
    """prepare() and carry_out(), as a command does both."""
    todo = rollback.prepare(world.bucket, world.keys, **values)
    return carry_out(world, todo)


def carry_out(world: World, todo: Rollback) -> Trusted:
    with lease.hold(world.bucket, LEASE, "a rollback", seen=todo.seen.lease) as held:
        fresh = shelf.settled(held, todo, lambda: rollback.prepare(world.bucket, world.keys))
        publisher = Publisher(world.bucket, world.signer, world.keys, held, fresh.serial)
        return rollback.carry_out(publisher, fresh, by="ann")


def test_it_goes_to_the_version_before_and_holds_there(world: World) -> None:
    first, second = published(world, 2)
    todo = rollback.prepare(world.bucket, world.keys)
    assert todo.plan().lines() == [
        f"~ hold: nothing → {first}",
        f"~ active version: {second} (serial 2) → {first} (serial 3)",
    ]
    trusted = carry_out(world, todo)
    assert (trusted.version, trusted.serial) == (first, 3)
    assert world.trusted() == trusted
    assert gate.read(world.bucket, world.keys).problems == ()
    hold = holds.read(world.bucket).hold
    assert hold is not None and (hold.version, hold.by) == (first, "ann")
    assert world.sync().outcome == "held"
    assert rollback.prepare(world.bucket, world.keys, to=first).plan().empty


def test_twice_goes_back_two_and_by_name_forth_again(world: World) -> None:
    first, second, third = published(world, 3)
    assert back(world).version == second
    assert back(world).version == first
    with pytest.raises(NotFound, match=f"older than {first}"):
        rollback.prepare(world.bucket, world.keys)
    assert back(world, to=third).version == third
    hold = holds.read(world.bucket).hold
    assert hold is not None and hold.version == third


def test_an_old_generation_of_the_pointer_is_a_way_back_too(world: World) -> None:
    first, _ = published(world, 2)
    kept = [info for info in world.bucket.list(layout.MANIFEST_COPY, versions=True) if info.deleted]
    assert back(world, generation=kept[-1].generation).version == first
    with pytest.raises(NotFound, match="no generation 12; there are: "):
        back(world, generation=12)
    world.overwrite(layout.MANIFEST_COPY, b'{"serial": 1}')
    forged = world.bucket.stat(layout.MANIFEST_COPY)
    assert forged is not None
    with pytest.raises(BadInput, match="cannot be believed"):
        back(world, generation=forged.generation)


@pytest.mark.parametrize("held_before", [False, True])
def test_it_takes_fourteen_calls_at_most(world: World, held_before: bool) -> None:
    first, second, _ = published(world, 3)
    if held_before:
        back(world, to=first)
    calls = Calls(world)
    todo = rollback.prepare(world.bucket, world.keys, to=second)
    carry_out(world, todo)
    audit.record(world.bucket, command="x", environment="e", plan=todo.plan(), outcome="changed", started_at=0.0)
    assert len(calls.made) <= 14, "\n".join(calls.made)


def test_what_is_not_there_or_not_whole_is_refused(world: World) -> None:
    first, _ = published(world, 2)
    with pytest.raises(BadInput, match="is not a version name"):
        back(world, to="latest")
    with pytest.raises(NotFound, match="no signed statement"):
        back(world, to="20200101T000000Z-00000000")
    world.remove(layout.done_name(first))
    with pytest.raises(NotFound, match="not complete any more"):
        back(world, to=first)
    with pytest.raises(NotFound, match="no complete version older"):
        back(world)
    assert holds.read(world.bucket).hold is None


def test_a_version_that_somebody_put_there_is_not_signed_by_going_back(world: World) -> None:
    published(world, 1)
    forged = "20200101T000000Z-0badc0de"
    world.bucket.create_object(layout.manifest_name(forged), b"{}")
    world.bucket.create_object(layout.done_name(forged), b"{}")
    world.bucket.create_object(layout.statement_name(2), b"{}", {"modelshelf-version": forged})
    for values in ({"to": forged}, {}):
        with pytest.raises(NotFound, match="no signed statement"):
            back(world, **values)


def test_what_changed_meanwhile_is_looked_at_again(world: World) -> None:
    first, _ = published(world, 2)
    todo = rollback.prepare(world.bucket, world.keys)
    with lease.hold(world.bucket, LEASE, "somebody who changes nothing"):
        pass
    assert carry_out(world, todo).version == first


def test_whoever_was_faster_wins(world: World) -> None:
    published(world, 2)
    todo = rollback.prepare(world.bucket, world.keys)
    holds.change(world.bucket, lambda _: holds.Holds())
    published(world, 3)
    with pytest.raises(Conflict, match="changed while this was decided"):
        carry_out(world, todo)
    assert holds.read(world.bucket).hold is None


def never_activated(world: World) -> str:
    """A version whose publisher died between .done and the statement."""
    version = layout.new_version("0badc0de", datetime.now(UTC), leftovers.look(world.bucket).versions)
    info = world.bucket.create_object(f"ollama/{version}/blobs/x", b"content")
    file = ModelFile("blobs/x", info.size_bytes, manifest.sha256(b"content"), info.crc32c)
    model = Model("llm", "ollama", "library/tiny:1b", "r1", f"ollama/{version}", (file,))
    with lease.hold(world.bucket, LEASE, "a test") as held:
        publisher = Publisher(world.bucket, world.signer, world.keys, held, 99)
        publish.record(publisher, manifest.make(version, "2026-11-20T02:00:00Z", (model,)))
    return version


def test_what_was_never_active_is_no_way_back(world: World) -> None:
    (first,) = published(world, 1)
    dead = never_activated(world)
    _, newest = published(world, 2)
    assert first < dead < newest
    assert rollback.prepare(world.bucket, world.keys).to.version == first
    with pytest.raises(NotFound, match="no signed statement"):
        rollback.prepare(world.bucket, world.keys, to=dead)


def test_copies_that_a_dead_rollback_left_behind_are_a_change(world: World) -> None:
    first, second = published(world, 2)
    behind = world.bucket.read(layout.MANIFEST_COPY)
    assert behind is not None
    back(world)
    world.overwrite(layout.MANIFEST_COPY, behind[0])
    todo = rollback.prepare(world.bucket, world.keys, to=first)
    assert todo.plan().lines() == [f"~ manifest.json and .done: behind → {first}"]
    carry_out(world, todo)
    assert copies.check(world.bucket, world.trusted(), world.keys) == ()
    assert rollback.prepare(world.bucket, world.keys, to=first).plan().empty
    assert rollback.prepare(world.bucket, world.keys, to=second).mends is False
