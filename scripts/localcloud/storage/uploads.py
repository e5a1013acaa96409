"""Uploads: POST /upload/storage/v1/b/BUCKET/o as media, multipart or resumable."""

from __future__ import annotations

from collections.abc import AsyncIterator

from scripts.localcloud.storage import fields
from scripts.localcloud.storage.bodies import LATER_BYTES, Hashing
from scripts.localcloud.storage.journal import Journal
from scripts.localcloud.storage.multipart import Multipart, boundary_of
from scripts.localcloud.storage.resumable import Sessions
from scripts.localcloud.storage.store import Store
from scripts.localcloud.storage.target import Target, hashes_of
from scripts.localcloud.storage.view import shown, wants_md5
from scripts.localcloud.web import ApiError, Request, Response, Route


class Uploads:
    """The upload routes. What is sent goes to disk as it arrives and becomes an object in one transaction."""

    def __init__(self, store: Store, journal: Journal) -> None:
        self._store = store
        self.sessions = Sessions(store, journal)

    def routes(self) -> list[Route]:
        return [
            Route(method, f"{prefix}/upload/storage/v1/b/{{bucket}}/o", self._upload, "storage.objects.insert")
            for prefix in ("", "/resumable")
            for method in ("POST", "PUT", "DELETE")
        ]

    async def _upload(self, request: Request) -> Response:
        session = request.query.get("upload_id")
        if session is not None:
            return await self.sessions.carry_on(session, request)
        if request.method == "DELETE":
            raise ApiError(400, "Required parameter: upload_id", "required")
        kind = request.query.get("uploadType") or request.headers.get("x-goog-upload-protocol", "")
        if kind == "media":
            return await self._media(request)
        if kind == "multipart":
            return await self._multipart(request)
        if kind == "resumable":
            return await self.sessions.begin(request)
        raise ApiError(
            400, f"Invalid value for uploadType: {kind!r}; expected media, multipart or resumable", "invalid"
        )

    async def _media(self, request: Request) -> Response:
        content_type = request.headers.get("content-type") or fields.DEFAULT_TYPE
        target = Target.of(self._store, request, {"contentType": content_type})
        return await self._receive(request, target, request.chunks())

    async def _multipart(self, request: Request) -> Response:
        boundary = boundary_of(request.headers.get("content-type", ""))
        parts = Multipart(boundary, request.chunks())
        raw, content_type = await parts.head()
        resource = request.object_of(raw)
        resource.setdefault("contentType", content_type or fields.DEFAULT_TYPE)
        return await self._receive(request, Target.of(self._store, request, resource), parts.media())

    async def _receive(self, request: Request, target: Target, chunks: AsyncIterator[bytes]) -> Response:
        async with self._store.bodies.receive(md5=_hashing(request, target)) as sink:
            async for chunk in chunks:
                await sink.write(chunk)
            record = await target.commit(self._store, sink, request.headers)
        request.facts.update(bucket=record.bucket, object=record.name, generation=record.generation)
        return Response.of_json(shown(self._store, record, request))


def _hashing(request: Request, target: Target) -> Hashing:
    """MD5 is most of what an upload costs: it waits until somebody wants to see it."""
    announced = {**target.checksums, **hashes_of(request.headers)}
    size = request.headers.get("content-length", "")
    small = size.isascii() and size.isdigit() and int(size) <= LATER_BYTES
    return "now" if "md5Hash" in announced or not small or wants_md5(request) else "later"
