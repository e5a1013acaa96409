"""The blob host: what registry and hub redirect to; signed links that expire, ranges, and no credentials at all."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

from scripts.localcloud.upstream.content import CHUNK_BYTES, Content
from scripts.localcloud.upstream.counters import Counters, client_of
from scripts.localcloud.web import ApiError, Disconnected, Headers, Request, Response

LINK_LIFETIME_S = 900
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Links:
    """Makes and checks links to the blob host. The host differs from the one the client used (localhost, 127.0.0.1)."""

    def __init__(self, secret: str, port: int, clock: Callable[[], float]) -> None:
        self._secret = secret.encode()
        self._port = port
        self._clock = clock

    def make(self, request: Request, sha256: str) -> str:
        """A link for whoever sent this request."""
        asked = urlsplit(request.base_url).hostname
        host = "127.0.0.1" if asked == "localhost" else "localhost"
        expires = int(self._clock()) + LINK_LIFETIME_S
        query = f"expires={expires}&signature={self._sign(sha256, expires)}"
        return f"http://{host}:{self._port}/upstream/blobs/{sha256}?{query}"

    def check(self, request: Request, sha256: str) -> None:
        """Raises ApiError 400 for any credentials, 403 for a link that is not signed for this blob or has expired."""
        if "authorization" in request.headers:
            raise ApiError(400, "Only one auth mechanism allowed: this signed link takes no Authorization header")
        expires = request.query.get("expires", "")
        given = request.query.get("signature", "")
        if not (expires.isascii() and expires.isdigit()) or not hmac.compare_digest(
            given.encode(), self._sign(sha256, int(expires)).encode()
        ):
            raise ApiError(403, "The signature of this link does not match", "accessDenied")
        if int(expires) < self._clock():
            raise ApiError(403, "This link has expired", "accessDenied")

    def _sign(self, sha256: str, expires: int) -> str:
        return hmac.new(self._secret, f"{sha256}\n{expires}".encode(), hashlib.sha256).hexdigest()


def serve(request: Request, content: Content, etag: str, counters: Counters, headers: Headers = ()) -> Response:
    """Answer GET or HEAD for a content with Range, If-Range, If-None-Match (RFC 9110, 13 and 14); counted as sent.

    etag comes without quotes. Raises ApiError 416 for a range outside the content.
    """
    quoted = f'"{etag}"'
    common = (*headers, ("etag", quoted), ("accept-ranges", "bytes"))
    if quoted in (tag.strip() for tag in request.headers.get("if-none-match", "").split(",")):
        return Response(304, b"", common)
    span = _range(request, content.size_bytes, quoted)
    start, stop = span or (0, content.size_bytes)
    if span is not None:
        common = (*common, ("content-range", f"bytes {start}-{stop - 1}/{content.size_bytes}"))
    common = (*common, ("content-length", str(stop - start)))
    body: bytes | AsyncIterator[bytes] = b""
    if request.method != "HEAD" and stop > start:
        body = _stream(request, content, start, stop, counters)
    return Response(206 if span is not None else 200, body, common, "application/octet-stream")


def _range(request: Request, size_bytes: int, etag: str) -> tuple[int, int] | None:
    """The half-open span that a single-range request asks for; None for the whole (several ranges: the whole, too)."""
    match = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if match is None or match.group(0) == "bytes=-" or request.headers.get("if-range", etag) != etag:
        return None
    first, last = match.groups()
    if not first:
        start, stop = max(0, size_bytes - int(last)), size_bytes
    else:
        start, stop = int(first), min(size_bytes, int(last) + 1 if last else size_bytes)
        if last and int(last) < start:
            return None
    if start >= size_bytes or start >= stop:
        outside = (("content-range", f"bytes */{size_bytes}"), ("accept-ranges", "bytes"))
        raise ApiError(416, "Requested range not satisfiable", "requestedRangeNotSatisfiable", headers=outside)
    return start, stop


async def _stream(
    request: Request, content: Content, start: int, stop: int, counters: Counters
) -> AsyncIterator[bytes]:
    """The bytes, counted as they leave; breaks off when the upstreams are stopped on the way."""
    client = client_of(request)
    try:
        for position in range(start, stop, CHUNK_BYTES):
            if not counters.running:
                raise Disconnected
            data = content.read(position, min(CHUNK_BYTES, stop - position))
            counters.sent(client, len(data))
            yield data
            # Sending suspends only when the client reads slowly: let others run, and a departed client's task end.
            await asyncio.sleep(0)
    finally:
        counters.save(client)
