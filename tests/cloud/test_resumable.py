"""Streams are cut into parts of one size; the last one is known as such, whatever the chunks were."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scripts.cloud.resumable import parts


@given(chunks=st.lists(st.binary(max_size=40), max_size=20), size=st.integers(1, 16))
def test_parts_are_whole_and_in_order(chunks: list[bytes], size: int) -> None:
    found = list(parts(chunks, size))
    assert b"".join(part for part, _ in found) == b"".join(chunks)
    assert [last for _, last in found] == [False] * (len(found) - 1) + [True]
    assert all(len(part) == size for part, last in found if not last)
    assert len(found[-1][0]) <= size
    assert found[-1][0] or len(found) == 1
