"""The connection under a request: files sent without passing through Python, and notice when the client is gone.

ASGI can do neither, so the daemon runs uvicorn's httptools protocol in this subclass and finds a Wire in
scope["extensions"]["localcloud.wire"].
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from scripts.localcloud.proxy import split_target
from scripts.localcloud.web import Disconnected

EXTENSION = "localcloud.wire"
_SLICE_BYTES = 16 << 20
_PATIENCE_MS = 20
_WAITING_BYTES = 1 << 20
_HEAD_BYTES = 256 << 10
_LOOK_EVERY_S = 0.1
_HANG_UP = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)  # the last one is Linux's


_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Wire:
    """One request's connection."""

    def __init__(self, transport: asyncio.Transport, cycle: RequestResponseCycle) -> None:
        self._transport = transport
        self._cycle = cycle
        self._watchers: set[Callable[[], object]] = set()
        self._arrived: deque[bytes] = deque()
        self.waiting_bytes = 0  # of the request's body, that nobody has read yet
        self.received_bytes = 0  # of the request's body, read by somebody or not
        self.sent_bytes = 0  # of the answer's body, given to the socket

    @property
    def server_state(self) -> Any:
        """Uvicorn's own counts, which outlive the connection; None under another server."""
        return getattr(self._transport.get_protocol(), "server_state", None)

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """The request's headers as they came, repeated ones too; names in lower case."""
        found: list[tuple[bytes, bytes]] = self._cycle.scope["headers"]  # type: ignore[assignment]
        return found

    def arrive(self, body: bytes) -> None:
        """More of the request's body has come."""
        self._arrived.append(body)
        self.waiting_bytes += len(body)
        self.received_bytes += len(body)

    async def receive(self) -> Mapping[str, Any]:
        """ASGI's receive, piece by piece as the body came: nothing is put together first."""
        message: dict[str, Any] = {"type": "http.request", "body": b"", "more_body": True}
        if not self._arrived:
            message = await self._cycle.receive()  # type: ignore[assignment]
        if message["type"] != "http.request" or not self._arrived:
            return message
        body = self._arrived.popleft()
        self.waiting_bytes -= len(body)
        more = bool(self._arrived) or self._cycle.more_body
        return {"type": "http.request", "body": body, "more_body": more}

    def watch(self, call: Callable[[], object]) -> None:
        """Have call() called when the connection ends, until unwatch(call)."""
        self._watchers.add(call)

    def unwatch(self, call: Callable[[], object]) -> None:
        """The end of watch(call)."""
        self._watchers.discard(call)

    @property
    def gone(self) -> bool:
        """The client has closed its connection."""
        return self._cycle.disconnected or self._transport.is_closing()

    def lost(self) -> None:
        """Called by the protocol when the connection ends."""
        for call in tuple(self._watchers):
            call()

    @contextlib.contextmanager
    def cancelling(self, task: asyncio.Task[Any] | None) -> Iterator[None]:
        """Cancel a task when the client goes away inside the block, so that an idle stream ends too."""
        if self.gone:
            raise Disconnected
        watcher = task.cancel if task is not None else int
        self._watchers.add(watcher)
        try:
            yield
        finally:
            self._watchers.discard(watcher)

    async def send_file(self, source: int, offset: int, count: int) -> None:
        """Send count bytes of an open file with sendfile(2), after the headers. Raises Disconnected.

        A thread pushes while the client keeps reading; while it does not, the event loop waits and no thread is held.
        """
        await self.drained()
        # A duplicate keeps its number even when the loop closes the connection while a thread is pushing.
        target = os.dup(self._transport.get_extra_info("socket").fileno())
        try:
            self._cycle.expected_content_length -= count
            while count:
                sent = await _in_thread(_push, target, source, offset, min(count, _SLICE_BYTES))
                offset += sent
                count -= sent
                self.sent_bytes += sent
                if sent == 0:
                    await _writable(target)
        except (ConnectionError, EOFError):
            self._transport.abort()
            raise Disconnected from None
        finally:
            os.close(target)

    def reset(self) -> None:
        """End the connection at once with RST, whatever has not been sent yet."""
        if not self._transport.is_closing():
            with socket.socket(fileno=os.dup(self._transport.get_extra_info("socket").fileno())) as ours:
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._cycle.disconnected = True
        self._transport.abort()

    async def finish(self) -> None:
        """Send what is still to be sent, then close the connection, whatever its answer promised."""
        await self.drained()
        self._cycle.disconnected = True
        self._transport.close()

    async def left(self, within_s: float | None = None) -> bool:
        """Wait until the client has gone; False when it is still there after within_s seconds.

        The socket itself is asked, as nobody reads it while a body is held back.
        """
        loop = asyncio.get_running_loop()
        deadline = None if within_s is None else loop.time() + within_s
        while not (self.gone or _hung_up(self._transport.get_extra_info("socket").fileno())):
            rest_s = _LOOK_EVERY_S if deadline is None else min(_LOOK_EVERY_S, deadline - loop.time())
            if rest_s <= 0:
                return False
            await asyncio.sleep(rest_s)
        self._cycle.disconnected = True
        self._transport.abort()
        return True

    async def drained(self) -> None:
        """Wait until all that was sent is with the kernel. Raises Disconnected."""
        pause_s = 0.0
        while self._transport.get_write_buffer_size():
            if self.gone:
                raise Disconnected
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s + 0.001, 0.02)


