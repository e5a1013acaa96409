"""How far a transfer is, how fast it goes and how long it will take; told at most once a second."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

EVERY_S = 1.0
# The rate is that of the last seconds: what the network gives now tells the time that is left.
WINDOW_S = 10.0


@dataclass(frozen=True)
class Pace:
    """Where a transfer stands: bytes done of all, bytes a second lately; left_s: seconds to go, None at no rate yet."""

    done_bytes: int
    total_bytes: int
    rate_bytes_per_s: int
    left_s: float | None


class Progress:
    """Counts bytes from several threads and tells the pace. clock: seconds that only grow."""

    def __init__(
        self, total_bytes: int, tell: Callable[[Pace], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._total_bytes = total_bytes
        self._tell = tell
        self._clock = clock
        self._done_bytes = 0
        self._lock = threading.Lock()
        began = clock()
        self._next = began + EVERY_S
        self._past = deque([(began, 0)])

    def add(self, size_bytes: int) -> None:
        """Bytes that are done (negative: they have to be brought again); tells the pace when it is time."""
        with self._lock:
            self._done_bytes += size_bytes
            now = self._clock()
            if now < self._next:
                return
            self._next = now + EVERY_S
            pace = self._pace(now)
        self._tell(pace)

    def _pace(self, now: float) -> Pace:
        self._past.append((now, self._done_bytes))
        while len(self._past) > 2 and now - self._past[1][0] > WINDOW_S:
            self._past.popleft()
        then, before = self._past[0]
        rate = max(0.0, (self._done_bytes - before) / (now - then)) if now > then else 0.0
        left = max(0, self._total_bytes - self._done_bytes)
        return Pace(self._done_bytes, self._total_bytes, int(rate), left / rate if rate else None)
