"""Resumable uploads (cloud.google.com/storage/docs/performing-resumable-uploads): sessions, chunks, questions, cancels.

Sessions live as long as the daemon; after a restart a client is told 404 and starts again, as after Google's week.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field

from scripts.localcloud.storage import fields
from scripts.localcloud.storage.bodies import Discarded, Sink
from scripts.localcloud.storage.conditions import integer
from scripts.localcloud.storage.ranges import Chunk, parse_chunk
from scripts.localcloud.storage.store import Store
from scripts.localcloud.storage.target import Target
from scripts.localcloud.storage.view import shown
from scripts.localcloud.web import ApiError, Request, Response

SESSION_S = 7 * 24 * 3600.0
MIN_CHUNK_BYTES = 256 << 10
_REMEMBERED = 1000


@dataclass
class Session:
    """An upload under way. One request at a time may add to it."""

    id: str
    target: Target
    sink: Sink
    total: int | None
    touched: float
    adding: asyncio.Lock = field(default_factory=asyncio.Lock)


class Sessions:
    """All uploads under way, and the answers of those that ended lately (a client may not have heard them)."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._open: dict[str, Session] = {}
        self._finished: dict[str, tuple[str, str, int]] = {}

    async def begin(self, request: Request) -> Response:
        """Answer 200 with the session's address in Location. Raises what Target.of raises."""
        await self._expire()
        resource = await request.json_object()
        content_type = request.headers.get("x-upload-content-type")
        resource.setdefault("contentType", content_type or fields.DEFAULT_TYPE)
        total = integer(request.headers, "x-upload-content-length")
        target = Target.of(self._store, request, resource)
        session = Session(secrets.token_hex(24), target, self._store.bodies.receive(), total, self._now())
        self._open[session.id] = session
        query = f"uploadType=resumable&upload_id={session.id}"
        location = f"{request.base_url}/upload/storage/v1/b/{target.bucket}/o?{query}"
        return Response(headers=(("location", location), ("x-guploader-uploadid", session.id)))

    async def carry_on(self, key: str, request: Request) -> Response:
        """Bytes, a question how far it got, or a cancellation. Raises ApiError 404 for an unknown session."""
        if key in self._finished:
            bucket, name, generation = self._finished[key]
            return Response.of_json(shown(self._store, self._store.find(bucket, name, generation), request))
        session = self._open.get(key)
        if session is None:
            raise _unknown()
        session.touched = self._now()
        if request.method == "DELETE":
            await self._drop(session)
            return Response(499)
        header = request.headers.get("content-range")
        chunk = parse_chunk(header) if header else _whole(request)
        _agree(session, chunk, request)
        if chunk.first is None and (chunk.total is None or chunk.total != session.sink.size_bytes):
            return _incomplete(session)
        try:
            async with session.adding:
                return await self._add(session, chunk, request)
        except Discarded:
            raise _unknown() from None
        except OSError:
            await self._drop(session)  # the file no longer is what was hashed
            raise

    async def close(self) -> None:
        """Forget every session and its bytes."""
        for session in tuple(self._open.values()):
            await self._drop(session)

    def __len__(self) -> int:
        return len(self._open)

    async def _add(self, session: Session, chunk: Chunk, request: Request) -> Response:
        if session.id not in self._open:  # ended while this request waited for its turn
            return await self.carry_on(session.id, request)
        if chunk.first is not None:
            await self._write(session, chunk.first, request)
        arrived = session.sink.size_bytes
        total = arrived if chunk.last else chunk.total
        if total is None or arrived < total:
            return _incomplete(session)
        try:
            if arrived > total or session.total not in (None, arrived):
                raise ApiError(400, f"Expected {session.total or total} bytes, received {arrived}.", "invalid")
            record = await session.target.commit(self._store, session.sink, request.headers)
        except ApiError:
            await self._drop(session)
            raise
        del self._open[session.id]
        self._remember(session.id, (record.bucket, record.name, record.generation))
        return Response.of_json(shown(self._store, record, request))

    async def _write(self, session: Session, first: int, request: Request) -> None:
        """Add what is new of a request's bytes; what has arrived counts even when the client then goes away."""
        known = session.sink.size_bytes - first
        if known < 0:
            text = f"Bytes {session.sink.size_bytes}-{first - 1} are missing; ask how far the upload got."
            raise ApiError(503, text, "backendError")
        try:
            async for data in request.chunks():
                fresh = data[known:] if known else data
                known = max(known - len(data), 0)
                if fresh:
                    await session.sink.write(fresh)
        finally:
            session.sink.rest()

    async def _drop(self, session: Session) -> None:
        self._open.pop(session.id, None)
        await session.sink.discard()

    async def _expire(self) -> None:
        for session in [one for one in self._open.values() if one.touched < self._now() - SESSION_S]:
            await self._drop(session)

    def _remember(self, key: str, made: tuple[str, str, int]) -> None:
        self._finished[key] = made
        while len(self._finished) > _REMEMBERED:
            del self._finished[next(iter(self._finished))]

    def _now(self) -> float:
        return self._store.context.clock()


def _unknown() -> ApiError:
    return ApiError(404, "No such upload session; start the upload again.", "notFound")


def _whole(request: Request) -> Chunk:
    """A body without Content-Range is the whole object."""
    length = integer(request.headers, "content-length")
    return Chunk(0, length or 0, length, last=True)


def _agree(session: Session, chunk: Chunk, request: Request) -> None:
    """Refuse a chunk that contradicts itself or the session."""
    length = integer(request.headers, "content-length")
    if request.headers.get("content-range") and chunk.first is not None and length not in (None, chunk.count):
        raise ApiError(400, f"Content-Range names {chunk.count} bytes, the body has {length}.", "invalid")
    if None not in (session.total, chunk.total) and session.total != chunk.total:
        raise ApiError(400, f"The upload was announced with {session.total} bytes, not {chunk.total}.", "invalid")
    if chunk.first is not None and not chunk.last and chunk.count < MIN_CHUNK_BYTES:
        text = f"A chunk that is not the last must have at least {MIN_CHUNK_BYTES} bytes, this one has {chunk.count}."
        raise ApiError(400, text, "invalid")


def _incomplete(session: Session) -> Response:
    size = session.sink.size_bytes
    headers: tuple[tuple[str, str], ...] = (("x-guploader-uploadid", session.id),)
    return Response(308, headers=(*headers, ("range", f"bytes=0-{size - 1}")) if size else headers)
