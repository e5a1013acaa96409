"""What a reader believes: the highest statement that holds up, every other one told with its own message."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.cloud.storage import open_bucket
from scripts.errors import BadInput, NotFound
from scripts.models import layout, manifest, signing, statements
from scripts.models.statements import Statement
from tests.models.support import VERSION, World, kinds

SAMPLE = Statement(7, VERSION, "a" * 64, "2026-11-20T02:00:00Z", "by a test")


def edited(**changes: object) -> bytes:
    return json.dumps({**json.loads(statements.dump_statement(SAMPLE)), **changes}).encode()


def test_a_statement_is_what_the_formats_say() -> None:
    data = statements.dump_statement(SAMPLE)
    assert list(json.loads(data)) == ["serial", "version", "manifest_sha256", "created_at", "reason"]
    assert statements.parse_statement(data) == SAMPLE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"serial": 0}, "serial: found 0"),
        ({"serial": True}, "serial: found a boolean"),
        ({"serial": "7"}, "serial: found a string"),
        ({"serial": 10**15}, "serial: found 1000000000000000"),
        ({"version": "latest"}, "'latest' is not a version name"),
        ({"version": "../x"}, "is not a version name"),
        ({"manifest_sha256": "a" * 63}, "manifest_sha256: found"),
        ({"created_at": 5}, "created_at: found a number"),
        ({"reason": "two\nlines"}, "reason: found"),
        ({"extra": 1}, "'extra': found an unknown key"),
    ],
)
def test_a_bad_statement_is_refused_with_its_place(changes: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        statements.parse_statement(edited(**changes))
    assert message in caught.value.message
    assert caught.value.message.startswith("statement")
    assert caught.value.remedy


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=40), at=st.integers(0, 400), cut=st.integers(0, 30))
def test_any_bytes_are_read_or_are_bad_input(data: bytes, at: int, cut: int) -> None:
    good = statements.dump_statement(SAMPLE)
    at %= len(good)
    for mutated in (data, good[:at] + data + good[at + cut :]):
        try:
            statements.parse_statement(mutated)
        except BadInput as error:
            assert error.message


def twice_published(world: World) -> tuple[str, str]:
    """Two versions; the names of the older and the newer."""
    world.fill(b"one")
    older = world.sync().version
    world.ollama.put("library/tiny:1b", "r-two", {"blobs/sha256-02": b"two"})
    specs = (world.specs[0].__class__("llm", "ollama", "library/tiny:1b", "r-two"), world.specs[1])
    newer = world.sync(specs=specs).version
    assert newer > older
    return older, newer


@pytest.mark.process
def test_the_highest_statement_serves(world: World) -> None:
    older, newer = twice_published(world)
    reading = world.reading()
    assert reading.trusted is not None
    assert (reading.trusted.version, reading.trusted.serial, reading.problems) == (newer, 2, ())
    pinned = world.reading(pinned_version=older)
    assert pinned.trusted is not None
    assert (pinned.trusted.version, pinned.trusted.serial) == (older, 1)


@pytest.mark.process
def test_serials_are_numbers_not_text(world: World) -> None:
    world.fill()
    first = world.sync()
    digest = world.trusted().manifest_sha256
    for serial in range(2, 12):
        world.bucket.create_object(layout.statement_name(serial), world.state(first.version, serial, digest))
    assert world.trusted().serial == 11


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


TAMPERED: list[tuple[str, Callable[[World, str], object], str, str]] = [
    ("statement altered", lambda w, v: w.overwrite("statements/2.dsse.json", flip(read(w, "statements/2.dsse.json"))),
     "statement|signature", "envelope"),
    ("statement cut off", lambda w, v: w.overwrite("statements/2.dsse.json", read(w, "statements/2.dsse.json")[:90]),
     "statement", "truncated"),
    ("statement empty", lambda w, v: w.overwrite("statements/2.dsse.json", b""), "statement", "truncated"),
    ("statement huge", lambda w, v: w.overwrite("statements/2.dsse.json", b" " * 200_000), "statement", "larger than"),
    ("old statement under a new name",
     lambda w, v: w.overwrite("statements/2.dsse.json", read(w, "statements/1.dsse.json")),
     "serial", "an old statement put back"),
    ("manifest altered", lambda w, v: w.overwrite(f"manifests/{v}.json", flip(read(w, f"manifests/{v}.json"))),
     "manifest", "altered"),
    ("manifest gone", lambda w, v: w.remove(f"manifests/{v}.json"), "manifest", "is missing"),
    ("manifest of another version", lambda w, v: w.overwrite(f"manifests/{v}.json", other_manifest(w, v)),
     "manifest", "altered"),
    ("done gone", lambda w, v: w.remove(f"manifests/{v}.done"), "done", "not known to be complete"),
    ("done altered", lambda w, v: w.overwrite(f"manifests/{v}.done", flip(read(w, f"manifests/{v}.done"))),
     "done", "altered"),
    ("done emptied", lambda w, v: w.overwrite(f"manifests/{v}.done", b"{}"), "done", "altered"),
    ("done huge", lambda w, v: w.overwrite(f"manifests/{v}.done", b" " * 10_000), "done", "larger than"),
]  # fmt: skip


def read(world: World, name: str) -> bytes:
    found = world.bucket.read(name)
    assert found is not None
    return found[0]


def other_manifest(world: World, version: str) -> bytes:
    other = next(name for name in world.names("manifests/") if name.endswith(".json") and version not in name)
    return read(world, other)


@pytest.mark.process
@pytest.mark.parametrize(
    ("tamper", "kind", "message"), [case[1:] for case in TAMPERED], ids=[case[0] for case in TAMPERED]
)
def test_what_was_tampered_with_is_told_and_the_older_one_serves(
    world: World, tamper: Callable[[World, str], object], kind: str, message: str
) -> None:
    older, newer = twice_published(world)
    tamper(world, newer)
    reading = world.reading()
    assert reading.trusted is not None
    assert (reading.trusted.version, reading.trusted.serial) == (older, 1)
    assert len(reading.problems) == 1
    problem = reading.problems[0]
    assert problem.kind in kind.split("|")
    assert message in problem.what
    assert problem.object.startswith(("statements/2.", f"manifests/{newer}."))
    assert problem.remedy


@pytest.mark.process
def test_a_manifest_signed_under_another_versions_name(world: World) -> None:
    world.fill()
    first = world.sync()
    digest = world.trusted().manifest_sha256
    other = "20301120T020000Z-3f9a1c2b"
    world.bucket.create_object(layout.manifest_name(other), read(world, layout.manifest_name(first.version)))
    world.bucket.create_object(layout.done_name(other), statements.done_bytes(other, digest))
    world.bucket.create_object(layout.statement_name(2), world.state(other, 2, digest))
    reading = world.reading()
    assert reading.trusted is not None and reading.trusted.serial == 1
    assert f"is the manifest of {first.version}" in reading.problems[0].what


@pytest.mark.process
def test_strangers_and_strange_names(world: World, tmp_path: Path) -> None:
    world.fill()
    first = world.sync()
    digest = world.trusted().manifest_sha256
    signing.make_key(tmp_path / "foreign")
    foreign = signing.load_signer(f"file:{tmp_path / 'foreign' / 'signing.pem'}")
    mine, world.signer = world.signer, foreign
    world.bucket.create_object(layout.statement_name(9), world.state(first.version, 9, digest))
    world.signer = mine
    world.bucket.create_object("statements/latest.json", b"{}")
    reading = world.reading()
    assert reading.trusted is not None and reading.trusted.serial == 1
    assert sorted(kinds(reading.problems)) == ["names", "signature"]
    assert any("not trusted" in problem.what for problem in reading.problems)


@pytest.mark.process
def test_a_serial_below_the_minimum_is_ignored_with_its_own_message(world: World) -> None:
    twice_published(world)
    reading = world.reading(min_serial=3)
    assert reading.trusted is None
    assert kinds(reading.problems) == ["serial"]
    assert "serial 2 is below MODEL_MIN_SERIAL 3" in reading.problems[0].what
    assert world.reading(min_serial=2).trusted is not None


@pytest.mark.process
def test_no_key_no_trust(world: World) -> None:
    world.fill()
    world.sync()
    reading = statements.read_trusted(world.bucket, ())
    assert reading.trusted is None
    assert "no key is trusted" in reading.problems[0].what


@pytest.mark.process
def test_a_pinned_version_that_nobody_stated(world: World) -> None:
    world.fill()
    world.sync()
    reading = world.reading(pinned_version=VERSION)
    assert reading.trusted is None
    assert VERSION in reading.problems[0].what
    with pytest.raises(BadInput, match="MODEL_CACHE_VERSION"):
        world.reading(pinned_version="latest")


@pytest.mark.process
def test_an_empty_and_a_missing_bucket(world: World) -> None:
    assert world.reading() == statements.Reading(None)
    missing = open_bucket("test-project", world.url, "never-made")
    with pytest.raises(NotFound, match="never-made"):
        statements.read_trusted(missing, world.keys)


@pytest.mark.process
def test_a_flood_of_forged_statements_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statements, "MAX_TRIED", 3)
    for serial in range(1, 6):
        world.bucket.create_object(layout.statement_name(serial), b"{}")
    reading = world.reading()
    assert reading.trusted is None
    assert len(reading.problems) == 4
    assert "the other 2 were not read" in reading.problems[-1].what


@pytest.mark.process
def test_a_check_may_reject_a_version(world: World) -> None:
    older, newer = twice_published(world)

    def check(trusted: statements.Trusted) -> list[statements.Problem]:
        return [statements.Problem("x", "rejected", "", "files")] if trusted.version == newer else []

    reading = world.reading(check=check)
    assert reading.trusted is not None and reading.trusted.version == older
    assert manifest.parse(read(world, layout.manifest_name(older))) == reading.trusted.manifest
