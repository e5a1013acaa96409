"""Managed folders: names with a policy of their own. cloud.google.com/storage/docs/managed-folders"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from scripts.localcloud.storage.conditions import Conditions
from scripts.localcloud.storage.iam import changed_policy, first_policy, new_etag, permissions_answer, policy_answer
from scripts.localcloud.storage.kept import Kept
from scripts.localcloud.storage.listing import truth
from scripts.localcloud.storage.names import check_object
from scripts.localcloud.storage.records import Bucket, Position
from scripts.localcloud.storage.store import Store
from scripts.localcloud.web import ApiError, Request, Response, Route

_ALL = "/storage/v1/b/{bucket}/managedFolders"
_ONE = _ALL + "/{folder+}"


class ManagedFolders:
    """The routes of managed folders."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept = Kept(store.context.db, "managedFolder")

    def routes(self) -> list[Route]:
        return [
            Route("GET", _ALL, self._list, "storage.managedFolders.list"),
            Route("POST", _ALL, self._create, "storage.managedFolders.insert"),
            Route("GET", _ONE, self._get, "storage.managedFolders.get"),
            Route("DELETE", _ONE, self._delete, "storage.managedFolders.delete"),
            Route("GET", _ONE + "/iam", self._policy, "storage.managedFolders.getIamPolicy"),
            Route("PUT", _ONE + "/iam", self._set_policy, "storage.managedFolders.setIamPolicy"),
            Route("GET", _ONE + "/iam/testPermissions", self._test, "storage.managedFolders.testIamPermissions"),
        ]

    def positions(self, bucket: str, name: str) -> Iterator[Position]:
        """The folders of a bucket from a name on, as a list of objects with includeFoldersAsPrefixes sees them."""
        return (Position(each["name"], 0) for each in self._kept.all(bucket, name))

    async def _list(self, request: Request) -> Response:
        bucket = self._store.bucket(request.params["bucket"])
        prefix, after = request.query.get("prefix", ""), request.query.get("pageToken", "")
        text = request.query.get("pageSize", "")
        limit = min(int(text), 1000) if text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text) else 1000
        found = [each for each in self._kept.all(bucket.name, max(prefix, after)) if each["name"].startswith(prefix)]
        found = [each for each in found if each["name"] > after]
        answer: dict[str, Any] = {"kind": "storage#managedFolders"}
        if found:
            answer["items"] = [_shown(bucket, each, request) for each in found[:limit]]
        if len(found) > limit:
            answer["nextPageToken"] = found[limit - 1]["name"]
        return Response.of_json(answer)

    async def _create(self, request: Request) -> Response:
        body = await request.json_object()
        bucket = self._store.bucket(request.params["bucket"])
        name = check_object(body.get("name")).rstrip("/") + "/"
        if not bucket.uniform:
            text = "Managed folders need uniform bucket-level access, which is not enabled for the bucket."
            raise ApiError(412, text, "conditionNotMet")
        if self._kept.find(bucket.name, name) is not None:
            raise ApiError(409, f"The managed folder {name!r} already exists.", "conflict")
        now = self._store.context.now()
        policy = {**first_policy(bucket.project), "bindings": [], "etag": new_etag()}
        document = {"name": name, "metageneration": "1", "createTime": now, "updateTime": now, "policy": policy}
        self._kept.put(bucket.name, name, document)
        return Response.of_json(_shown(bucket, document, request))

    async def _get(self, request: Request) -> Response:
        bucket, found = self._found(request)
        Conditions.of(request.query).check(0, int(found["metageneration"]), reading=True)
        return Response.of_json(_shown(bucket, found, request))

    async def _delete(self, request: Request) -> Response:
        bucket, found = self._found(request)
        Conditions.of(request.query).check(0, int(found["metageneration"]))
        holds = next(self._store.live(bucket.name, found["name"]), None)
        if holds is not None and not truth(request.query.get("allowNonEmpty")):
            raise ApiError(409, "The managed folder you tried to delete is not empty.", "conflict")
        self._kept.drop(bucket.name, found["name"])
        return Response(204)

    async def _policy(self, request: Request) -> Response:
        bucket, found = self._found(request)
        return policy_answer(_resource_id(bucket, found), found["policy"])

    async def _set_policy(self, request: Request) -> Response:
        body = await request.json_object()
        bucket, found = self._found(request)
        policy = changed_policy(bucket, found["policy"], body)
        self._kept.put(bucket.name, found["name"], {**found, "policy": policy})
        return policy_answer(_resource_id(bucket, found), policy)

    async def _test(self, request: Request) -> Response:
        self._found(request)
        return permissions_answer(request)

    def _found(self, request: Request) -> tuple[Bucket, dict[str, Any]]:
        bucket = self._store.bucket(request.params["bucket"])
        name = request.params["folder"].rstrip("/") + "/"
        found = self._kept.find(bucket.name, name)
        if found is None:
            raise ApiError(404, f"The managed folder {name[:200]!r} does not exist.", "notFound")
        return bucket, found


def _resource_id(bucket: Bucket, document: dict[str, Any]) -> str:
    return f"projects/_/buckets/{bucket.name}/managedFolders/{document['name']}"


def _shown(bucket: Bucket, document: dict[str, Any], request: Request) -> dict[str, Any]:
    name = document["name"]
    return {
        "kind": "storage#managedFolder",
        "id": f"{bucket.name}/{name}",
        "bucket": bucket.name,
        "selfLink": f"{request.base_url}/storage/v1/b/{bucket.name}/managedFolders/{quote(name, safe='')}",
        **{key: value for key, value in document.items() if key != "policy"},
    }
