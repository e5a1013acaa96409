"""The router, request bodies and error answers that every room shares."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.localcloud.web import ApiError, Disconnected, Request, Response, Route, Router, parse_query


async def _handler(request: Request) -> Response:
    return Response()


def _router(*patterns: str, method: str = "GET") -> Router:
    router = Router()
    router.add(Route(method, pattern, _handler) for pattern in patterns)
    return router


def _request(*messages: Mapping[str, Any], **headers: str) -> Request:
    waiting = list(messages)

    async def receive() -> Mapping[str, Any]:
        return waiting.pop(0)

    fields = {key.replace("_", "-"): value for key, value in headers.items()}
    return Request("POST", "/", {}, {}, fields, "test", receive)


def _body(data: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


@pytest.mark.parametrize(
    ("pattern", "path", "params"),
    [
        ("/b/{bucket}/o/{object+}", "/b/x/o/a%2Fb%3Ac:d", {"bucket": "x", "object": "a/b:c:d"}),
        ("/jobs/{job}:run", "/jobs/sync:run", {"job": "sync"}),
        ("/run/{service}/{rest*}", "/run/s/a/b%20c", {"service": "s", "rest": "a/b c"}),
        ("/{bucket}/{object*}", "/x/", {"bucket": "x", "object": ""}),
    ],
)
def test_a_pattern_finds_its_parameters(pattern: str, path: str, params: dict[str, str]) -> None:
    assert _router(pattern).find("GET", path)[1] == params


def test_a_literal_first_segment_wins_and_head_is_a_get() -> None:
    router = _router("/{any*}", "/storage/{rest*}", "/run/{name}")
    assert router.find("HEAD", "/storage/x")[1] == {"rest": "x"}
    assert router.find("GET", "/other/x")[1] == {"any": "other/x"}
    with pytest.raises(ApiError, match="Not found"):
        router.find("GET", "/run/name/deeper")


@pytest.mark.parametrize(("method", "path", "code"), [("GET", "/b", 404), ("PUT", "/a/1", 405), ("GET", "/a/%ff", 400)])
def test_what_is_not_found(method: str, path: str, code: int) -> None:
    with pytest.raises(ApiError) as refused:
        _router("/a/{x}").find(method, path)
    assert refused.value.code == code


@given(st.text(min_size=1))
def test_any_segment_travels_unchanged(segment: str) -> None:
    from urllib.parse import quote

    assert _router("/o/{object+}").find("GET", "/o/" + quote(segment, safe=""))[1] == {"object": segment}


def test_json_bodies() -> None:
    assert asyncio.run(_request(_body(b'{"a"', True), _body(b": 1}")).json_object()) == {"a": 1}
    assert asyncio.run(_request(_body(b" ")).json_object()) == {}
    packed = _request(_body(gzip.compress(b'{"a": 1}', mtime=0)), content_encoding="gzip")
    assert asyncio.run(packed.json_object()) == {"a": 1}
    odd = b'\xef\xbb\xbf{"a": "\\uD83D\\ude00 \\\\ud800"}'
    assert asyncio.run(_request(_body(odd)).json_object()) == {"a": "😀 \\ud800"}


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"[1]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'"text"',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": "\\ud800"}',
        b'{"a": "\\uDFFFx"}',
        b'{"\\ud800": 1}',
        b'{"a": "\xed\xa0\x80"}',
        '{"a": 1}'.encode("utf-16"),
    ],
)
def test_bad_json_is_refused(raw: bytes) -> None:
    with pytest.raises(ApiError) as refused:
        asyncio.run(_request(_body(raw)).json_object())
    assert refused.value.code == 400


@pytest.mark.parametrize("raw", [b"{", gzip.compress(b'{"a": 1}', mtime=0)[:-9], b"{}"])
def test_a_packed_body_that_is_cut_off_is_refused(raw: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        asyncio.run(_request(_body(raw), content_encoding="gzip").json())
    assert caught.value.code == 400


def test_a_compressed_bomb_is_refused() -> None:
    bomb = gzip.compress(b" " * (80 << 20))
    with pytest.raises(ApiError) as refused:
        asyncio.run(_request(_body(bomb), content_encoding="gzip").json())
    assert refused.value.code == 413


def test_a_body_has_a_limit_and_an_end() -> None:
    with pytest.raises(ApiError) as refused:
        asyncio.run(_request(_body(b"x" * 11, True)).read(limit_bytes=10))
    assert refused.value.code == 413
    with pytest.raises(Disconnected):
        asyncio.run(_request(_body(b"x", True), {"type": "http.disconnect"}).read())


def test_an_error_reads_as_googles() -> None:
    assert ApiError(412, "No.", "conditionNotMet").body() == {
        "error": {
            "code": 412,
            "message": "No.",
            "status": "FAILED_PRECONDITION",
            "errors": [{"message": "No.", "domain": "global", "reason": "conditionNotMet"}],
        }
    }


def test_query_parameters() -> None:
    assert parse_query("a=1&a=2&b=") == ({"a": "2", "b": ""}, {"a": ["1", "2"], "b": [""]})
