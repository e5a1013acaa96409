"""Buckets: create, get, list, patch, update, delete; and the project's service account."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from scripts.localcloud.storage.conditions import Conditions
from scripts.localcloud.storage.fields import STORAGE_CLASSES
from scripts.localcloud.storage.iam import first_policy
from scripts.localcloud.storage.listing import page_size
from scripts.localcloud.storage.names import check_bucket
from scripts.localcloud.storage.records import Bucket, project_number
from scripts.localcloud.storage.store import Store
from scripts.localcloud.web import ApiError, Request, Response, Route

_BUCKET = "/storage/v1/b/{bucket}"
_MULTI_REGIONS = ("US", "EU", "ASIA")
Change = Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]


class Buckets:
    """The bucket routes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/storage/v1/b", self._list, "storage.buckets.list"),
            Route("POST", "/storage/v1/b", self._create, "storage.buckets.insert"),
            Route("GET", _BUCKET, self._get, "storage.buckets.get"),
            Route("PATCH", _BUCKET, partial(self._change, _patched), "storage.buckets.patch"),
            Route("PUT", _BUCKET, partial(self._change, _replaced), "storage.buckets.update"),
            Route("DELETE", _BUCKET, self._delete, "storage.buckets.delete"),
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
        found = self._store.index.buckets(project, prefix, after, limit + 1)
        answer: dict[str, Any] = {"kind": "storage#buckets"}
        if found:
            answer["items"] = [bucket.resource(request.base_url) for bucket in found[:limit]]
        if len(found) > limit:
            answer["nextPageToken"] = found[limit - 1].name
        return Response.of_json(answer)

    async def _create(self, request: Request) -> Response:
        project, body = _project(request), await request.json_object()
        name, now = check_bucket(body.get("name")), self._store.context.now()
        settings = {"location": "US", "storageClass": "STANDARD", **_chosen(body)}
        settings["locationType"] = "multi-region" if settings["location"] in _MULTI_REGIONS else "region"
        bucket = Bucket(name, project, 1, now, now, _completed(settings), first_policy(project))
        return Response.of_json(self._store.create_bucket(bucket).resource(request.base_url))

    async def _get(self, request: Request) -> Response:
        bucket = self._wanted(request, reading=True)
        return Response.of_json(bucket.resource(request.base_url), headers=(("etag", bucket.etag),))

    async def _change(self, change: Change, request: Request) -> Response:
        body = await request.json_object()
        bucket = self._wanted(request)
        settings = _completed(change(bucket.settings, body))
        return Response.of_json(self._store.change_bucket(bucket, settings=settings).resource(request.base_url))

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


# What a bucket's owner may choose, and its JSON type.
_TYPES: dict[str, type] = {
    "location": str, "storageClass": str, "rpo": str, "defaultEventBasedHold": bool, "labels": dict, "versioning": dict,
    "lifecycle": dict, "iamConfiguration": dict, "encryption": dict, "retentionPolicy": dict, "softDeletePolicy": dict,
    "logging": dict, "website": dict, "billing": dict, "autoclass": dict, "hierarchicalNamespace": dict,
    "customPlacementConfig": dict, "cors": list,
}  # fmt: skip
_FIXED = ("location", "locationType", "customPlacementConfig", "hierarchicalNamespace")


def _project(request: Request) -> str:
    project = request.query.get("project", "")
    if not project:
        raise ApiError(400, "Required parameter: project", "required")
    return project


def _chosen(body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a bucket resource that its owner may choose; null stands for "remove". Raises ApiError 400."""
    found: dict[str, Any] = {}
    for key, kind in _TYPES.items():
        if key not in body:
            continue
        value = body[key]
        if value is not None and not isinstance(value, kind):
            raise ApiError(400, f"Invalid value for {key}: expected {kind.__name__}", "invalid")
        found[key] = value
    if isinstance(found.get("location"), str):
        found["location"] = found["location"].upper()
    if found.get("storageClass") not in (None, *STORAGE_CLASSES):
        raise ApiError(400, f"Invalid storage class: {str(found['storageClass'])[:100]!r}", "invalid")
    _check_parts(found)
    return found


def _check_parts(found: Mapping[str, Any]) -> None:
    for key, value in (found.get("labels") or {}).items():
        if not isinstance(value, (str, type(None))) or not key or len(key) > 63 or len(value or "") > 63:
            raise ApiError(400, f"Invalid label: {key[:100]!r}", "invalid")
    enabled = (found.get("versioning") or {}).get("enabled")
    if not isinstance(enabled, (bool, type(None))):
        raise ApiError(400, "Invalid value for versioning.enabled: expected true or false", "invalid")
    rules = (found.get("lifecycle") or {}).get("rule", [])
    if not isinstance(rules, list) or any(not isinstance(rule, dict) or "action" not in rule for rule in rules):
        raise ApiError(400, "Invalid value for lifecycle.rule: expected a list of {action, condition}", "invalid")
    for key in ("uniformBucketLevelAccess", "bucketPolicyOnly"):
        access = (found.get("iamConfiguration") or {}).get(key)
        if not isinstance(access, (dict, type(None))):
            raise ApiError(400, f"Invalid value for iamConfiguration.{key}", "invalid")


def _patched(settings: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """Settings after a PATCH: objects are merged, null removes."""
    _stays(settings, body)
    return {key: value for key, value in _merged(settings, _chosen(body)).items() if value is not None}


def _replaced(settings: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """Settings after a PUT: what is not given goes back to its default."""
    _stays(settings, body)
    kept = {key: settings[key] for key in (*_FIXED, "storageClass") if key in settings}
    return {**kept, **{key: value for key, value in _chosen(body).items() if value is not None}}


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(old)
    for key, value in new.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = _merged(result[key], value)
        else:
            result[key] = value
    return result


def _stays(settings: Mapping[str, Any], body: Mapping[str, Any]) -> None:
    location = body.get("location")
    if isinstance(location, str) and location.upper() != settings.get("location"):
        raise ApiError(400, "A bucket's location cannot be changed.", "invalid")


def _completed(settings: dict[str, Any]) -> dict[str, Any]:
    """With what Google always shows: both names of uniform access, and public access prevention."""
    access = {"publicAccessPrevention": "inherited", **(settings.get("iamConfiguration") or {})}
    uniform = access.get("uniformBucketLevelAccess") or access.get("bucketPolicyOnly") or {}
    uniform = {"enabled": False, **uniform}
    access["uniformBucketLevelAccess"] = uniform
    access["bucketPolicyOnly"] = dict(uniform)
    settings = {**settings, "iamConfiguration": access}
    if isinstance(settings.get("labels"), dict):
        settings["labels"] = {key: value for key, value in settings["labels"].items() if value is not None}
    return {key: value for key, value in settings.items() if value not in (None, {})}
