"""manifest.json and .done: true when in step, told when not, repaired forwards only, never trusted."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from scripts.models import copies, layout
from tests.models.support import World
from tests.models.test_statements import read, twice_published


@pytest.mark.process
def test_the_copies_are_what_people_and_old_tools_expect(world: World) -> None:
    world.fill()
    result = world.sync()
    copy = json.loads(read(world, "manifest.json"))
    original = json.loads(read(world, layout.manifest_name(result.version)))
    assert {key: copy[key] for key in original} == original
    assert copy["serial"] == 1
    assert copy["envelope"]["signatures"][0]["keyid"] == world.keys[0].key_id
    assert read(world, ".done") == read(world, layout.done_name(result.version))
    assert json.loads(read(world, ".done")).keys() == {"version", "manifest_sha256"}
    assert copies.check(world.bucket, world.trusted(), world.keys) == ()


DAMAGE: list[tuple[str, Callable[[World], object], str, str]] = [
    ("gone", lambda w: w.remove("manifest.json"), "manifest.json", "is missing"),
    ("torn", lambda w: w.overwrite("manifest.json", b"{"), "manifest.json", "altered"),
    ("forged as newer", lambda w: w.overwrite("manifest.json", forged(w)), "manifest.json", "altered"),
    ("nested", lambda w: w.overwrite("manifest.json", b"[" * 10**5), "manifest.json", "altered"),
    ("done gone", lambda w: w.remove(".done"), ".done", "is missing"),
    ("done of another", lambda w: w.overwrite(".done", b'{"version": "x"}'), ".done", "names 'x'"),
]


def forged(world: World) -> bytes:
    return json.dumps({**json.loads(read(world, "manifest.json")), "serial": 999}).encode()


@pytest.mark.process
@pytest.mark.parametrize(("damage", "name", "message"), [case[1:] for case in DAMAGE], ids=[case[0] for case in DAMAGE])
def test_a_damaged_copy_is_told_ignored_and_mended(
    world: World, damage: Callable[[World], object], name: str, message: str
) -> None:
    world.fill()
    result = world.sync()
    damage(world)
    problems = copies.check(world.bucket, world.trusted(), world.keys)
    assert [problem.object for problem in problems] == [name]
    assert message in problems[0].what
    assert world.trusted().version == result.version
    again = world.sync()
    assert (again.changed, again.outcome) == (False, "up_to_date")
    assert copies.check(world.bucket, world.trusted(), world.keys) == ()


@pytest.mark.process
def test_an_old_pointer_put_back_changes_nothing(world: World) -> None:
    world.fill()
    world.sync()
    old = {name: read(world, name) for name in ("manifest.json", ".done")}
    world.ollama.put("library/tiny:1b", "r-two", {"blobs/sha256-02": b"two"})
    newer = world.sync(specs=world.specs[:1])
    for name, data in old.items():
        world.overwrite(name, data)
    assert world.trusted().version == newer.version
    assert len(copies.check(world.bucket, world.trusted(), world.keys)) == 2


@pytest.mark.process
def test_a_copy_proves_that_a_newer_statement_was_deleted(world: World) -> None:
    older, _ = twice_published(world)
    world.remove("statements/2.dsse.json")
    assert world.trusted().version == older
    first = copies.check(world.bucket, world.trusted(), world.keys)[0]
    assert "proves that serial 2 was signed" in first.what
    assert f"{older} (serial 1) is active" in first.what


@pytest.mark.process
def test_copies_never_go_back(world: World) -> None:
    older, newer = twice_published(world)
    late = world.reading(pinned_version=older).trusted
    assert late is not None
    assert copies.repair(world.bucket, late, world.keys) is False
    assert json.loads(read(world, "manifest.json"))["version"] == newer
    assert json.loads(read(world, ".done"))["version"] == newer
    assert copies.check(world.bucket, world.trusted(), world.keys) == ()
