"""The short way says what the long way says, in five calls; and nothing altered passes."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from scripts.errors import BadInput
from scripts.models import copies, gate, layout, signing, statements
from scripts.models.glance import glance
from scripts.models.statements import Trusted
from tests.models.support import SPECS, World
from tests.models.test_statements import twice_published


class Calls:
    """The requests that a world's client made, as `METHOD path?query` lines."""

    def __init__(self, world: World) -> None:
        self.made: list[str] = []
        session = world.bucket._clients()[1]
        session.hooks["response"].append(lambda answer, **_: self.made.append(f"{answer.request.method} {answer.url}"))


def at_version(found: Trusted | None) -> tuple[str, int]:
    assert found is not None
    return found.version, found.serial


@pytest.mark.process
def test_a_hit_takes_five_calls_and_reads_no_model(world: World) -> None:
    world.fill()
    published = world.sync()
    calls = Calls(world)
    seen = gate.look(world.bucket, SPECS, world.keys, hold_matters=False)
    assert (seen.decision.hit, seen.decision.version) == (True, published.version)
    assert len(calls.made) == 5, calls.made
    assert [line for line in calls.made if "alt=media" in line or "/download/" in line] == [
        line for line in calls.made if "manifest.json" in line
    ]


@pytest.mark.process
def test_it_says_what_the_long_way_says(world: World) -> None:
    older, newer = twice_published(world)
    short = glance(world.bucket, world.keys)
    assert short is not None
    assert short[0] == world.trusted()
    assert glance(world.bucket, world.keys, pinned_version=newer) is not None
    assert glance(world.bucket, world.keys, pinned_version=older) is None
    assert glance(world.bucket, world.keys, min_serial=3) is None
    assert glance(world.bucket, ()) is None
    assert at_version(gate.read(world.bucket, world.keys, pinned_version=older).trusted)[0] == older


def _flip(world: World, name: str) -> None:
    found = world.bucket.read(name)
    assert found is not None
    data = bytearray(found[0])
    data[len(data) // 2] ^= 1
    world.overwrite(name, bytes(data))


def _forge(world: World, name: str) -> None:
    world.bucket.create_object(layout.statement_name(3), b"{}")


def _stray(world: World, name: str) -> None:
    world.bucket.create_object(f"{layout.STATEMENTS}notes.txt", b"x")


@pytest.mark.process
@pytest.mark.parametrize(
    ("which", "harm", "kind", "serves"),
    [
        ("statements/2.dsse.json", _flip, "signature|statement", "older"),
        ("statements/2.dsse.json", World.remove, "", "older"),
        ("statements/3.dsse.json", _forge, "statement", "newer"),
        ("statements/notes.txt", _stray, "names", "newer"),
        ("manifests/{newer}.json", _flip, "manifest", "older"),
        ("manifests/{newer}.json", World.remove, "manifest", "older"),
        ("manifests/{newer}.done", _flip, "done", "older"),
        ("manifests/{newer}.done", World.remove, "done", "older"),
        ("manifest.json", _flip, "", "newer"),
        ("manifest.json", World.remove, "", "newer"),
        (".done", _flip, "", "newer"),
    ],
)
def test_what_was_changed_is_told_and_a_good_version_serves(
    world: World, which: str, harm: Callable[[World, str], None], kind: str, serves: str
) -> None:
    older, newer = twice_published(world)
    harm(world, which.format(newer=newer))
    reading = gate.read(world.bucket, world.keys)
    assert reading.trusted is not None
    assert reading.trusted.version == {"older": older, "newer": newer}[serves]
    assert [problem.kind in kind.split("|") for problem in reading.problems] == ([True] if kind else [])


@pytest.mark.process
def test_an_old_copy_put_back_changes_nothing(world: World) -> None:
    world.fill()
    world.sync()
    old = world.bucket.read(layout.MANIFEST_COPY)
    assert old is not None
    world.fill(b"two")
    newer = world.sync(specs=world.specs[:1])
    world.overwrite(layout.MANIFEST_COPY, old[0])
    assert glance(world.bucket, world.keys) is None
    assert at_version(gate.read(world.bucket, world.keys).trusted) == (newer.version, newer.serial)


@pytest.mark.process
def test_no_mutation_of_what_is_signed_is_accepted(world: World) -> None:
    """10,000 random mutations of the copy, the statement and the manifest: not one is believed."""
    world.fill()
    world.sync()
    trusted = world.trusted()
    copy = copies.manifest_copy(trusted)
    statement = signing.dump_envelope(trusted.envelope)
    dice = random.Random(20261120)
    readers: list[tuple[bytes, Callable[[bytes], object]]] = [
        (copy, lambda data: copies.open_copy(data, world.keys)),
        (statement, lambda data: statements.unseal(data, world.keys)),
    ]
    accepted = []
    for data, read in readers:
        for _ in range(5_000):
            changed = _mutated(data, dice)
            if _believed(read, changed):
                accepted.append(changed)
    assert accepted == []
    assert copies.open_copy(copy, world.keys) == trusted
    assert statements.unseal(statement, world.keys)[0] == trusted.statement


def _believed(read: Callable[[bytes], object], data: bytes) -> bool:
    try:
        read(data)
    except (BadInput, signing.Untrusted):
        return False
    return True


def _mutated(data: bytes, dice: random.Random) -> bytes:
    """Other bytes: some flipped, cut out, doubled or put elsewhere."""
    while True:
        start = dice.randrange(len(data))
        end = min(len(data), start + dice.choice((1, 1, 1, 2, 5, 40)))
        piece = data[start:end]
        changed = dice.choice(
            (
                data[:start] + bytes(byte ^ dice.randrange(1, 256) for byte in piece) + data[end:],
                data[:start] + data[end:],
                data[:end] + piece + data[end:],
                data[:start] + dice.randbytes(len(piece)) + data[end:],
                data[:start],
                data[start:] + data[:start],
            )
        )
        if changed != data:
            return changed
