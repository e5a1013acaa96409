"""IAM policies of any resource: kept and given back with an etag; who may do what is not enforced.

A change that names another etag than the current one is refused with 409 ABORTED, as Google's APIs do.
"""

from __future__ import annotations

import json
import re
import secrets
from base64 import b64encode
from collections.abc import Callable
from typing import Any

from scripts.localcloud import schema
from scripts.localcloud.context import Database
from scripts.localcloud.web import ApiError, Request, Response, Route

_TABLE = "CREATE TABLE IF NOT EXISTS admin_policies (name TEXT PRIMARY KEY, policy TEXT NOT NULL);"
_MEMBER = re.compile(
    r"(user|serviceAccount|group|domain|principal|principalSet|projectOwner|projectEditor|projectViewer|deleted):\S+"
    r"|allUsers|allAuthenticatedUsers"
)
_ROLE = re.compile(r"(roles|projects/[^/]+/roles|organizations/[^/]+/roles)/[\w.]+", re.ASCII)
_UNSET_ETAG = "ACAB"
# An etag is bytes: gcloud gives it back in the other of base64's two alphabets.
_URL_SAFE = str.maketrans("+/", "-_")


class Policies:
    """Policies by the full name of their resource."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._db.script(_TABLE)

    def routes(self, path: str, ids: str, name_of: Callable[[Request], str], read: str = "GET") -> list[Route]:
        """Read, write and test the policy of the resources at a path; read is the HTTP method of the first.

        ids: their place in Google's method ids. name_of tells the full name, or raises ApiError 404.
        """

        async def get(request: Request) -> Response:
            return Response.of_json(self._read(name_of(request)))

        async def replace(request: Request) -> Response:
            return await self._replace(name_of(request), request)

        async def test(request: Request) -> Response:
            name_of(request)
            return await _test(request)

        return [
            Route(read, f"{path}:getIamPolicy", get, f"{ids}.getIamPolicy"),
            Route("POST", f"{path}:setIamPolicy", replace, f"{ids}.setIamPolicy"),
            Route("POST", f"{path}:testIamPermissions", test, f"{ids}.testIamPermissions"),
        ]

    async def _replace(self, name: str, request: Request) -> Response:
        """An empty policy counts where none was set. Raises ApiError 400, 409."""
        body = schema.without_nulls(await request.json_object())
        schema.check("cloudresourcemanager.v1", "SetIamPolicyRequest", body, "request")
        given = body.get("policy")
        if given is None:
            raise ApiError(400, "policy: required.")
        old = self._read(name)
        if given.get("etag") and given["etag"].translate(_URL_SAFE) != old["etag"].translate(_URL_SAFE):
            text = "There were concurrent policy changes. Please retry the whole read-modify-write."
            raise ApiError(409, text, status="ABORTED")
        bindings = [_binding(each, index) for index, each in enumerate(given.get("bindings") or [])]
        policy: dict[str, Any] = {
            "version": _version(given, bindings),
            "etag": b64encode(secrets.token_bytes(8)).decode(),
        }
        if kept := [each for each in bindings if each["members"]]:
            policy["bindings"] = kept
        if "auditConfigs" in given:
            policy["auditConfigs"] = given["auditConfigs"]
        self._db.run("INSERT OR REPLACE INTO admin_policies (name, policy) VALUES (?, ?)", name, json.dumps(policy))
        return Response.of_json(policy)

    def forget(self, name: str) -> None:
        """The resource is gone, with all that lie under it."""
        self._db.run(
            "DELETE FROM admin_policies WHERE name = ? OR substr(name, 1, ?) = ?", name, len(name) + 1, f"{name}/"
        )

    def _read(self, name: str) -> dict[str, Any]:
        row = self._db.row("SELECT policy FROM admin_policies WHERE name = ?", name)
        return json.loads(row["policy"]) if row else {"version": 1, "etag": _UNSET_ETAG}


async def _test(request: Request) -> Response:
    """Everything that is asked for is allowed. Raises ApiError 400."""
    asked = (await request.json_object()).get("permissions") or []
    if not isinstance(asked, list) or not all(isinstance(each, str) and "*" not in each for each in asked):
        raise ApiError(400, "permissions: expected a list of names without wildcards.")
    return Response.of_json({"permissions": asked} if asked else {})


def _version(given: dict[str, Any], bindings: list[dict[str, Any]]) -> int:
    version = int(given.get("version") or 1)
    if version not in (1, 3):
        raise ApiError(400, f"policy.version: expected 1 or 3, found {version}.")
    if version == 1 and any("condition" in each for each in bindings):
        raise ApiError(400, "policy.version: must be 3 for a policy with conditions.")
    return version


def _binding(given: dict[str, Any], index: int) -> dict[str, Any]:
    role, members = given.get("role", ""), given.get("members") or []
    if _ROLE.fullmatch(role) is None:
        raise ApiError(400, f"policy.bindings[{index}].role: expected roles/NAME, found {role[:200]!r}.")
    for member in members:
        if _MEMBER.fullmatch(member) is None:
            text = f"policy.bindings[{index}].members: expected TYPE:ID such as user:EMAIL, found {member[:200]!r}."
            raise ApiError(400, text)
    return {**given, "members": sorted(set(members))}
