"""What gcloud asks Cloud Run under /v1/projects/P/locations/R: lists over all regions, and IAM policies.

The policies are kept and given back with an etag; who may call what is not enforced.
"""

from __future__ import annotations

from scripts.localcloud.admin.policies import Policies
from scripts.localcloud.context import REGION, Context
from scripts.localcloud.run.store import RUN, SERVING, Store, page
from scripts.localcloud.web import ApiError, Request, Response, Route

_PLACE = "/v1/projects/{project}/locations/{location}"
_IDS = "run.projects.locations"
_KINDS = {"services": ("service", "ServiceList", SERVING), "jobs": ("job", "JobList", RUN)}


class Regions:
    """Routes of the second form in which Cloud Run v1 names services and jobs."""

    def __init__(self, context: Context, store: Store) -> None:
        self._store = store
        self._policies = Policies(context.db)

    def routes(self) -> list[Route]:
        """Routes of this form. A list of jobs is none of them: that path is Cloud Scheduler's."""
        return [
            Route("GET", f"{_PLACE}/services", self._list, f"{_IDS}.services.list"),
            *(
                Route("GET", f"{_PLACE}/{kind}/{{name}}:getIamPolicy", self._get, f"{_IDS}.{kind}.getIamPolicy")
                for kind in _KINDS
            ),
            *(
                Route("POST", f"{_PLACE}/{kind}/{{name}}:setIamPolicy", self._set, f"{_IDS}.{kind}.setIamPolicy")
                for kind in _KINDS
            ),
            *(
                Route(
                    "POST",
                    f"{_PLACE}/{kind}/{{name}}:testIamPermissions",
                    self._test,
                    f"{_IDS}.{kind}.testIamPermissions",
                )
                for kind in _KINDS
            ),
        ]

    async def _list(self, request: Request) -> Response:
        kind, title, api = _KINDS["services"]
        here = request.params["location"] in ("-", REGION)
        project = self._store.project(request.params["project"])
        found = [each for _, each in self._store.all(kind, project)] if here else []
        return Response.of_json(page(title, api, found, request))

    async def _get(self, request: Request) -> Response:
        return self._policies.get(self._named(request))

    async def _set(self, request: Request) -> Response:
        return await self._policies.set(self._named(request), request)

    async def _test(self, request: Request) -> Response:
        self._named(request)
        return await self._policies.test(request)

    def _named(self, request: Request) -> str:
        """What the policy of a service or job is kept by: one made anew has another. Raises ApiError 404."""
        listed = request.raw_path.split("/")[6]
        project = self._store.project(request.params["project"])
        if request.params["location"] != REGION:
            raise ApiError(404, f"Location {request.params['location']!r} has no {listed} here; there is {REGION}.")
        found = self._store.need(_KINDS[listed][0], project, request.params["name"])
        return f"run/{listed}/{found['metadata']['uid']}"
