"""Log-based metrics: projects.metrics of Cloud Logging v2, and the counts that they make of stored and new entries.

Entries are counted when somebody asks, from where the last count ended: writing logs costs nothing, a new or changed
metric counts the whole stored history, and what was counted outlives the entries.
"""

from __future__ import annotations

import asyncio
import re
from urllib.parse import quote

from scripts.localcloud.admin.documents import Document, Documents, body, page
from scripts.localcloud.context import Context
from scripts.localcloud.logging.filters import FilterError, parse
from scripts.localcloud.logging.room import LoggingRoom
from scripts.localcloud.monitoring import distributions, extractors
from scripts.localcloud.monitoring.log_counts import Counts
from scripts.localcloud.monitoring.points import Points
from scripts.localcloud.monitoring.series import Series
from scripts.localcloud.web import ApiError, Request, Response, Route

_API = "logging.v2"
_METRICS = "/v2/projects/{project}/metrics"
_NAME = re.compile(r"[A-Za-z0-9_\-.,+!*',()%/]{1,100}", re.ASCII)
# What a metric counts depends on these.
_COUNTED = ("filter", "labelExtractors", "valueExtractor", "bucketOptions")
PREFIX = "logging.googleapis.com/user/"


class LogMetrics:
    """The routes, and series() for who evaluates."""

    def __init__(self, context: Context, documents: Documents, points: Points, logging_room: LoggingRoom) -> None:
        self._context = context
        self._documents = documents
        self._counts = Counts(context.db, points, logging_room)
        self._counting = asyncio.Lock()

    def routes(self) -> list[Route]:
        return [
            Route("POST", _METRICS, self._create, "logging.projects.metrics.create"),
            Route("GET", _METRICS, self._list, "logging.projects.metrics.list"),
            Route("GET", f"{_METRICS}/{{metric+}}", self._get, "logging.projects.metrics.get"),
            Route("PUT", f"{_METRICS}/{{metric+}}", self._put, "logging.projects.metrics.update"),
            Route("DELETE", f"{_METRICS}/{{metric+}}", self._delete, "logging.projects.metrics.delete"),
        ]

    def descriptors(self, project: str) -> list[Document]:
        """The MetricDescriptors of a project's metrics."""
        return [
            {
                "name": f"projects/{project}/metricDescriptors/{each['metricDescriptor']['type']}",
                **each["metricDescriptor"],
            }
            for each in self._documents.children(f"projects/{project}/metrics")
        ]

    async def series(
        self, project: str, start_s: float, end_s: float, name: str = "", whole_s: float | None = None
    ) -> list[Series]:
        """What a project's metrics (or the one of this name) counted, by microsecond, start ≤ time < end.

        Before whole_s only the last moment of each series is read.
        """
        whole_s = start_s if whole_s is None else whole_s
        found: list[Series] = []
        async with self._counting:
            for metric in self._documents.children(f"projects/{project}/metrics"):
                if not metric.get("disabled") and name in ("", metric["name"]):
                    key, kind = key_of(project, metric["name"]), metric["metricDescriptor"]["type"]
                    await self._counts.catch_up(project, key, metric)
                    found += self._counts.read(project, key, kind, metric, start_s, end_s, whole_s)
        return found

    async def _create(self, request: Request) -> Response:
        made = self._checked(await body(request, _API, "LogMetric", "metric"))
        self._documents.create(key_of(request.params["project"], made["name"]), made, "Metric")
        return Response.of_json(made)

    async def _list(self, request: Request) -> Response:
        found = self._documents.children(f"projects/{request.params['project']}/metrics")
        return Response.of_json(page(found, request, "metrics"))

    async def _get(self, request: Request) -> Response:
        return Response.of_json(self._documents.need(key_of(**request.params), "Metric"))

    async def _put(self, request: Request) -> Response:
        """Replaces a metric, or makes it; a changed one counts history again."""
        given = await body(request, _API, "LogMetric", "metric")
        key, old = key_of(**request.params), self._documents.read(key_of(**request.params))
        made = self._checked({"name": request.params["metric"], **given})
        if made["name"] != request.params["metric"]:
            raise ApiError(400, f"metric.name: expected {request.params['metric']}, found {made['name']!r}.")
        if old is not None:
            made["createTime"] = old["createTime"]
            if any(old.get(part) != made.get(part) for part in _COUNTED):
                self._counts.forget(key)
        return Response.of_json(self._documents.save(key, made))

    async def _delete(self, request: Request) -> Response:
        key = key_of(**request.params)
        self._documents.need(key, "Metric")
        self._documents.delete(key)
        self._counts.forget(key)
        return Response.of_json({})

    def _checked(self, given: Document) -> Document:
        """A metric with Google's defaults. Raises ApiError 400."""
        name = given.get("name", "")
        if _NAME.fullmatch(name) is None or name.startswith("/"):
            raise ApiError(
                400, f"metric.name: expected up to 100 of A-Z a-z 0-9 and _-.,+!*',()%/, found {name[:200]!r}."
            )
        if not given.get("filter"):
            raise ApiError(400, "metric.filter: required.")
        descriptor = {"metricKind": "DELTA", "valueType": "INT64", "unit": "1", **(given.get("metricDescriptor") or {})}
        _check_expressions(given)
        _check_values(given, (descriptor["metricKind"], descriptor["valueType"]))
        declared = {label.get("key") for label in descriptor.get("labels") or []}
        if declared != set(given.get("labelExtractors") or {}):
            raise ApiError(400, "metric.labelExtractors: expected one for each label of metricDescriptor.labels.")
        now = self._context.now()
        descriptor["type"] = f"{PREFIX}{name}"
        return {**given, "name": name, "metricDescriptor": descriptor, "createTime": now, "updateTime": now}


def _check_expressions(given: Document) -> None:
    """Raises ApiError 400."""
    place = "filter"
    try:
        parse(given["filter"])
        for label, expression in (given.get("labelExtractors") or {}).items():
            place = f"labelExtractors.{label}"
            extractors.parse(expression)
        place = "valueExtractor"
        if "valueExtractor" in given:
            extractors.parse(given["valueExtractor"])
    except (FilterError, extractors.BadExtractor) as error:
        raise ApiError(400, f"metric.{place}: {error}") from None


def _check_values(given: Document, kinds: tuple[str, str]) -> None:
    """Counters count entries, distributions extract a value. Raises ApiError 400."""
    if kinds not in (("DELTA", "INT64"), ("DELTA", "DISTRIBUTION")):
        expected = "DELTA with INT64 or DISTRIBUTION"
        raise ApiError(400, f"metric.metricDescriptor: expected {expected}, found {' with '.join(kinds)}.")
    if (kinds[1] == "DISTRIBUTION") != ("valueExtractor" in given):
        raise ApiError(400, "metric.valueExtractor: expected for a DISTRIBUTION, and for nothing else.")
    if kinds[1] != "DISTRIBUTION" and "bucketOptions" in given:
        raise ApiError(400, "metric.bucketOptions: for a DISTRIBUTION only.")
    try:
        distributions.of_options(given.get("bucketOptions") or {})
    except distributions.BadBuckets as error:
        raise ApiError(400, f"metric.bucketOptions: {error}.") from None


def key_of(project: str, metric: str) -> str:
    return f"projects/{project}/metrics/{quote(metric, safe='')}"
