"""What Cloud Run's instances use, sampled once a minute of the stand-in's clock, and the executions that ended.

While the clock is made to run fast samples are taken ever less often, up to once an hour: the machine itself does not
run faster. Memory and CPU are those of the container's process and its children, against the container's limits
(Linux only). A revision that has lost its last instance gets one more point of 0.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from scripts.localcloud.context import REGION, Context
from scripts.localcloud.monitoring.alignment import LOOK_BACK_S
from scripts.localcloud.monitoring.distributions import Buckets, exponential, linear
from scripts.localcloud.monitoring.points import SCALAR, Line, Points, Row
from scripts.localcloud.monitoring.requests import LATENCY_BUCKETS, revision_labels
from scripts.localcloud.monitoring.series import DELTA, DISTRIBUTION, GAUGE, INT64, Sample, Series
from scripts.localcloud.run.events import EXECUTION, ExecutionEnded

COUNT = "run.googleapis.com/container/instance_count"
MEMORY = "run.googleapis.com/container/memory/utilizations"
CPU = "run.googleapis.com/container/cpu/utilizations"
CONCURRENCY = "run.googleapis.com/container/max_request_concurrencies"
STARTUP = "run.googleapis.com/container/startup_latencies"
EXECUTIONS = "run.googleapis.com/job/completed_execution_count"
UTILIZATION_BUCKETS = linear(100, 0.01, 0.0)
CONCURRENCY_BUCKETS = exponential(20, 1.5, 1.0)
_SPREAD = {
    MEMORY: UTILIZATION_BUCKETS, CPU: UTILIZATION_BUCKETS, CONCURRENCY: CONCURRENCY_BUCKETS, STARTUP: LATENCY_BUCKETS,
}  # fmt: skip
METRICS = (COUNT, *_SPREAD, EXECUTIONS)
_EVERY_S = 60.0
_LOOKED_EVERY_S = 1.0
_LONGEST_S = 3600.0
# Samples that follow each other faster than this on the machine's clock: the stand-in's runs fast.
_FAST_S = 1.0
_STATES = ("active", "idle")
_Revision = tuple[str, str, str]

_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|k|M|G|Ki|Mi|Gi)?")
_UNITS = {"": 1.0, "m": 0.001, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}


class Run(Protocol):
    """What is needed of the Cloud Run room."""

    def instances(self) -> list[dict[str, Any]]: ...

    def documents(self, kind: str) -> list[tuple[str, dict[str, Any]]]: ...


class Instances:
    """sample() once a minute, look() when somebody asks, series() for what was noted."""

    def __init__(self, context: Context, points: Points, run: Run) -> None:
        self._context = context
        self._points = points
        self._run = run
        self._limited: dict[tuple[str, str], tuple[float, float]] = {}
        self._busy: set[str] = set()
        self._started: set[str] = set()
        # those of the daemon's life before may have lost their instances meanwhile
        before = points.above_zero(COUNT, context.clock() - LOOK_BACK_S)
        self._seen = {(each["project_id"], each["service_name"], each["revision_name"]) for each in before}
        self._cpu: dict[str, tuple[float, float]] = {}
        self._every_s = _EVERY_S
        self._sampled = 0.0
        self._looked = 0.0
        context.listen(EXECUTION, self._ended)

    def served(self, instance: str) -> None:
        """An instance has answered a request: it was active."""
        self._busy.add(instance)

    def next_at(self, now: float) -> float:
        """When to sample next: at a whole minute."""
        return (now // _EVERY_S) * _EVERY_S + self._every_s

    def needed(self) -> bool:
        """Whether there is anything to sample; notes how long new instances took to start."""
        serving = list(self._serving())
        names = {each["id"] for each in serving}
        for each in serving:
            if each["id"] not in self._started and each.get("cold_start_ms") is not None:
                labels = _labels(each["project"], each["service"], each["revision"])
                self._spread(STARTUP, labels, self._context.clock(), [float(each["cold_start_ms"])])
        self._started = names
        return bool(self._seen or names)

    def sample(self) -> None:
        """Note what there is now."""
        machine = time.monotonic()
        quick = machine - self._sampled < _FAST_S
        self._every_s = min(self._every_s * 2, _LONGEST_S) if quick else _EVERY_S
        self._sampled = machine
        self._note(self._context.clock(), with_use=True)
        self._busy.clear()

    def look(self) -> None:
        """Note how many instances there are, for somebody who asks between two samples; once a second at most."""
        now = self._context.clock()
        if abs(now - self._looked) >= _LOOKED_EVERY_S:
            self._looked = now
            self._note(now, with_use=False)

    def series(self, project: str, metrics: Iterable[str], start_s: float, end_s: float) -> list[Series]:
        """The series of the metrics that are asked for."""
        found: list[Series] = []
        for metric in metrics:
            if metric not in METRICS:
                continue
            for line in self._points.lines(metric, project, start_s, end_s):
                found.append(_series(metric, line))
        return found

    def _serving(self) -> Iterable[Mapping[str, Any]]:
        return (each for each in self._run.instances() if each["state"] in ("ready", "draining"))

    def _limits(self, project: str, revision: str) -> tuple[float, float]:
        """CPUs and bytes that a container of a revision may use; 1 and 512 MiB where it does not say."""
        if (project, revision) not in self._limited:
            for owner, each in self._run.documents("revision"):
                given = ((each["spec"]["containers"][0].get("resources") or {}).get("limits")) or {}
                found = (quantity(given.get("cpu"), 1.0), quantity(given.get("memory"), 512.0 * 2**20))
                self._limited[owner, each["metadata"]["name"]] = found
        return self._limited.get((project, revision), (1.0, 512.0 * 2**20))

    def _note(self, now: float, with_use: bool) -> None:
        revisions: dict[_Revision, list[Mapping[str, Any]]] = {each: [] for each in self._seen}
        for each in self._serving():
            revisions.setdefault((each["project"], each["service"], each["revision"]), []).append(each)
        if not revisions:
            return
        with self._context.db.transaction():
            for revision, members in revisions.items():
                self._note_revision(revision, members, now, with_use)
        self._seen = {revision for revision, members in revisions.items() if members}
        alive = {each["id"] for members in revisions.values() for each in members}
        self._cpu = {name: used for name, used in self._cpu.items() if name in alive}

    def _note_revision(self, name: _Revision, members: list[Mapping[str, Any]], now: float, with_use: bool) -> None:
        labels = _labels(*name)
        active = sum(1 for each in members if each["in_flight"] or each["id"] in self._busy)
        for state, count in zip(_STATES, (active, len(members) - active), strict=True):
            self._points.set(COUNT, {**labels, "state": state}, now, float(count))
        if not with_use or not members:
            return
        cpus, memory_bytes = self._limits(name[0], name[2])
        self._spread(CONCURRENCY, labels, now, [float(each["in_flight"]) for each in members])
        used = [_use(int(each["pid"])) for each in members if each["pid"]]
        self._spread(MEMORY, labels, now, [each[1] / memory_bytes for each in used if each])
        shares = []
        for each in members:
            share = self._cpu_share(each["id"], _use(int(each["pid"])) if each["pid"] else None)
            if share is not None:
                shares.append(share / cpus)
        self._spread(CPU, labels, now, shares)

    def _cpu_share(self, instance: str, used: tuple[float, int] | None) -> float | None:
        """CPUs used since the last sample."""
        if used is None:
            return None
        now, before = time.monotonic(), self._cpu.get(instance)
        self._cpu[instance] = (now, used[0])
        if before is None or now - before[0] < 0.01:
            return None
        return max(used[0] - before[1], 0.0) / (now - before[0])

    def _spread(self, metric: str, labels: Mapping[str, str], now: float, values: list[float]) -> None:
        buckets: Buckets = _SPREAD[metric]
        rows = [Row(buckets.index(value), 1, value, value * value) for value in values]
        self._points.add(metric, labels, now, rows)

    def _ended(self, event: ExecutionEnded) -> None:
        labels = {"project_id": event.project, "job_name": event.job}
        labels["result"] = "succeeded" if event.succeeded else "failed"
        self._points.add(EXECUTIONS, labels, event.at_s, [Row(SCALAR, 1, 1.0)])


def _labels(project: str, service: str, revision: str) -> dict[str, str]:
    return {"project_id": project, "service_name": service, "revision_name": revision}


def quantity(text: Any, default: float) -> float:
    """A quantity such as 512Mi or 1000m; the default for none, 0, and what is none."""
    found = _QUANTITY.fullmatch(str(text or ""))
    return (float(found[1]) * _UNITS[found[2] or ""] if found else 0.0) or default


def _series(metric: str, line: Line) -> Series:
    labels, project = line.labels, line.labels["project_id"]
    if metric == EXECUTIONS:
        resource = {"project_id": project, "job_name": labels["job_name"], "location": REGION}
        return Series(metric, {"result": labels["result"]}, "cloud_run_job", resource, DELTA, INT64, line.totals())
    resource = revision_labels(project, labels["service_name"], labels["revision_name"])
    if metric == COUNT:
        own = {"state": labels["state"]}
        return Series(metric, own, "cloud_run_revision", resource, GAUGE, INT64, line.totals())
    samples: tuple[Sample, ...] = line.distributions(_SPREAD[metric])
    return Series(metric, {}, "cloud_run_revision", resource, DELTA, DISTRIBUTION, samples)


def _use(pid: int) -> tuple[float, int] | None:
    """CPU seconds and resident bytes of a process and its children; None where the system does not tell."""
    seconds, size_bytes = 0.0, 0
    try:
        for each in (pid, *_children(pid)):
            fields = Path(f"/proc/{each}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
            seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            size_bytes += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
    return seconds, size_bytes


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(each) for each in text.split()]
