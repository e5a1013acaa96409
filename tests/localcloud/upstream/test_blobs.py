"""Ranges, validators and links as RFC 9110 and signed URLs have them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from scripts.localcloud.context import Database
from scripts.localcloud.upstream.blobs import LINK_LIFETIME_S, Links, serve
from scripts.localcloud.upstream.content import CHUNK_BYTES, Held
from scripts.localcloud.upstream.counters import Counters
from scripts.localcloud.web import ApiError, Disconnected, Request, Response, parse_query

DATA = bytes(range(256)) * 3000
BLOB = "ab" * 32


def request(method: str = "GET", target: str = "/", **headers: str) -> Request:
    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    parts = urlsplit(target)
    named = {"host": parts.netloc or "127.0.0.1:8085"} | {
        key.replace("_", "-"): value for key, value in headers.items()
    }
    query, every = parse_query(parts.query)
    return Request(method, parts.path, query, every, named, "127.0.0.1:1", receive)


@pytest.fixture
def counters(tmp_path: Path) -> Counters:
    return Counters(Database(tmp_path / "state.db"))


def body(response: Response) -> bytes:
    async def collect() -> bytes:
        assert isinstance(response.body, AsyncIterator)
        return b"".join([chunk async for chunk in response.body])

    return response.body if isinstance(response.body, bytes) else asyncio.run(collect())


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        (f"bytes={CHUNK_BYTES - 3}-{2 * CHUNK_BYTES}", CHUNK_BYTES - 3, 2 * CHUNK_BYTES + 1),
        ("bytes=100-", 100, len(DATA)),
        ("bytes=-5", len(DATA) - 5, len(DATA)),
        ("bytes=-99999999", 0, len(DATA)),
        ("bytes=700000-99999999", 700_000, len(DATA)),
    ],
)
def test_one_range(counters: Counters, asked: str, start: int, stop: int) -> None:
    response = serve(request(range=asked), Held(DATA), "tag", counters)
    headers = dict(response.headers)
    assert response.status == 206
    assert headers["content-range"] == f"bytes {start}-{stop - 1}/{len(DATA)}"
    assert headers["content-length"] == str(stop - start)
    assert body(response) == DATA[start:stop]
    assert counters.totals()["bytes"] == stop - start


@pytest.mark.parametrize("asked", ["", "bytes=", "bytes=-", "bytes=5-1", "items=0-1", "bytes=0-1,5-6", "bytes=a-b"])
def test_what_is_no_single_range_gets_the_whole(counters: Counters, asked: str) -> None:
    response = serve(request(range=asked), Held(DATA), "tag", counters)
    assert (response.status, body(response)) == (200, DATA)


@pytest.mark.parametrize("asked", [f"bytes={len(DATA)}-", f"bytes={len(DATA)}-{len(DATA) + 5}", "bytes=-0"])
def test_a_range_outside_is_not_satisfiable(counters: Counters, asked: str) -> None:
    with pytest.raises(ApiError) as caught:
        serve(request(range=asked), Held(DATA), "tag", counters)
    assert caught.value.code == 416
    assert dict(caught.value.headers)["content-range"] == f"bytes */{len(DATA)}"


def test_validators(counters: Counters) -> None:
    content = Held(DATA)
    assert serve(request(range="bytes=0-1", if_range='"tag"'), content, "tag", counters).status == 206
    assert serve(request(range="bytes=0-1", if_range='"old"'), content, "tag", counters).status == 200
    assert serve(request(if_none_match='"x", "tag"'), content, "tag", counters).status == 304
    assert dict(serve(request(), content, "tag", counters).headers)["etag"] == '"tag"'


def test_head_tells_the_size_and_sends_nothing(counters: Counters) -> None:
    response = serve(request("HEAD"), Held(DATA), "tag", counters)
    assert dict(response.headers)["content-length"] == str(len(DATA))
    assert body(response) == b""
    assert counters.totals()["bytes"] == 0


def test_an_empty_file(counters: Counters) -> None:
    response = serve(request(), Held(b""), "tag", counters)
    assert (response.status, dict(response.headers)["content-length"], body(response)) == (200, "0", b"")
    with pytest.raises(ApiError):
        serve(request(range="bytes=0-"), Held(b""), "tag", counters)


def test_a_stopped_upstream_ends_the_streams_under_way(counters: Counters) -> None:
    response = serve(request(), Held(DATA), "tag", counters)

    async def collect() -> int:
        received = 0
        assert isinstance(response.body, AsyncIterator)
        with pytest.raises(Disconnected):
            async for chunk in response.body:
                received += len(chunk)
                counters.switch(False)
        return received

    assert asyncio.run(collect()) == CHUNK_BYTES


def test_links_lead_to_another_host_and_expire() -> None:
    now = [1000.0]
    links = Links("secret", 8085, lambda: now[0])
    link = links.make(request(), BLOB)
    assert link.startswith(f"http://localhost:8085/upstream/blobs/{BLOB}?")
    assert links.make(request(target="http://localhost:8085/"), BLOB).startswith("http://127.0.0.1:8085/")
    links.check(request(target=link), BLOB)
    now[0] += LINK_LIFETIME_S + 1
    with pytest.raises(ApiError, match="expired"):
        links.check(request(target=link), BLOB)


@pytest.mark.parametrize("changed", ["expires=9999999999", "signature=00", "expires=", "expires=²", "signature=ü"])
def test_links_cannot_be_made_up(changed: str) -> None:
    links = Links("secret", 8085, lambda: 1000.0)
    link = links.make(request(), BLOB)
    with pytest.raises(ApiError) as caught:
        links.check(request(target=f"{link}&{changed}"), BLOB)
    assert caught.value.code == 403
    with pytest.raises(ApiError):
        links.check(request(target=link), "cd" * 32)


def test_a_link_takes_no_credentials() -> None:
    links = Links("secret", 8085, lambda: 1000.0)
    with pytest.raises(ApiError) as caught:
        links.check(request(target=links.make(request(), BLOB), authorization="Bearer hf_x"), BLOB)
    assert caught.value.code == 400
