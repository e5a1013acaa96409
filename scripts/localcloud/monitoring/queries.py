"""timeSeries.list of Cloud Monitoring v3, and the reading of a filter and aggregations for whoever evaluates them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from scripts.localcloud.admin.documents import page
from scripts.localcloud.context import Context
from scripts.localcloud.logging.times import to_nanoseconds
from scripts.localcloud.monitoring import alignment, catalog, language, series
from scripts.localcloud.monitoring.gauges import Gauges
from scripts.localcloud.monitoring.instances import Instances
from scripts.localcloud.monitoring.log_metrics import PREFIX, LogMetrics
from scripts.localcloud.monitoring.requests import Requests
from scripts.localcloud.monitoring.series import Aggregation, Series
from scripts.localcloud.web import ApiError, Request, Response, Route

_LONGEST_S = 42 * 86400.0
_MOST_WINDOWS = 100_000
_LARGEST_PAGE = 1000
_VIEWS = ("FULL", "HEADERS", "0", "1")
_VIEW_TYPE = "type.googleapis.com/google.monitoring.v3.ListTimeSeriesRequest.TimeSeriesView"


@dataclass(frozen=True)
class Sources:
    """Where series come from."""

    metrics: LogMetrics
    gauges: Gauges
    requests: Requests
    instances: Instances


class Queries:
    """The route, and find() for alert policies."""

    def __init__(self, context: Context, sources: Sources) -> None:
        self._context = context
        self._sources = sources

    def routes(self) -> list[Route]:
        return [Route("GET", "/v3/projects/{project}/timeSeries", self._list, "monitoring.projects.timeSeries.list")]

    async def find(
        self, project: str, wanted: language.Filter, start_s: float, end_s: float, period_s: float = 0.0
    ) -> list[Series]:
        """The series of a project that a filter matches, those too that had a sample within a day before the interval.

        The first window of period_s may begin before it; what counters had before that is not read but for the last.
        """
        whole_s = start_s - period_s
        since, types = start_s - alignment.LOOK_BACK_S, [wanted.metric] if wanted.metric else catalog.types()
        sources, found = self._sources, list[Series]()
        if not wanted.metric or wanted.metric.startswith("storage."):
            sources.gauges.sample(at_least_every_s=1.0)
            found += sources.gauges.series(project, since, end_s)
        if not wanted.metric or wanted.metric.startswith("run."):
            sources.instances.look()
            found += sources.instances.series(project, types, since, end_s)
            found += sources.requests.series(project, types, since, end_s, whole_s)
        if not wanted.metric or wanted.metric.startswith(PREFIX):
            found += await sources.metrics.series(project, since, end_s, wanted.metric.removeprefix(PREFIX), whole_s)
        return [each for each in found if wanted(each)]

    async def _list(self, request: Request) -> Response:
        predicate = predicate_of(text := request.query.get("filter", ""), "filter")
        if not predicate.metric:
            must = 'must specify a restriction on "metric.type" in the filter, of one type, e.g. metric.type = "TYPE".'
            raise ApiError(400, f"Field filter had an invalid value of {json.dumps(text[:500])}: {must}")
        if (view := request.query.get("view", "FULL")) not in _VIEWS:
            raise ApiError(400, f"Invalid value at 'view' ({_VIEW_TYPE}), {json.dumps(view[:100])}")
        wanted, second = _asked(request, "aggregation"), _asked(request, "secondaryAggregation")
        end_s = _time(request, "interval.endTime")
        start_s = _time(request, "interval.startTime") if request.query.get("interval.startTime") else end_s
        if not 0 <= end_s - start_s <= _LONGEST_S:
            raise ApiError(400, "interval: expected startTime before endTime, and at most 6 weeks between them.")
        for each in (wanted, second):
            if each.period_s and (end_s - start_s) / each.period_s > _MOST_WINDOWS:
                raise ApiError(400, f"aggregation.alignmentPeriod: more than {_MOST_WINDOWS} points a series.")
        found = await self.find(request.params["project"], predicate, start_s, end_s, wanted.period_s)
        _check(found, wanted, "aggregation")
        results = await asyncio.to_thread(alignment.aggregated, found, wanted, start_s, end_s)
        if second != Aggregation():
            _check(results, second, "secondaryAggregation")
            results = await asyncio.to_thread(alignment.again, results, second, start_s, end_s)
        bare = view in ("HEADERS", "1")
        period_s = second.period_s or wanted.period_s
        shown = [_shown(each, period_s, bare) for each in results]
        unit = catalog.unit(results[0].metric) if results else "1"
        return Response.of_json({**page(shown, request, "timeSeries", most=_LARGEST_PAGE), "unit": unit})


def predicate_of(text: Any, place: str) -> language.Filter:
    """Raises ApiError 400."""
    try:
        return language.parse(str(text or ""))
    except language.BadFilter as error:
        raise ApiError(400, f"{place}: {error}.") from None


def aggregation_of(given: dict[str, Any], place: str) -> Aggregation:
    """An Aggregation of the API, checked. Raises ApiError 400."""
    aligner = given.get("perSeriesAligner") or "ALIGN_NONE"
    reducer = given.get("crossSeriesReducer") or "REDUCE_NONE"
    for name, value, known in (
        ("perSeriesAligner", aligner, alignment.ALIGNERS),
        ("crossSeriesReducer", reducer, alignment.REDUCERS),
    ):
        if value not in known:
            raise ApiError(400, f"{place}.{name}: expected one of {', '.join(known)} (imitated here), found {value!r}.")
    text = str(given.get("alignmentPeriod") or "0s")
    number = text.removesuffix("s")
    if not (text.endswith("s") and number.replace(".", "", 1).isdigit() and number.isascii() and len(number) < 12):
        raise ApiError(400, f"{place}.alignmentPeriod: expected a duration such as 60s, found {text[:50]!r}.")
    period_s = float(number)
    if aligner != "ALIGN_NONE" and not 60 <= period_s <= 104 * 7 * 86400:
        raise ApiError(400, f"{place}.alignmentPeriod: expected at least 60s with {aligner}, found {text}.")
    if reducer != "REDUCE_NONE" and aligner == "ALIGN_NONE":
        raise ApiError(400, f"{place}.perSeriesAligner: required with {reducer}.")
    return Aggregation(period_s, aligner, reducer, tuple(given.get("groupByFields") or ()))


def time_text(at: float) -> str:
    """Seconds since the epoch as the API writes times."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _asked(request: Request, place: str) -> Aggregation:
    names = ("alignmentPeriod", "perSeriesAligner", "crossSeriesReducer")
    given: dict[str, Any] = {name: request.query.get(f"{place}.{name}") for name in names}
    given["groupByFields"] = request.query_all.get(f"{place}.groupByFields")
    return aggregation_of(given, place)


def _check(found: list[Series], wanted: Aggregation, place: str) -> None:
    for each in found:
        if problem := alignment.problem(each, wanted):
            raise ApiError(400, f"{place}: {problem}.")


def _time(request: Request, name: str) -> float:
    text = request.query.get(name, "")
    found = to_nanoseconds(text)
    if found is None:
        raise ApiError(400, f"{name}: expected an RFC 3339 time, found {text[:50]!r}.")
    return found / 1e9


def _shown(found: Series, period_s: float, bare: bool) -> dict[str, Any]:
    shown = series.written(found, period_s)
    for point in shown["points"]:
        point["interval"] = {key: time_text(at) for key, at in point["interval"].items()}
    if bare:
        del shown["points"]
    return shown
