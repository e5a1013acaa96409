"""IAM policies of Cloud Run's services and jobs under /v1|v2/projects/P/locations/R.

They are kept and given back with an etag; who may call what is not enforced.
"""

from __future__ import annotations

from scripts.localcloud.admin.policies import Policies
from scripts.localcloud.context import Context
from scripts.localcloud.run import places
from scripts.localcloud.run.store import Store
from scripts.localcloud.web import Request, Route

_PLACES = ("/v1/projects/{project}/locations/{location}", "/v2/projects/{project}/locations/{location}")
_IDS = "run.projects.locations"
_KINDS = {"services": "service", "jobs": "job"}


class Regions:
    """Policies of services and jobs, at the same place of both versions of the API."""

    def __init__(self, context: Context, store: Store) -> None:
        self._store = store
        self._policies = Policies(context.db)

    def routes(self) -> list[Route]:
        """Get, set and test."""
        resources = [(f"{place}/{kind}/{{name}}", f"{_IDS}.{kind}") for place in _PLACES for kind in _KINDS]
        return [each for path, ids in resources for each in self._policies.routes(path, ids, self._named)]

    def _named(self, request: Request) -> str:
        """What the policy of a service or job is kept by: one made anew has another. Raises ApiError 404."""
        listed = request.raw_path.split("/")[6]
        kind, project = _KINDS[listed], self._store.project(request.params["project"])
        places.check(request, project, kind)
        found = self._store.need(kind, project, request.params["name"])
        return f"run/{listed}/{found['metadata']['uid']}"
