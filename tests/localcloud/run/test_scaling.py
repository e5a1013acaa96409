"""How many instances: by those that wait, by the load of a minute, by the peaks of a quarter of an hour."""

from __future__ import annotations

import pytest

from scripts.localcloud.run import scaling


@pytest.mark.parametrize(
    ("waiting", "starting", "concurrency", "more"),
    [(0, 0, 80, 0), (1, 0, 80, 1), (1, 1, 80, 0), (80, 1, 80, 0), (81, 1, 80, 1), (5, 1, 2, 2), (3, 0, 1, 3)],
)
def test_those_that_wait_get_the_instances_they_need(waiting: int, starting: int, concurrency: int, more: int) -> None:
    assert scaling.for_waiting(waiting, starting, concurrency) == more


@pytest.mark.parametrize(
    ("average", "concurrency", "instances"), [(0, 80, 0), (1, 80, 1), (48, 80, 1), (48.1, 80, 2), (1, 1, 2), (6, 10, 1)]
)
def test_load_is_kept_at_sixty_percent(average: float, concurrency: int, instances: int) -> None:
    assert scaling.for_load(average, concurrency) == instances


def test_the_load_is_an_average_over_a_minute() -> None:
    load = scaling.Load(0.0)
    averages = []
    for step in range(24):
        now = step * scaling.EVERY_S
        load.change(6 if step < 12 else 0, now)
        averages.append(load.average(now + scaling.EVERY_S))
    assert averages[0] == pytest.approx(0.5) and averages[11] == pytest.approx(6)
    assert averages[17] == pytest.approx(3) and averages[23] == 0


def test_a_peak_is_remembered_for_fifteen_minutes() -> None:
    peaks = scaling.Peaks()
    for minute, in_flight in enumerate([3, 9, 2]):
        peaks.saw(in_flight, minute * 60.0)
        peaks.saw(1, minute * 60.0 + 59)
    assert peaks.highest(180.0) == 9
    assert peaks.highest(16 * 60.0) == 9
    assert peaks.highest(17 * 60.0) == 2
    assert peaks.highest(100 * 60.0) == 0


def test_a_queue_is_never_short() -> None:
    assert scaling.longest_queue(1, 1) == 100
    assert scaling.longest_queue(80, 2) == 1600
