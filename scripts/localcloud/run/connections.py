"""The front's connections to an instance: HTTP/1.1 over kept-alive connections, streamed both ways with back-pressure.

A lean client of its own, because every request of every user passes here: httptools parses, one future is awaited for
an answer that is small. What an instance can do wrong (no answer, garbage, a flood of headers, half a body) is Broken.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import httptools

from scripts.localcloud.web import Disconnected

WHOLE_BYTES = 64 << 10  # an answer of a known length up to this is handed over in one piece
_HEAD_BYTES = 64 << 10  # of an answer's headers, of its trailers, and of a chunk's extensions
_AHEAD_BYTES = 256 << 10  # how much of an answer may wait for a slow client
# An instance's own server closes idle connections after some seconds: ours must go first, or a request is lost.
IDLE_S = 2.0
_QUICK_ACK = getattr(socket, "TCP_QUICKACK", None)  # Linux
_CLOSED = "the connection was closed before the whole answer had come"


class Broken(Exception):
    """The instance gave no (whole) answer. untouched: not a byte of one came."""

    def __init__(self, problem: str, untouched: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.untouched = untouched


class Unreachable(Broken):
    """No connection was made, so nobody has seen the request."""


class Connection(asyncio.Protocol):
    """One connection; exchange() sends a request and returns once its answer is whole or begins to stream."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._writable: asyncio.Future[None] | None = None
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._sender: asyncio.Task[None] | None = None
        self._asked = False
        self.lost = False
        self.idle_since = 0.0
        self._reset(False)

    def _reset(self, bodiless: bool) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.header_bytes = 0
        self.complete = False
        self._failure: Exception | None = None
        self._bodiless = bodiless
        self._head_done = False
        self._interim = False
        self._reusable = False
        self._until_closed = True
        self._whole = False
        self._chunks: list[bytes] = []
        self._waiting_bytes = 0
        self._quiet_bytes = 0
        self._any_byte = False

    async def exchange(self, head: bytes, body: AsyncIterator[bytes] | None, bodiless: bool) -> None:
        """Send a request (its body as it comes, already framed); then status and headers are there, and a small body.

        bodiless: the answer has no body whatever its headers say (HEAD). Raises Broken, or what fail() was given.
        """
        self._reset(bodiless)
        self._asked = True
        if self.lost or self._transport is None:
            raise Broken(_CLOSED, untouched=True)
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(head)
        if body is not None:
            self._sender = asyncio.create_task(self._send(body))
        try:
            await waiter
        finally:
            self._waiter = None
        if self._failure is not None and not self.complete:
            raise self._failure

    def body(self) -> bytes:
        """The whole body of a complete answer."""
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    async def stream(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises Broken when it ends too early, or what fail() was given."""
        while True:
            while self._chunks:
                ready, self._chunks, self._waiting_bytes = self._chunks, [], 0
                for chunk in ready:
                    yield chunk
            if self.complete:
                return
            if self._failure is not None:
                raise self._failure
            self._resume()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def finish(self) -> None:
        """The exchange is over: keep the connection for the next one, or close it."""
        self._asked = False
        unsent = self._sender is not None and not self._sender.done()
        if self._sender is not None:
            self._sender.cancel()
            self._sender = None
        if self.complete and self._reusable and not self.lost and not unsent:
            if self._bodiless:
                self._parser = httptools.HttpResponseParser(self)  # the old one waits for a body that never comes
            self._chunks = []
            self._resume()
            self._pool.keep(self)
        else:
            self.close()

    def fail(self, error: Exception) -> None:
        """Give up the exchange for a reason that is not the instance's (time-out, client gone)."""
        if self._failure is None:
            self._failure = error
        self._wake()

    def time_out(self) -> None:
        """The exchange has taken too long: it fails with TimeoutError."""
        self.fail(TimeoutError())

    def abandon(self) -> None:
        """Nobody waits for the answer any more: the exchange fails with Disconnected."""
        self.fail(Disconnected())

    def close(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    async def _send(self, body: AsyncIterator[bytes]) -> None:
        try:
            async for chunk in body:
                if self.lost or self._transport is None:
                    return
                self._transport.write(chunk)
                if self._writable is not None:
                    await self._writable
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.fail(error)

    def _resume(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # what asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._pool.opened(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        self._pool.forget(self)
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None
        if not self.complete and self._failure is None:
            if error is None and self._head_done and self._until_closed:
                self.complete = True
            else:
                self._failure = Broken(_CLOSED, untouched=not self._any_byte)
        self._wake()

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None

    def data_received(self, data: bytes) -> None:
        self._any_byte = True
        self._quiet_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._malformed("it switched protocols without being asked to")
        except httptools.HttpParserError as error:
            self._malformed(str(error.__context__ or error))
        if self._quiet_bytes > _HEAD_BYTES + len(data):
            self._malformed(f"its headers are larger than {_HEAD_BYTES} bytes")
        waiting = not self._whole or self._waiting_bytes > WHOLE_BYTES
        if self.complete or self._failure is not None or (self._head_done and waiting):
            self._wake()
        else:
            self._acknowledge()
        if self._waiting_bytes > _AHEAD_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _acknowledge(self) -> None:
        """Get the rest at once: a server that sends headers and body apart waits for our ACK (Nagle), up to 40 ms."""
        if self._transport is not None and _QUICK_ACK is not None:
            raw = self._transport.get_extra_info("socket")
            raw.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)

    def _malformed(self, problem: str) -> None:
        self._reusable = False
        if not self.complete and self._failure is None:
            self._failure = Broken(f"the answer is not HTTP: {problem}")
        self.close()

    # what the parser tells

    def on_message_begin(self) -> None:
        if self.complete or not self._asked:  # an answer to nothing
            self._reusable = False
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.header_bytes += len(name) + len(value) + 4
        if self.header_bytes > _HEAD_BYTES:
            raise ValueError(f"its headers are larger than {_HEAD_BYTES} bytes")
        if self._head_done or self.complete:  # trailers end here
            return
        name = name.lower()
        if name == b"content-length":
            self._until_closed = False
            self._whole = value.isdigit() and int(value) <= WHOLE_BYTES
        elif name == b"transfer-encoding":
            self._until_closed = b"chunked" not in value.lower()
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status < 200:
            self._interim, self.headers, self.header_bytes = True, [], 0
            self._until_closed = True
            return
        self._head_done = True
        self._quiet_bytes = 0
        if self._bodiless:
            self._reusable = self._parser.should_keep_alive()
            self.complete = True

    def on_chunk_header(self) -> None:
        self._quiet_bytes = 0

    def on_body(self, body: bytes) -> None:
        self._quiet_bytes = 0
        if self.complete:
            self._reusable = False
            return
        self._chunks.append(body)
        self._waiting_bytes += len(body)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        elif not self.complete:
            self._reusable = self._parser.should_keep_alive()
            self.complete = True


class Pool:
    """The connections to one instance."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None

    def kept(self) -> Connection | None:
        """A connection that was used before and is still good."""
        while self._idle:
            newest = self._idle.pop()
            if not newest.lost and asyncio.get_running_loop().time() - newest.idle_since < IDLE_S:
                return newest
            newest.close()
        return None

    async def open(self) -> Connection:
        """A new connection. Raises Unreachable."""
        loop = asyncio.get_running_loop()
        try:
            _, made = await loop.create_connection(lambda: Connection(self), "127.0.0.1", self._port)
        except OSError as error:
            raise Unreachable(str(error)) from None
        return made

    def keep(self, connection: Connection) -> None:
        """An exchange is over and the connection can serve another."""
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = loop.call_later(IDLE_S, self._sweep)

    def opened(self, connection: Connection) -> None:
        """Remember a connection, to close it with the instance."""
        self._all.add(connection)

    def forget(self, connection: Connection) -> None:
        """A connection is lost."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Close all that are idle."""
        for connection in list(self._idle):
            connection.close()
        self._idle.clear()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        oldest = loop.time() - IDLE_S
        for connection in [each for each in self._idle if each.idle_since <= oldest]:
            self._idle.remove(connection)
            connection.close()
        self._sweeper = loop.call_later(IDLE_S, self._sweep) if self._idle else None
