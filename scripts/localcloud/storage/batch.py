"""Batches: up to 100 calls of the JSON API in one multipart/mixed request (cloud.google.com/storage/docs/batch).

Calls are carried out in order, each for itself: one that fails does not keep the others from happening.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from email.parser import BytesHeaderParser
from http import HTTPStatus
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

from scripts.localcloud import partial, schema
from scripts.localcloud.storage.multipart import boundary_of
from scripts.localcloud.web import ApiError, Request, Response, Route, Router, parse_query

MAX_CALLS = 100
_LIMIT_BYTES = 10 << 20
_REQUEST_LINE = re.compile(r"([A-Z]{1,10}) (\S+)(?: HTTP/1\.[01])?")


class Batch:
    """The batch routes; the calls inside go to the given routes."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._router = Router()
        self._router.add(routes)

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/batch/storage/v1", self._batch, "storage.batch"),
            Route("POST", "/batch", self._batch, "storage.batch"),
        ]

    async def _batch(self, request: Request) -> Response:
        boundary = boundary_of(request.headers.get("content-type", ""))
        parts = _split(await request.read(_LIMIT_BYTES), boundary)
        if len(parts) > MAX_CALLS:
            text = f"The batch has {len(parts)} calls; the limit is {MAX_CALLS}."
            raise ApiError(400, text, "invalid")
        mark = f"batch_{secrets.token_hex(12)}"
        answers = [await self._part(request, part) for part in parts]
        body = b"".join(b"--" + mark.encode() + b"\r\n" + answer + b"\r\n" for answer in answers)
        body += b"--" + mark.encode() + b"--\r\n"
        return Response(200, body, content_type=f"multipart/mixed; boundary={mark}")

    async def _part(self, outer: Request, part: bytes) -> bytes:
        """A part's answer as a part: headers, a blank line, then an HTTP response."""
        headers, raw = _headers(part)
        try:
            answer = await self._call(outer, raw)
        except ApiError as error:
            answer = Response(304) if error.code == 304 else Response.of_json(error.body(), error.code)
        number = headers.get("content-id", "").strip("<>")
        named = f"Content-ID: <response-{number}>\r\n" if number and number.isprintable() else ""
        return f"Content-Type: application/http\r\n{named}\r\n".encode("latin-1", "replace") + _written(answer)

    async def _call(self, outer: Request, raw: bytes) -> Response:
        line, _, rest = raw.lstrip(b"\r\n").partition(b"\n")
        match = _REQUEST_LINE.fullmatch(line.decode("latin-1").strip())
        if match is None:
            raise ApiError(400, "A part of the batch does not begin with a request line.", "badRequest")
        headers, body = _headers(rest)
        try:
            url = urlsplit(match[2])
        except ValueError:
            raise ApiError(400, f"A part of the batch has no valid address: {match[2][:100]!r}", "badRequest") from None
        if not url.path.startswith("/storage/v1/"):
            raise ApiError(400, f"A batch cannot hold {url.path[:100]!r}: only calls of /storage/v1/.", "badRequest")
        query, query_all = parse_query(url.query)
        if query.get("alt") == "media":
            raise ApiError(400, "A batch cannot hold downloads.", "badRequest")
        inner = Request(
            match[1], url.path, query, query_all, {"host": outer.headers.get("host", ""), **headers}, outer.client,
            _receiving(body), extensions=outer.extensions, raw_query=url.query, outer=outer,
        )  # fmt: skip
        found = self._router.find(inner.method, inner.raw_path)
        schema.enter(found, inner)
        mask = partial.parse(query["fields"]) if query.get("fields") else {}
        return partial.cut(await outer.gate(found, inner), mask)


def _receiving(body: bytes) -> Any:
    async def receive() -> Mapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _split(raw: bytes, boundary: bytes) -> list[bytes]:
    """The parts between the boundaries; lines may end with LF alone. Raises ApiError 400."""
    pattern = rb"(?:\A|\r?\n)--" + re.escape(boundary) + rb"(--)?[ \t]*(?:\r?\n|\Z)"
    marks = list(re.finditer(pattern, raw))
    if len(marks) < 2 or not marks[-1][1]:
        raise ApiError(400, "Malformed multipart body: the closing boundary is missing.", "badContent")
    return [raw[one.end() : other.start()] for one, other in pairwise(marks)]


def _headers(raw: bytes) -> tuple[dict[str, str], bytes]:
    """Headers (names in lower case) and what follows their blank line."""
    if raw.startswith((b"\r\n", b"\n")):
        return {}, raw.partition(b"\n")[2]
    match = re.search(rb"\r?\n\r?\n", raw)
    head, body = (raw[: match.end()], raw[match.end() :]) if match else (raw, b"")
    parsed = BytesHeaderParser().parsebytes(head)
    return {key.lower(): str(value) for key, value in parsed.items()}, body


def _written(answer: Response) -> bytes:
    body = answer.body if isinstance(answer.body, bytes) else b""
    reason = HTTPStatus(answer.status).phrase
    lines = [f"HTTP/1.1 {answer.status} {reason}", *(f"{key}: {value}" for key, value in answer.headers)]
    if body:
        lines.append(f"Content-Type: {answer.content_type}")
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body
