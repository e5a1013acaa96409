"""What a load test measured, merged from all processes, and whether it was the generator that was measured."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.loadtest.histogram import Histogram, merged

LEAST_ACHIEVED = 0.99
Line = Mapping[str, Any]


@dataclass(frozen=True)
class Second:
    """The requests that were due within one second; at_s counts from the end of the warm-up."""

    at_s: int
    due: int
    errors: int
    p50_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True)
class Served:
    """What one instance answered, as its header told."""

    instance: str
    requests: int
    errors: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Measurement:
    """Latencies count from the intended send; lag is how much later than intended requests left.

    due: what the schedule asked for while it was measured. sent_in_time: what left before the schedule's end.
    """

    latency: Histogram
    lag: Histogram
    due: int
    sent_in_time: int
    unsent: int
    errors: Mapping[str, int]
    seconds: tuple[Second, ...]
    served: tuple[Served, ...]
    measured_s: float
    processes: int
    peak_in_flight: int
    connections: int

    @property
    def error_percent(self) -> float:
        return 100 * sum(self.errors.values()) / self.latency.count if self.latency.count else 0.0

    @property
    def achieved(self) -> float:
        """The share of the due requests that left before the schedule's end."""
        return self.sent_in_time / self.due if self.due else 0.0

    @property
    def rate(self) -> float:
        """Requests a second that left."""
        return self.sent_in_time / self.measured_s

    def bottleneck(self, lag_limit_ms: float) -> str:
        """Why these figures speak of the generator and not of the service; empty when they do not."""
        if self.achieved < LEAST_ACHIEVED:
            rate = f"{self.rate:.4g} of {self.due / self.measured_s:.4g} requests a second"
            return f"the generator sent {100 * self.achieved:.1f} % of what was due in time ({rate})"
        lag_ms = self.lag.at_ms(99)
        if lag_ms > lag_limit_ms:
            return (
                f"the generator sent late: p99 of its lag is {lag_ms:.4g} ms, at most {lag_limit_ms:g} ms are accepted"
            )
        return ""


def gather(lines: Sequence[Line], measured_s: float) -> Measurement:
    """Merge what the workers told (see worker.py)."""
    ends = [line for line in lines if "end" in line]
    told = [line for line in lines if "second" in line]
    by_second, by_instance = defaultdict[int, list[Line]](list), defaultdict[str, list[Line]](list)
    for line in told:
        by_second[int(line["second"])].append(line)
    for end in ends:
        for name, answers in end["instances"].items():
            by_instance[name].append(answers)
    whole = merged([line["latency"] for line in told])
    seconds = [_second(number, by_second[number]) for number in sorted(by_second)]
    errors = _errors(told)
    return Measurement(
        latency=whole,
        lag=merged([end["lag"] for end in ends]),
        due=sum(second.due for second in seconds),
        sent_in_time=sum(int(end["sent_in_time"]) for end in ends),
        unsent=sum(int(end["unsent"]) for end in ends),
        errors=dict(errors.most_common()),
        seconds=tuple(seconds),
        served=tuple(_served(name, told) for name, told in sorted(by_instance.items())),
        measured_s=measured_s,
        processes=len(ends),
        peak_in_flight=sum(int(end["peak_in_flight"]) for end in ends),
        connections=sum(int(end["connections"]) for end in ends),
    )


def _second(number: int, told: Sequence[Line]) -> Second:
    latency = merged([line["latency"] for line in told])
    due = sum(int(line["due"]) for line in told)
    return Second(number, due, _errors(told).total(), latency.at_ms(50), latency.at_ms(99), latency.max_ms)


def _served(name: str, told: Sequence[Line]) -> Served:
    latency = merged([answers["latency"] for answers in told])
    return Served(name, latency.count, _errors(told).total(), latency.at_ms(50), latency.at_ms(99))


def _errors(told: Sequence[Line]) -> Counter[str]:
    errors: Counter[str] = Counter()
    for each in told:
        errors.update(each["errors"])
    return errors
