"""Histograms: three digits, mergeable, and the same after a way as text."""

from __future__ import annotations

import statistics

import pytest

from scripts.loadtest.histogram import HIGHEST_US, Histogram, merged


def filled(*seconds: float) -> Histogram:
    made = Histogram()
    for each in seconds:
        made.record(each)
    return made


def test_percentiles_have_three_digits() -> None:
    made = filled(*(number / 1000 for number in range(1, 10_001)))
    for percent in (1, 50, 90, 99, 99.9):
        assert made.at_ms(percent) == pytest.approx(percent * 100, rel=0.001)
    assert made.mean_ms == pytest.approx(statistics.mean(range(1, 10_001)), rel=0.001)
    assert made.max_ms == pytest.approx(10_000, rel=0.001)


def test_parts_merge_into_what_the_whole_would_be() -> None:
    """Percentiles of the parts cannot be averaged: one slow process of two would show up as half as slow."""
    fast, slow = [0.001] * 970, [2.0] * 30
    whole = merged([filled(*fast).coded(), filled(*slow).coded()])
    assert whole.count == 1000
    assert whole.at_ms(50) == pytest.approx(1, rel=0.001)
    assert whole.at_ms(97) == pytest.approx(1, rel=0.001)
    assert whole.at_ms(99) == pytest.approx(2000, rel=0.001)
    assert merged([]).count == 0


def test_what_lies_outside_counts_as_the_end_of_the_range() -> None:
    made = filled(-1.0, 0.0, 1e9)
    assert made.count == 3
    assert made.at_ms(1) == pytest.approx(0, abs=0.001)
    assert made.max_ms == pytest.approx(HIGHEST_US / 1000, rel=0.001)


def test_an_empty_one_says_nothing_and_does_no_harm() -> None:
    empty = Histogram(Histogram().coded())
    assert (empty.count, empty.at_ms(99), empty.mean_ms, empty.max_ms) == (0, 0.0, 0.0, 0.0)
