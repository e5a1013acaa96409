"""A file comes into the bucket by the cheapest way that is proven; a large one in parts that outlive a crash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

import pytest

from scripts.cloud import storage_parts
from scripts.errors import OpsError
from scripts.models import layout, leftovers, spans
from scripts.models.gather import Gathered, Order, contents, gather
from scripts.models.sources.base import RemoteFile, Resolved
from scripts.models.spans import Span
from scripts.models.transfer import wanted_objects
from tests.models.support import SPECS, VERSION, FolderSource, World, blob

pytestmark = pytest.mark.process
SPAN = 1000
DATA = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(300))  # 9,600 bytes: ten spans
SHA = hashlib.sha256(DATA).hexdigest()
NAME = f"ollama/{VERSION}/{blob(DATA)}"
DEAD = "20260101T000000Z-00000000"


@pytest.fixture(autouse=True)
def small_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "SPAN_BYTES", SPAN)
    monkeypatch.setattr(storage_parts, "MAX_SOURCES", 4)


def bring(world: World, source: FolderSource | None = None, version: str = VERSION) -> Gathered:
    """One sync's gathering of the one large file."""
    file = RemoteFile(blob(DATA), len(DATA), SHA, f"sha256:{SHA}")
    wanted = wanted_objects([Resolved(SPECS[0], "r1", (file,))], version)
    gathered = Gathered()
    order = Order(
        world.bucket, version, {"ollama": source or world.ollama}, lambda: None, world.said.append, lambda pace: None
    )
    gather(order, contents(wanted.values()), (), leftovers.look(world.bucket), gathered)
    return gathered


@pytest.fixture
def upstream(world: World) -> FolderSource:
    world.ollama.put("library/tiny:1b", "r1", {blob(DATA): DATA})
    return world.ollama


def read(world: World, name: str = NAME) -> bytes | None:
    found = world.bucket.read(name)
    return found[0] if found else None


def test_a_large_file_is_pulled_in_spans_and_composed(world: World, upstream: FolderSource) -> None:
    placed = bring(world).placed[NAME]
    assert (placed.sha256, placed.size_bytes) == (SHA, len(DATA))
    assert read(world) == DATA
    assert upstream.received == len(DATA)
    starts = sorted(start for _, start, _ in upstream.ranges)
    assert starts == list(range(0, len(DATA), SPAN))
    assert all(name.startswith((NAME, f".tmp/{VERSION}/parts/{SHA}/")) for name in world.names())


class Dying(FolderSource):
    """An upstream whose connection breaks for good at one span."""

    def open(self, resolved: Resolved, file: RemoteFile, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        if start == 7 * SPAN:
            raise OpsError("the upstream went away")
        return super().open(resolved, file, start, stop)


def interrupted(world: World) -> dict[Span, str]:
    """What a run leaves that fails in the middle of the file."""
    with pytest.raises(OpsError, match="went away"):
        bring(world, Dying(world.upstream, "ollama"), DEAD)
    assert read(world, NAME.replace(VERSION, DEAD)) is None
    left = leftovers.look(world.bucket).parts[SHA]
    assert left and Span(7 * SPAN, 8 * SPAN) not in left
    return {span: info.name for span, info in left.items()}


def test_what_an_interrupted_run_left_is_not_pulled_again(world: World, upstream: FolderSource) -> None:
    left = interrupted(world)
    done = bring(world)
    assert read(world) == DATA
    assert {Span(start, stop) for _, start, stop in upstream.ranges} == set(spans.spans(len(DATA))) - set(left)
    assert done.reused_bytes == sum(span.size_bytes for span in left)


@pytest.mark.parametrize("every", [True, False])
def test_parts_that_were_tampered_with_are_found_out_and_pulled(
    world: World, upstream: FolderSource, every: bool
) -> None:
    left = interrupted(world)
    for span, name in list(left.items())[: None if every else 1]:
        world.overwrite(name, b"\0" * span.size_bytes)
    bring(world)
    assert read(world) == DATA
    assert {Span(start, stop) for _, start, stop in upstream.ranges} == set(spans.spans(len(DATA)))


@pytest.mark.parametrize("wrong", [False, True])
def test_a_whole_file_of_a_dead_run_counts_when_its_bytes_are_right(
    world: World, upstream: FolderSource, wrong: bool
) -> None:
    world.bucket.create_object(NAME.replace(VERSION, DEAD), DATA[::-1] if wrong else DATA)
    done = bring(world)
    assert read(world) == DATA
    assert (upstream.received, done.reused_bytes) == ((len(DATA), 0) if wrong else (0, len(DATA)))


@pytest.mark.parametrize("wrong", [b"", b"short", DATA[::-1]])
def test_what_another_attempt_at_this_version_placed_is_proven_or_replaced(
    world: World, upstream: FolderSource, wrong: bytes
) -> None:
    made = world.bucket.create_object(NAME, wrong or DATA)
    placed = bring(world).placed[NAME]
    assert read(world) == DATA
    assert (placed.generation == made.generation) is (wrong == b"")
    assert upstream.received == (len(DATA) if wrong else 0)


class Lying(FolderSource):
    """An upstream that sends one other byte in its last span."""

    def open(self, resolved: Resolved, file: RemoteFile, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        for chunk in super().open(resolved, file, start, stop):
            yield chunk[:-1] + b"?" if start == 9 * SPAN else chunk


def test_a_file_that_is_not_as_announced_never_exists_and_leaves_nothing_to_take_up(
    world: World, upstream: FolderSource
) -> None:
    with pytest.raises(OpsError, match="the upstream announced"):
        bring(world, Lying(world.upstream, "ollama"))
    assert world.names() == []
    bring(world)
    assert read(world) == DATA


def test_an_empty_file_arrives(world: World) -> None:
    digest = hashlib.sha256(b"").hexdigest()
    file = RemoteFile("blobs/empty", 0, digest, f"sha256:{digest}")
    wanted = wanted_objects([Resolved(SPECS[0], "r1", (file, replace(file, path="blobs/again")))], VERSION)
    gathered = Gathered()
    order = Order(world.bucket, VERSION, {"ollama": world.ollama}, lambda: None, world.said.append, lambda pace: None)
    gather(order, contents(wanted.values()), (), leftovers.look(world.bucket), gathered)
    assert sorted(gathered.placed) == [f"ollama/{VERSION}/blobs/again", f"ollama/{VERSION}/blobs/empty"]
    assert all(read(world, name) == b"" for name in gathered.placed)
    assert layout.TMP not in "".join(world.names())
