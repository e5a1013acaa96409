"""What a load test has to keep: `p99<500ms,errors<0.1%`, parsed, judged, and told."""

from __future__ import annotations

import re
from dataclasses import dataclass

from scripts.errors import BadInput
from scripts.loadtest.measurement import Measurement

DEFAULT = "p99<500ms,errors<0.1%"
_LIMIT = re.compile(r"(p\d{1,2}(?:\.\d{1,3})?|mean|max|errors)\s*(<=|<)\s*(\d+(?:\.\d+)?)\s*(us|ms|s|%)")
_FACTORS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "%": 1.0}
_EXAMPLE = "For example: --threshold 'p99<500ms,errors<0.1%'"


@dataclass(frozen=True)
class Threshold:
    """A limit for p50 … p99.999, mean, max (milliseconds) or errors (percent of all requests)."""

    metric: str
    inclusive: bool
    limit: float
    text: str

    def measured(self, found: Measurement) -> float:
        """The value that the limit is for."""
        if self.metric == "errors":
            return found.error_percent
        if self.metric in ("mean", "max"):
            return found.latency.mean_ms if self.metric == "mean" else found.latency.max_ms
        return found.latency.at_ms(float(self.metric[1:]))

    def told(self, value: float) -> str:
        """A value of this metric for people."""
        return f"{value:.3g} %" if self.metric == "errors" else milliseconds(value)


@dataclass(frozen=True)
class Verdict:
    """A threshold and what was measured; remedy is only said of one that was crossed."""

    threshold: Threshold
    value: float

    @property
    def passed(self) -> bool:
        limit = self.threshold.limit
        return self.value <= limit if self.threshold.inclusive else self.value < limit

    def line(self) -> str:
        """The verdict on one line."""
        return f"{self.threshold.metric} is {self.threshold.told(self.value)}, the threshold {self.threshold.text}"


def parse(text: str) -> tuple[Threshold, ...]:
    """The thresholds of a --threshold. Raises BadInput naming the part that is wrong."""
    return tuple(_one(part.strip()) for part in text.split(",") if part.strip())


def judge(thresholds: tuple[Threshold, ...], found: Measurement) -> tuple[Verdict, ...]:
    """Every threshold with what was measured."""
    return tuple(Verdict(each, each.measured(found)) for each in thresholds)


def milliseconds(value_ms: float) -> str:
    """A latency with three digits: 0.42 ms, 12.3 ms, 1.91 s."""
    if value_ms >= 1000:
        return f"{value_ms / 1000:.3g} s" if value_ms < 1_000_000 else f"{value_ms / 1000:.0f} s"
    return f"{value_ms:.3g} ms"


def _one(part: str) -> Threshold:
    match = _LIMIT.fullmatch(part)
    if match is None:
        wrong = f"--threshold: found {part!r}, expected p50 … p99.9, mean, max or errors, then < or <=, then a limit"
        raise BadInput(wrong, _EXAMPLE)
    metric, sign, number, unit = match.groups()
    if (unit == "%") != (metric == "errors"):
        expected = "percent" if metric == "errors" else "ms or s"
        raise BadInput(f"--threshold: found {part!r}, expected a limit in {expected}", _EXAMPLE)
    return Threshold(metric, sign == "<=", float(number) * _FACTORS[unit], part.replace(" ", ""))