class Protocol(HttpToolsProtocol):
    """Uvicorn's HTTP/1.1 protocol that hands each request its Wire.

    Bodies come through without being copied, and a head (request line and headers) may not grow for ever.
    """

    _wire: Wire | None = None
    _head_bytes: int | None = 0  # None while a body arrives

    def data_received(self, data: bytes) -> None:
        """Refuse with 431 what after _HEAD_BYTES and one read more is still no complete head."""
        super().data_received(data)
        if self._head_bytes is None or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > _HEAD_BYTES + len(data):
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_body(self, body: bytes) -> None:
        """Uvicorn's, but without two copies of every byte and a stop of the socket at every read."""
        cycle = self.cycle
        wire = self._wire_of(cycle)
        if cycle.response_complete:
            wire.received_bytes += len(body)
            return
        wire.arrive(body)
        if wire.waiting_bytes > _WAITING_BYTES:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """The next head may begin."""
        self._head_bytes = 0
        super().on_message_complete()

    def on_headers_complete(self) -> None:
        """A target that names a host, as proxies get it, counts more than the Host header (RFC 9112, section 3.2.2)."""
        self._head_bytes = None
        named = split_target(self.parser.get_method().decode("ascii"), self.url)
        if named is not None:
            authority, self.url = named
            self.headers[:] = [*(pair for pair in self.headers if pair[0] != b"host"), (b"host", authority)]
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._wire = self._wire_of(cycle)
        super()._start_asgi_task(cycle, app)

    def _wire_of(self, cycle: RequestResponseCycle) -> Wire:
        """The Wire of a request; its body may arrive before its turn comes, when requests are pipelined."""
        scope: Any = cycle.scope
        if "extensions" not in scope:
            scope["extensions"] = {EXTENSION: Wire(self.transport, cycle)}
        wire: Wire = scope["extensions"][EXTENSION]
        return wire

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell uvicorn, then whoever is streaming an answer to this client."""
        super().connection_lost(exc)
        if self._wire is not None:
            self._wire.lost()


def _hung_up(descriptor: int) -> bool:
    asked = select.poll()
    asked.register(descriptor, _HANG_UP)
    return bool(asked.poll(0))


def _push(target: int, source: int, offset: int, count: int) -> int:
    """Send until done or until the client has not read for 20 ms; the number of bytes sent."""
    done = 0
    waiter = select.poll()
    waiter.register(target, select.POLLOUT)
    while done < count:
        try:
            sent = os.sendfile(target, source, offset + done, count - done)
        except BlockingIOError:
            if not waiter.poll(_PATIENCE_MS):
                break
            continue
        except ConnectionError:
            if done:
                break  # what went out before the client left counts; the next call is told
            raise
        if sent == 0:
            raise EOFError("the file is shorter than announced")
        done += sent
    return done


async def _in_thread(call: Callable[..., int], *values: int) -> int:
    """Run in a thread; when cancelled, wait for the thread first, so that its descriptors stay valid."""
    job = asyncio.get_running_loop().run_in_executor(None, call, *values)
    try:
        return await asyncio.shield(job)
    finally:
        if not job.done():
            await asyncio.wait([job])


async def _writable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(descriptor)
