"""Plots as numbers: paths in a box of WIDTH by HEIGHT, and labels in percent of it, so that a page can be any width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scripts.loadtest.histogram import Histogram
from scripts.loadtest.measurement import Second
from scripts.loadtest.thresholds import milliseconds

WIDTH, HEIGHT = 1000.0, 300.0
_STEPS = (1, 2, 5)
_MOST_TICKS = 6
_NINES = (50.0, 90.0, 99.0, 99.9, 99.99, 99.999)
_POINTS = 240


@dataclass(frozen=True)
class Tick:
    """A label; at is its place in percent from the left, or from the top."""

    at: float
    label: str


@dataclass(frozen=True)
class Line:
    """A curve: its name, its colour's class, and the path's `d`; area closes it along the bottom, empty for a point."""

    name: str
    kind: str
    path: str
    area: str = ""


@dataclass(frozen=True)
class Span:
    """What one second of a plot says when it is pointed at; left and width in units of the box."""

    left: float
    width: float
    text: str
    failed: bool


@dataclass(frozen=True)
class Chart:
    """A plot. limit: how far from the top, in percent, a threshold's line is; None without one in sight."""

    lines: tuple[Line, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    spans: tuple[Span, ...] = ()
    limit: float | None = None
    limit_text: str = ""


@dataclass(frozen=True)
class Scale:
    """A logarithmic axis from lowest to highest (both above 0)."""

    lowest: float
    highest: float

    def share(self, value: float) -> float:
        """Where a value is: 0 at the lowest, 1 at the highest."""
        whole = math.log10(self.highest / self.lowest)
        return min(max(math.log10(max(value, self.lowest) / self.lowest) / whole, 0.0), 1.0)

    def ticks(self) -> list[float]:
        """Round values on it, at most a handful."""
        first, last = math.floor(math.log10(self.lowest)), math.ceil(math.log10(self.highest))
        for steps in (_STEPS, (1, 3), (1,)):
            found = [step * 10.0**power for power in range(first, last + 1) for step in steps]
            found = [each for each in found if self.lowest * 0.999 <= each <= self.highest * 1.001]
            if len(found) <= _MOST_TICKS:
                break
        return found


def scale(values: Sequence[float]) -> Scale:
    """The axis that holds all values above 0, from one round number to another."""
    real = [value for value in values if value > 0] or [1.0]
    lowest, highest = _round(min(real), down=True), _round(max(real), down=False)
    return Scale(lowest, highest if highest > lowest * 1.5 else lowest * 10)


def over_time(seconds: Sequence[Second], limit_ms: float | None, limit_text: str = "") -> Chart:
    """p50 and p99 of each second, and the seconds in which requests failed."""
    axis = scale([value for each in seconds for value in (each.p50_ms, each.p99_ms)])
    length = (seconds[-1].at_s + 1) if seconds else 1
    lines = []
    for name, kind, values in (("p99", "t0", [s.p99_ms for s in seconds]), ("p50", "t1", [s.p50_ms for s in seconds])):
        points = [
            ((second.at_s + 0.5) / length * WIDTH, _height(axis, value))
            for second, value in zip(seconds, values, strict=True)
        ]
        lines.append(Line(name, kind, _path(points), _area(points)))
    width = WIDTH / length
    spans = tuple(Span(each.at_s * width, width, _told(each), each.errors > 0) for each in seconds)
    seen = limit_ms is not None and axis.lowest <= limit_ms <= axis.highest
    limit = 100 * (1 - axis.share(limit_ms)) if seen and limit_ms is not None else None
    return Chart(tuple(lines), _clock(length), _latencies(axis), spans, limit, limit_text)


def percentiles(latency: Histogram) -> Chart:
    """The latency that so many percent of the requests did not exceed; each nine more takes as much room."""
    nines = min(max(math.log10(latency.count), 1.0), 5.0) if latency.count else 1.0
    shares = [nines * step / _POINTS for step in range(_POINTS + 1)]
    values = [latency.at_ms(100 * (1 - 10.0**-share)) for share in shares]
    axis = scale(values)
    points = [
        (share / nines * WIDTH, _height(axis, value)) for share, value in zip(shares, values, strict=True) if value > 0
    ]
    across = tuple(
        Tick(100 * -math.log10(1 - percent / 100) / nines, f"{percent:g} %")
        for percent in _NINES
        if -math.log10(1 - percent / 100) <= nines + 1e-9
    )
    return Chart((Line("latency", "t0", _path(points), _area(points)),), across, _latencies(axis))


def _height(axis: Scale, value: float) -> float:
    return HEIGHT * (1 - axis.share(value))


def _path(points: Sequence[tuple[float, float]]) -> str:
    if len(points) == 1:  # a stroke that can be seen
        points = [(0.0, points[0][1]), (WIDTH, points[0][1])]
    return "M" + " L".join(f"{across:.1f},{down:.1f}" for across, down in points) if points else ""


def _area(points: Sequence[tuple[float, float]]) -> str:
    if len(points) < 2:
        return ""
    return f"{_path(points)} L{points[-1][0]:.1f},{HEIGHT:g} L{points[0][0]:.1f},{HEIGHT:g} Z"


def _latencies(axis: Scale) -> tuple[Tick, ...]:
    return tuple(Tick(100 * (1 - axis.share(each)), milliseconds(each)) for each in axis.ticks())


def _clock(length_s: int) -> tuple[Tick, ...]:
    step = next(each for each in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600) if length_s / each <= _MOST_TICKS + 1)
    return tuple(Tick(100 * at / length_s, f"{at} s") for at in range(0, length_s + 1, step))


def _told(each: Second) -> str:
    failed = f", {each.errors} failed" if each.errors else ""
    times = f"p50 {milliseconds(each.p50_ms)}, p99 {milliseconds(each.p99_ms)}, max {milliseconds(each.max_ms)}"
    return f"second {each.at_s + 1}: {each.due} requests{failed}; {times}"


def _round(value: float, *, down: bool) -> float:
    """The next 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    steps = [step * power for step in (*_STEPS, 10)]
    if down:
        return max(step for step in steps if step <= value * 1.000001)
    return min(step for step in steps if step >= value * 0.999999)
