"""The multipart parser against bodies cut at any place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.localcloud.storage.multipart import Multipart, boundary_of
from scripts.localcloud.web import ApiError


async def _cut(body: bytes, sizes: list[int]) -> AsyncIterator[bytes]:
    at = 0
    for size in sizes:
        yield body[at : at + size]
        at += size
    yield body[at:]


def _parse(boundary: bytes, body: bytes, sizes: list[int]) -> tuple[bytes, str, bytes]:
    async def run() -> tuple[bytes, str, bytes]:
        parts = Multipart(boundary, _cut(body, sizes))
        resource, content_type = await parts.head()
        return resource, content_type, b"".join([chunk async for chunk in parts.media()])

    return asyncio.run(run())


def _body(boundary: bytes, newline: bytes, media: bytes, epilogue: bytes = b"") -> bytes:
    dash = b"--" + boundary
    head = (dash, b"content-type: application/json", b"", b'{"name": "n"}', dash, b"Content-Type: text/x", b"", b"")
    return newline.join(head) + media + newline + dash + b"--" + epilogue


@given(
    st.sampled_from([b"\r\n", b"\n"]),
    st.binary(max_size=80) | st.sampled_from([b"\r", b"\n", b"\r\n-", b"\r\n--", b"\n--b0undar", b"\r\n--b0undary5"]),
    st.lists(st.integers(1, 40), max_size=20),
    st.sampled_from([b"", b"\r\n", b"\n", b"\r\nepilogue"]),
)
def test_what_goes_in_comes_out(newline: bytes, media: bytes, sizes: list[int], epilogue: bytes) -> None:
    body = b"preamble" + newline + _body(b"b0undary", newline, media, epilogue)
    assert _parse(b"b0undary", body, sizes) == (b'{"name": "n"}', "text/x", media)


@given(st.binary(max_size=200), st.lists(st.integers(1, 40), max_size=10))
def test_any_bytes_are_answered(body: bytes, sizes: list[int]) -> None:
    with pytest.raises(ApiError) as refused:
        _parse(b"b0undary", body, sizes)
    assert refused.value.code == 400


@given(st.integers(0, 120))
def test_a_truncated_body_is_refused(kept: int) -> None:
    body = _body(b"b0undary", b"\r\n", b"media")
    with pytest.raises(ApiError, match="Malformed"):
        _parse(b"b0undary", body[: min(kept, len(body) - 1)], [])


def test_an_empty_part_without_a_line_end_of_its_own() -> None:
    body = b'--b\n\n{"name": "n"}\n--b\n\n--b--'
    assert _parse(b"b", body, []) == (b'{"name": "n"}', "", b"")


@pytest.mark.parametrize(
    ("header", "boundary"),
    [
        ("multipart/related; boundary=abc", b"abc"),
        ('multipart/related; boundary="a b=c"; type="x"', b"a b=c"),
        ('multipart/related; boundary="a\\"b"', b'a"b'),
        ("multipart/related; boundary='===1=='", b"===1=="),
        ("Multipart/Related;BOUNDARY=abc;x=y", b"abc"),
    ],
)
def test_boundaries(header: str, boundary: bytes) -> None:
    assert boundary_of(header) == boundary


@pytest.mark.parametrize("header", ["", "multipart/related", "text/plain; boundary=x", "multipart/related; boundary="])
def test_no_boundary(header: str) -> None:
    with pytest.raises(ApiError, match="boundary"):
        boundary_of(header)
