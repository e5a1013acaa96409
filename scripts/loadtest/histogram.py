"""Latencies as HDR histograms: exact to three digits from a microsecond to an hour, and mergeable across processes."""

from __future__ import annotations

from typing import Any

HIGHEST_US = 3_600_000_000
DIGITS = 3


class Histogram:
    """Seconds go in, milliseconds come out."""

    def __init__(self, coded: str = "") -> None:
        """coded: what coded() of another one returned."""
        from hdrh.histogram import HdrHistogram

        self._counts: Any = HdrHistogram.decode(coded) if coded else HdrHistogram(1, HIGHEST_US, DIGITS)

    @property
    def count(self) -> int:
        return int(self._counts.total_count)

    @property
    def mean_ms(self) -> float:
        return float(self._counts.get_mean_value()) / 1000 if self.count else 0.0

    @property
    def max_ms(self) -> float:
        return float(self._counts.get_max_value()) / 1000 if self.count else 0.0

    def record(self, seconds: float) -> None:
        """Count one latency; what lies outside the range counts as its end."""
        self._counts.record_value(min(max(round(seconds * 1e6), 0), HIGHEST_US))

    def add(self, other: Histogram) -> None:
        """Count everything that the other one counted."""
        self._counts.add(other._counts)

    def at_ms(self, percent: float) -> float:
        """The latency that so many percent of all did not exceed; 0 when nothing was counted."""
        return float(self._counts.get_value_at_percentile(percent)) / 1000 if self.count else 0.0

    def coded(self) -> str:
        """The histogram as text, in HdrHistogram's own compressed format (V2)."""
        return str(self._counts.encode().decode("ascii"))


def merged(coded: list[str]) -> Histogram:
    """One histogram of several texts."""
    whole = Histogram()
    for text in coded:
        whole.add(Histogram(text))
    return whole
