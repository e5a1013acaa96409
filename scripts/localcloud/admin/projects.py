"""Resource Manager: every well-formed project id is a project. Names, numbers and policies; nothing is created."""

from __future__ import annotations

import re
import zlib

from scripts.localcloud.admin.documents import Document, Documents, page
from scripts.localcloud.admin.policies import Policies
from scripts.localcloud.context import REGION, Context
from scripts.localcloud.web import ApiError, Request, Response, Route

KNOWN = "known/projects"  # those that anybody asked for
_ID = re.compile(r"[a-z][a-z0-9-]{2,28}[a-z0-9]", re.ASCII)
_LOCATIONS = (REGION, "europe-west3", "europe-west4", "us-central1", "us-east1", "global")


class Projects:
    """The routes of cloudresourcemanager.googleapis.com (v1 and v3), and the locations that many APIs list."""

    def __init__(self, context: Context, documents: Documents, policies: Policies) -> None:
        self._context = context
        self._documents = documents
        self._policies = policies

    def routes(self) -> list[Route]:
        routes = [
            Route("GET", "/v1/projects", self._list, "cloudresourcemanager.projects.list"),
            Route("GET", "/v3/projects:search", self._search, "cloudresourcemanager.projects.search"),
            Route("GET", "/v3/projects", self._search, "cloudresourcemanager.projects.list"),
            Route("GET", "/v1/projects/{project}", self._get_v1, "cloudresourcemanager.projects.get"),
            Route("GET", "/v3/projects/{project}", self._get_v3, "cloudresourcemanager.projects.get"),
            Route("GET", "/v1/projects/{project}/locations", self._locations, "run.projects.locations.list"),
            Route(
                "GET", "/v1/projects/{project}/locations/{location}", self._location, "cloudkms.projects.locations.get"
            ),
        ]
        ancestry = "cloudresourcemanager.projects.getAncestry"
        routes.append(Route("POST", "/v1/projects/{project}:getAncestry", self._ancestry, ancestry))
        for version in ("v1", "v3"):
            routes += self._policies.routes(
                f"/{version}/projects/{{project}}",
                "cloudresourcemanager.projects",
                lambda request: f"projects/{self._need(request)['projectId']}",
                "POST",
            )
        return routes

    def _need(self, request: Request) -> Document:
        """The project of an id, or of the number of one that was asked for before."""
        wanted = request.params["project"]
        for known in self._documents.children(KNOWN):
            if wanted in (known["projectId"], known["projectNumber"]):
                return known
        if _ID.fullmatch(wanted) is None:
            raise ApiError(403, f"The caller does not have permission, or project {wanted[:100]!r} does not exist.")
        number = str(100_000_000_000 + zlib.crc32(wanted.encode()))
        made = {"projectId": wanted, "projectNumber": number, "createTime": self._context.now()}
        return self._documents.save(f"{KNOWN}/{wanted}", made)

    async def _list(self, request: Request) -> Response:
        found = [_v1(each) for each in self._documents.children(KNOWN)]
        return Response.of_json(page(found, request, "projects"))

    async def _search(self, request: Request) -> Response:
        found = [_v3(each) for each in self._documents.children(KNOWN)]
        return Response.of_json(page(found, request, "projects"))

    async def _get_v1(self, request: Request) -> Response:
        return Response.of_json(_v1(self._need(request)))

    async def _get_v3(self, request: Request) -> Response:
        return Response.of_json(_v3(self._need(request)))

    async def _ancestry(self, request: Request) -> Response:
        """A project here is in no folder."""
        resource = {"type": "project", "id": self._need(request)["projectId"]}
        return Response.of_json({"ancestor": [{"resourceId": resource}]})

    async def _locations(self, request: Request) -> Response:
        found = [_place(request.params["project"], each) for each in _LOCATIONS]
        return Response.of_json(page(found, request, "locations"))

    async def _location(self, request: Request) -> Response:
        if request.params["location"] not in _LOCATIONS:
            raise ApiError(404, f"Location {request.params['location'][:100]!r} not found.")
        return Response.of_json(_place(request.params["project"], request.params["location"]))


def _place(project: str, location: str) -> Document:
    return {"name": f"projects/{project}/locations/{location}", "locationId": location}


def _v1(known: Document) -> Document:
    return {**known, "name": known["projectId"], "lifecycleState": "ACTIVE"}


def _v3(known: Document) -> Document:
    return {
        "name": f"projects/{known['projectNumber']}",
        "projectId": known["projectId"],
        "displayName": known["projectId"],
        "state": "ACTIVE",
        "createTime": known["createTime"],
        "updateTime": known["createTime"],
        "etag": f'W/"{known["projectNumber"]}"',
    }
