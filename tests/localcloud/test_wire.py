"""Streamed answers and the client that leaves, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from scripts.localcloud.app import App
from scripts.localcloud.context import Context, Database
from scripts.localcloud.web import Request, Response, Route
from scripts.localcloud.wire import Protocol

pytestmark = pytest.mark.process


class Streams:
    """A room that streams for ever, and says when it was stopped."""

    def __init__(self) -> None:
        self.stopped = asyncio.Event()

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/idle", self._idle),
            Route("GET", "/busy", self._busy),
            Route("GET", "/three", self._three),
        ]

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def status(self) -> dict[str, Any]:
        return {}

    async def _idle(self, request: Request) -> Response:
        return Response(body=self._chunks(3600))

    async def _busy(self, request: Request) -> Response:
        return Response(body=self._chunks(0))

    async def _three(self, request: Request) -> Response:
        async def three() -> AsyncIterator[bytes]:
            for text in (b"one", b"", b"three"):
                yield text

        return Response(body=three())

    async def _chunks(self, pause_s: float) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 1000
                await asyncio.sleep(pause_s)
        finally:
            self.stopped.set()


def _serve(tmp_path: Path, client: Callable[[int, Streams], Awaitable[None]]) -> None:
    async def run() -> None:
        room = Streams()
        app = App(Context(tmp_path, "", tmp_path, Database(tmp_path / "db")), {"streams": room})
        config = uvicorn.Config(app, lifespan="off", log_config=None, http=Protocol, ws="none")
        server = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            await asyncio.gather(server.serve([listener]), _then_stop(server, client(listener.getsockname()[1], room)))

    asyncio.run(run())


async def _then_stop(server: uvicorn.Server, work: Awaitable[None]) -> None:
    try:
        await asyncio.wait_for(work, 30)
    finally:
        server.should_exit = True


@pytest.mark.parametrize("path", ["/idle", "/busy"])
def test_a_stream_ends_when_its_client_leaves(tmp_path: Path, path: str, caplog: pytest.LogCaptureFixture) -> None:
    async def leave(port: int, room: Streams) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        await reader.readuntil(b"x" * 1000)
        writer.transport.abort()
        await room.stopped.wait()

    _serve(tmp_path, leave)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_stream_and_then_another_request(tmp_path: Path) -> None:
    async def ask(port: int, room: Streams) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(b"GET /three HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = await reader.readuntil(b"0\r\n\r\n")
            assert answer.endswith(b"3\r\none\r\n5\r\nthree\r\n0\r\n\r\n")
        writer.close()

    _serve(tmp_path, ask)


def test_a_foreign_host_is_refused(tmp_path: Path) -> None:
    async def ask(port: int, room: Streams) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /three HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 403")
        writer.close()

    _serve(tmp_path, ask)


@pytest.mark.parametrize(
    "start", [b"GET /", b"GET /three HTTP/1.1\r\nX-Long: ", b"GET /three HTTP/1.1\r\n" + b"a: b\r\n" * 9]
)
def test_a_head_without_end_is_refused(tmp_path: Path, start: bytes) -> None:
    async def ask(port: int, room: Streams) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(start)
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                writer.write((b"x" * 98 + b": ") * 655)
                await writer.drain()
        with contextlib.suppress(ConnectionError):
            assert (await reader.readline()).startswith(b"HTTP/1.1 431")
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /three HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"y" * (128 << 10) + b"\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()

    _serve(tmp_path, ask)
