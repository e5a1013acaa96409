"""What the container's tests share: the real MiniLM as a Hugging Face cache, and a client without sockets."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts.localcloud.upstream import corpus

ROOT = Path(__file__).resolve().parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
ENTRY = "models--sentence-transformers--all-MiniLM-L6-v2"


@pytest.fixture(scope="session")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache entry models--ORG--NAME with the real model; fetched once per machine, so tests need the process mark."""
    entry = tmp_path_factory.mktemp("sbert") / ENTRY
    for file in corpus.ensure(ROOT / ".local"):
        place = entry / "snapshots" / COMMIT / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file.content.place, place)
        except OSError:  # another file system
            shutil.copyfile(file.content.place, place)
    (entry / "refs").mkdir()
    (entry / "refs" / "main").write_text(COMMIT, encoding="ascii")
    return entry


@dataclass(frozen=True)
class Answer:
    """A response: status, headers, and the body as JSON."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)


class AsgiClient:
    """Calls an ASGI application in this process, within its lifespan, without a socket."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def run(self, scenario: Callable[..., Any]) -> Any:
        """Run `await scenario(call)` between the application's start-up and shutdown."""
        return asyncio.run(self._run(scenario))

    async def _run(self, scenario: Callable[..., Any]) -> Any:
        inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        lifespan = asyncio.create_task(self._app({"type": "lifespan"}, inbox.get, outbox.put))
        await inbox.put({"type": "lifespan.startup"})
        assert (await outbox.get())["type"] == "lifespan.startup.complete"
        try:
            return await scenario(self.call)
        finally:
            await inbox.put({"type": "lifespan.shutdown"})
            await outbox.get()
            await lifespan

    async def call(self, method: str, path: str, body: bytes = b"", chunk: int = 1 << 20) -> Answer:
        """One request; the body is sent in chunks."""
        pieces = [body[start : start + chunk] for start in range(0, len(body), chunk)] or [b""]
        received: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            piece = pieces.pop(0) if pieces else b""
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

        async def send(message: Any) -> None:
            received.append(message)

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
            "raw_path": path.encode(), "root_path": "", "scheme": "http", "query_string": b"", "headers": [],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
        }  # fmt: skip
        await self._app(scope, receive, send)
        headers = {name.decode(): value.decode() for name, value in received[0]["headers"]}
        return Answer(received[0]["status"], headers, b"".join(each.get("body", b"") for each in received[1:]))


@pytest.fixture
def run_app() -> Callable[[Any, Callable[..., Any]], Any]:
    """Run `await scenario(call)` against an ASGI application."""
    return lambda app, scenario: AsgiClient(app).run(scenario)
