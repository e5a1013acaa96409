"""Cloud Run's request counts and latencies, counted from the events of the front.

An event costs a few look-ups in memory; what was counted is written once a second, and before anybody reads it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from scripts.localcloud.context import REGION, Context
from scripts.localcloud.monitoring.distributions import exponential
from scripts.localcloud.monitoring.points import Line, Points, Row
from scripts.localcloud.monitoring.series import DELTA, DISTRIBUTION, INT64, Sample, Series
from scripts.localcloud.run.events import REQUEST, RequestServed

SOURCE = "run.requests"
COUNT = "run.googleapis.com/request_count"
LATENCIES = "run.googleapis.com/request_latencies"
# Milliseconds.
LATENCY_BUCKETS = exponential(66, 1.4, 1.0)
_BOUNDS = LATENCY_BUCKETS.bounds

# minute, project, service, revision, status
_Key = tuple[int, str, str, str, int]


class _Tally:
    """What was counted of one series since the last flush: its first moment, then per bucket count, total, squares."""

    __slots__ = ("at_s", "buckets")

    def __init__(self, at_s: float) -> None:
        self.at_s = at_s
        self.buckets: dict[int, list[float]] = {}


class Requests:
    """Listens from the start; flush() and series() for the room."""

    def __init__(self, context: Context, points: Points) -> None:
        self._context = context
        self._points = points
        self._tallies: dict[_Key, _Tally] = {}
        context.listen(REQUEST, self._count)

    def _count(self, event: RequestServed) -> None:
        key = (int(event.at_s // 60), event.project, event.service, event.revision, event.status)
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = _Tally(event.at_s)
        ms = event.latency_s * 1000.0
        number = bisect_right(_BOUNDS, ms)
        bucket = tally.buckets.get(number)
        if bucket is None:
            tally.buckets[number] = [1, ms, ms * ms]
        else:
            bucket[0] += 1
            bucket[1] += ms
            bucket[2] += ms * ms

    def flush(self) -> None:
        """Write what was counted."""
        if not self._tallies:
            return
        tallies, self._tallies = self._tallies, {}
        with self._context.db.transaction():
            for (_, project, service, revision, status), tally in tallies.items():
                labels = {"project_id": project, "service_name": service, "revision_name": revision}
                labels |= {"response_code": str(status)}
                rows = [Row(number, int(each[0]), each[1], each[2]) for number, each in tally.buckets.items()]
                self._points.add(SOURCE, labels, tally.at_s, rows)

    def series(
        self, project: str, metrics: Sequence[str], start_s: float, end_s: float, whole_s: float | None = None
    ) -> list[Series]:
        """The series of the metrics that are asked for; before whole_s only the last moment of each."""
        if not {COUNT, LATENCIES} & set(metrics):
            return []
        self.flush()
        found: list[Series] = []
        for line in self._points.lines(SOURCE, project, start_s, end_s, whole_s):
            if COUNT in metrics:
                found.append(_series(COUNT, INT64, line, line.counts()))
            if LATENCIES in metrics:
                found.append(_series(LATENCIES, DISTRIBUTION, line, line.distributions(LATENCY_BUCKETS)))
        return found


def revision_labels(project: str, service: str, revision: str) -> dict[str, str]:
    """The labels of the monitored resource cloud_run_revision."""
    return {
        "project_id": project,
        "service_name": service,
        "revision_name": revision,
        "location": REGION,
        "configuration_name": service,
    }


def _series(metric: str, value_type: str, line: Line, samples: tuple[Sample, ...]) -> Series:
    code: Any = line.labels["response_code"]
    labels = {"response_code": code, "response_code_class": f"{code[:1]}xx"}
    resource = revision_labels(line.labels["project_id"], line.labels["service_name"], line.labels["revision_name"])
    return Series(metric, labels, "cloud_run_revision", resource, DELTA, value_type, samples)
