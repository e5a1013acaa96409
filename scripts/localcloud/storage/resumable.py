"""Resumable uploads (cloud.google.com/storage/docs/performing-resumable-uploads): sessions, chunks, questions, cancels.

Sessions live for a week, also over restarts and kill -9; what a 308 names as arrived is on disk.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import Any

from scripts.localcloud.storage import fields
from scripts.localcloud.storage.bodies import Discarded, Sink
from scripts.localcloud.storage.conditions import integer
from scripts.localcloud.storage.journal import Journal
from scripts.localcloud.storage.ranges import Chunk, parse_chunk
from scripts.localcloud.storage.store import Store
from scripts.localcloud.storage.target import Target
from scripts.localcloud.storage.view import shown
from scripts.localcloud.web import ApiError, Request, Response

SESSION_S = 7 * 24 * 3600.0
MIN_CHUNK_BYTES = 256 << 10


@dataclass
class Session:
    """An upload under way. One request at a time may add to it."""

    id: str
    target: Target
    sink: Sink
    total: int | None
    torn: bool = False  # begun by an earlier daemon, and its bytes not yet looked at
    adding: asyncio.Lock = field(default_factory=asyncio.Lock)


class Sessions:
    """All uploads under way, and what became of those that ended lately (a client may not have heard it)."""

    def __init__(self, store: Store, journal: Journal) -> None:
        self._store = store
        self._journal = journal
        self._open: dict[str, Session] = {}

    async def begin(self, request: Request) -> Response:
        """Answer 200 with the session's address in Location. Raises what Target.of raises."""
        resource = await request.json_object()
        content_type = request.headers.get("x-upload-content-type")
        resource.setdefault("contentType", content_type or fields.DEFAULT_TYPE)
        key = await self.open(request, resource)
        path = f"/upload/storage/v1/b/{request.params['bucket']}/o?uploadType=resumable&upload_id={key}"
        return Response(headers=(("location", request.base_url + path), ("x-guploader-uploadid", key)))

    async def open(self, request: Request, resource: dict[str, Any]) -> str:
        """A new session for what a resource describes; its key. Raises what Target.of raises."""
        await self._expire()
        total = integer(request.headers, "x-upload-content-length")
        target = Target.of(self._store, request, resource)
        with self._store.changing():
            session = Session(secrets.token_hex(24), target, self._store.bodies.receive(), total)
            self._store.bodies.keep(session.sink.id)
            self._journal.begin(session.id, target, total, session.sink.id, self._now())
        self._open[session.id] = session
        return session.id

    async def carry_on(self, key: str, request: Request) -> Response:
        """Bytes, a question how far it got, or a cancellation. Raises ApiError 404 for an unknown session."""
        session = self._open.get(key)
        if session is None:
            kept = self._journal.session(key)
            if kept is None:
                raise _unknown()
            if kept.generation is not None:
                record = self._store.find(kept.target.bucket, kept.target.name, kept.generation)
                return Response.of_json(shown(self._store, record, request))
            sink = self._store.bodies.resume(kept.body)
            session = self._open[key] = Session(key, kept.target, sink, kept.total, torn=True)
        if session.torn:
            await self._mend(session)
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
            if self._journal.session(key) is None:
                raise _unknown() from None
            raise ApiError(503, "The stand-in is stopping; go on when it is back.", "backendError") from None
        except OSError:
            await self._drop(session)  # the file no longer is what was hashed
            raise

    async def close(self) -> None:
        """Let go of every session; a later daemon goes on with it."""
        for session in tuple(self._open.values()):
            await session.sink.suspend()
        self._open.clear()

    def __len__(self) -> int:
        return self._journal.under_way()

    async def _mend(self, session: Session) -> None:
        async with session.adding:
            if session.torn:
                await session.sink.recover()
                session.torn = False

    async def _add(self, session: Session, chunk: Chunk, request: Request) -> Response:
        if session.id not in self._open:  # ended while this request waited for its turn
            return await self.carry_on(session.id, request)
        if chunk.first is not None:
            await self._write(session, chunk.first, request)
        arrived = session.sink.size_bytes
        total = arrived if chunk.last else chunk.total
        if total is None or arrived < total:
            await session.sink.flush()
            return _incomplete(session)
        try:
            if arrived > total or session.total not in (None, arrived):
                raise ApiError(400, f"Expected {session.total or total} bytes, received {arrived}.", "invalid")
            record = await session.target.commit(
                self._store,
                session.sink,
                request.headers,
                lambda made: self._journal.finish(session.id, made),
            )
        except ApiError:
            await self._drop(session)
            raise
        del self._open[session.id]
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
        with self._store.changing():
            self._journal.forget(session.id)
            self._store.bodies.loosen(session.sink.id)
        await session.sink.discard()

    async def _expire(self) -> None:
        """Forget what began more than a week ago; finished ones too."""
        for kept in self._journal.older(self._now() - SESSION_S):
            if kept.generation is None:
                known = self._open.get(kept.id)
                sink = known.sink if known is not None else self._store.bodies.resume(kept.body)
                await self._drop(known or Session(kept.id, kept.target, sink, kept.total))
            else:
                self._journal.forget(kept.id)

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
    size = session.sink.written_bytes
    headers: tuple[tuple[str, str], ...] = (("x-guploader-uploadid", session.id),)
    return Response(308, headers=(*headers, ("range", f"bytes=0-{size - 1}")) if size else headers)
