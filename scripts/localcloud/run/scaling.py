"""How many instances a revision needs: decisions on numbers alone, the fleet carries them out.

Cloud Run starts instances by the requests it has against what its instances may take at once, and keeps them, over a
one-minute window, at 60 % of that (https://cloud.google.com/run/docs/about-instance-autoscaling). Knative's autoscaler,
from which it comes, computes the same: ceil(average requests in flight / (utilisation x containerConcurrency)). Here:

out at once       requests that find no free slot start as many instances as those waiting need
out by the load   the average over the last minute, seen every 5 s, is more than 60 % of all slots
in                an instance without a request for 15 minutes is stopped; and those that even the highest peak of the
                  last 15 minutes did not need, though every one of them gets a request now and then
"""

from __future__ import annotations

import math
from collections import deque

UTILISATION = 0.6
WINDOW_S = 60.0
EVERY_S = 5.0
IDLE_S = 900.0
# Cloud Run lets a request wait for "at least the average startup time", and never less than this (same page).
PENDING_S = 10.0
# Knative's queue-proxy holds 10 requests for each that it lets through; below 100 nobody notices a queue.
_QUEUE_PER_SLOT = 10
_SHORTEST_QUEUE = 100
# Instances are processes of one machine: load alone starts no more than these for a revision.
MOST_BY_LOAD = 20


def for_waiting(waiting: int, starting: int, concurrency: int) -> int:
    """How many more instances those need that wait, when some are starting already."""
    return max(0, math.ceil(waiting / concurrency) - starting)


def for_load(average: float, concurrency: int) -> int:
    """How many instances keep an average number of requests in flight at the utilisation that is aimed at."""
    return math.ceil(round(average / (UTILISATION * concurrency), 6))


def longest_queue(concurrency: int, instances: int) -> int:
    """How many requests may wait before further ones are refused at once."""
    return max(_SHORTEST_QUEUE, _QUEUE_PER_SLOT * concurrency * instances)


def capped(wanted: int, maximum: int) -> str:
    """What the log says when this machine's cap is below the revision's own maximum."""
    return (
        f"The load asks for {wanted} instances (maxScale {maximum}); the stand-in starts at most {MOST_BY_LOAD} of a"
        " revision by itself. POST /_local/services/SERVICE/instances starts more."
    )


class Load:
    """Requests in flight over the last minute, by the machine's clock."""

    def __init__(self, now_s: float) -> None:
        self._area = 0.0
        self._in_flight = 0
        self._at_s = now_s
        self._steps: deque[float] = deque(maxlen=round(WINDOW_S / EVERY_S))

    def change(self, in_flight: int, now_s: float) -> None:
        """There are in_flight requests from now on."""
        self._area += self._in_flight * (now_s - self._at_s)
        self._in_flight, self._at_s = in_flight, now_s

    def average(self, now_s: float) -> float:
        """Close a step of EVERY_S: the average over the window; before it has passed, the rest of it counts as idle."""
        self.change(self._in_flight, now_s)
        self._steps.append(self._area)
        self._area = 0.0
        return sum(self._steps) / WINDOW_S


class Peaks:
    """The highest number of requests in flight in each of the last 15 minutes, by the stand-in's clock."""

    def __init__(self) -> None:
        self._minutes: deque[tuple[int, int]] = deque()

    def saw(self, in_flight: int, now_s: float) -> None:
        """There are in_flight requests now."""
        minute = int(now_s // 60)
        minutes = self._minutes
        if minutes and minutes[-1][0] == minute:
            if minutes[-1][1] < in_flight:
                minutes[-1] = (minute, in_flight)
            return
        minutes.append((minute, in_flight))
        while minutes[0][0] < minute - IDLE_S // 60:
            minutes.popleft()

    def highest(self, now_s: float) -> int:
        """The highest peak of the last 15 minutes."""
        first = now_s // 60 - IDLE_S // 60
        return max((peak for minute, peak in self._minutes if minute >= first), default=0)
