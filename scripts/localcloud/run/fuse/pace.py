"""How fast a mount reads: answers wait for their turn, as if their bytes had to come over a network."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from typing import Any

Send = Callable[[bytes], None]


class Pace:
    """bandwidth_bytes_s is shared by all readers (None: no limit); latency_s is before the first byte of each request.

    Answers that must wait are kept here and sent by flush(); the caller sleeps for wait_s() meanwhile.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.bandwidth_bytes_s: float | None = None
        self.latency_s = 0.0
        self._clock = clock
        self._busy_until = 0.0
        self._waiting: list[tuple[float, int, int, bytes, Send]] = []
        self._count = 0

    @property
    def free(self) -> bool:
        """Nothing needs to wait."""
        return self.bandwidth_bytes_s is None and not self.latency_s

    def set(self, told: dict[str, Any]) -> None:
        """Take over what the daemon was told."""
        self.bandwidth_bytes_s = told["bandwidth_bytes_s"]
        self.latency_s = told["latency_ms"] / 1000

    def due(self, size_bytes: int, first: bool, limit_bytes_s: float | None = None) -> float:
        """When so many bytes have come, by the clock of this object; 0 for at once. limit is the mount's own."""
        limits = [each for each in (self.bandwidth_bytes_s, limit_bytes_s) if each is not None]
        latency_s = self.latency_s if first else 0.0
        if not limits:
            return self._clock() + latency_s if latency_s else 0.0
        start = max(self._clock(), self._busy_until)
        self._busy_until = start + size_bytes / min(limits)
        return self._busy_until + latency_s

    def later(self, due: float, unique: int, answer: bytes, send: Send) -> None:
        """Send an answer when it is due."""
        self._count += 1
        heapq.heappush(self._waiting, (due, self._count, unique, answer, send))

    def interrupt(self, unique: int, answer: bytes) -> None:
        """Whoever waits for this request has had a signal: it is answered now."""
        for index, (_, _, each, _, send) in enumerate(self._waiting):
            if each == unique:
                del self._waiting[index]
                heapq.heapify(self._waiting)
                send(answer)
                return

    def wait_s(self) -> float | None:
        """Seconds until the next answer is due; None when none waits."""
        return max(self._waiting[0][0] - self._clock(), 0.0) if self._waiting else None

    def flush(self) -> None:
        """Send what is due."""
        while self._waiting and self._waiting[0][0] <= self._clock():
            _, _, _, answer, send = heapq.heappop(self._waiting)
            send(answer)
