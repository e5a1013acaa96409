"""Range and Content-Range headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.localcloud.storage.ranges import Chunk, parse_chunk, parse_range
from scripts.localcloud.web import ApiError

SIZES = st.integers(0, 2**40)


@given(SIZES, st.integers(0, 2**40), st.integers(0, 2**40))
def test_a_range_lies_inside_the_object(size: int, first: int, extra: int) -> None:
    header = f"bytes={first}-{first + extra}"
    if first >= size:
        with pytest.raises(ApiError) as refused:
            parse_range(header, size)
        assert (refused.value.code, refused.value.headers) == (416, (("content-range", f"bytes */{size}"),))
        return
    assert parse_range(header, size) == (first, min(extra + 1, size - first))


@given(SIZES, st.integers(1, 2**40))
def test_a_suffix_is_at_most_the_object(size: int, count: int) -> None:
    if size == 0:
        with pytest.raises(ApiError):
            parse_range(f"bytes=-{count}", size)
        return
    first, found = parse_range(f"bytes=-{count}", size) or (0, 0)
    assert (first + found, found) == (size, min(count, size))


@given(st.text(max_size=30), SIZES)
def test_any_header_is_answered(header: str, size: int) -> None:
    try:
        found = parse_range(header, size)
    except ApiError as error:
        assert error.code == 416
        return
    assert found is None or (found[0] >= 0 and found[1] > 0 and sum(found) <= size)


def test_content_range() -> None:
    assert parse_chunk("bytes 0-9/10") == Chunk(0, 10, 10, last=True)
    assert parse_chunk("bytes 5-9/*") == Chunk(5, 5, None)
    assert parse_chunk(" bytes */10 ") == Chunk(None, 0, 10)
    assert parse_chunk("bytes */*") == Chunk(None, 0, None)
    for bad in ("", "bytes 0-9", "bytes 9-0/10", "bytes 0-10/10", "bytes -5/10", "bytes ٣-٤/9", "bytes 0-9/ten"):
        with pytest.raises(ApiError, match="Invalid Content-Range"):
            parse_chunk(bad)
