"""Log-based metrics: projects.metrics of Cloud Logging v2, and the counts that they make of stored and new entries.

Entries are counted when somebody asks, from where the last count ended: writing logs costs nothing, a new or changed
metric counts the whole stored history, and what was counted outlives the entries.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any
from urllib.parse import quote

from scripts.localcloud.admin.documents import Document, Documents, body, page
from scripts.localcloud.context import Context, Database
from scripts.localcloud.logging.filters import FilterError, parse
from scripts.localcloud.monitoring import extractors
from scripts.localcloud.monitoring.series import DELTA, Series
from scripts.localcloud.web import ApiError, Request, Response, Route

_API = "logging.v2"
_METRICS = "/v2/projects/{project}/metrics"
_NAME = re.compile(r"[A-Za-z0-9_\-.,+!*',()%/]{1,100}", re.ASCII)
PREFIX = "logging.googleapis.com/user/"
_STEP = 500
_TABLES = """
CREATE TABLE IF NOT EXISTS log_metric_counts (
  metric TEXT NOT NULL, series TEXT NOT NULL, at INTEGER NOT NULL, count INTEGER NOT NULL,
  PRIMARY KEY (metric, series, at)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log_metric_progress (metric TEXT PRIMARY KEY, upto INTEGER NOT NULL);
"""


class LogMetrics:
    """The routes, and series() for who evaluates."""

    def __init__(self, context: Context, documents: Documents) -> None:
        self._context = context
        self._documents = documents
        self._counts = _Counts(context.db)
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

    async def series(self, project: str, start_s: float, end_s: float, name: str = "") -> list[Series]:
        """What a project's metrics (or the one of this name) counted, by microsecond, start ≤ time < end."""
        found: list[Series] = []
        async with self._counting:
            for metric in self._documents.children(f"projects/{project}/metrics"):
                if not metric.get("disabled") and name in ("", metric["name"]):
                    await self._counts.catch_up(project, metric)
                    found += self._counts.read(project, metric, start_s, end_s)
        return found

    async def _create(self, request: Request) -> Response:
        made = self._checked(await body(request, _API, "LogMetric", "metric"))
        self._documents.create(_key(request.params["project"], made["name"]), made, "Metric")
        return Response.of_json(made)

    async def _list(self, request: Request) -> Response:
        found = self._documents.children(f"projects/{request.params['project']}/metrics")
        return Response.of_json(page(found, request, "metrics"))

    async def _get(self, request: Request) -> Response:
        return Response.of_json(self._documents.need(_key(**request.params), "Metric"))

    async def _put(self, request: Request) -> Response:
        """Replaces a metric, or makes it; a changed one counts history again."""
        given = await body(request, _API, "LogMetric", "metric")
        key, old = _key(**request.params), self._documents.read(_key(**request.params))
        made = self._checked({"name": request.params["metric"], **given})
        if made["name"] != request.params["metric"]:
            raise ApiError(400, f"metric.name: expected {request.params['metric']}, found {made['name']!r}.")
        if old is not None:
            made["createTime"] = old["createTime"]
            if any(old.get(part) != made.get(part) for part in ("filter", "labelExtractors")):
                self._counts.forget(key)
        return Response.of_json(self._documents.save(key, made))

    async def _delete(self, request: Request) -> Response:
        key = _key(**request.params)
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
        try:
            parse(given["filter"])
            for expression in (given.get("labelExtractors") or {}).values():
                extractors.parse(expression)
        except FilterError as error:
            raise ApiError(400, f"metric.filter: {error}") from None
        except extractors.BadExtractor as error:
            raise ApiError(400, f"metric.labelExtractors: {error}") from None
        descriptor = given.get("metricDescriptor") or {}
        kinds = (descriptor.get("metricKind", "DELTA"), descriptor.get("valueType", "INT64"))
        if kinds != ("DELTA", "INT64") or "valueExtractor" in given:
            raise ApiError(
                400, f"metric.metricDescriptor: the stand-in imitates counters only (DELTA INT64), not {kinds}."
            )
        declared = {label.get("key") for label in descriptor.get("labels") or []}
        if declared != set(given.get("labelExtractors") or {}):
            raise ApiError(400, "metric.labelExtractors: expected one for each label of metricDescriptor.labels.")
        now = self._context.now()
        descriptor = {"metricKind": "DELTA", "valueType": "INT64", "unit": "1", **descriptor}
        descriptor["type"] = f"{PREFIX}{name}"
        return {**given, "name": name, "metricDescriptor": descriptor, "createTime": now, "updateTime": now}


class _Counts:
    """What was counted: per metric, series (labels and resource as JSON) and microsecond."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._db.script(_TABLES)

    async def catch_up(self, project: str, metric: Document) -> None:
        """Count the entries that were stored since the last time."""
        key, wanted = _key(project, metric["name"]), parse(metric["filter"])
        labels = {name: extractors.parse(text) for name, text in (metric.get("labelExtractors") or {}).items()}
        while True:
            row = self._db.row("SELECT upto FROM log_metric_progress WHERE metric = ?", key)
            rows = self._db.rows(
                "SELECT id, at, entry FROM log_entries WHERE id > ? AND parent = ? ORDER BY id LIMIT ?",
                row["upto"] if row else 0, f"projects/{project}", _STEP,
            )  # fmt: skip
            if not rows:
                return
            with self._db.transaction():
                for each in rows:
                    entry = json.loads(each["entry"])
                    if wanted.matches(entry):
                        self._add(
                            key, [{name: read(entry) for name, read in labels.items()}, _resource(entry)], each["at"]
                        )
                self._db.run("INSERT OR REPLACE INTO log_metric_progress VALUES (?, ?)", key, rows[-1]["id"])
            await asyncio.sleep(0)  # other requests have their turn while history is counted

    def _add(self, key: str, series: list[Any], at_ns: int) -> None:
        self._db.run(
            "INSERT INTO log_metric_counts VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET count = count + 1",
            key, json.dumps(series, sort_keys=True), at_ns // 1000,
        )  # fmt: skip

    def read(self, project: str, metric: Document, start_s: float, end_s: float) -> list[Series]:
        """The series that have counts in start ≤ time < end."""
        rows = self._db.rows(
            "SELECT series, at, count FROM log_metric_counts WHERE metric = ? AND at >= ? AND at < ?"
            " ORDER BY series, at",
            _key(project, metric["name"]), int(start_s * 1e6), end_s * 1e6,
        )  # fmt: skip
        samples: dict[str, list[tuple[float, float]]] = {}
        for row in rows:
            samples.setdefault(row["series"], []).append((row["at"] / 1e6, float(row["count"])))
        found = []
        for text, each in samples.items():
            labels, resource = json.loads(text)
            found.append(
                Series(
                    f"{PREFIX}{metric['name']}",
                    labels,
                    resource["type"],
                    resource["labels"],
                    DELTA,
                    "INT64",
                    tuple(each),
                )
            )
        return found

    def forget(self, key: str) -> None:
        """Start again from the first entry."""
        with self._db.transaction():
            self._db.run("DELETE FROM log_metric_counts WHERE metric = ?", key)
            self._db.run("DELETE FROM log_metric_progress WHERE metric = ?", key)


def _resource(entry: Document) -> Document:
    resource = entry.get("resource") or {}
    return {"type": resource.get("type", "global"), "labels": resource.get("labels") or {}}


def _key(project: str, metric: str) -> str:
    return f"projects/{project}/metrics/{quote(metric, safe='')}"
