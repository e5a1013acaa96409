"""Objects: get, list, patch, update, delete, restore."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from heapq import merge
from itertools import islice
from typing import Any

from scripts.localcloud.partial import parse, select
from scripts.localcloud.storage import access, contexts, fields, listing
from scripts.localcloud.storage.conditions import Conditions, integer
from scripts.localcloud.storage.managed_folders import ManagedFolders
from scripts.localcloud.storage.media import media
from scripts.localcloud.storage.records import Position, Record
from scripts.localcloud.storage.store import Store
from scripts.localcloud.storage.view import shown
from scripts.localcloud.web import ApiError, Request, Response, Route

_OBJECT = "/storage/v1/b/{bucket}/o/{object+}"
Change = Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]


class Objects:
    """The object routes."""

    def __init__(self, store: Store, folders: ManagedFolders) -> None:
        self._store = store
        self._folders = folders

    def routes(self) -> list[Route]:
        return [
            Route("GET", _OBJECT, self._get, "storage.objects.get"),
            Route("GET", "/storage/v1/b/{bucket}/o", self._list, "storage.objects.list"),
            Route("PATCH", _OBJECT, partial(self._change, fields.patched), "storage.objects.patch"),
            Route("PUT", _OBJECT, partial(self._change, fields.replaced), "storage.objects.update"),
            Route("DELETE", _OBJECT, self._delete, "storage.objects.delete"),
            Route("POST", _OBJECT + "/restore", self._restore, "storage.objects.restore"),
            Route("POST", "/storage/v1/b/{bucket}/o/watch", self._watch, "storage.objects.watchAll"),
            Route("GET", "/download" + _OBJECT, self._download, "storage.objects.get"),
        ]

    async def _get(self, request: Request) -> Response:
        if request.query.get("alt") == "media":
            return await self._download(request)
        if listing.truth(request.query.get("softDeleted")):
            record = self._gone(request)
        else:
            record = self._wanted(request)
        return Response.of_json(shown(self._store, record, request), headers=(("etag", record.etag),))

    async def _download(self, request: Request) -> Response:
        record = self._wanted(request)
        while await self._store.wholes.before_read(record):
            record = self._wanted(request)
        if request.headers.get("if-range", record.etag).strip('"') != record.etag:
            request.headers.pop("range", None)  # the client has a part of something else: it gets the whole
        return media(self._store, record, request)

    async def _list(self, request: Request) -> Response:
        bucket = self._store.bucket(request.params["bucket"]).name
        query = listing.Query.of(request.query)
        soft = listing.truth(request.query.get("softDeleted"))
        if soft and query.versions:
            raise ApiError(400, "softDeleted and versions cannot be asked for together.", "invalid")
        page = listing.page(query, partial(self._scan, bucket, request, soft))
        answer: dict[str, Any] = {"kind": "storage#objects"}
        if page.items:
            index = self._store.index
            records = index.soft.several(bucket, page.items) if soft else index.several(bucket, page.items)
            mask = parse(request.query["fields"]).get("items", {}) if request.query.get("fields") else {}
            # of a thousand objects what nobody asked for is not even written
            answer["items"] = [select(shown(self._store, record, request), mask) for record in records]
        if page.prefixes:
            answer["prefixes"] = page.prefixes
        if page.token:
            answer["nextPageToken"] = page.token
        return Response.of_json(answer)

    def _scan(self, bucket: str, request: Request, soft: bool, name: str, generation: int) -> Iterator[Position]:
        """What a list looks through: positions from (name, generation) on."""
        index = self._store.index
        if soft:
            return index.soft.positions(bucket, name, generation)
        if request.query.get("filter"):
            matches = contexts.compile_filter(request.query["filter"])
            versions = listing.truth(request.query.get("versions"))
            return index.matching(bucket, name, generation, matches, versions=versions)
        found = index.positions(bucket, name, generation, versions=listing.truth(request.query.get("versions")))
        if listing.truth(request.query.get("includeFoldersAsPrefixes")) and request.query.get("delimiter") == "/":
            return merge(found, self._folders.positions(bucket, name))
        return found

    async def _change(self, change: Change, request: Request) -> Response:
        body = await request.json_object()
        override = listing.truth(request.query.get("overrideUnlockedRetention"))
        with self._store.changing():
            record = self._wanted(request, reading=False)
            merging = change is fields.patched
            found = contexts.stamped(
                record.fields, change(record.fields, body), self._store.context.now(), merge=merging
            )
            if merging and body.get("contexts") and body["contexts"].get("custom") is None:
                found.pop("contexts", None)
            found.update(access.of_object(self._store.bucket(record.bucket), request.query, body))
            changed = self._store.change(record, found, override=override)
        return Response.of_json(shown(self._store, changed, request))

    async def _delete(self, request: Request) -> Response:
        bucket, name = request.params["bucket"], request.params["object"]
        conditions = Conditions.of(request.query, headers=request.headers)
        self._store.delete(bucket, name, integer(request.query, "generation"), conditions)
        return Response(204)

    async def _restore(self, request: Request) -> Response:
        await request.json_object()
        restored = self._store.restore(self._gone(request), Conditions.of(request.query))
        return Response.of_json(shown(self._store, restored, request))

    async def _watch(self, request: Request) -> Response:
        self._store.bucket(request.params["bucket"])
        text = "Object change notification is not imitated; Google itself recommends notifications for Pub/Sub instead."
        raise ApiError(400, text, "invalid")

    def _gone(self, request: Request) -> Record:
        """The soft-deleted generation that a request names. Raises ApiError 400 (no generation) or 404."""
        generation = integer(request.query, "generation")
        if generation is None:
            bucket, name = self._store.bucket(request.params["bucket"]).name, request.params["object"]
            if not any(each.name == name for each in islice(self._store.index.soft.positions(bucket, name, 0), 1)):
                raise ApiError(404, f"No such object: {bucket}/{name}", "notFound")
            raise ApiError(400, "Required parameter: generation", "required")
        return self._store.soft_deleted(request.params["bucket"], request.params["object"], generation)

    def _wanted(self, request: Request, *, reading: bool = True) -> Record:
        """The generation that a request names, if its preconditions hold. Raises ApiError 404, 304 or 412."""
        conditions = Conditions.of(request.query, headers=request.headers)
        name, generation = request.params["object"], integer(request.query, "generation")
        record = self._store.find(request.params["bucket"], name, generation)
        conditions.check(record.generation, record.metageneration, record.etag, reading=reading)
        return record
