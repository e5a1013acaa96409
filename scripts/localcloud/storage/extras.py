"""What gcloud and newer clients ask besides: layout, managed folders, notifications, ACLs; and the move of objects."""

from __future__ import annotations

from typing import Any

from scripts.localcloud.storage.conditions import Conditions, integer
from scripts.localcloud.storage.names import check_object
from scripts.localcloud.storage.records import Bucket
from scripts.localcloud.storage.store import Store
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
            Route("GET", _BUCKET + "/managedFolders", self._none, "storage.managedFolders.list"),
            Route("GET", _BUCKET + "/folders", self._none, "storage.folders.list"),
            Route("GET", _BUCKET + "/notificationConfigs", self._none, "storage.notifications.list"),
            Route("GET", _BUCKET + "/anywhereCaches", self._none, "storage.anywhereCaches.list"),
            Route("GET", _BUCKET + "/acl", self._access, "storage.bucketAccessControls.list"),
            Route("GET", _BUCKET + "/defaultObjectAcl", self._access, "storage.defaultObjectAccessControls.list"),
            Route("GET", _OBJECT + "/acl", self._object_access, "storage.objectAccessControls.list"),
        ]

    async def _move(self, request: Request) -> Response:
        """Rename within a bucket, at once: nobody sees both names or none."""
        bucket, name = request.params["bucket"], request.params["object"]
        target = check_object(request.params["target"])
        if target == name:
            raise ApiError(400, "The source and the destination of a move must differ.", "invalid")
        with self._store.context.db.transaction():
            source = self._store.find(bucket, name)
            wanted = Conditions.of(request.query, "ifSource")
            wanted.check(source.generation, source.metageneration, source.etag)
            moved = self._store.copy(source, bucket, target, source.fields, Conditions.of(request.query))
            self._store.delete(bucket, name, None, Conditions(generation=source.generation))
        return Response.of_json(moved.resource(request.base_url))

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
        named = {"notificationConfigs": "notifications"}.get(kind, kind)
        return Response.of_json({"kind": f"storage#{named}", "items": []})

    async def _access(self, request: Request) -> Response:
        bucket = self._store.bucket(request.params["bucket"])
        default = request.raw_path.endswith("/defaultObjectAcl")
        kind = "objectAccessControl" if default else "bucketAccessControl"
        return Response.of_json(_owners(bucket, kind, {"bucket": bucket.name}))

    async def _object_access(self, request: Request) -> Response:
        bucket = self._store.bucket(request.params["bucket"])
        record = self._store.find(bucket.name, request.params["object"], integer(request.query, "generation"))
        named = {"bucket": bucket.name, "object": record.name, "generation": str(record.generation)}
        return Response.of_json(_owners(bucket, "objectAccessControl", named))


def _owners(bucket: Bucket, kind: str, named: dict[str, str]) -> dict[str, Any]:
    """The one entry that every list has. Raises ApiError 400 where access is uniform, as there are no lists then."""
    uniform = (bucket.settings.get("iamConfiguration") or {}).get("uniformBucketLevelAccess") or {}
    if uniform.get("enabled"):
        text = "Cannot get legacy ACL when uniform bucket-level access is enabled."
        raise ApiError(400, f"{text} Read more at https://cloud.google.com/storage/docs/uniform-bucket-level-access")
    number = bucket.resource("")["projectNumber"]
    entity = {"entity": f"project-owners-{number}", "role": "OWNER"}
    team = {"projectTeam": {"projectNumber": number, "team": "owners"}}
    return {"kind": f"storage#{kind}s", "items": [{"kind": f"storage#{kind}", **named, **entity, **team}]}
