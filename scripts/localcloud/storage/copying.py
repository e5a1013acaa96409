"""Server-side copies: compose, rewriteTo, copyTo."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Any

from scripts.localcloud.storage import fields
from scripts.localcloud.storage.conditions import Conditions, integer
from scripts.localcloud.storage.names import check_object
from scripts.localcloud.storage.records import Record
from scripts.localcloud.storage.store import Store
from scripts.localcloud.web import ApiError, Request, Response, Route

MAX_SOURCES = 32
_FROM = "/storage/v1/b/{bucket}/o/{object+}"
_TO = "/b/{target_bucket}/o/{target_object+}"


class Copying:
    """The routes that make objects out of objects."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[Route]:
        return [
            Route("POST", _FROM + "/compose", self._compose, "storage.objects.compose"),
            Route("POST", _FROM + "/rewriteTo" + _TO, self._rewrite, "storage.objects.rewrite"),
            Route("POST", _FROM + "/copyTo" + _TO, self._copy, "storage.objects.copy"),
        ]

    async def _rewrite(self, request: Request) -> Response:
        record = await self._copied(request)
        size = str(record.size_bytes)
        return Response.of_json(
            {
                "kind": "storage#rewriteResponse",
                "totalBytesRewritten": size,
                "objectSize": size,
                "done": True,
                "resource": record.resource(request.base_url),
            }
        )

    async def _copy(self, request: Request) -> Response:
        return Response.of_json((await self._copied(request)).resource(request.base_url))

    async def _copied(self, request: Request) -> Record:
        """The new object: the source's metadata, with what the request's body gives instead."""
        overrides = fields.given(await request.json_object())
        params = request.params
        name = check_object(params["target_object"])
        source = self._store.find(params["bucket"], params["object"], integer(request.query, "sourceGeneration"))
        wanted = Conditions.of(request.query, "ifSource")
        wanted.check(source.generation, source.metageneration, source.etag)
        kept = {key: value for key, value in source.fields.items() if key not in ("temporaryHold", "eventBasedHold")}
        if params["target_bucket"] != source.bucket and "storageClass" not in overrides:
            kept.pop("storageClass", None)  # the target bucket's default
        conditions = Conditions.of(request.query)
        return self._store.copy(source, params["target_bucket"], name, {**kept, **overrides}, conditions)

    async def _compose(self, request: Request) -> Response:
        body = await request.json_object()
        bucket, name = request.params["bucket"], check_object(request.params["object"])
        conditions = Conditions.of(request.query)
        self._store.check(bucket, name, conditions)
        sources = self._sources(bucket, body.get("sourceObjects"))
        destination = body.get("destination") or {}
        if not isinstance(destination, dict):
            raise ApiError(400, "Invalid value for destination", "invalid")
        chosen = fields.given(destination)
        chosen.setdefault("contentType", fields.DEFAULT_TYPE)
        chosen["componentCount"] = sum(int(source.fields.get("componentCount", 1)) for source in sources)
        with ExitStack() as opened:
            descriptors = [self._store.open(source) for source in sources]
            for descriptor in descriptors:
                opened.callback(os.close, descriptor)
            async with self._store.bodies.receive(md5=False) as sink:
                await sink.append_files(descriptors)
                record = self._store.create(bucket, name, await sink.finish(), chosen, conditions)
                sink.kept()
        return Response.of_json(record.resource(request.base_url))

    def _sources(self, bucket: str, listed: Any) -> list[Record]:
        if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_SOURCES:
            text = f"The number of source components provided must be between 1 and {MAX_SOURCES}."
            raise ApiError(400, text, "invalid")
        found: list[Record] = []
        for entry in listed:
            if not isinstance(entry, dict):
                raise ApiError(400, "Invalid value for sourceObjects", "invalid")
            record = self._store.find(bucket, check_object(entry.get("name")), integer(entry, "generation"))
            wanted = entry.get("objectPreconditions") or {}
            if not isinstance(wanted, dict):
                raise ApiError(400, "Invalid value for objectPreconditions", "invalid")
            Conditions.of(wanted).check(record.generation, record.metageneration)
            found.append(record)
        return found
