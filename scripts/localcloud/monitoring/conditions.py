"""What a condition of an alert policy reads at a moment: a value a series, and whether it is beyond what is allowed.

A ratio divides by the series of the denominator with the same labels; a counter that was never counted is 0 above one
that was. A series is absent when it had a sample within a day before, and has had none for the duration.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.localcloud.monitoring import alignment, language
from scripts.localcloud.monitoring.distributions import Distribution
from scripts.localcloud.monitoring.policies import duration_s
from scripts.localcloud.monitoring.queries import Queries, aggregation_of
from scripts.localcloud.monitoring.series import DELTA, Aggregation, Series

_COMPARED: dict[str, Callable[[float, float], bool]] = {
    "COMPARISON_GT": operator.gt, "COMPARISON_GE": operator.ge, "COMPARISON_LT": operator.lt,
    "COMPARISON_LE": operator.le, "COMPARISON_EQ": operator.eq, "COMPARISON_NE": operator.ne,
}  # fmt: skip
# Without an aligner the newest sample counts, if it is not older than this.
_RECENT_S = 300.0


@dataclass(frozen=True)
class Reading:
    """One series now: its labels, its value (None for absence), and whether it violates the condition."""

    labels: dict[str, Any]
    value: float | None
    violated: bool


Readings = dict[str, Reading]


async def threshold(queries: Queries, project: str, given: Mapping[str, Any], now: float) -> Readings:
    """The readings of a MetricThreshold, by series."""
    values = await _latest(queries, project, given["filter"], aggregations(given.get("aggregations")), now)
    if "denominatorFilter" in given:
        wanted = aggregations(given.get("denominatorAggregations"))
        below = await _latest(queries, project, given["denominatorFilter"], wanted, now)
        values = {key: _ratio(values.get(key), each) for key, each in below.items() if each[1]}
    compared, limit = _COMPARED[given["comparison"]], float(given.get("thresholdValue") or 0.0)
    return {key: Reading(each.labels, value, compared(value, limit)) for key, (each, value) in values.items()}


async def absence(queries: Queries, project: str, given: Mapping[str, Any], now: float) -> Readings:
    """The readings of a MetricAbsence, by series or by the group that its reducer makes."""
    wanted, waited_s = aggregations(given.get("aggregations"))[-1], duration_s(given.get("duration"), "duration")
    found = await queries.find(project, language.parse(given["filter"]), now - waited_s, now)
    newest: dict[str, tuple[dict[str, Any], float]] = {}
    for each in found:
        labels = _labels(each)
        if wanted.reducer != "REDUCE_NONE":
            labels = {path: each.label(path) for path in wanted.group_by}
        key, last = _key(labels), each.samples[-1][0] if each.samples else 0.0
        if each.kind != DELTA:  # a gauge is sampled while it is there
            last = now
        newest[key] = (labels, max(last, newest.get(key, (labels, 0.0))[1]))
    return {key: Reading(labels, None, last <= now - waited_s) for key, (labels, last) in newest.items()}


@dataclass(frozen=True)
class _Labelled:
    labels: dict[str, Any]


async def _latest(
    queries: Queries, project: str, text: str, steps: Sequence[Aggregation], now: float
) -> dict[str, tuple[_Labelled, float]]:
    """The newest value of each series; a distribution has no value."""
    span_s = max(each.period_s for each in steps) or _RECENT_S
    found = await queries.find(project, language.parse(text), now - span_s, now, steps[0].period_s)
    fitting = [each for each in found if not alignment.problem(each, steps[0])]
    results = alignment.aggregated(fitting, steps[0], now - span_s, now)
    for step in steps[1:]:
        results = [each for each in results if not alignment.problem(each, step)]
        results = alignment.again(results, step, now - span_s, now)
    newest = ((_labels(each), each.samples[-1][1]) for each in results)
    return {_key(labels): (_Labelled(labels), value) for labels, value in newest if not isinstance(value, Distribution)}


def _ratio(above: tuple[_Labelled, float] | None, below: tuple[_Labelled, float]) -> tuple[_Labelled, float]:
    return (below[0], (above[1] if above else 0.0) / below[1])


def aggregations(given: Any) -> list[Aggregation]:
    """One or two steps. Raises ApiError 400."""
    return [aggregation_of(each, f"aggregations[{index}]") for index, each in enumerate(given or [{}])]


def _labels(found: Series) -> dict[str, Any]:
    return {"metric": dict(found.metric_labels), "resource": dict(found.resource_labels)}


def _key(labels: Mapping[str, Any]) -> str:
    return json.dumps(labels, sort_keys=True)
