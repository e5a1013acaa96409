"""The short way says what the long way says, in five calls; and nothing altered passes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.cloud.storage_objects import crc32c
from scripts.errors import BadInput
from scripts.models import copies, gate, layout, manifest, signing, statements
from scripts.models.glance import glance
from scripts.models.statements import Problem, Trusted
from tests.models.support import SPECS, World
from tests.models.test_statements import read, twice_published


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


IN_MEMORY, AT_THE_STANDIN = 2_430, 20


@pytest.mark.process
def test_no_mutation_of_what_is_signed_is_accepted(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """10,000 random mutations: not one is believed, each is refused in its own words, and the good version serves."""
    older, newer = twice_published(world)
    trusted = world.trusted()
    dice = random.Random(20261120)
    tried = Counter(_in_memory(world, trusted, dice)) + Counter(_at_the_standin(world, trusted, older, dice, tmp_path))
    with capsys.disabled():
        print(f"\n{sum(tried.values())} mutations, 0 accepted: {', '.join(f'{n} {name}' for name, n in tried.items())}")
    assert sum(tried.values()) == 10_000
    assert at_version(gate.read(world.bucket, world.keys).trusted) == (newer, 2)


def _in_memory(world: World, trusted: Trusted, dice: random.Random) -> Iterator[str]:
    """The very functions that readers call on an object's bytes; the kind of each mutation that was refused."""
    statement = trusted.statement
    readers: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
        "copy": (copies.manifest_copy(trusted), lambda data: copies.open_copy(data, world.keys)),
        "statement": (signing.dump_envelope(trusted.envelope), lambda data: statements.unseal(data, world.keys)),
        "manifest": (manifest.dump(trusted.manifest), lambda data: statements.judge_manifest(data, statement)),
        ".done": (
            statements.done_bytes(trusted.version, trusted.manifest_sha256),
            lambda data: Problem("", fault, "") if (fault := statements.judge_done(data, statement)) else None,
        ),
    }
    for name, (data, reader) in readers.items():
        assert _believed(reader, data), name
        for _ in range(IN_MEMORY):
            changed = _mutated(data, dice)
            assert not _believed(reader, changed), f"{name}: {changed!r}"
            yield name


# What is done to the bucket (the name of the newer version filled in), the kind of the problem, its words, what serves.
Harm = Callable[[World, str, random.Random, Path], None]
HARMS: list[tuple[str, Harm, str, str, str]] = [
    ("altered statement", lambda w, v, d, p: _scramble(w, "statements/2.dsse.json", d),
     "signature|statement", "", "older"),
    ("altered manifest", lambda w, v, d, p: _scramble(w, f"manifests/{v}.json", d), "manifest", "altered", "older"),
    ("altered .done", lambda w, v, d, p: _scramble(w, f"manifests/{v}.done", d), "done", "altered", "older"),
    ("altered copy", lambda w, v, d, p: _scramble(w, "manifest.json", d), "", "", "newer"),
    ("altered file", lambda w, v, d, p: _scramble(w, _file(w, v, d), d), "files", "expected", "older"),
    ("swapped files", lambda w, v, d, p: _swap(w, v, d), "files", "expected", "older"),
    ("missing file", lambda w, v, d, p: w.remove(_file(w, v, d)), "files", "is missing", "older"),
    ("missing manifest", lambda w, v, d, p: w.remove(f"manifests/{v}.json"), "manifest", "is missing", "older"),
    ("missing .done", lambda w, v, d, p: w.remove(f"manifests/{v}.done"), "done", "not known to be complete", "older"),
    ("old pointer", lambda w, v, d, p: _put_back(w), "", "", "newer"),
    ("old statement under a new name", lambda w, v, d, p: _replay(w, d),
     "serial", "an old statement put back", "newer"),
    ("foreign key", lambda w, v, d, p: _foreign(w, d, p), "signature", "not trusted", "newer"),
    ("statement below MODEL_MIN_SERIAL", lambda w, v, d, p: w.remove("statements/2.dsse.json"), "serial",
     "below MODEL_MIN_SERIAL 2", ""),
    ("name of no statement", lambda w, v, d, p: _stray(w, ""), "names", "is no name of a statement", "newer"),
]  # fmt: skip


def _at_the_standin(world: World, trusted: Trusted, older: str, dice: random.Random, folder: Path) -> Iterator[str]:
    """Harm done to a bucket, read by its readers, and undone."""
    before = {info.name: read(world, info.name) for info in world.bucket.list()}
    serves = {"older": (older, 1), "newer": (trusted.version, 2)}
    for name, harm, kind, words, good in HARMS:
        for _ in range(AT_THE_STANDIN):
            harm(world, trusted.version, dice, folder)
            reading = gate.read(world.bucket, world.keys, min_serial=0 if good else 2)
            found = reading.trusted
            assert (at_version(found) if found else None) == serves.get(good), f"{name}: {reading.problems}"
            told = [item for item in reading.problems if item.kind in kind.split("|") and words in item.what]
            assert bool(told) == bool(kind), f"{name}: {reading.problems}"
            _undo(world, before)
            yield name


def _undo(world: World, before: dict[str, bytes]) -> None:
    there = {info.name: info for info in world.bucket.list()}
    for info in there.values():
        if info.name not in before:
            world.bucket.delete(info.name, info.generation)
    for name, data in before.items():
        if name not in there or there[name].crc32c != crc32c(data):
            world.overwrite(name, data)


def _scramble(world: World, name: str, dice: random.Random) -> None:
    world.overwrite(name, _mutated(read(world, name), dice))


def _file(world: World, version: str, dice: random.Random) -> str:
    """A file of a version that is not empty."""
    names = [info.name for store in ("ollama", "sbert") for info in world.bucket.list(f"{store}/{version}/")]
    return dice.choice(sorted(names))


def _swap(world: World, version: str, dice: random.Random) -> None:
    one, data = _file(world, version, dice), b""
    while not data or data == read(world, one):
        data = read(world, _file(world, version, dice))
    world.overwrite(one, data)


def _put_back(world: World) -> None:
    """The copy as it was when the first version was active."""
    oldest = min(
        (info for info in world.bucket.list(layout.MANIFEST_COPY, versions=True)), key=lambda info: info.generation
    )
    found = world.bucket.read(layout.MANIFEST_COPY, oldest.generation)
    assert found is not None
    world.overwrite(layout.MANIFEST_COPY, found[0])


def _replay(world: World, dice: random.Random) -> None:
    name = layout.statement_name(dice.randrange(3, 10**6))
    world.bucket.create_object(name, read(world, f"statements/{dice.choice((1, 2))}.dsse.json"))


def _foreign(world: World, dice: random.Random, folder: Path) -> None:
    """A statement in good order, by a key that nobody trusts."""
    if not (folder / "foreign").exists():
        signing.make_key(folder / "foreign")
    trusted, serial = world.trusted(), dice.randrange(3, 10**6)
    statement = replace(trusted.statement, serial=serial)
    signer = signing.load_signer(f"file:{folder / 'foreign' / signing.PRIVATE_NAME}")
    world.bucket.create_object(layout.statement_name(serial), statements.seal(statement, signer))


def _believed(read: Callable[[bytes], object], data: bytes) -> bool:
    try:
        return not isinstance(read(data), Problem)
    except (BadInput, signing.Untrusted):
        return False


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
