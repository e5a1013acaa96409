"""A version gets from one bucket into another whole, with the same names and bytes, or nothing of it is believed."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from scripts import lease
from scripts.errors import Refused
from scripts.models import gate, layout, promotion, shelf
from scripts.models.promotion import Promotion
from scripts.models.publish import Publisher
from scripts.models.statements import Trusted
from tests.models.support import World, make_world

pytestmark = pytest.mark.process


@pytest.fixture
def other(world: World, tmp_path: Path) -> World:
    """A second bucket, with a key of its own."""
    return make_world(world.url, tmp_path / "other", f"other-{secrets.token_hex(6)}")


def prepared(world: World, other: World) -> Promotion:
    source = promotion.verify(world.bucket, world.keys)
    return promotion.prepare(source, other.bucket, other.keys)


def carry_out(other: World, todo: Promotion) -> Trusted | None:
    with lease.hold(other.bucket, shelf.LEASE, "a promotion") as held:
        publisher = Publisher(other.bucket, other.signer, other.keys, held, todo.serial)
        return promotion.carry_out(publisher, todo, "promoted", lambda: None, other.said.append)


def test_it_arrives_with_the_same_manifest_signed_by_the_other_key(world: World, other: World) -> None:
    world.fill()
    version = world.sync().version
    todo = prepared(world, other)
    assert [change.target for change in todo.plan().changes] == [f"version {version}", "active version"]
    done = carry_out(other, todo)
    assert done is not None
    reading = gate.read(other.bucket, other.keys)
    assert (reading.trusted, reading.problems) == (done, ())
    assert done.manifest_sha256 == world.trusted().manifest_sha256
    assert gate.read(other.bucket, world.keys).trusted is None
    assert prepared(world, other).plan().empty


def test_what_is_there_already_is_not_copied_again(world: World, other: World) -> None:
    world.fill()
    version = world.sync().version
    first = sorted(promotion.verify(world.bucket, world.keys).objects)[0]
    kept = other.bucket.copy(first, first, source_bucket=world.bucket.name)
    todo = prepared(world, other)
    assert first not in todo.missing
    carry_out(other, todo)
    info = other.bucket.stat(first)
    assert info is not None and info.generation == kept.generation
    world.remove(layout.done_name(version))
    with pytest.raises(Refused, match="no version that can be promoted"):
        prepared(world, other)


def test_other_bytes_under_its_names_are_refused_before_and_while_copying(world: World, other: World) -> None:
    world.fill()
    world.sync()
    todo = prepared(world, other)
    name = todo.missing[-1]
    other.bucket.create_object(name, b"something else")
    with pytest.raises(Refused, match="has other bytes"):
        prepared(world, other)
    with pytest.raises(Refused, match="has other bytes"):
        carry_out(other, todo)
    assert gate.read(other.bucket, other.keys).trusted is None
    assert other.names("statements/") == []


def test_a_damaged_source_is_not_promoted(world: World, other: World) -> None:
    world.fill()
    world.sync()
    name = sorted(promotion.verify(world.bucket, world.keys).objects)[0]
    world.overwrite(name, b"tampered")
    with pytest.raises(Refused, match=r"no version that can be promoted: .*bytes, expected"):
        promotion.verify(world.bucket, world.keys)
    with pytest.raises(Refused, match="no version that can be promoted"):
        promotion.verify(world.bucket, other.keys)
