"""What passes as an answer to a probe, from a server that says exactly what is put into its mouth."""

from __future__ import annotations

import asyncio

import pytest

from scripts.localcloud.run.container import Probe
from scripts.localcloud.run.probes import attempt

pytestmark = pytest.mark.process  # sockets


def _attempt(answer: bytes, probe: Probe) -> tuple[str, bytes]:
    """The outcome of one attempt, and what the server was sent."""
    heard = b""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        heard = await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async def ask() -> str:
        async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
            return await attempt(probe, server.sockets[0].getsockname()[1])

    return asyncio.run(ask()), heard


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", ""),
        (b"HTTP/1.0 399 \r\ncontent-length: 9\r\n\r\n", ""),
        (b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", ""),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "HTTP GET /ready answered 404"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 No\r\n\r\n", "HTTP GET /ready answered 503"),
        (b"hello\r\n\r\n", r"expected an answer in HTTP/1.1, found b'hello\r\n\r\n'"),
        (b"HTTP/1.1 200 OK\r\nx-half: ", "the connection ended after 25 bytes of the answer"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\n\r\n", "the headers of the answer are too large"),
    ],
)
def test_a_probe_passes_by_its_status_alone(answer: bytes, problem: str) -> None:
    found, _ = _attempt(answer, Probe("/ready", timeout_s=30.0))
    assert found == problem or (problem and found == f"ConnectionError: {problem}")


def test_a_probe_asks_as_it_is_declared() -> None:
    probe = Probe("/a b?c=%20d", (("X-One", "1\r\nX-Two: 2"), ("Host", "inside")), timeout_s=30.0)
    found, heard = _attempt(b"HTTP/1.1 200 OK\r\n\r\n", probe)
    first, *lines = heard.decode().split("\r\n")
    assert (found, first) == ("", "GET /a%20b?c=%20d HTTP/1.1")
    expected = ["accept: */*", "connection: close", "host: inside", "user-agent: GoogleHC/1.0", "x-one: 1 X-Two: 2"]
    assert sorted(filter(None, lines)) == expected
