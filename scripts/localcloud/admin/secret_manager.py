"""Secret Manager: secrets and their versions; payloads lie in a Vault. `latest` is the newest version, as at Google."""

from __future__ import annotations

import base64
import binascii
import secrets

import google_crc32c

from scripts.localcloud.admin.documents import Document, Documents, body, masked, new_id, page
from scripts.localcloud.admin.policies import Policies
from scripts.localcloud.admin.vault import Vault
from scripts.localcloud.context import Context
from scripts.localcloud.web import ApiError, Request, Response, Route

_API = "secretmanager.v1"
_SECRETS = "/v1/projects/{project}/secrets"
_SECRET = f"{_SECRETS}/{{secret}}"
_VERSION = f"{_SECRET}/versions/{{version}}"
_OP = "secretmanager.projects.secrets"
_ID = r"[A-Za-z0-9_-]{1,255}"
_CHOSEN = ("replication", "labels", "annotations", "topics", "expireTime", "rotation", "versionAliases", "ttl")
_LARGEST_BYTES = 64 << 10


class SecretManager:
    """The routes of secretmanager.googleapis.com."""

    def __init__(self, context: Context, documents: Documents, policies: Policies) -> None:
        self._context = context
        self._documents = documents
        self._policies = policies
        self._vault = Vault(context.folder("secrets"))

    def routes(self) -> list[Route]:
        return [
            Route("POST", _SECRETS, self._create, f"{_OP}.create"),
            Route("GET", _SECRETS, self._list, f"{_OP}.list"),
            Route("GET", _SECRET, self._get, f"{_OP}.get"),
            Route("PATCH", _SECRET, self._patch, f"{_OP}.patch"),
            Route("DELETE", _SECRET, self._delete, f"{_OP}.delete"),
            Route("POST", f"{_SECRET}:addVersion", self._add, f"{_OP}.addVersion"),
            Route("GET", f"{_SECRET}/versions", self._versions, f"{_OP}.versions.list"),
            Route("GET", _VERSION, self._version, f"{_OP}.versions.get"),
            Route("GET", f"{_VERSION}:access", self._access, f"{_OP}.versions.access"),
            Route("POST", f"{_VERSION}:enable", self._enable, f"{_OP}.versions.enable"),
            Route("POST", f"{_VERSION}:disable", self._disable, f"{_OP}.versions.disable"),
            Route("POST", f"{_VERSION}:destroy", self._destroy, f"{_OP}.versions.destroy"),
            *self._policies.routes(_SECRET, _OP, lambda request: self._need(request)["name"]),
        ]

    def _need(self, request: Request) -> Document:
        name = f"projects/{request.params['project']}/secrets/{request.params['secret']}"
        return self._documents.need(name, "Secret")

    async def _create(self, request: Request) -> Response:
        given = await body(request, _API, "Secret", "secret")
        name = f"projects/{request.params['project']}/secrets/{new_id(request, 'secretId', _ID)}"
        if not given.get("replication"):
            raise ApiError(400, "secret.replication: required, e.g. {automatic: {}}.")
        made = {key: given[key] for key in _CHOSEN if key in given}
        made |= {"name": name, "createTime": self._context.now(), "etag": _etag()}
        return Response.of_json(_shown(self._documents.create(name, {**made, "next": 1}, "Secret")))

    async def _list(self, request: Request) -> Response:
        found = [_shown(each) for each in self._documents.children(f"projects/{request.params['project']}/secrets")]
        return Response.of_json(page(found, request, "secrets", total=True))

    async def _get(self, request: Request) -> Response:
        return Response.of_json(_shown(self._need(request)))

    async def _patch(self, request: Request) -> Response:
        old, given = self._need(request), await body(request, _API, "Secret", "secret")
        if given.get("etag", old["etag"]) != old["etag"]:
            raise _not_ready(f"{old['name']} has changed: expected the etag {old['etag']}")
        new = masked(old, given, request.query.get("updateMask", ""), _CHOSEN)
        return Response.of_json(_shown(self._documents.save(old["name"], {**new, "etag": _etag()})))

    async def _delete(self, request: Request) -> Response:
        name = self._need(request)["name"]
        for version in self._documents.children(f"{name}/versions"):
            self._vault.remove(version["name"])
        self._documents.delete(name)
        self._policies.forget(name)
        return Response.of_json({})

    async def _add(self, request: Request) -> Response:
        secret, given = self._need(request), await body(request, _API, "AddSecretVersionRequest", "request")
        payload = given.get("payload") or {}
        try:
            data = base64.b64decode(payload.get("data", ""), validate=True)
        except (binascii.Error, ValueError):
            raise ApiError(400, "payload.data: expected base64.") from None
        if "data" not in payload or len(data) > _LARGEST_BYTES:
            raise ApiError(400, f"payload.data: expected up to {_LARGEST_BYTES} bytes, found {len(data)}.")
        if "dataCrc32c" in payload and str(payload["dataCrc32c"]) != _crc32c(data):
            raise ApiError(400, "payload.data_crc32c: does not match payload.data.")
        name = f"{secret['name']}/versions/{secret['next']}"
        self._vault.write(name, data)
        self._documents.save(secret["name"], {**secret, "next": secret["next"] + 1})
        made: Document = {"name": name, "createTime": self._context.now(), "state": "ENABLED", "etag": _etag()}
        made["replicationStatus"] = {"automatic": {}}
        if "dataCrc32c" in payload:
            made["clientSpecifiedPayloadChecksum"] = True
        return Response.of_json(self._documents.save(name, made))

    def _found(self, request: Request) -> Document:
        secret, wanted = self._need(request), request.params["version"]
        if wanted == "latest":
            wanted = str(secret["next"] - 1)
        elif not wanted.isdigit():
            wanted = str((secret.get("versionAliases") or {}).get(wanted, wanted))
        return self._documents.need(f"{secret['name']}/versions/{wanted}", "Secret Version")

    async def _versions(self, request: Request) -> Response:
        """The newest first."""
        found = self._documents.children(f"{self._need(request)['name']}/versions")
        found.sort(key=lambda each: -int(each["name"].rpartition("/")[2]))
        state = request.query.get("filter", "").lower().replace(" ", "").removeprefix("state:").removeprefix("state=")
        if state:
            found = [each for each in found if each["state"].lower() == state]
        return Response.of_json(page(found, request, "versions", total=True))

    async def _version(self, request: Request) -> Response:
        return Response.of_json(self._found(request))

    async def _access(self, request: Request) -> Response:
        version = self._found(request)
        if version["state"] != "ENABLED":
            raise _not_ready(f"Secret Version [{version['name']}] is in {version['state']} state.")
        data = self._vault.read(version["name"])
        payload = {"data": base64.b64encode(data).decode(), "dataCrc32c": _crc32c(data)}
        return Response.of_json({"name": version["name"], "payload": payload})

    async def _enable(self, request: Request) -> Response:
        return self._moved(request, "ENABLED")

    async def _disable(self, request: Request) -> Response:
        return self._moved(request, "DISABLED")

    async def _destroy(self, request: Request) -> Response:
        return self._moved(request, "DESTROYED")

    def _moved(self, request: Request, state: str) -> Response:
        version = self._found(request)
        if version["state"] == "DESTROYED":
            raise _not_ready(f"Secret Version [{version['name']}] is in DESTROYED state.")
        changed = {**version, "state": state, "etag": _etag()}
        if state == "DESTROYED":
            self._vault.remove(version["name"])
            changed["destroyTime"] = self._context.now()
        return Response.of_json(self._documents.save(version["name"], changed))


def _shown(secret: Document) -> Document:
    return {key: value for key, value in secret.items() if key != "next"}


def _etag() -> str:
    return f'"{secrets.token_hex(7)}"'


def _crc32c(data: bytes) -> str:
    return str(google_crc32c.value(data))


def _not_ready(message: str) -> ApiError:
    return ApiError(400, message, status="FAILED_PRECONDITION")
