"""IAM policies of buckets and objects: kept and given back with an etag; who may do what is not enforced."""

from __future__ import annotations

import secrets
from base64 import b64encode
from typing import Any

from scripts.localcloud.storage.access import refuse_public, refuse_uniform
from scripts.localcloud.storage.conditions import integer
from scripts.localcloud.storage.records import Bucket, Record
from scripts.localcloud.storage.store import Store
from scripts.localcloud.web import ApiError, Request, Response, Route

_URL_SAFE = str.maketrans("+/", "-_")
_IAM = "/storage/v1/b/{bucket}/iam"
_OBJECT_IAM = "/storage/v1/b/{bucket}/o/{object+}/iam"
# A field of an object that no list and no resource shows.
_POLICY = "_policy"


class Iam:
    """The policy routes of buckets and of objects."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[Route]:
        return [
            Route("GET", _IAM, self._get, "storage.buckets.getIamPolicy"),
            Route("PUT", _IAM, self._set, "storage.buckets.setIamPolicy"),
            Route("GET", _IAM + "/testPermissions", self._test, "storage.buckets.testIamPermissions"),
            Route("GET", _OBJECT_IAM, self._get_object, "storage.objects.getIamPolicy"),
            Route("PUT", _OBJECT_IAM, self._set_object, "storage.objects.setIamPolicy"),
            Route("GET", _OBJECT_IAM + "/testPermissions", self._test_object, "storage.objects.testIamPermissions"),
        ]

    async def _get(self, request: Request) -> Response:
        bucket = self._store.bucket(request.params["bucket"])
        version = integer(request.query, "optionsRequestedPolicyVersion")
        if version is not None and version < bucket.policy["version"]:
            text = f"The policy has conditions: ask for version {bucket.policy['version']}, not {version}."
            raise ApiError(400, text, "invalid")
        return policy_answer(f"projects/_/buckets/{bucket.name}", bucket.policy)

    async def _set(self, request: Request) -> Response:
        body = await request.json_object()
        bucket = self._store.bucket(request.params["bucket"])
        policy = changed_policy(bucket, bucket.policy, body)
        changed = self._store.change_bucket(bucket, policy=policy)
        return policy_answer(f"projects/_/buckets/{bucket.name}", changed.policy)

    async def _test(self, request: Request) -> Response:
        self._store.bucket(request.params["bucket"])
        return permissions_answer(request)

    async def _get_object(self, request: Request) -> Response:
        _, record = self._object(request)
        return policy_answer(_resource_id(record), _policy_of(record))

    async def _set_object(self, request: Request) -> Response:
        body = await request.json_object()
        bucket, record = self._object(request)
        policy = changed_policy(bucket, _policy_of(record), body)
        self._store.change(record, {**record.fields, _POLICY: policy})
        return policy_answer(_resource_id(record), policy)

    async def _test_object(self, request: Request) -> Response:
        self._object(request)
        return permissions_answer(request)

    def _object(self, request: Request) -> tuple[Bucket, Record]:
        bucket = self._store.bucket(request.params["bucket"])
        generation = integer(request.query, "generation")
        record = self._store.find(bucket.name, request.params["object"], generation)
        refuse_uniform(bucket, "use object-level IAM policies")
        return bucket, record


def changed_policy(bucket: Bucket, former: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """The policy of a request's body. Raises ApiError 400, or 412 (another etag; public access is prevented)."""
    expected = body.get("etag")
    if expected and not same_etag(expected, former["etag"]):
        text = "The policy has changed since it was read: read it again and repeat the change."
        raise ApiError(412, text, "conditionNotMet")
    version, bindings = _version(body), _bindings(body.get("bindings", []))
    if any(binding.get("condition") for binding in bindings):
        if version < 3:
            raise ApiError(400, "A policy with conditions must have version 3.", "invalid")
        if not bucket.uniform:
            text = "Conditions in policies need uniform bucket-level access, which is not enabled for the bucket."
            raise ApiError(412, text, "conditionNotMet")
    refuse_public(bucket, [member for binding in bindings for member in binding["members"]])
    return {"version": version, "etag": new_etag(), "bindings": bindings}


def policy_answer(resource_id: str, policy: dict[str, Any]) -> Response:
    """A policy as the API shows it."""
    return Response.of_json({"kind": "storage#policy", "resourceId": resource_id, **policy})


def permissions_answer(request: Request) -> Response:
    """Whoever asks may do all that is asked about. Raises ApiError 400 for what is no permission of storage."""
    asked = request.query_all.get("permissions", [])
    strange = [permission for permission in asked if not permission.startswith("storage.")]
    if strange or not asked:
        raise ApiError(400, f"Invalid permissions: {strange or 'none given'}", "invalid")
    return Response.of_json({"kind": "storage#testIamPermissionsResponse", "permissions": asked})


def _resource_id(record: Record) -> str:
    return f"projects/_/buckets/{record.bucket}/objects/{record.name}#{record.generation}"


def _policy_of(record: Record) -> dict[str, Any]:
    kept: dict[str, Any] | None = record.fields.get(_POLICY)
    return kept or {"version": 1, "etag": b64encode(str(record.generation).encode()).decode(), "bindings": []}


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
