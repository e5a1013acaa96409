"""Buckets: create, get, list, patch, update, delete, lock the retention policy; and the project's service account."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from scripts.localcloud.storage import access, bucket_settings
from scripts.localcloud.storage.conditions import Conditions
from scripts.localcloud.storage.iam import first_policy
from scripts.localcloud.storage.listing import page_size, truth
from scripts.localcloud.storage.names import check_bucket
from scripts.localcloud.storage.records import Bucket, project_number
from scripts.localcloud.storage.store import Store
from scripts.localcloud.storage.view import shown_bucket
from scripts.localcloud.web import ApiError, Request, Response, Route

_BUCKET = "/storage/v1/b/{bucket}"
Change = Callable[[Mapping[str, Any], Mapping[str, Any], str], dict[str, Any]]


class Buckets:
    """The bucket routes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/storage/v1/b", self._list, "storage.buckets.list"),
            Route("POST", "/storage/v1/b", self._create, "storage.buckets.insert"),
            Route("GET", _BUCKET, self._get, "storage.buckets.get"),
            Route("PATCH", _BUCKET, partial(self._change, bucket_settings.patched), "storage.buckets.patch"),
            Route("PUT", _BUCKET, partial(self._change, bucket_settings.replaced), "storage.buckets.update"),
            Route("DELETE", _BUCKET, self._delete, "storage.buckets.delete"),
            Route("POST", _BUCKET + "/lockRetentionPolicy", self._lock, "storage.buckets.lockRetentionPolicy"),
            Route(
                "GET",
                "/storage/v1/projects/{project+}/serviceAccount",
                self._service_account,
                "storage.projects.serviceAccount.get",
            ),
        ]

    async def _list(self, request: Request) -> Response:
        project, limit = _project(request), page_size(request.query)
        prefix, after = request.query.get("prefix", ""), request.query.get("pageToken", "")
        # Deleted buckets are not kept: none can be restored.
        gone = truth(request.query.get("softDeleted"))
        found = [] if gone else self._store.index.buckets(project, prefix, after, limit + 1)
        answer: dict[str, Any] = {"kind": "storage#buckets"}
        if found:
            answer["items"] = [shown_bucket(bucket, request) for bucket in found[:limit]]
        if len(found) > limit:
            answer["nextPageToken"] = found[limit - 1].name
        return Response.of_json(answer)

    async def _create(self, request: Request) -> Response:
        project, body = _project(request), await request.json_object()
        name, now = check_bucket(body.get("name")), self._store.context.now()
        settings = bucket_settings.created(body, now)
        if truth(request.query.get("enableObjectRetention")):
            settings["objectRetention"] = {"mode": "Enabled"}
        bucket = Bucket(name, project, 1, now, now, settings, first_policy(project))
        bucket = replace(bucket, settings={**settings, **_lists(bucket, request, body)})
        return Response.of_json(shown_bucket(self._store.create_bucket(bucket), request))

    async def _get(self, request: Request) -> Response:
        if truth(request.query.get("softDeleted")):
            raise ApiError(404, f"No soft-deleted bucket: {request.params['bucket']}", "notFound")
        bucket = self._wanted(request, reading=True)
        return Response.of_json(shown_bucket(bucket, request), headers=(("etag", bucket.etag),))

    async def _change(self, change: Change, request: Request) -> Response:
        body = await request.json_object()
        bucket = self._wanted(request)
        settings = change(bucket.settings, body, self._store.context.now())
        settings.update(_lists(replace(bucket, settings=settings), request, body))
        return Response.of_json(shown_bucket(self._store.change_bucket(bucket, settings=settings), request))

    async def _lock(self, request: Request) -> Response:
        """Make the retention policy one that can only grow."""
        await request.json_object()
        if request.query.get("ifMetagenerationMatch") is None:
            raise ApiError(400, "Required parameter: ifMetagenerationMatch", "required")
        bucket = self._wanted(request)
        policy = bucket.settings.get("retentionPolicy")
        if not policy:
            raise ApiError(400, f"Bucket '{bucket.name}' has no retention policy to lock.", "invalid")
        settings = {**bucket.settings, "retentionPolicy": {**policy, "isLocked": True}}
        return Response.of_json(shown_bucket(self._store.change_bucket(bucket, settings=settings), request))

    async def _delete(self, request: Request) -> Response:
        self._store.delete_bucket(request.params["bucket"], Conditions.of(request.query, headers=request.headers))
        return Response(204)

    async def _service_account(self, request: Request) -> Response:
        number = project_number(request.params["project"])
        address = f"service-{number}@gs-project-accounts.iam.gserviceaccount.com"
        return Response.of_json({"kind": "storage#serviceAccount", "email_address": address})

    def _wanted(self, request: Request, *, reading: bool = False) -> Bucket:
        conditions = Conditions.of(request.query, headers=request.headers)
        bucket = self._store.bucket(request.params["bucket"])
        conditions.check(0, bucket.metageneration, bucket.etag, reading=reading)
        return bucket


def _project(request: Request) -> str:
    project = request.query.get("project", "")
    if not project:
        raise ApiError(400, "Required parameter: project", "required")
    return project


def _lists(bucket: Bucket, request: Request, body: Mapping[str, Any]) -> dict[str, Any]:
    """The access lists that a request gives a bucket. Raises ApiError 400 (uniform access) or 412 (prevented)."""
    found: dict[str, Any] = {}
    for key, parameter in (("acl", "predefinedAcl"), ("defaultObjectAcl", "predefinedDefaultObjectAcl")):
        name, listed = request.query.get(parameter), body.get(key)
        if not name and not listed:
            continue
        access.refuse_uniform(bucket, "use ACL API to update bucket policy")
        of_object = key != "acl"
        roles = access.OBJECT_ROLES if of_object else access.BUCKET_ROLES
        found[key] = (
            access.predefined(name, bucket, of_object=of_object) if name else access.checked(listed, bucket, roles)
        )
    return found
