"""Time series as Cloud Monitoring defines them: aligned to windows, then reduced over groups. Pure functions.

A window covers (end - period, end], counted back from the end of the interval, so the newest comes first. A counter is
zero in a window without a count, from its first count on for a day after its last: so a ratio of counters has a value.
A gauge keeps its last value until the next. Source: Aggregation in the reference of Cloud Monitoring v3.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

DELTA, GAUGE = "DELTA", "GAUGE"
# Samples from this long before an interval are read too: they keep counters at zero and gauges at their value.
LOOK_BACK_S = 86400.0
_POINT_S = 60.0
Sample = tuple[float, float]
Values = Sequence[float]


@dataclass(frozen=True)
class Series:
    """Samples (seconds since the epoch, value) by time; labels tell it from others."""

    metric: str
    metric_labels: Mapping[str, str]
    resource: str
    resource_labels: Mapping[str, str]
    kind: str
    value_type: str
    samples: tuple[Sample, ...]

    def label(self, path: str) -> str | None:
        """The value of metric.labels.X, metric.label.X, resource.labels.X, metric.type or resource.type."""
        holder, _, rest = path.partition(".")
        name = rest.removeprefix("labels.").removeprefix("label.")
        if holder not in ("metric", "resource"):
            return None
        if rest == "type":
            return self.metric if holder == "metric" else self.resource
        labels = self.metric_labels if holder == "metric" else self.resource_labels
        return labels.get(name.strip('"'))


@dataclass(frozen=True)
class Aggregation:
    """How to align and reduce; period_s 0 leaves samples as they are."""

    period_s: float = 0.0
    aligner: str = "ALIGN_NONE"
    reducer: str = "REDUCE_NONE"
    group_by: tuple[str, ...] = field(default=())


def _mean(values: Values) -> float:
    return sum(values) / len(values)


_OVER: dict[str, Callable[[Values], float]] = {
    "SUM": math.fsum, "MEAN": _mean, "MIN": min, "MAX": max, "COUNT": len, "NEXT_OLDER": lambda values: values[-1],
}  # fmt: skip
ALIGNERS = ("ALIGN_NONE", "ALIGN_DELTA", "ALIGN_RATE", *(f"ALIGN_{name}" for name in _OVER))
REDUCERS = ("REDUCE_NONE", *(f"REDUCE_{name}" for name in _OVER if name != "NEXT_OLDER"))


def problem(series: Series, wanted: Aggregation) -> str:
    """Why a series cannot be aligned so; "" when it can."""
    if wanted.aligner in ("ALIGN_DELTA", "ALIGN_RATE") and series.kind != DELTA:
        return (
            f"{wanted.aligner} cannot be applied to metrics with kind {series.kind} and value type {series.value_type}"
        )
    return ""


def aggregated(found: Iterable[Series], wanted: Aggregation, start_s: float, end_s: float) -> list[Series]:
    """Aligned and reduced series with samples at window ends; those without any are left out."""
    if wanted.aligner == "ALIGN_NONE":
        aligned = [_by_minute(each, start_s, end_s) for each in found]
    else:
        aligned = [_aligned(each, wanted, start_s, end_s) for each in found]
    aligned = [each for each in aligned if each.samples]
    return aligned if wanted.reducer == "REDUCE_NONE" else _reduced(aligned, wanted)


def _by_minute(series: Series, start_s: float, end_s: float) -> Series:
    """Counters as they are written: one point a minute. Gauges as sampled."""
    inside = [(at, value) for at, value in series.samples if start_s <= at <= end_s]
    if series.kind != DELTA:
        return replace(series, samples=tuple(inside))
    minutes: dict[float, float] = {}
    for at, value in inside:
        end = min((at // _POINT_S + 1) * _POINT_S, end_s)
        minutes[end] = minutes.get(end, 0.0) + value
    return replace(series, samples=tuple(sorted(minutes.items())))


def _aligned(series: Series, wanted: Aggregation, start_s: float, end_s: float) -> Series:
    name = wanted.aligner.removeprefix("ALIGN_")
    samples: list[Sample] = []
    windows = max(1, math.ceil((end_s - start_s) / wanted.period_s - 1e-9))
    for number in range(windows - 1, -1, -1):
        end = end_s - number * wanted.period_s
        value = (_count if series.kind == DELTA else _level)(series, name, end - wanted.period_s, end)
        if value is not None:
            samples.append((end, value))
    delta, whole = name == "DELTA", name == "COUNT" or (name not in ("RATE", "MEAN") and series.value_type == "INT64")
    return replace(
        series, kind=DELTA if delta else GAUGE, value_type="INT64" if whole else "DOUBLE", samples=tuple(samples)
    )


def _count(series: Series, name: str, start_s: float, end_s: float) -> float | None:
    """A counter over a window; its points are its minutes."""
    last = bisect_left(series.samples, (end_s,))
    if last == 0 or series.samples[last - 1][0] < start_s - LOOK_BACK_S:
        return None
    inside = series.samples[bisect_left(series.samples, (start_s,)) : last]
    total = math.fsum(value for _, value in inside)
    if name in ("DELTA", "SUM"):
        return total
    if name == "RATE":
        return total / (end_s - start_s)
    minutes: dict[float, float] = {}
    for at, value in inside:
        minutes[at // _POINT_S] = minutes.get(at // _POINT_S, 0.0) + value
    return _OVER[name](list(minutes.values())) if minutes else 0.0


def _level(series: Series, name: str, start_s: float, end_s: float) -> float | None:
    """A gauge over a window: what it had at the beginning, and its samples within."""
    first = bisect_right(series.samples, (start_s, math.inf))
    last = bisect_right(series.samples, (end_s, math.inf))
    values = [value for _, value in series.samples[max(first - 1, 0) : last]]
    return _OVER[name](values) if values else None


def _reduced(found: Sequence[Series], wanted: Aggregation) -> list[Series]:
    """One series a group; it keeps the labels it was grouped by."""
    groups: dict[tuple[str | None, ...], list[Series]] = {}
    for each in found:
        groups.setdefault(tuple(each.label(path) for path in wanted.group_by), []).append(each)
    over = _OVER[wanted.reducer.removeprefix("REDUCE_")]
    results = []
    for members in groups.values():
        moments: dict[float, list[float]] = {}
        for each in members:
            for at, value in each.samples:
                moments.setdefault(at, []).append(value)
        samples = tuple((at, float(over(values))) for at, values in sorted(moments.items()))
        first = members[0]
        counted = wanted.reducer == "REDUCE_COUNT"
        real = wanted.reducer == "REDUCE_MEAN"
        results.append(
            replace(
                first,
                metric_labels=_kept(first.metric_labels, "metric", wanted.group_by),
                resource_labels=_kept(first.resource_labels, "resource", wanted.group_by),
                value_type="INT64" if counted else "DOUBLE" if real else first.value_type,
                kind=GAUGE if counted or real else first.kind,
                samples=samples,
            )
        )
    return results


def _kept(labels: Mapping[str, str], holder: str, group_by: Sequence[str]) -> dict[str, str]:
    ways = (f"{holder}.labels.", f"{holder}.label.")
    return {key: value for key, value in labels.items() if any(f"{way}{key}" in group_by for way in ways)}


def written(series: Series, period_s: float) -> dict[str, Any]:
    """A TimeSeries of the API, the newest point first; period_s: how long a point of a counter lasts."""
    points = []
    for at, value in reversed(series.samples):
        interval = {"endTime": at, "startTime": at}
        if series.kind == DELTA:
            interval["startTime"] = at - (period_s or _POINT_S)
        shown = {"int64Value": str(round(value))} if series.value_type == "INT64" else {"doubleValue": value}
        points.append({"interval": interval, "value": shown})
    return {
        "metric": {"type": series.metric, "labels": dict(series.metric_labels)},
        "resource": {"type": series.resource, "labels": dict(series.resource_labels)},
        "metricKind": series.kind,
        "valueType": series.value_type,
        "points": points,
    }
