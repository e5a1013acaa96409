"""Time series as Cloud Monitoring defines them, and how the API writes them; alignment.py aligns and reduces them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scripts.localcloud.monitoring.distributions import Distribution

DELTA, GAUGE = "DELTA", "GAUGE"
INT64, DOUBLE, DISTRIBUTION = "INT64", "DOUBLE", "DISTRIBUTION"
# A counter's own points last a minute.
POINT_S = 60.0
Value = float | Distribution
Sample = tuple[float, Value]


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


def written(series: Series, period_s: float) -> dict[str, Any]:
    """A TimeSeries of the API, the newest point first; period_s: how long a point of a counter lasts."""
    points = []
    for at, value in reversed(series.samples):
        interval = {"endTime": at, "startTime": at}
        if series.kind == DELTA:
            interval["startTime"] = at - (period_s or POINT_S)
        points.append({"interval": interval, "value": _value(series.value_type, value)})
    return {
        "metric": {"type": series.metric, "labels": dict(series.metric_labels)},
        "resource": {"type": series.resource, "labels": dict(series.resource_labels)},
        "metricKind": series.kind,
        "valueType": series.value_type,
        "points": points,
    }


def _value(value_type: str, value: Value) -> dict[str, Any]:
    if isinstance(value, Distribution):
        return {"distributionValue": value.written()}
    return {"int64Value": str(round(value))} if value_type == INT64 else {"doubleValue": value}
