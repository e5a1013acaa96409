"""Objects: get, list, patch, update, delete."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from scripts.localcloud.storage import fields, listing
from scripts.localcloud.storage.conditions import Conditions, integer
from scripts.localcloud.storage.media import media
from scripts.localcloud.storage.records import Record
from scripts.localcloud.storage.store import Store
from scripts.localcloud.web import Request, Response, Route

_OBJECT = "/storage/v1/b/{bucket}/o/{object+}"
Change = Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]


class Objects:
    """The object routes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[Route]:
        return [
            Route("GET", _OBJECT, self._get, "storage.objects.get"),
            Route("GET", "/storage/v1/b/{bucket}/o", self._list, "storage.objects.list"),
            Route("PATCH", _OBJECT, partial(self._change, fields.patched), "storage.objects.patch"),
            Route("PUT", _OBJECT, partial(self._change, fields.replaced), "storage.objects.update"),
            Route("DELETE", _OBJECT, self._delete, "storage.objects.delete"),
            Route("GET", "/download" + _OBJECT, self._download, "storage.objects.get"),
        ]

    async def _get(self, request: Request) -> Response:
        if request.query.get("alt") == "media":
            return await self._download(request)
        record = self._wanted(request)
        return Response.of_json(record.resource(request.base_url), headers=(("etag", record.etag),))

    async def _download(self, request: Request) -> Response:
        return media(self._store, self._wanted(request), request)

    async def _list(self, request: Request) -> Response:
        bucket = self._store.bucket(request.params["bucket"]).name
        query = listing.Query.of(request.query)
        answer: dict[str, Any] = {"kind": "storage#objects"}
        if listing.truth(request.query.get("softDeleted")):
            return Response.of_json(answer)  # nothing is kept after its deletion
        page = listing.page(query, partial(self._store.index.positions, bucket, versions=query.versions))
        if page.items:
            records = (self._store.find(bucket, *position) for position in page.items)
            answer["items"] = [record.resource(request.base_url) for record in records]
        if page.prefixes:
            answer["prefixes"] = page.prefixes
        if page.token:
            answer["nextPageToken"] = page.token
        return Response.of_json(answer)

    async def _change(self, change: Change, request: Request) -> Response:
        body = await request.json_object()
        with self._store.context.db.transaction():
            record = self._wanted(request, reading=False)
            changed = self._store.change(record, change(record.fields, body))
        return Response.of_json(changed.resource(request.base_url))

    async def _delete(self, request: Request) -> Response:
        bucket, name = request.params["bucket"], request.params["object"]
        conditions = Conditions.of(request.query, headers=request.headers)
        self._store.delete(bucket, name, integer(request.query, "generation"), conditions)
        return Response(204)

    def _wanted(self, request: Request, *, reading: bool = True) -> Record:
        """The generation that a request names, if its preconditions hold. Raises ApiError 404, 304 or 412."""
        conditions = Conditions.of(request.query, headers=request.headers)
        name, generation = request.params["object"], integer(request.query, "generation")
        record = self._store.find(request.params["bucket"], name, generation)
        conditions.check(record.generation, record.metageneration, record.etag, reading=reading)
        return record
