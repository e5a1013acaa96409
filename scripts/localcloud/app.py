"""The ASGI application: one router, a room per API, errors as Google writes them, foreign Hosts refused."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

from scripts.localcloud import partial, proxy, schema
from scripts.localcloud.context import Context, HostRoom, Room
from scripts.localcloud.recording import Recorder
from scripts.localcloud.traffic import operations, pacing
from scripts.localcloud.traffic.room import TrafficRoom
from scripts.localcloud.web import (
    Aborted,
    ApiError,
    Disconnected,
    FileBody,
    Handler,
    Match,
    Request,
    Response,
    Router,
    parse_query,
)
from scripts.localcloud.wire import EXTENSION, Wire

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
log = logging.getLogger("localcloud")
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
# Where Google's APIs are, with their common parameters; a path of a user's service has its own.
_APIS = ("/storage/", "/upload/", "/resumable/", "/apis/", "/v1/", "/v2/", "/v3/")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_NO_SPACE_SQLITE = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)


class App:
    """Routes requests to rooms. A room with by_host(host) may claim those for a host name of its own (a service's)."""

    def __init__(self, context: Context, rooms: Mapping[str, Room]) -> None:
        self.context = context
        self.rooms = dict(rooms)
        self.router = Router()
        self.recorder: Recorder | None = None
        self._claims: list[Callable[[str], Handler | None]] = []
        for room in self.rooms.values():
            self.router.add(room.routes())
            if isinstance(room, HostRoom):
                self._claims.append(room.by_host)
        self._traffic = next((room for room in self.rooms.values() if isinstance(room, TrafficRoom)), None)
        if self._traffic is not None:
            self._traffic.know(self.router.operations())

    async def start(self) -> None:
        """Start every room in order."""
        for room in self.rooms.values():
            await room.start()

    async def stop(self) -> None:
        """Stop every room in the opposite order."""
        for room in reversed(self.rooms.values()):
            await room.stop()

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Send) -> None:
        if scope["type"] != "http":
            return
        wire: Wire = scope["extensions"][EXTENSION]
        request = _request(scope, wire.receive)
        status = 0
        try:
            response = await self._recorded(request)
            status = 0 if wire.gone else response.status
            await _send(request, response, wire, send)
        except Aborted:
            wire.reset()
        except Disconnected:
            if wire.gone:
                wire.reset()
        except (asyncio.CancelledError, RuntimeError):  # the latter from uvloop: nothing can be written any more
            if not wire.gone:
                raise
            wire.reset()
        finally:
            if request.call is not None and self._traffic is not None:
                self._traffic.finished(request.call, status, wire.received_bytes, wire.sent_bytes)

    async def _recorded(self, request: Request) -> Response:
        if self.recorder is None:
            return await self._respond(request)
        kept = self.recorder.listen(request)
        response = await self._respond(request)
        self.recorder.note(request, kept, response)
        return response

    async def _respond(self, request: Request) -> Response:
        try:
            return await self._answer(request)
        except ApiError as error:
            if error.code == 304:
                return Response(304, headers=error.headers)
            return Response.of_json(error.body(), error.code, error.headers)
        except (Disconnected, asyncio.CancelledError):
            raise
        except Exception as error:
            known = _disk_error(error, self.context)
            if known is None:
                log.exception("unexpected error in %s %s", request.method, request.raw_path)
                known = ApiError(500, "Internal error; see: invoke local.logs")
            else:
                log.warning("%s %s: %s", request.method, request.raw_path, known.message)
            return Response.of_json(known.body(), known.code)

    async def _answer(self, request: Request) -> Response:
        host = _host(request)
        name = (host.rsplit(":", 1)[0] if not host.endswith("]") else host).lower()
        if name not in LOOPBACK:
            handler = next((found for claim in self._claims if (found := claim(name))), None)
            if handler is not None:
                return await handler(request)
            if not proxy.enter(request, name, self.router.has):
                raise ApiError(403, f"Host {host!r} is not served here; use {self.context.url}", "forbidden")
        if proxy.from_elsewhere(request):
            text = "A page of another site cannot change anything here: its Origin is not on this machine."
            raise ApiError(403, text, "forbidden")
        if self._traffic is None:
            return await _carry(self.router.find(request.method, request.raw_path), request)
        request.gate = self._traffic.gate
        try:
            match = self.router.find(request.method, request.raw_path)
        except ApiError:
            self._traffic.gate.begin(operations.UNKNOWN, request)
            raise
        return await _carry(match, request)


