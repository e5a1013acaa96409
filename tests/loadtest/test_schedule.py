"""Each request is due at a moment fixed beforehand, whoever sends it; times and ramps are understood or refused."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.errors import BadInput
from scripts.loadtest import schedule
from scripts.loadtest.schedule import Stage, plan


def test_a_steady_rate_is_evenly_spaced() -> None:
    made = plan(4, 2)
    assert list(made.due_s()) == [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75]
    assert made.requests == 8


def test_a_ramp_speeds_up_evenly_and_joins_what_follows() -> None:
    made = plan(100, 1, "0..100:2s")
    due = list(made.due_s())
    assert made.requests == len(due) == 200
    assert sum(moment < 1 for moment in due) == 25
    assert sum(moment < 2 for moment in due) == 100
    gaps = [later - earlier for earlier, later in pairwise(due)]
    assert max(gaps[100:]) == pytest.approx(0.01)
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise(gaps[:99]))


def test_a_ramp_may_slow_down() -> None:
    due = list(plan(10, 1, "50..10:2s").due_s())
    assert sum(moment < 1 for moment in due) == 40
    assert sum(moment < 2 for moment in due) == 60


def test_the_warm_up_comes_first_at_the_rate_of_the_beginning() -> None:
    made = plan(50, 2, "10..50:1s", 3)
    assert made.stages[0] == Stage(10, 10, 3)
    assert (made.duration_s, made.measured_s, made.peak_rate) == (6, 3, 50)
    assert sum(moment < 3 for moment in made.due_s()) == 30
    assert plan(50, 2, "0..50:1s", 3).stages[0].from_rate == 1


stages = st.tuples(st.integers(0, 300), st.integers(1, 300), st.integers(1, 5))


@given(st.lists(stages, max_size=3), st.integers(1, 300), st.integers(1, 7))
def test_processes_share_a_schedule_without_overlap_or_gap(
    parts: list[tuple[int, int, int]], rate: int, processes: int
) -> None:
    made = plan(rate, 1.5, ",".join(f"{low}..{high}:{length}s" for low, high, length in parts))
    whole = list(made.due_s())
    assert whole == sorted(whole)
    assert len(whole) == made.requests
    assert not whole or whole[-1] <= made.duration_s
    shared = [moment for first in range(processes) for moment in made.due_s(first, processes)]
    assert sorted(shared) == whole


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("500ms", 0.5), ("2m", 120), ("1m30s", 90), ("1.5s", 1.5), ("1h", 3600)]
)
def test_times(text: str, seconds: float) -> None:
    assert schedule.duration_s(text, "--duration") == seconds


@pytest.mark.parametrize("text", ["", "30", "s", "1d", "-1s", "30s or so", "0s", "1,5s"])
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        schedule.duration_s(text, "--duration")
    assert caught.value.message.startswith(f"--duration: found {text!r}, expected a time like")
    assert caught.value.remedy == "For example: --duration 30s"


def test_no_time_at_all_where_that_is_allowed() -> None:
    assert schedule.duration_s("0", "--warm-up", zero=True) == schedule.duration_s("0s", "--warm-up", zero=True) == 0


@pytest.mark.parametrize("text", ["50", "50..200", "50-200:20s", "..200:20s", "50..200:20", "0..0:5s", "1..1000000:1s"])
def test_what_is_no_ramp_is_refused_with_its_part(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        schedule.ramps(f"1..2:1s,{text}")
    assert "--ramp" in caught.value.message
    assert "For example: --ramp" in caught.value.remedy


@pytest.mark.parametrize("text", ["0", "x", "-5", "1e9", "100001", "nan", ""])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"--rate: found .* expected more than 0"):
        schedule.rate(text)


def test_a_test_without_an_end_is_refused() -> None:
    with pytest.raises(BadInput, match="3600 at most"):
        plan(1, 3601)
