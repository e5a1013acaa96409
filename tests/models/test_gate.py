"""Hit or miss and why; files compared by one listing, not a byte of them read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scripts.models import gate, holds
from scripts.models.statements import Problem, Reading, Statement, Trusted
from scripts.settings.types import ModelSpec
from tests.models.support import SPECS, VERSION, World, kinds, sample
from tests.models.test_statements import twice_published

STATEMENT = Statement(4, VERSION, "a" * 64, "2026-11-20T02:00:00Z", "")
READING = Reading(Trusted(4, VERSION, sample(), "a" * 64, STATEMENT, {}))
HOLD = holds.Hold(VERSION, "", "2026-11-20T02:00:00Z", "ann")


def decide(
    specs: tuple[ModelSpec, ...], reading: Reading = READING, hold: holds.Hold | None = None
) -> tuple[bool, str]:
    decision = gate.decide(reading, specs, hold)
    assert decision.reason in (gate.HITS if decision.hit else gate.MISSES)
    return decision.hit, decision.reason


def test_the_same_models_are_a_hit() -> None:
    assert decide(SPECS) == (True, "match")
    assert decide(tuple(reversed(SPECS))) == (True, "match")
    assert decide((replace(SPECS[0], revision="abc"), SPECS[1])) == (True, "match")
    assert decide((replace(SPECS[0], revision="sha256:abc"), SPECS[1])) == (True, "match")
    decision = gate.decide(READING, SPECS, None)
    assert (decision.version, decision.serial) == (VERSION, 4)


@pytest.mark.parametrize(
    "specs",
    [
        SPECS[:1],
        (*SPECS, ModelSpec("third", "ollama", "library/third:1b")),
        (replace(SPECS[0], name="other"), SPECS[1]),
        (replace(SPECS[0], source="library/tiny:3b"), SPECS[1]),
        (SPECS[0], replace(SPECS[1], revision="def")),
        (replace(SPECS[0], kind="huggingface"), SPECS[1]),
    ],
)
def test_other_models_are_a_miss_unless_held_or_pinned(specs: tuple[ModelSpec, ...]) -> None:
    assert decide(specs) == (False, "models_differ")
    assert decide(specs, hold=HOLD) == (True, "held")
    assert decide(specs, replace(READING, pinned_version=VERSION)) == (True, "pinned")


def test_nothing_trusted_is_a_miss_even_under_a_hold() -> None:
    assert decide(SPECS, Reading(None)) == (False, "no_trusted_version")
    assert decide(SPECS, Reading(None), HOLD) == (False, "no_trusted_version")
    damaged = Reading(None, (Problem("x", "is missing", "", "files"),))
    assert decide(SPECS, damaged) == (False, "files_missing")


@pytest.mark.process
def test_a_whole_version_has_no_problems(world: World) -> None:
    world.fill()
    world.sync()
    assert gate.verify_files(world.bucket, world.trusted().manifest) == ()


@pytest.mark.process
def test_every_damage_is_named_and_the_previous_version_serves(world: World) -> None:
    older, newer = twice_published(world)
    content = world.trusted().manifest
    names = sorted(content.objects())
    data = world.bucket.read(names[1])
    assert data is not None
    world.remove(names[0])
    world.overwrite(names[1], bytes([data[0][0] ^ 1]) + data[0][1:])
    world.overwrite(names[2], b"longer than it was")
    world.bucket.create_object(f"ollama/{newer}/blobs/extra", b"x")
    world.bucket.create_object(f"ollama/{newer}/blobs/", b"")
    problems = {problem.object: problem.what for problem in gate.verify_files(world.bucket, content)}
    assert problems.keys() == {*names[:3], f"ollama/{newer}/blobs/extra"}
    assert problems[names[0]] == "is missing"
    assert "swapped or damaged" in problems[names[1]]
    assert "18 bytes, expected" in problems[names[2]]
    assert "not in the manifest" in problems[f"ollama/{newer}/blobs/extra"]
    reading = gate.read(world.bucket, world.keys)
    assert reading.trusted is not None and reading.trusted.version == older
    assert set(kinds(reading.problems)) == {"files"}


@pytest.mark.process
def test_a_badly_damaged_version_is_told_in_few_lines(world: World) -> None:
    world.ollama.put("library/tiny:1b", "r", {f"blobs/{number}": b"x" for number in range(30)})
    specs = world.specs[:1]
    version = world.sync(specs=specs).version
    for name in world.names(f"ollama/{version}/"):
        world.remove(name)
    problems = gate.read(world.bucket, world.keys).problems
    assert len(problems) == 11
    assert "20 more files" in problems[-1].what


@pytest.mark.process
def test_look_tells_a_container_everything(world: World) -> None:
    world.fill()
    first = world.sync()
    seen = gate.look(world.bucket, SPECS, world.keys)
    assert (seen.decision.hit, seen.decision.version, seen.problems) == (True, first.version, ())
    world.overwrite("holds.json", b"{")
    torn = gate.look(world.bucket, SPECS[:1], world.keys)
    assert (torn.decision.reason, kinds(torn.problems)) == ("models_differ", ["holds"])
    world.overwrite("holds.json", holds.dump_holds(holds.Holds(replace(HOLD, version=first.version))))
    held = gate.look(world.bucket, SPECS[:1], world.keys)
    assert (held.decision.reason, held.problems) == ("held", ())