async def _carry(match: Match, request: Request) -> Response:
    """Send a call through its gate to its handler, and answer what its client wants of it."""
    schema.enter(match, request)
    if request.query.get("fields") and request.raw_path.startswith(_APIS):
        mask = partial.parse(request.query["fields"])

        async def masked(asked: Request) -> Response:
            return partial.cut(await match.handler(asked), mask)

        return await request.gate(match._replace(handler=masked), request)
    return await request.gate(match, request)


def _host(request: Request) -> str:
    """The host that is asked. HTTP/1.0 knows none, so that means this one. Raises ApiError 400 (RFC 9112, 3.2)."""
    host = request.headers.get("host")
    if host is None and request.http_version == "1.0":
        return LOOPBACK[0]
    if host is None or "," in host:
        raise ApiError(400, f"Expected one Host header, found {'none' if host is None else 'several'}", "badRequest")
    return host


def _request(scope: Mapping[str, Any], receive: Any) -> Request:
    raw_query = scope["query_string"].decode("latin-1")
    query, query_all = parse_query(raw_query)
    headers = _joined(scope["headers"])
    raw_path = scope["raw_path"].decode("latin-1")
    client = scope.get("client") or ("?", 0)
    extensions = scope.get("extensions") or {}
    return Request(
        scope["method"], raw_path, query, query_all, headers, f"{client[0]}:{client[1]}", receive,
        extensions=extensions, raw_query=raw_query, http_version=scope["http_version"],
    )  # fmt: skip


def _joined(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by name in lower case; one that is repeated is one list (RFC 9110, 5.3; cookies: RFC 6265, 5.4)."""
    headers: dict[str, str] = {}
    for key, raw in pairs:
        name, value = key.decode("latin-1").lower(), raw.decode("latin-1")
        if name in headers:
            value = f"{headers[name]}{'; ' if name == 'cookie' else ', '}{value}"
        headers[name] = value
    return headers


def _disk_error(error: Exception, context: Context) -> ApiError | None:
    """507 for a disk that is full or cannot be written: unlike 500 and 503, clients do not retry it for minutes."""
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        text = os.strerror(error.errno)
    elif isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in _NO_SPACE_SQLITE:
        text = str(error)
    else:
        return None
    message = f"The stand-in cannot write to its state folder {context.state}: {text}. Free some space and try again."
    return ApiError(507, message, "insufficientStorage", "RESOURCE_EXHAUSTED")


async def _send(request: Request, response: Response, wire: Wire, send: Send) -> None:
    body = response.body
    try:
        await send({"type": "http.response.start", "status": response.status, "headers": _headers(request, response)})
        if request.method == "HEAD":
            await send({"type": "http.response.body", "body": b""})
        elif response.pace is not None:
            with wire.cancelling(asyncio.current_task()):
                await pacing.deliver(response, wire, send)
        elif isinstance(body, bytes):
            await _write(body, False, wire, send)
        elif isinstance(body, FileBody):
            await wire.send_file(body.descriptor, body.offset, body.count)
            await send({"type": "http.response.body", "body": b""})
        else:
            with wire.cancelling(asyncio.current_task()):
                async for chunk in body:
                    await _write(chunk, True, wire, send)
            await send({"type": "http.response.body", "body": b""})
    finally:
        await pacing.dispose(response)


async def _write(body: bytes, more: bool, wire: Wire, send: Send) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})
    if not wire.gone or not more:
        wire.sent_bytes += len(body)


def _headers(request: Request, response: Response) -> list[tuple[bytes, bytes]]:
    headers = [(key.lower().encode("latin-1"), _header_value(value)) for key, value in response.headers]
    names = {key for key, _ in headers}
    bodiless = response.status in (204, 304)
    if response.content_type and b"content-type" not in names and not bodiless:
        headers.append((b"content-type", _header_value(response.content_type)))
    if b"content-length" not in names and not bodiless and isinstance(response.body, (bytes, FileBody)):
        size = response.body.count if isinstance(response.body, FileBody) else len(response.body)
        headers.append((b"content-length", str(size).encode()))
    if "expect" in request.headers and not request.consumed and b"connection" not in names:
        # The client may still send the body it announced, or may not: only a new connection is unambiguous.
        headers.append((b"connection", b"close"))
    return headers


def _header_value(value: str) -> bytes:
    value = _CONTROL.sub(" ", value)  # an object's own, e.g. its content type, may hold what no header can
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode("utf-8", errors="replace")
