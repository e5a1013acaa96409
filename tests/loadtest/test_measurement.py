"""What the processes tell adds up, and a generator that was too slow is found out."""

from __future__ import annotations

import pytest

from scripts.loadtest.measurement import gather
from tests.loadtest.support import end, measured, second


def test_seconds_and_instances_of_all_processes_are_merged() -> None:
    found = gather(
        [
            second(1, 0.02),
            second(0, 0.01, 0.01),
            end(3, 0.001, 0.002, instances={"a": (0.01,), "b": (0.02,)}),
            second(0, 0.5, 0.01, errors={"HTTP 503": 1}),
            end(2, 0.004, instances={"a": (0.5, 0.01)}),
        ],
        2.0,
    )
    assert [(each.at_s, each.due, each.errors) for each in found.seconds] == [(0, 4, 1), (1, 1, 0)]
    assert found.seconds[0].max_ms == pytest.approx(500, rel=0.001)
    assert found.latency.count == found.due == found.sent_in_time == 5
    assert (found.error_percent, found.errors) == (20, {"HTTP 503": 1})
    assert [(each.instance, each.requests) for each in found.served] == [("a", 3), ("b", 1)]
    assert (found.lag.count, found.processes, found.peak_in_flight) == (3, 2, 2)
    assert (found.achieved, found.rate) == (1, 2.5)


def test_a_generator_that_keeps_up_is_no_bottleneck() -> None:
    assert measured(*[0.01] * 1000, sent=990).bottleneck(50) == ""


def test_less_than_99_percent_in_time_is_the_generators_fault() -> None:
    assert measured(*[0.01] * 1000, sent=989).bottleneck(50) == (
        "the generator sent 98.9 % of what was due in time (989 of 1000 requests a second)"
    )


def test_a_late_generator_is_a_bottleneck_though_everything_left() -> None:
    late = measured(*[0.2] * 100, lag_s=0.08)
    assert "late: p99 of its lag is 80" in late.bottleneck(50)
    assert late.bottleneck(100) == ""


def test_nothing_measured_divides_by_nothing() -> None:
    found = gather([end(0)], 1.0)
    assert (found.achieved, found.error_percent, found.rate) == (0, 0, 0)
