"""Service accounts of IAM: kept, with their policies; `-` stands for any project. Deleted ones can be restored."""

from __future__ import annotations

import re
import secrets
import zlib
from base64 import b64encode

from scripts.localcloud.admin.account_keys import AccountKeys
from scripts.localcloud.admin.documents import Document, Documents, body, masked, page
from scripts.localcloud.admin.policies import Policies
from scripts.localcloud.context import Context
from scripts.localcloud.web import ApiError, Request, Response, Route

_API = "iam.v1"
_ACCOUNTS = "/v1/projects/{project}/serviceAccounts"
_ACCOUNT = f"{_ACCOUNTS}/{{account}}"
_OP = "iam.projects.serviceAccounts"
_ID = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]", re.ASCII)
_DELETED = "deleted/serviceAccounts"
_CHOSEN = ("displayName", "description")


class Accounts:
    """The routes of iam.googleapis.com that are about service accounts."""

    def __init__(self, context: Context, documents: Documents, policies: Policies) -> None:
        self._documents = documents
        self._policies = policies
        self._keys = AccountKeys(context, documents, self._need)

    def routes(self) -> list[Route]:
        return [
            Route("POST", _ACCOUNTS, self._create, f"{_OP}.create"),
            Route("GET", _ACCOUNTS, self._list, f"{_OP}.list"),
            Route("GET", _ACCOUNT, self._get, f"{_OP}.get"),
            Route("PATCH", _ACCOUNT, self._patch, f"{_OP}.patch"),
            Route("PUT", _ACCOUNT, self._put, f"{_OP}.update"),
            Route("POST", f"{_ACCOUNT}:undelete", self._undelete, f"{_OP}.undelete"),
            Route("DELETE", _ACCOUNT, self._delete, f"{_OP}.delete"),
            Route("POST", f"{_ACCOUNT}:enable", self._enable, f"{_OP}.enable"),
            Route("POST", f"{_ACCOUNT}:disable", self._disable, f"{_OP}.disable"),
            *self._policies.routes(_ACCOUNT, _OP, lambda request: self._need(request)["name"], "POST"),
            *self._keys.routes(),
        ]

    def _need(self, request: Request) -> Document:
        """By email, or by unique id."""
        project, account = request.params["project"], request.params["account"]
        if project == "-":
            project = account.partition("@")[2].partition(".")[0]
        collection = f"projects/{project}/serviceAccounts"
        if account.isdigit():
            for each in self._documents.children(collection):
                if each["uniqueId"] == account:
                    return each
        return self._documents.need(f"{collection}/{account}", "Service account")

    async def _create(self, request: Request) -> Response:
        given = await body(request, _API, "CreateServiceAccountRequest", "request")
        project, account_id = request.params["project"], given.get("accountId", "")
        if _ID.fullmatch(account_id) is None:
            raise ApiError(400, f"accountId: expected 6 to 30 of a-z, 0-9 and -, found {account_id[:100]!r}.")
        email = f"{account_id}@{project}.iam.gserviceaccount.com"
        name = f"projects/{project}/serviceAccounts/{email}"
        unique = str(10**20 + int(secrets.token_hex(7), 16) * 100 + zlib.crc32(email.encode()) % 100)
        made: Document = {"name": name, "projectId": project, "uniqueId": unique, "email": email, "etag": _etag()}
        made |= {"oauth2ClientId": unique}
        made |= {key: value for key, value in (given.get("serviceAccount") or {}).items() if key in _CHOSEN}
        return Response.of_json(self._documents.create(name, made, "Service account"))

    async def _list(self, request: Request) -> Response:
        found = self._documents.children(f"projects/{request.params['project']}/serviceAccounts")
        return Response.of_json(page(found, request, "accounts"))

    async def _get(self, request: Request) -> Response:
        return Response.of_json(self._need(request))

    async def _patch(self, request: Request) -> Response:
        old, given = self._need(request), await body(request, _API, "PatchServiceAccountRequest", "request")
        new = masked(old, given.get("serviceAccount") or {}, given.get("updateMask", ""), _CHOSEN)
        return Response.of_json(self._documents.save(old["name"], {**new, "etag": _etag()}))

    async def _put(self, request: Request) -> Response:
        """The older form of an update: the names that the body has are replaced."""
        old, given = self._need(request), await body(request, _API, "ServiceAccount", "serviceAccount")
        chosen = {key: value for key, value in given.items() if key in _CHOSEN}
        return Response.of_json(self._documents.save(old["name"], {**old, **chosen, "etag": _etag()}))

    async def _undelete(self, request: Request) -> Response:
        """By unique id, as long as nobody took the name."""
        await body(request, _API, "UndeleteServiceAccountRequest", "request")
        unique = request.params["account"]
        gone = self._documents.read(f"{_DELETED}/{unique}")
        if gone is None:
            raise ApiError(404, f"Service account [{unique[:100]}] was not deleted, or never was.")
        restored = self._documents.create(gone["name"], gone, "Service account")
        self._documents.delete(f"{_DELETED}/{unique}")
        return Response.of_json({"restoredAccount": restored})

    async def _delete(self, request: Request) -> Response:
        account = self._need(request)
        name = account["name"]
        self._keys.forget(name)
        self._documents.save(f"{_DELETED}/{account['uniqueId']}", account)
        self._documents.delete(name)
        self._policies.forget(name)
        return Response.of_json({})

    async def _enable(self, request: Request) -> Response:
        account = self._need(request)
        account.pop("disabled", None)
        self._documents.save(account["name"], account)
        return Response.of_json({})

    async def _disable(self, request: Request) -> Response:
        account = self._need(request)
        self._documents.save(account["name"], {**account, "disabled": True})
        return Response.of_json({})


def _etag() -> str:
    return b64encode(secrets.token_bytes(9)).decode()
