"""Plots hold their values: inside the box, on a round scale, one label for every grid line."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.loadtest import charts
from scripts.loadtest.charts import HEIGHT, WIDTH
from scripts.loadtest.histogram import Histogram
from scripts.loadtest.measurement import Second


def points(path: str) -> list[tuple[float, float]]:
    return [(float(across), float(down)) for across, down in re.findall(r"([\d.]+),([\d.]+)", path)]


def second(number: int, p50_ms: float, p99_ms: float, errors: int = 0) -> Second:
    return Second(number, 10, errors, p50_ms, p99_ms, p99_ms)


@given(st.lists(st.floats(0.001, 3_600_000), min_size=1, max_size=50))
def test_a_scale_is_round_and_holds_every_value(values: list[float]) -> None:
    made = charts.scale(values)
    assert made.lowest <= min(values) * 1.00001
    assert made.highest >= max(values) * 0.99999
    assert 1 <= len(made.ticks()) <= 12
    assert all(0 <= made.share(value) <= 1 for value in values)


def test_values_a_decade_apart_are_equally_far() -> None:
    made = charts.scale([1, 100])
    assert (made.lowest, made.highest) == (1, 100)
    assert made.share(10) == pytest.approx(0.5)


def test_latency_over_time() -> None:
    seconds = [second(0, 1, 10), second(1, 1, 100, errors=2), second(3, 1, 10)]
    made = charts.over_time(seconds, 10, "p99<10ms")
    p99, p50 = made.lines
    assert points(p99.path) == [(125, 150), (375, 0), (875, 150)]
    assert [down for _, down in points(p50.path)] == [HEIGHT] * 3
    assert [span.failed for span in made.spans] == [False, True, False]
    assert made.spans[1].text == "second 2: 10 requests, 2 failed; p50 1 ms, p99 100 ms, max 100 ms"
    assert [tick.label for tick in made.across] == ["0 s", "1 s", "2 s", "3 s", "4 s"]
    assert made.limit == pytest.approx(50)
    assert charts.over_time(seconds, 5000).limit is None


def test_each_nine_takes_as_much_room() -> None:
    latency = Histogram()
    for number in range(1, 1001):
        latency.record(number / 1000)
    made = charts.percentiles(latency)
    assert [(tick.label, round(tick.at)) for tick in made.across] == [
        ("50 %", 10),
        ("90 %", 33),
        ("99 %", 67),
        ("99.9 %", 100),
    ]
    found = points(made.lines[0].path)
    assert found[-1][0] == WIDTH
    assert all(later[1] <= earlier[1] for earlier, later in pairwise(found))


@pytest.mark.parametrize(
    "seconds", [[], [second(0, 0, 0)], [second(0, 5, 5)], [second(at, 1, 2) for at in range(3600)]]
)
def test_few_or_many_seconds_are_drawn_too(seconds: list[Second]) -> None:
    made = charts.over_time(seconds, None)
    for line in made.lines:
        assert all(0 <= across <= WIDTH and 0 <= down <= HEIGHT for across, down in points(line.path))
    assert len(made.across) <= 8
    assert charts.percentiles(Histogram()).lines[0].name == "latency"
