"""Distributions whose buckets and percentiles can be reckoned by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from scripts.localcloud.monitoring.distributions import (
    BadBuckets,
    Buckets,
    Distribution,
    explicit,
    exponential,
    linear,
    merged,
    of_options,
)


def of_values(buckets: Buckets, values: Iterable[float]) -> Distribution:
    """The distribution of some values."""
    counts: dict[int, int] = {}
    total = squares = 0.0
    for value in values:
        number = buckets.index(value)
        counts[number] = counts.get(number, 0) + 1
        total += value
        squares += value * value
    return Distribution(buckets, counts, total, squares)


def test_values_fall_into_their_buckets() -> None:
    found = of_values(linear(3, 10.0, 0.0), [-1, 0, 9.9, 10, 29, 30, 1000]).written()
    assert found["bucketCounts"] == ["1", "2", "1", "1", "2"] and found["count"] == "7"
    assert found["bucketOptions"] == {"linearBuckets": {"numFiniteBuckets": 3, "width": 10.0, "offset": 0.0}}
    assert found["mean"] == pytest.approx(1077.9 / 7)
    assert of_values(exponential(2, 2.0, 1.0), [0.5, 1, 2, 3.9, 4]).counts == {0: 1, 1: 1, 2: 2, 3: 1}
    assert of_values(explicit([1, 5]), []).written() == {
        "count": "0",
        "bucketOptions": {"explicitBuckets": {"bounds": [1, 5]}},
    }


def test_deviation_is_that_of_the_values() -> None:
    found = of_values(linear(1, 1.0, 0.0), [2, 4, 4, 4, 5, 5, 7, 9]).written()
    assert found["mean"] == 5 and found["sumOfSquaredDeviation"] == pytest.approx(32)


def test_percentiles_are_interpolated_within_a_bucket() -> None:
    buckets = linear(10, 10.0, 0.0)
    found = of_values(buckets, [5.0] * 50 + [25.0] * 50)
    assert found.percentile(50) == 10 and found.percentile(25) == 5
    assert found.percentile(75) == 25 and found.percentile(100) == 30
    assert of_values(buckets, []).percentile(50) is None
    assert of_values(buckets, [5000.0]).percentile(99) == 100


def test_distributions_are_added_up() -> None:
    buckets = linear(10, 10.0, 0.0)
    whole = of_values(buckets, [1, 15, 15, 99])
    parts = [of_values(buckets, [1, 15]), of_values(buckets, [15]), of_values(buckets, [99])]
    assert merged(parts).written() == whole.written()


def test_options_are_those_of_the_api() -> None:
    assert of_options({}).written() == {
        "exponentialBuckets": {"numFiniteBuckets": 64, "growthFactor": 2.0, "scale": 0.01}
    }
    assert of_options({"explicitBuckets": {"bounds": [0, 1, 5]}}).bounds == (0, 1, 5)


@pytest.mark.parametrize(
    "options",
    [
        {"linearBuckets": {"numFiniteBuckets": 0, "width": 1}},
        {"linearBuckets": {"numFiniteBuckets": 5, "width": 0}},
        {"exponentialBuckets": {"numFiniteBuckets": 5, "growthFactor": 1, "scale": 1}},
        {"exponentialBuckets": {"numFiniteBuckets": 200, "growthFactor": 1e9, "scale": 1}},
        {"explicitBuckets": {"bounds": [2, 1]}},
        {"explicitBuckets": {}},
        {"explicitBuckets": {"bounds": [1]}, "linearBuckets": {"numFiniteBuckets": 1, "width": 1}},
    ],
)
def test_buckets_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(BadBuckets):
        of_options(options)
