"""Aligning time series to windows and reducing them over groups, as Cloud Monitoring does. Pure functions.

A window covers (end - period, end], counted back from the end of the interval, so the newest comes first. A counter is
zero in a window without a count, from its first count on for a day after its last: so a ratio of counters has a value.
A gauge keeps its last value until the next. Source: Aggregation in the reference of Cloud Monitoring v3.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from scripts.localcloud.monitoring import distributions
from scripts.localcloud.monitoring.distributions import Distribution
from scripts.localcloud.monitoring.series import (
    DELTA,
    DISTRIBUTION,
    DOUBLE,
    GAUGE,
    INT64,
    POINT_S,
    Aggregation,
    Sample,
    Series,
    Value,
)

# Samples from this long before an interval are read too: they keep counters at zero and gauges at their value.
LOOK_BACK_S = 86400.0
# What one alignment made lies at a window's end; a second one must find it inside of its own window.
_INSIDE_S = 1e-6


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _deviation(values: Sequence[float]) -> float:
    mean = _mean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))


_OVER: dict[str, Callable[[Sequence[float]], float]] = {
    "SUM": math.fsum, "MEAN": _mean, "MIN": min, "MAX": max, "COUNT": len, "STDDEV": _deviation,
    "NEXT_OLDER": lambda values: values[-1],
}  # fmt: skip
_PERCENTILES = {f"PERCENTILE_{number:02}": float(number) for number in (5, 50, 95, 99)}
ALIGNERS = ("ALIGN_NONE", "ALIGN_DELTA", "ALIGN_RATE", *(f"ALIGN_{name}" for name in (*_OVER, *_PERCENTILES)))
REDUCERS = ("REDUCE_NONE", *(f"REDUCE_{name}" for name in (*_OVER, *_PERCENTILES) if name != "NEXT_OLDER"))
# What is defined for distributions.
_ALIGNERS_OF_DISTRIBUTIONS = {"NONE", "DELTA", "SUM", "COUNT", "NEXT_OLDER", *_PERCENTILES}
_REDUCERS_OF_DISTRIBUTIONS = {"NONE", "SUM", "MEAN", "COUNT", *_PERCENTILES}


def problem(series: Series, wanted: Aggregation) -> str:
    """Why a series cannot be aggregated so; "" when it can."""
    aligner, reducer = wanted.aligner.removeprefix("ALIGN_"), wanted.reducer.removeprefix("REDUCE_")
    spread = series.value_type == DISTRIBUTION
    aligned_spread = spread and aligner in ("NONE", "DELTA", "SUM", "NEXT_OLDER")
    bad = ""
    undefined = aligner not in _ALIGNERS_OF_DISTRIBUTIONS if spread else aligner in _PERCENTILES
    if undefined or (aligner in ("DELTA", "RATE") and series.kind != DELTA):
        bad = wanted.aligner
    elif aligned_spread and reducer not in _REDUCERS_OF_DISTRIBUTIONS:
        bad = wanted.reducer
    kinds = f"metrics with kind {series.kind} and value type {series.value_type}"
    return f"{bad} cannot be applied to {kinds}" if bad else ""


def aggregated(found: Iterable[Series], wanted: Aggregation, start_s: float, end_s: float) -> list[Series]:
    """Aligned and reduced series with samples at window ends; those without any are left out."""
    if wanted.aligner == "ALIGN_NONE":
        aligned = [_by_minute(each, start_s, end_s) for each in found]
    else:
        aligned = [_aligned(each, wanted, start_s, end_s) for each in found]
    aligned = [each for each in aligned if each.samples]
    return aligned if wanted.reducer == "REDUCE_NONE" else _reduced(aligned, wanted)


def again(found: Iterable[Series], wanted: Aggregation, start_s: float, end_s: float) -> list[Series]:
    """Aggregate what aggregated() made once more (secondaryAggregation)."""
    if wanted.aligner == "ALIGN_NONE":
        aligned = [each for each in found if each.samples]
        return aligned if wanted.reducer == "REDUCE_NONE" else _reduced(aligned, wanted)
    inside = [
        replace(each, samples=tuple((at - _INSIDE_S, value) for at, value in each.samples))
        if each.kind == DELTA
        else each
        for each in found
    ]
    return aggregated(inside, wanted, start_s, end_s)


def _by_minute(series: Series, start_s: float, end_s: float) -> Series:
    """Counters as they are written: one point a minute. Gauges as sampled."""
    inside = [(at, value) for at, value in series.samples if start_s <= at <= end_s]
    if series.kind != DELTA:
        return replace(series, samples=tuple(inside))
    minutes: dict[float, list[Value]] = {}
    for at, value in inside:
        minutes.setdefault(min((at // POINT_S + 1) * POINT_S, end_s), []).append(value)
    return replace(series, samples=tuple((at, _sum(values)) for at, values in sorted(minutes.items())))


def _aligned(series: Series, wanted: Aggregation, start_s: float, end_s: float) -> Series:
    name = wanted.aligner.removeprefix("ALIGN_")
    samples: list[Sample] = []
    windows = max(1, math.ceil((end_s - start_s) / wanted.period_s - 1e-9))
    for number in range(windows - 1, -1, -1):
        end = end_s - number * wanted.period_s
        value = (_count if series.kind == DELTA else _level)(series, name, end - wanted.period_s, end)
        if value is not None:
            samples.append((end, value))
    spread = series.value_type == DISTRIBUTION
    if name == "COUNT":
        value_type = INT64
    elif name in _PERCENTILES or name in ("RATE", "MEAN", "STDDEV"):
        value_type = DOUBLE
    else:
        value_type = DISTRIBUTION if spread else INT64 if series.value_type == INT64 else DOUBLE
    kind = DELTA if name == "DELTA" else GAUGE
    return replace(series, kind=kind, value_type=value_type, samples=tuple(samples))


def _count(series: Series, name: str, start_s: float, end_s: float) -> Value | None:
    """A counter over a window; its points are its minutes."""
    last = bisect_left(series.samples, end_s, key=_moment)
    if last == 0 or series.samples[last - 1][0] < start_s - LOOK_BACK_S:
        return None
    inside = series.samples[bisect_left(series.samples, start_s, key=_moment) : last]
    if series.value_type == DISTRIBUTION:
        return _spread([value for _, value in inside if isinstance(value, Distribution)], name)
    total = math.fsum(value for _, value in inside if not isinstance(value, Distribution))
    if name in ("DELTA", "SUM"):
        return total
    if name == "RATE":
        return total / (end_s - start_s)
    minutes: dict[float, float] = {}
    for at, value in inside:
        minutes[at // POINT_S] = minutes.get(at // POINT_S, 0.0) + _number(value)
    return _OVER[name](list(minutes.values())) if minutes else 0.0


def _level(series: Series, name: str, start_s: float, end_s: float) -> Value | None:
    """A gauge over a window: what it had at the beginning, and its samples within."""
    first = bisect_right(series.samples, start_s, key=_moment)
    last = bisect_right(series.samples, end_s, key=_moment)
    values = [value for _, value in series.samples[max(first - 1, 0) : last]]
    if not values:
        return None
    spread = [value for value in values if isinstance(value, Distribution)]
    return _spread(spread, name) if spread else _OVER[name]([_number(value) for value in values])


def _spread(values: Sequence[Distribution], name: str) -> Value | None:
    """Distributions over a window; a window without any has no point."""
    if not values:
        return None
    if name == "COUNT":
        return float(len(values))
    if name == "NEXT_OLDER":
        return values[-1]
    whole = distributions.merged(values)
    return whole.percentile(_PERCENTILES[name]) if name in _PERCENTILES else whole


def _reduced(found: Sequence[Series], wanted: Aggregation) -> list[Series]:
    """One series a group; it keeps the labels it was grouped by."""
    groups: dict[tuple[str | None, ...], list[Series]] = {}
    for each in found:
        groups.setdefault(tuple(each.label(path) for path in wanted.group_by), []).append(each)
    name = wanted.reducer.removeprefix("REDUCE_")
    results = []
    for members in groups.values():
        moments: dict[float, list[Value]] = {}
        for each in members:
            for at, value in each.samples:
                moments.setdefault(at, []).append(value)
        samples = tuple((at, _over(values, name)) for at, values in sorted(moments.items()))
        first, counted = members[0], name == "COUNT"
        real = name in ("MEAN", "STDDEV") or name in _PERCENTILES
        results.append(
            replace(
                first,
                metric_labels=_kept(first.metric_labels, "metric", wanted.group_by),
                resource_labels=_kept(first.resource_labels, "resource", wanted.group_by),
                value_type=INT64 if counted else DOUBLE if real else first.value_type,
                kind=GAUGE if counted or real else first.kind,
                samples=samples,
            )
        )
    return results


def _over(values: Sequence[Value], name: str) -> Value:
    """The values of a group at one moment, as one."""
    if name == "COUNT":
        return float(len(values))
    spread = [value for value in values if isinstance(value, Distribution)]
    if not spread:
        numbers = [_number(value) for value in values]
        return _percentile(numbers, _PERCENTILES[name]) if name in _PERCENTILES else float(_OVER[name](numbers))
    whole = distributions.merged(spread)
    if name in _PERCENTILES:
        return whole.percentile(_PERCENTILES[name]) or 0.0
    return whole.mean if name == "MEAN" else whole


def _percentile(values: Sequence[float], percent: float) -> float:
    """By linear interpolation between the two nearest."""
    ordered = sorted(values)
    place = percent / 100 * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _sum(values: Sequence[Value]) -> Value:
    spread = [value for value in values if isinstance(value, Distribution)]
    return distributions.merged(spread) if spread else math.fsum(_number(value) for value in values)


def _number(value: Value) -> float:
    return value.mean if isinstance(value, Distribution) else value


def _moment(sample: Sample) -> float:
    return sample[0]


def _kept(labels: Mapping[str, str], holder: str, group_by: Sequence[str]) -> dict[str, str]:
    ways = (f"{holder}.labels.", f"{holder}.label.")
    return {key: value for key, value in labels.items() if any(f"{way}{key}" in group_by for way in ways)}
