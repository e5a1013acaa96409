"""Try again what may be tried again: idempotent calls that found nobody at the other end."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from scripts.errors import AccessDenied, Unreachable

T = TypeVar("T")


def retrying(
    call: Callable[[], T],
    *,
    attempts: int = 4,
    first_s: float = 0.25,
    ceiling_s: float = 4.0,
    sleep: Callable[[float], None] = time.sleep,
    spread: Callable[[], float] = random.random,
) -> T:
    """The result of an idempotent call; Unreachable is tried again after an exponential wait with full jitter.

    AccessDenied and every other error come through at once, as does Unreachable from the last attempt.
    """
    waits = delays(first_s, ceiling_s)
    for _ in range(attempts - 1):
        try:
            return call()
        except AccessDenied:
            raise
        except Unreachable:
            sleep(next(waits) * spread())
    return call()


def delays(first_s: float, ceiling_s: float, factor: float = 2.0) -> Iterator[float]:
    """Endless waits in seconds: first_s, growing by the factor, never above ceiling_s."""
    delay_s = first_s
    while True:
        yield delay_s
        delay_s = min(delay_s * factor, ceiling_s)
