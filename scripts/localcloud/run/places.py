"""What a request of v1 is about: the region, by its path or by the regional host that it was sent to; project, name."""

from __future__ import annotations

import re

from scripts.localcloud.context import REGION
from scripts.localcloud.run.store import Document, Store
from scripts.localcloud.web import ApiError, Request, Response

_NAME = r"([a-z]+-[a-z]+\d{1,2})"
_HOST = re.compile(rf"{_NAME}-run\.(?:googleapis\.com|gcp\.internal)|run\.{_NAME}\.rep\.googleapis\.com", re.ASCII)


def region(request: Request) -> str:
    """The region that a request names; "" where it names none."""
    if "location" in request.params:
        return request.params["location"]
    match = _HOST.fullmatch(request.headers.get("host", "").partition(":")[0].lower())
    return (match[1] or match[2]) if match is not None else ""


def elsewhere(request: Request) -> bool:
    """Whether a request is about another region than the stand-in's, where there is nothing."""
    return region(request) not in ("", "-", REGION)


def check(request: Request, project: str, kind: str) -> None:
    """Raise ApiError 404 for what is looked for in another region, 400 for what shall be made there."""
    if not elsewhere(request):
        return
    where = f"in region '{region(request)}' in project '{project}'"
    if "name" in request.params:
        raise ApiError(404, f"Resource '{request.params['name']}' of kind '{kind.upper()}' {where} does not exist.")
    text = f"A {kind} {where} cannot be made: the stand-in has the region {REGION} only."
    raise ApiError(400, text, status="FAILED_PRECONDITION")


def project(store: Store, request: Request, kind: str) -> str:
    """The project of a request about something of a kind. Raises as check() does."""
    found = store.project(request.params["namespace"])
    check(request, found, kind)
    return found


def listed(store: Store, request: Request, kind: str) -> list[Document]:
    """Everything of a kind in a request's project; nothing in another region."""
    if elsewhere(request):
        return []
    return [each for _, each in store.all(kind, project(store, request, kind))]


def need(store: Store, request: Request, kind: str) -> Document:
    """What a request names. Raises ApiError 404."""
    return store.need(kind, project(store, request, kind), request.params["name"])


def deleted(request: Request) -> Response:
    """The answer to the one who deletes what the request names."""
    return Response.of_json({"status": "Success", "details": {"name": request.params["name"]}})
