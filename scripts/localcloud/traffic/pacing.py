"""Bodies on their way: passed on at a rate, held up, cut off or reset after so many bytes, in either direction."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal

from scripts.localcloud.traffic.faults import DEFAULT_RATE_BYTES_S, Shot
from scripts.localcloud.web import Aborted, Disconnected, FileBody, Receive, Response
from scripts.localcloud.wire import Wire

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_PIECE_BYTES = 64 << 10
# A body of unknown length is cut off here when nobody says where.
_CUT_BYTES = 1 << 10
_BEATS_A_SECOND = 20


@dataclass
class Pace:
    """What happens to a body after at_bytes. hold_s None: until the client leaves; rate_bytes_s None: at full speed."""

    shot: Shot
    then: Literal["cut", "reset", "hold", "slow"]
    at_bytes: int
    hold_s: float | None = None
    rate_bytes_s: int = DEFAULT_RATE_BYTES_S

    def step(self, position: int, waiting: int) -> int:
        """How many of the waiting bytes may pass before something happens."""
        if position < self.at_bytes:
            return min(waiting, self.at_bytes - position)
        return min(waiting, max(1, self.rate_bytes_s // _BEATS_A_SECOND)) if self.then == "slow" else waiting

    async def before(self, position: int, wire: Wire) -> None:
        """What happens at a position where more bytes wait. Raises Aborted, Disconnected."""
        if position != self.at_bytes or self.then == "slow":
            return
        self.shot.fire()
        if self.then == "reset":
            raise Aborted
        if self.then == "cut":
            await wire.finish()
            raise Disconnected
        if await wire.left(self.hold_s):
            raise Disconnected

    async def take(self, position: int, passed: int, wire: Wire) -> None:
        """Wait for as long as the bytes up to a position take. Raises Disconnected."""
        if self.then == "slow" and position > self.at_bytes:
            self.shot.fire()
            if await wire.left(passed / self.rate_bytes_s):
                raise Disconnected


def paced(receive: Receive, pace: Pace, wire: Wire) -> Receive:
    """A request's messages as the pace lets them through."""
    position = 0
    waiting, more = b"", True

    async def next_message() -> Mapping[str, Any]:
        nonlocal position, waiting, more
        if not waiting:
            message = await receive()
            if message["type"] != "http.request":
                return message
            waiting, more = message.get("body", b""), message.get("more_body", False)
        if not waiting:
            return {"type": "http.request", "body": b"", "more_body": more}
        await pace.before(position, wire)
        count = pace.step(position, len(waiting))
        passing, waiting = waiting[:count], waiting[count:]
        position += count
        await pace.take(position, count, wire)
        return {"type": "http.request", "body": passing, "more_body": more or bool(waiting)}

    return next_message


def size_of(response: Response) -> int | None:
    """The length of an answer's body; None when it is not known."""
    if isinstance(response.body, bytes):
        return len(response.body)
    if isinstance(response.body, FileBody):
        return response.body.count
    told = next((value for key, value in response.headers if key.lower() == "content-length"), "")
    return int(told) if told.isdigit() else None


def cut_at(response: Response, after_bytes: int | None) -> int | None:
    """Where to cut an answer off: after the bytes asked for, else in the middle; None when there is nothing to cut."""
    size = size_of(response)
    if size is None:
        return _CUT_BYTES if after_bytes is None else after_bytes
    at_bytes = size // 2 if after_bytes is None else after_bytes
    return at_bytes if at_bytes < size else None


async def deliver(response: Response, wire: Wire, send: Send) -> None:
    """Send an answer's body at its pace. Raises Aborted, Disconnected; the descriptor of a file is left open."""
    pace: Pace = response.pace
    position = 0
    async with aclosing(_pieces(response.body)) as pieces:
        async for piece in pieces:
            while piece:
                try:
                    await pace.before(position, wire)
                except Aborted:
                    await wire.drained()
                    raise
                count = pace.step(position, len(piece))
                position += count
                await pace.take(position, count, wire)
                await send({"type": "http.response.body", "body": piece[:count], "more_body": True})
                if wire.gone:
                    raise Disconnected
                wire.sent_bytes += count
                piece = piece[count:]
    await send({"type": "http.response.body", "body": b""})


async def dispose(response: Response) -> None:
    """Give up what an answer that nobody gets holds."""
    body = response.body
    if isinstance(body, FileBody):
        os.close(body.descriptor)
    elif isinstance(body, AsyncGenerator):
        await body.aclose()


async def _pieces(body: bytes | FileBody | AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    if isinstance(body, bytes):
        yield body
    elif isinstance(body, FileBody):
        end = body.offset + body.count
        for offset in range(body.offset, end, _PIECE_BYTES):
            yield await asyncio.to_thread(os.pread, body.descriptor, min(_PIECE_BYTES, end - offset), offset)
    else:
        async for piece in body:
            yield piece
