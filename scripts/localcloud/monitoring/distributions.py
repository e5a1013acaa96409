"""Distributions of Cloud Monitoring as values: buckets, counts in them, percentiles, and how the API writes them.

N finite buckets lie between an underflow and an overflow bucket; a bucket includes its lower bound. Percentiles are
interpolated within a bucket, as Cloud Monitoring does. Source: google.api.Distribution and its BucketOptions.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_MOST_BUCKETS = 200


class BadBuckets(ValueError):
    """Bucket options that no distribution can have."""


@dataclass(frozen=True)
class Buckets:
    """The bounds between the buckets, and the options of the API that they come from."""

    bounds: tuple[float, ...]
    kind: str
    options: tuple[tuple[str, Any], ...]

    def index(self, value: float) -> int:
        """The number of the bucket that a value falls into."""
        return bisect_right(self.bounds, value)

    def written(self) -> dict[str, Any]:
        """As BucketOptions."""
        return {self.kind: {key: list(each) if isinstance(each, tuple) else each for key, each in self.options}}


def exponential(count: int, growth: float, scale: float) -> Buckets:
    """Bounds scale × growth^i for i = 0 … count. Raises BadBuckets."""
    if not (1 <= count <= _MOST_BUCKETS and growth > 1 and scale > 0):
        raise BadBuckets(f"expected 1 to {_MOST_BUCKETS} buckets, growthFactor > 1 and scale > 0")
    try:
        bounds = tuple(scale * growth**index for index in range(count + 1))
    except OverflowError:
        bounds = (math.inf,)
    if not math.isfinite(bounds[-1]):
        raise BadBuckets("the bounds of the exponential buckets are larger than a number can be")
    options = (("numFiniteBuckets", count), ("growthFactor", growth), ("scale", scale))
    return Buckets(bounds, "exponentialBuckets", options)


def linear(count: int, width: float, offset: float) -> Buckets:
    """Bounds offset + width × i for i = 0 … count. Raises BadBuckets."""
    if not (1 <= count <= _MOST_BUCKETS and width > 0 and math.isfinite(offset + width * count)):
        raise BadBuckets(f"expected 1 to {_MOST_BUCKETS} buckets and width > 0")
    bounds = tuple(offset + width * index for index in range(count + 1))
    return Buckets(bounds, "linearBuckets", (("numFiniteBuckets", count), ("width", width), ("offset", offset)))


def explicit(bounds: Sequence[float]) -> Buckets:
    """Bounds as given. Raises BadBuckets."""
    rising = all(low < high for low, high in itertools.pairwise(bounds))
    if not 1 <= len(bounds) <= _MOST_BUCKETS or not rising or not all(math.isfinite(each) for each in bounds):
        raise BadBuckets(f"expected 1 to {_MOST_BUCKETS} rising bounds")
    return Buckets(tuple(bounds), "explicitBuckets", (("bounds", tuple(bounds)),))


def of_options(given: Mapping[str, Any]) -> Buckets:
    """BucketOptions of the API; without any, those of a log-based metric. Raises BadBuckets."""
    kinds = [key for key in ("exponentialBuckets", "linearBuckets", "explicitBuckets") if key in given]
    if not kinds:
        return exponential(64, 2.0, 0.01)
    if len(kinds) > 1:
        raise BadBuckets(f"expected one of exponentialBuckets, linearBuckets, explicitBuckets, found {len(kinds)}")
    options = given[kinds[0]] or {}
    count = int(options.get("numFiniteBuckets", 0))
    if kinds[0] == "exponentialBuckets":
        return exponential(count, float(options.get("growthFactor", 0)), float(options.get("scale", 0)))
    if kinds[0] == "linearBuckets":
        return linear(count, float(options.get("width", 0)), float(options.get("offset", 0)))
    return explicit([float(each) for each in options.get("bounds") or []])


@dataclass(frozen=True)
class Distribution:
    """How many values fell into which bucket (by its number), with what their mean and deviation come from."""

    buckets: Buckets
    counts: Mapping[int, int]
    total: float
    squares: float

    @property
    def count(self) -> int:
        """How many values there are."""
        return sum(self.counts.values())

    @property
    def mean(self) -> float:
        """0 when there are none."""
        count = self.count
        return self.total / count if count else 0.0

    def percentile(self, percent: float) -> float | None:
        """The value below which so many per cent lie; None when there are none."""
        count = self.count
        if not count:
            return None
        rank, before, bounds = percent / 100 * count, 0, self.buckets.bounds
        for number in sorted(self.counts):
            inside = self.counts[number]
            if before + inside >= rank:
                low = bounds[number - 1] if number > 0 else min(0.0, bounds[0])
                high = bounds[number] if number < len(bounds) else bounds[-1]
                return low + (high - low) * max(rank - before, 0.0) / inside
            before += inside
        return bounds[-1]

    def written(self) -> dict[str, Any]:
        """As google.api.Distribution; empty buckets at the end are left out."""
        count, mean = self.count, self.mean
        shown: dict[str, Any] = {"count": str(count), "bucketOptions": self.buckets.written()}
        if count:
            most = max(self.counts)
            shown |= {"mean": mean, "sumOfSquaredDeviation": max(self.squares - count * mean * mean, 0.0)}
            shown["bucketCounts"] = [str(self.counts.get(number, 0)) for number in range(most + 1)]
        return shown


def merged(parts: Sequence[Distribution]) -> Distribution:
    """All values of several distributions that have the same buckets."""
    counts: dict[int, int] = {}
    for part in parts:
        for number, count in part.counts.items():
            counts[number] = counts.get(number, 0) + count
    total, squares = math.fsum(part.total for part in parts), math.fsum(part.squares for part in parts)
    return Distribution(parts[0].buckets, counts, total, squares)
