"""Calls to the other rooms' own routes without a connection: what the console asks for, any client could."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from scripts.localcloud.context import Room
from scripts.localcloud.web import ApiError, Request, Response, Router


class Inside:
    """One router over the rooms, built on first use: a daemon that nobody looks at pays nothing."""

    def __init__(self, rooms: Mapping[str, Room]) -> None:
        self._rooms = rooms
        self._router: Router | None = None

    async def forward(self, request: Request) -> Response:
        """Answer a request as if this room were not there. Raises ApiError 404 or 405."""
        found = self._routes().find(request.method, request.raw_path)
        request.params = found.params
        return await request.gate(found, request)

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON answer of a route; path is already percent-encoded. Raises the route's ApiError."""
        content = b"" if body is None else json.dumps(body).encode()

        async def receive() -> Mapping[str, Any]:
            return {"type": "http.request", "body": content, "more_body": False}

        headers = {"host": "127.0.0.1", "content-type": "application/json", "content-length": str(len(content))}
        answer = await self.forward(Request(method, path, {}, {}, headers, "console:0", receive))
        if not isinstance(answer.body, bytes):
            raise ApiError(500, f"{method} {path} did not answer with JSON")
        return json.loads(answer.body)

    def _routes(self) -> Router:
        if self._router is None:
            self._router = Router()
            for room in self._rooms.values():
                self._router.add(room.routes())
        return self._router
