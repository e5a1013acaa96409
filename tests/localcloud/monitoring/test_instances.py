"""Instances sampled: how many, how busy, and that a revision without any is told once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.localcloud.context import Context, Database
from scripts.localcloud.monitoring.distributions import Distribution
from scripts.localcloud.monitoring.instances import (
    CONCURRENCY,
    COUNT,
    EXECUTIONS,
    MEMORY,
    STARTUP,
    Instances,
    quantity,
)
from scripts.localcloud.monitoring.points import Points
from scripts.localcloud.run.events import EXECUTION, ExecutionEnded


class Run:
    """A Cloud Run room with the instances that a test puts there."""

    def __init__(self) -> None:
        self.there: list[dict[str, Any]] = []

    def add(self, name: str, in_flight: int = 0) -> None:
        each = {"id": name, "project": "demo", "service": "api", "revision": "api-1", "pid": os.getpid()}
        self.there.append({**each, "state": "ready", "in_flight": in_flight})

    def instances(self) -> list[dict[str, Any]]:
        return self.there

    def documents(self, kind: str) -> list[tuple[str, dict[str, Any]]]:
        container = {"resources": {"limits": {"cpu": "2", "memory": "1Gi"}}}
        return [("demo", {"metadata": {"name": "api-1"}, "spec": {"containers": [container]}})]


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    context = Context(tmp_path, "http://127.0.0.1:1", tmp_path, Database(tmp_path / "state.db"))
    context.clock = lambda: 6000.0
    yield context
    context.db.close()


def counts(instances: Instances) -> dict[str, list[float]]:
    found = instances.series("demo", [COUNT], 0, 1e9)
    return {each.metric_labels["state"]: [value for _, value in each.samples] for each in found}  # type: ignore[misc]


def test_active_ones_are_those_that_served_since_the_last_sample(context: Context) -> None:
    run = Run()
    instances = Instances(context, Points(context.db), run)
    assert not instances.needed()
    for name, in_flight in (("a", 1), ("b", 0), ("c", 0)):
        run.add(name, in_flight)
    instances.served("b")
    assert instances.needed()
    instances.sample()
    context.clock = lambda: 6060.0
    instances.sample()
    assert counts(instances) == {"active": [2, 1], "idle": [1, 2]}
    [spread] = instances.series("demo", [CONCURRENCY], 0, 1e9)
    value = spread.samples[0][1]
    assert isinstance(value, Distribution) and value.count == 3 and value.total == 1
    assert spread.resource == "cloud_run_revision" and spread.resource_labels["service_name"] == "api"


def test_asking_again_and_again_makes_no_more_points(context: Context) -> None:
    run = Run()
    run.add("a")
    instances = Instances(context, Points(context.db), run)
    for _ in range(5):
        instances.look()
    assert counts(instances) == {"active": [0], "idle": [1]}
    context.clock = lambda: 6001.5
    instances.look()
    assert counts(instances)["idle"] == [1, 1]


def test_a_revision_without_instances_is_told_once_even_after_a_restart(context: Context) -> None:
    run = Run()
    run.add("a")
    Instances(context, Points(context.db), run).sample()
    run.there.clear()
    context.clock = lambda: 6060.0
    later = Instances(context, Points(context.db), run)
    later.sample()
    assert counts(later) == {"active": [0, 0], "idle": [1, 0]} and not later.needed()


def test_memory_is_measured_against_the_limit(context: Context) -> None:
    run = Run()
    run.add("a")
    instances = Instances(context, Points(context.db), run)
    instances.sample()
    found = instances.series("demo", [MEMORY], 0, 1e9)
    means = [value.mean for each in found for _, value in each.samples if isinstance(value, Distribution)]
    assert len(means) == Path("/proc/self/stat").exists()  # Linux alone tells it
    assert all(0.01 < mean < 0.9 for mean in means)


def test_samples_become_rare_while_the_clock_runs_fast(context: Context) -> None:
    run = Run()
    run.add("a")
    instances = Instances(context, Points(context.db), run)
    at, moments = 6000.0, []
    for _ in range(9):
        context.clock = lambda now=at: now  # type: ignore[misc]
        instances.sample()
        moments.append(at)
        at = instances.next_at(at)
    assert moments[:3] == [6000, 6060, 6180] and moments[-1] - moments[-2] == 3600


def test_each_start_is_told_once(context: Context) -> None:
    run = Run()
    instances = Instances(context, Points(context.db), run)
    run.add("a")
    run.there[0]["cold_start_ms"] = 700
    assert instances.needed() and instances.needed()
    [found] = instances.series("demo", [STARTUP], 0, 1e9)
    value = found.samples[0][1]
    assert isinstance(value, Distribution) and value.count == 1 and value.mean == 700


def test_executions_are_counted_as_they_end(context: Context) -> None:
    instances = Instances(context, Points(context.db), Run())
    for succeeded in (True, True, False):
        context.publish(EXECUTION, ExecutionEnded("demo", "sync", succeeded, 6000.0))
    found = instances.series("demo", [EXECUTIONS], 0, 1e9)
    assert {each.metric_labels["result"]: each.samples[0][1] for each in found} == {"succeeded": 2, "failed": 1}
    assert found[0].resource == "cloud_run_job"


def test_quantities_are_those_of_kubernetes() -> None:
    assert quantity("512Mi", 1) == 512 * 2**20 and quantity("1000m", 9) == 1 and quantity("1.5G", 1) == 1.5e9
    assert quantity(None, 7) == 7 and quantity("much", 7) == 7 and quantity("0", 7) == 7
