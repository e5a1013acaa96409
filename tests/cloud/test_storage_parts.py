"""Objects made of parts: sent as they lie in memory, composed to any number, and replies that never came."""

from __future__ import annotations

import pytest

from scripts.cloud import storage_parts
from scripts.cloud.storage import Bucket
from scripts.cloud.storage_objects import Pieces, crc32c
from scripts.cloud.storage_parts import compose, compose_all, create_part
from scripts.errors import AccessDenied, Conflict, NotFound
from tests.cloud.proxy import Proxy, Trouble

pytestmark = pytest.mark.process


@pytest.mark.parametrize("pieces", [[], [b"x"], [b"", b"xyz" * 100_000, b"a", b"bc" * 50_000]])
@pytest.mark.parametrize("name", ["plain", "folder/ü 100%/a+b?c#d&e"])
def test_a_part_arrives_as_it_lay_in_memory(bucket: Bucket, pieces: list[bytes], name: str) -> None:
    data = b"".join(pieces)
    info = create_part(bucket, name, Pieces(pieces))
    assert (info.name, info.size_bytes, info.crc32c) == (name, len(data), crc32c(data))
    found = bucket.read(name)
    assert found is not None and found[0] == data
    assert create_part(bucket, name, Pieces([data])).generation == info.generation
    with pytest.raises(Conflict):
        create_part(bucket, name, Pieces([b"something else"]))


@pytest.mark.parametrize("how", ["lost", "busy", "cut"])
def test_a_part_whose_reply_did_not_come_is_written_once(through: Bucket, proxy: Proxy, how: str) -> None:
    proxy.troubles = [Trouble("POST", "/upload/", how)]
    info = create_part(through, "part", Pieces([b"a", b"bc"]))
    assert [item.generation for item in through.list(versions=True)] == [info.generation]


def test_a_part_that_may_not_be_written_is_told(through: Bucket, proxy: Proxy) -> None:
    proxy.troubles = [Trouble("POST", "/upload/", "forbidden", 1000)]
    with pytest.raises(AccessDenied, match="403"):
        create_part(through, "part", Pieces([b"x"]))


@pytest.mark.parametrize("how", ["lost", "busy", "cut"])
def test_a_composition_takes_effect_once(through: Bucket, proxy: Proxy, how: str) -> None:
    parts = [create_part(through, name, Pieces([name.encode()])) for name in "abc"]
    proxy.troubles = [Trouble("POST", "/compose", how)]
    info = compose(through, "whole", parts)
    assert (info.size_bytes, info.crc32c) == (3, crc32c(b"abc"))
    with pytest.raises(Conflict):
        compose(through, "whole", parts)
    assert compose(through, "whole", parts[:2], generation=info.generation).size_bytes == 2


def test_parts_are_taken_by_generation(bucket: Bucket) -> None:
    first = create_part(bucket, "a", Pieces([b"1"]))
    bucket.replace("a", b"2", first.generation)
    assert compose(bucket, "whole", [first]).crc32c == crc32c(b"1")
    bucket.delete("a", first.generation)
    with pytest.raises(NotFound):
        compose(bucket, "other", [first])


@pytest.mark.parametrize("count", [1, 3, 4, 9, 10, 28])
def test_any_number_of_parts_becomes_one(bucket: Bucket, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(storage_parts, "MAX_SOURCES", 3)
    data = [bytes([65 + number]) * (number + 1) for number in range(count)]
    parts = [create_part(bucket, f"parts/{number}", Pieces([piece])) for number, piece in enumerate(data)]
    bucket.create_object("tree/0-6", b"what an interrupted run left")
    info = compose_all(bucket, "whole", parts, lambda start, stop: f"tree/{start}-{stop}")
    found = bucket.read("whole")
    assert found is not None and found[0] == b"".join(data)
    assert info.crc32c == crc32c(b"".join(data))
    with pytest.raises(Conflict):
        compose_all(bucket, "whole", parts, lambda start, stop: f"tree/{start}-{stop}")
