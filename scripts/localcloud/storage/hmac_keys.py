"""HMAC keys of service accounts: made, listed, switched off and deleted; no signature made with one is checked."""

from __future__ import annotations

import base64
import secrets
from typing import Any

from scripts.localcloud.storage.kept import Kept
from scripts.localcloud.storage.listing import page_size, truth
from scripts.localcloud.storage.store import Store
from scripts.localcloud.web import ApiError, Request, Response, Route

_ALL = "/storage/v1/projects/{project+}/hmacKeys"
_ONE = _ALL + "/{key}"
_STATES = ("ACTIVE", "INACTIVE")


class HmacKeys:
    """The routes of HMAC keys. A secret is told once and not kept."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept = Kept(store.context.db, "hmacKey")

    def routes(self) -> list[Route]:
        return [
            Route("GET", _ALL, self._list, "storage.projects.hmacKeys.list"),
            Route("POST", _ALL, self._create, "storage.projects.hmacKeys.create"),
            Route("GET", _ONE, self._get, "storage.projects.hmacKeys.get"),
            Route("PUT", _ONE, self._update, "storage.projects.hmacKeys.update"),
            Route("DELETE", _ONE, self._delete, "storage.projects.hmacKeys.delete"),
        ]

    async def _list(self, request: Request) -> Response:
        project, limit = request.params["project"], page_size(request.query)
        account, every = request.query.get("serviceAccountEmail", ""), truth(request.query.get("showDeletedKeys"))
        after = request.query.get("pageToken", "")
        found = [
            each
            for each in self._kept.all(project, after)
            if each["accessId"] > after
            and (not account or each["serviceAccountEmail"] == account)
            and (every or each["state"] != "DELETED")
        ]
        answer: dict[str, Any] = {"kind": "storage#hmacKeysMetadata"}
        if found:
            answer["items"] = [_shown(each, request) for each in found[:limit]]
        if len(found) > limit:
            answer["nextPageToken"] = found[limit - 1]["accessId"]
        return Response.of_json(answer)

    async def _create(self, request: Request) -> Response:
        await request.json_object()
        project, account = request.params["project"], request.query.get("serviceAccountEmail", "")
        if "@" not in account:
            raise ApiError(400, "Required parameter: serviceAccountEmail", "required")
        access, now = "GOOG1E" + base64.b32encode(secrets.token_bytes(35)).decode()[:55], self._store.context.now()
        document = {
            "kind": "storage#hmacKeyMetadata", "id": f"{project}/{access}", "accessId": access, "projectId": project,
            "serviceAccountEmail": account, "state": "ACTIVE", "timeCreated": now, "updated": now, "etag": _etag(),
        }  # fmt: skip
        self._kept.put(project, access, document)
        secret = base64.b64encode(secrets.token_bytes(30)).decode()
        return Response.of_json({"kind": "storage#hmacKey", "metadata": _shown(document, request), "secret": secret})

    async def _get(self, request: Request) -> Response:
        return Response.of_json(_shown(self._found(request), request))

    async def _update(self, request: Request) -> Response:
        body = await request.json_object()
        found = self._found(request)
        if body.get("etag") not in (None, "", found["etag"]):
            raise ApiError(412, "The key has changed since it was read.", "conditionNotMet")
        if found["state"] == "DELETED" or body.get("state") not in _STATES:
            raise ApiError(
                400, f"Invalid state {str(body.get('state'))[:50]!r}; expected ACTIVE or INACTIVE", "invalid"
            )
        changed = {**found, "state": body["state"], "updated": self._store.context.now(), "etag": _etag()}
        self._kept.put(found["projectId"], found["accessId"], changed)
        return Response.of_json(_shown(changed, request))

    async def _delete(self, request: Request) -> Response:
        found = self._found(request)
        if found["state"] != "INACTIVE":
            raise ApiError(400, f"Cannot delete a key in state {found['state']}; make it INACTIVE first.", "invalid")
        changed = {**found, "state": "DELETED", "updated": self._store.context.now(), "etag": _etag()}
        self._kept.put(found["projectId"], found["accessId"], changed)
        return Response(204)

    def _found(self, request: Request) -> dict[str, Any]:
        found = self._kept.find(request.params["project"], request.params["key"])
        if found is None:
            raise ApiError(404, f"Access ID not found in project {request.params['project']}.", "notFound")
        return found


def _shown(document: dict[str, Any], request: Request) -> dict[str, Any]:
    project, access = document["projectId"], document["accessId"]
    return {**document, "selfLink": f"{request.base_url}/storage/v1/projects/{project}/hmacKeys/{access}"}


def _etag() -> str:
    return base64.b64encode(secrets.token_bytes(6)).decode()
