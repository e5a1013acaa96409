"""When each request is due: fixed beforehand, whatever the server does meanwhile (an open model).

A ramp is written FROM..TO:TIME, several with commas: `10..200:20s,200..50:10s`. After the ramps the load holds its rate
for the duration. The warm-up comes before all of it, and is not measured.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from scripts.errors import BadInput

LONGEST_S = 3600.0
HIGHEST_RATE = 100_000.0
_NUMBER = re.compile(r"\d{1,6}(\.\d{1,6})?")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_RAMP = re.compile(r"(\d+(?:\.\d+)?)\.\.(\d+(?:\.\d+)?):(.+)")
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Stage:
    """Rates are requests a second; between the two the rate changes evenly."""

    from_rate: float
    to_rate: float
    duration_s: float

    @property
    def requests(self) -> float:
        """How many requests fall due in it."""
        return (self.from_rate + self.to_rate) / 2 * self.duration_s

    def moment_s(self, requests: float) -> float:
        """After how many seconds of the stage so many requests have fallen due."""
        change = (self.to_rate - self.from_rate) / self.duration_s
        if change == 0:
            return requests / self.from_rate
        return (math.sqrt(max(self.from_rate**2 + 2 * change * requests, 0.0)) - self.from_rate) / change

    def told(self) -> str:
        """The stage in words."""
        rates = f"{self.from_rate:g}" + ("" if self.from_rate == self.to_rate else f" to {self.to_rate:g}")
        return f"{rates} a second for {self.duration_s:g} s"


@dataclass(frozen=True)
class Schedule:
    """All stages one after the other; what is due before warm_up_s is sent and not measured."""

    stages: tuple[Stage, ...]
    warm_up_s: float = 0.0

    @property
    def duration_s(self) -> float:
        """From the first request to the end of the last stage, warm-up included."""
        return sum(stage.duration_s for stage in self.stages)

    @property
    def measured_s(self) -> float:
        return self.duration_s - self.warm_up_s

    @property
    def requests(self) -> int:
        """How many requests there are, warm-up included."""
        return math.ceil(sum(stage.requests for stage in self.stages) - 1e-9)

    @property
    def peak_rate(self) -> float:
        return max(max(stage.from_rate, stage.to_rate) for stage in self.stages)

    def due_s(self, first: int = 0, step: int = 1) -> Iterator[float]:
        """The moments, in seconds from the start, of every step-th request beginning with the first (counted from 0).

        Several processes share a schedule so: process p of n sends the requests p, p + n, p + 2n, …
        """
        began_s, before = 0.0, 0.0
        numbers = count(first, step)
        number = next(numbers)
        for stage in self.stages:
            while number < before + stage.requests - 1e-9:
                yield began_s + stage.moment_s(number - before)
                number = next(numbers)
            began_s, before = began_s + stage.duration_s, before + stage.requests


def plan(held_rate: float, held_s: float, ramp: str = "", warm_up_s: float = 0.0) -> Schedule:
    """The schedule of a load test. Raises BadInput when it is too long."""
    stages = [*ramps(ramp), Stage(held_rate, held_rate, held_s)]
    if warm_up_s:
        calm = max(stages[0].from_rate, 1.0)
        stages.insert(0, Stage(calm, calm, warm_up_s))
    made = Schedule(tuple(stages), warm_up_s)
    if made.duration_s > LONGEST_S:
        wrong = (
            f"--duration: warm-up, ramps and load take {made.duration_s:g} s together, expected {LONGEST_S:g} at most"
        )
        raise BadInput(wrong, "For example: --duration 10m")
    return made


def rate(text: str) -> float:
    """The requests a second of a --rate. Raises BadInput."""
    if not _NUMBER.fullmatch(text) or not 0 < float(text) <= HIGHEST_RATE:
        wrong = f"--rate: found {text!r}, expected more than 0 and at most {HIGHEST_RATE:g} requests a second"
        raise BadInput(wrong, "For example: --rate 50")
    return float(text)


def ramps(text: str) -> list[Stage]:
    """The stages of a --ramp. Raises BadInput naming the part that is wrong."""
    return [_ramp(part.strip()) for part in text.split(",")] if text.strip() else []


def duration_s(text: str, option: str, *, zero: bool = False) -> float:
    """A time like 30s, 500ms or 1m30s in seconds. Raises BadInput naming the option."""
    if zero and text.strip() == "0":
        return 0.0
    parts = _PART.findall(text)
    whole = "".join(number + unit for number, unit in parts)
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in parts)
    if whole != text.strip() or not parts or not (seconds > 0 or zero):
        raise BadInput(
            f"{option}: found {text!r}, expected a time like 30s, 500ms or 1m30s", f"For example: {option} 30s"
        )
    return seconds


def _ramp(part: str) -> Stage:
    match = _RAMP.fullmatch(part)
    if match is None:
        wrong = f"--ramp: found {part!r}, expected FROM..TO:TIME in requests a second"
        raise BadInput(wrong, "For example: --ramp 10..200:20s")
    lowest, highest = float(match[1]), float(match[2])
    if lowest == highest == 0 or max(lowest, highest) > HIGHEST_RATE:
        wrong = f"--ramp: found {part!r}, expected rates of at most {HIGHEST_RATE:g}, not both 0"
        raise BadInput(wrong, "For example: --ramp 10..200:20s")
    return Stage(lowest, highest, duration_s(match[3], "--ramp"))
