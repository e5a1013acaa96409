"""metricDescriptors and monitoredResourceDescriptors of Cloud Monitoring v3, and the resources of Cloud Logging v2."""

from __future__ import annotations

from typing import Any

from scripts.localcloud.admin.documents import page
from scripts.localcloud.monitoring import catalog
from scripts.localcloud.monitoring.log_metrics import LogMetrics
from scripts.localcloud.monitoring.queries import predicate_of
from scripts.localcloud.monitoring.series import Series
from scripts.localcloud.web import ApiError, Request, Response, Route

_PROJECT = "/v3/projects/{project}"
_IDS = "monitoring.projects"


class Descriptors:
    """Read-only: what there is, is described; own metrics cannot be made."""

    def __init__(self, metrics: LogMetrics) -> None:
        self._metrics = metrics

    def routes(self) -> list[Route]:
        metrics, resources = f"{_PROJECT}/metricDescriptors", f"{_PROJECT}/monitoredResourceDescriptors"
        return [
            Route("GET", metrics, self._list, f"{_IDS}.metricDescriptors.list"),
            Route("GET", f"{metrics}/{{type*}}", self._get, f"{_IDS}.metricDescriptors.get"),
            Route("GET", resources, self._resources, f"{_IDS}.monitoredResourceDescriptors.list"),
            Route("GET", f"{resources}/{{type}}", self._resource, f"{_IDS}.monitoredResourceDescriptors.get"),
            Route("GET", "/v2/monitoredResourceDescriptors", self._bare, "logging.monitoredResourceDescriptors.list"),
        ]

    async def _list(self, request: Request) -> Response:
        found, text = self._all(request.params["project"]), request.query.get("filter", "")
        if text:
            wanted = predicate_of(text, "filter")
            found = [each for each in found if wanted(_stub(each))]
        return Response.of_json(page(found, request, "metricDescriptors", most=1000))

    async def _get(self, request: Request) -> Response:
        wanted = request.params["type"]
        for each in self._all(request.params["project"]):
            if each["type"] == wanted:
                return Response.of_json(each)
        raise ApiError(404, f"Could not find descriptor for metric '{wanted[:200]}'.")

    async def _resources(self, request: Request) -> Response:
        found = [_named(request.params["project"], each) for each in catalog.resources()]
        return Response.of_json(page(found, request, "resourceDescriptors", most=1000))

    async def _resource(self, request: Request) -> Response:
        for each in catalog.resources():
            if each["type"] == request.params["type"]:
                return Response.of_json(_named(request.params["project"], each))
        raise ApiError(404, f"Could not find descriptor for resource '{request.params['type'][:200]}'.")

    async def _bare(self, request: Request) -> Response:
        return Response.of_json(page(catalog.resources(), request, "resourceDescriptors", most=1000))

    def _all(self, project: str) -> list[dict[str, Any]]:
        known = [catalog.metric(project, each) for each in catalog.types()]
        return [each for each in known if each is not None] + self._metrics.descriptors(project)


def _named(project: str, resource: dict[str, Any]) -> dict[str, Any]:
    return {"name": f"projects/{project}/monitoredResourceDescriptors/{resource['type']}", **resource}


def _stub(descriptor: dict[str, Any]) -> Series:
    """What a filter over metric.type can look at."""
    resources = descriptor.get("monitoredResourceTypes") or [""]
    return Series(descriptor["type"], {}, resources[0], {}, descriptor["metricKind"], descriptor["valueType"], ())
