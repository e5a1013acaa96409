"""IAM policies of buckets: kept and given back with an etag; who may do what is not enforced."""

from __future__ import annotations

import secrets
from base64 import b64encode
from typing import Any

from scripts.localcloud.storage.records import Bucket
from scripts.localcloud.storage.store import Store
from scripts.localcloud.web import ApiError, Request, Response, Route

_URL_SAFE = str.maketrans("+/", "-_")
_IAM = "/storage/v1/b/{bucket}/iam"


class Iam:
    """The policy routes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[Route]:
        return [
            Route("GET", _IAM, self._get, "storage.buckets.getIamPolicy"),
            Route("PUT", _IAM, self._set, "storage.buckets.setIamPolicy"),
            Route("GET", _IAM + "/testPermissions", self._test, "storage.buckets.testIamPermissions"),
        ]

    async def _get(self, request: Request) -> Response:
        return Response.of_json(_shown(self._store.bucket(request.params["bucket"])))

    async def _set(self, request: Request) -> Response:
        body = await request.json_object()
        bucket = self._store.bucket(request.params["bucket"])
        expected = body.get("etag")
        if expected and not same_etag(expected, bucket.policy["etag"]):
            text = "The policy has changed since it was read: read it again and repeat the change."
            raise ApiError(412, text, "conditionNotMet")
        policy = {"version": _version(body), "etag": new_etag(), "bindings": _bindings(body.get("bindings", []))}
        return Response.of_json(_shown(self._store.change_bucket(bucket, policy=policy)))

    async def _test(self, request: Request) -> Response:
        self._store.bucket(request.params["bucket"])
        asked = request.query_all.get("permissions", [])
        strange = [permission for permission in asked if not permission.startswith("storage.")]
        if strange or not asked:
            raise ApiError(400, f"Invalid permissions: {strange or 'none given'}", "invalid")
        return Response.of_json({"kind": "storage#testIamPermissionsResponse", "permissions": asked})


def first_policy(project: str) -> dict[str, Any]:
    """The policy of a new bucket, as at Google."""
    owners = [f"projectEditor:{project}", f"projectOwner:{project}"]
    bindings = [
        {"role": "roles/storage.legacyBucketOwner", "members": owners},
        {"role": "roles/storage.legacyBucketReader", "members": [f"projectViewer:{project}"]},
    ]
    return {"version": 1, "etag": new_etag(), "bindings": bindings}


def new_etag() -> str:
    """A policy etag: unlike any other."""
    return b64encode(secrets.token_bytes(8)).decode()


def same_etag(one: Any, other: str) -> bool:
    """Etags of policies are bytes: gcloud gives them back in the other of base64's two alphabets."""
    return isinstance(one, str) and one.translate(_URL_SAFE) == other.translate(_URL_SAFE)


def _shown(bucket: Bucket) -> dict[str, Any]:
    return {"kind": "storage#policy", "resourceId": f"projects/_/buckets/{bucket.name}", **bucket.policy}


def _version(body: dict[str, Any]) -> int:
    version = body.get("version") or 1
    if version not in (1, 3) or isinstance(version, bool):
        raise ApiError(400, f"Invalid policy version: {str(version)[:100]!r}; expected 1 or 3", "invalid")
    return int(version)


def _bindings(listed: Any) -> list[dict[str, Any]]:
    good = isinstance(listed, list) and all(_is_binding(binding) for binding in listed)
    if not good:
        raise ApiError(400, "Invalid bindings: expected a list of {role, members}", "invalid")
    return [binding for binding in listed if binding.get("members")]


def _is_binding(binding: Any) -> bool:
    if not isinstance(binding, dict) or not isinstance(binding.get("role"), str):
        return False
    members = binding.get("members", [])
    return isinstance(members, list) and all(isinstance(member, str) and _is_member(member) for member in members)


def _is_member(member: str) -> bool:
    return ":" in member or member in ("allUsers", "allAuthenticatedUsers")
