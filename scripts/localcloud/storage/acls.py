"""The routes of access lists (ACLs) of buckets, of their new objects, and of objects."""

from __future__ import annotations

from functools import partial
from typing import Any

from scripts.localcloud.storage import access
from scripts.localcloud.storage.access import BUCKET_ROLES, OBJECT_ROLES, Entries
from scripts.localcloud.storage.conditions import integer
from scripts.localcloud.storage.records import Bucket, Record
from scripts.localcloud.storage.store import Store
from scripts.localcloud.web import ApiError, Handler, Request, Response, Route

_BUCKET = "/storage/v1/b/{bucket}"
# Path, name of the field, name of the operations.
_KINDS = (
    (_BUCKET + "/acl", "acl", "storage.bucketAccessControls"),
    (_BUCKET + "/defaultObjectAcl", "defaultObjectAcl", "storage.defaultObjectAccessControls"),
    (_BUCKET + "/o/{object+}/acl", "acl", "storage.objectAccessControls"),
)


class Acls:
    """The ACL routes. Where access is uniform each answers 400."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[Route]:
        found: list[Route] = []
        for path, key, operation in _KINDS:
            calls: dict[str, tuple[str, str, Handler]] = {
                "list": ("GET", path, partial(self._list, key)),
                "insert": ("POST", path, partial(self._insert, key)),
                "get": ("GET", path + "/{entity+}", partial(self._get, key)),
                "update": ("PUT", path + "/{entity+}", partial(self._update, key)),
                "patch": ("PATCH", path + "/{entity+}", partial(self._update, key)),
                "delete": ("DELETE", path + "/{entity+}", partial(self._delete, key)),
            }
            found += [
                Route(method, where, call, f"{operation}.{verb}") for verb, (method, where, call) in calls.items()
            ]
        return found

    async def _list(self, key: str, request: Request) -> Response:
        bucket, record, entries = self._entries(key, request, "get")
        kind = "bucketAccessControls" if record is None and key == "acl" else "objectAccessControls"
        items = [access.shown(entry, bucket, record, key, request.base_url) for entry in entries]
        return Response.of_json({"kind": f"storage#{kind}", "items": items})

    async def _insert(self, key: str, request: Request) -> Response:
        body = await request.json_object()
        return self._put(key, request, {"entity": body.get("entity"), "role": body.get("role")})

    async def _get(self, key: str, request: Request) -> Response:
        bucket, record, entries = self._entries(key, request, "get")
        entry = _entry(entries, request)
        return Response.of_json(access.shown(entry, bucket, record, key, request.base_url))

    async def _update(self, key: str, request: Request) -> Response:
        body = await request.json_object()
        _, _, entries = self._entries(key, request, "update")
        return self._put(key, request, {**_entry(entries, request), "role": body.get("role")})

    async def _delete(self, key: str, request: Request) -> Response:
        bucket, record, entries = self._entries(key, request, "delete")
        gone = _entry(entries, request)
        self._save(key, bucket, record, [entry for entry in entries if entry != gone])
        return Response(204)

    def _put(self, key: str, request: Request, entry: dict[str, Any]) -> Response:
        bucket, record, entries = self._entries(key, request, "insert" if request.method == "POST" else "update")
        roles = BUCKET_ROLES if record is None and key == "acl" else OBJECT_ROLES
        checked = access.checked([entry], bucket, roles)[0]
        others = [each for each in entries if each["entity"] != checked["entity"]]
        self._save(key, bucket, record, [*others, checked])
        return Response.of_json(access.shown(checked, bucket, record, key, request.base_url))

    def _entries(self, key: str, request: Request, verb: str) -> tuple[Bucket, Record | None, Entries]:
        """The list that a path names. Raises ApiError 400 (uniform access) or 404."""
        bucket = self._store.bucket(request.params["bucket"])
        name = request.params.get("object")
        access.refuse_uniform(bucket, f"{verb} legacy ACL for {'a bucket' if name is None else 'an object'}")
        if name is None:
            return bucket, None, access.bucket_list(bucket, key)
        record = self._store.find(bucket.name, name, integer(request.query, "generation"))
        return bucket, record, access.object_list(bucket, record)

    def _save(self, key: str, bucket: Bucket, record: Record | None, entries: Entries) -> None:
        if record is None:
            self._store.change_bucket(bucket, settings={**bucket.settings, key: entries})
        else:
            self._store.change(record, {**record.fields, "acl": entries})


def _entry(entries: Entries, request: Request) -> dict[str, str]:
    """The entry that a path names. Raises ApiError 404."""
    wanted = request.params["entity"]
    for entry in entries:
        if entry["entity"].lower() == wanted.lower():
            return entry
    raise ApiError(404, f"The specified access control entry {wanted[:100]!r} was not found.", "notFound")
