"""What gcloud and newer clients ask besides: layout, folders, caches; and the move of objects."""

from __future__ import annotations

from typing import Any

from scripts.localcloud.storage.conditions import Conditions
from scripts.localcloud.storage.names import check_object
from scripts.localcloud.storage.store import Store
from scripts.localcloud.storage.view import shown
from scripts.localcloud.web import ApiError, Request, Response, Route

_BUCKET = "/storage/v1/b/{bucket}"
_OBJECT = _BUCKET + "/o/{object+}"


class Extras:
    """Routes that the main parts do not have."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[Route]:
        return [
            Route("POST", _OBJECT + "/moveTo/o/{target+}", self._move, "storage.objects.move"),
            Route("GET", _BUCKET + "/storageLayout", self._layout, "storage.buckets.getStorageLayout"),
            Route("GET", _BUCKET + "/folders", self._none, "storage.folders.list"),
            Route("GET", _BUCKET + "/anywhereCaches", self._none, "storage.anywhereCaches.list"),
        ]

    async def _move(self, request: Request) -> Response:
        """Rename within a bucket, at once: nobody sees both names or none."""
        bucket, name = request.params["bucket"], request.params["object"]
        target = check_object(request.params["target"])
        if target == name:
            raise ApiError(400, "The source and the destination of a move must differ.", "invalid")
        with self._store.changing():
            source = self._store.find(bucket, name)
            wanted = Conditions.of(request.query, "ifSource")
            wanted.check(source.generation, source.metageneration, source.etag)
            moved = self._store.move(source, target, Conditions.of(request.query))
        return Response.of_json(shown(self._store, moved, request))

    async def _layout(self, request: Request) -> Response:
        bucket = self._store.bucket(request.params["bucket"])
        answer: dict[str, Any] = {
            "kind": "storage#storageLayout",
            "bucket": bucket.name,
            "location": bucket.settings.get("location", "US"),
            "locationType": bucket.settings.get("locationType", "multi-region"),
            "hierarchicalNamespace": {"enabled": False},
        }
        return Response.of_json(answer)

    async def _none(self, request: Request) -> Response:
        """A list of things that no bucket here has."""
        self._store.bucket(request.params["bucket"])
        kind = request.raw_path.rpartition("/")[2]
        return Response.of_json({"kind": f"storage#{kind}", "items": []})
