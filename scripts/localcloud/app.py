"""The ASGI application: one router, a room per API, errors as Google writes them, foreign Hosts refused."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from scripts.localcloud.context import Context, Room
from scripts.localcloud.web import ApiError, Disconnected, Handler, Request, Response, Router, parse_query

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
log = logging.getLogger("localcloud")
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class App:
    """Routes requests to rooms. by_host(host) may claim a request before the router (a service's own host name)."""

    def __init__(self, context: Context, rooms: Mapping[str, Room]) -> None:
        self.context = context
        self.rooms = dict(rooms)
        self.router = Router()
        self.by_host: Callable[[str], Handler | None] = lambda host: None
        for room in self.rooms.values():
            self.router.add(room.routes())

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
        request = _request(scope, receive)
        try:
            response = await self._answer(request)
        except Disconnected:
            return
        except ApiError as error:
            response = Response.of_json(error.body(), error.code, error.headers)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("unexpected error in %s %s", request.method, request.raw_path)
            response = Response.of_json(ApiError(500, "Internal error; see: invoke local.logs").body(), 500)
        await _send(request, response, send)

    async def _answer(self, request: Request) -> Response:
        host = request.headers.get("host", "")
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if name not in LOOPBACK:
            handler = self.by_host(name)
            if handler is None:
                raise ApiError(403, f"Host {host!r} is not served here; use {self.context.url}", "forbidden")
            return await handler(request)
        handler, request.params = self.router.find(request.method, request.raw_path)
        return await handler(request)


def _request(scope: Mapping[str, Any], receive: Any) -> Request:
    raw_query = scope["query_string"].decode("latin-1")
    query, query_all = parse_query(raw_query)
    headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
    raw_path = scope["raw_path"].decode("latin-1")
    client = scope.get("client") or ("?", 0)
    extensions = scope.get("extensions") or {}
    return Request(
        scope["method"], raw_path, query, query_all, headers, f"{client[0]}:{client[1]}", receive,
        extensions=extensions, raw_query=raw_query,
    )  # fmt: skip


async def _send(request: Request, response: Response, send: Send) -> None:
    headers = [(key.lower().encode("latin-1"), value.encode("latin-1")) for key, value in response.headers]
    names = {key for key, _ in headers}
    if b"content-type" not in names and response.status not in (204, 304):
        headers.append((b"content-type", response.content_type.encode()))
    body = response.body
    if isinstance(body, bytes) and b"content-length" not in names and response.status not in (204, 304):
        headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    if request.method == "HEAD" or isinstance(body, bytes):
        payload = body if isinstance(body, bytes) and request.method != "HEAD" else b""
        await send({"type": "http.response.body", "body": payload})
        return
    async for chunk in body:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def dump(value: Any) -> str:
    """JSON for people: indented, keys as given."""
    return json.dumps(value, indent=2, ensure_ascii=False)
