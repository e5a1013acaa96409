"""The stand-in's own API under /_local/: health, status, stop. What has no counterpart at Google lives here."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from typing import Any

from scripts.localcloud.context import Context, Room
from scripts.localcloud.web import Request, Response, Route


class ControlRoom:
    """Tells who the daemon is and what its rooms hold, and stops it."""

    def __init__(self, context: Context, rooms: Mapping[str, Room], stopping: asyncio.Event) -> None:
        self._context = context
        self._rooms = rooms
        self._stopping = stopping
        self._started_at_s = time.time()

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/_local/health", self._health, "local.health.get"),
            Route("GET", "/_local/status", self._status, "local.status.get"),
            Route("POST", "/_local/stop", self._stop, "local.stop"),
        ]

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""

    def status(self) -> dict[str, Any]:
        return {"url": self._context.url, "pid": os.getpid(), "state": str(self._context.state)}

    async def _health(self, request: Request) -> Response:
        code = {"root": str(self._context.project_root), "started_at_s": self._started_at_s}
        return Response.of_json({"name": "modelshelf-localcloud", **self.status(), **code})

    async def _status(self, request: Request) -> Response:
        return Response.of_json({name: room.status() for name, room in self._rooms.items()})

    async def _stop(self, request: Request) -> Response:
        self._stopping.set()
        return Response.of_json({"stopping": True})
