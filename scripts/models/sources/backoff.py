"""When to try an upstream again: exponential waits with jitter, what the server asked for, and a limit to both."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from scripts.errors import Unreachable

RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})
# IETF draft-ietf-httpapi-ratelimit-headers, as the Hugging Face hub sends it: "api";r=0;t=55
_RATE_LIMIT = re.compile(r'"\w+"\s*;\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d+)')
_LOOK_EVERY_S = 0.5
_check: ContextVar[Callable[[], None]] = ContextVar("check", default=lambda: None)


@dataclass(frozen=True)
class Patience:
    """attempts: tries in a row without progress. budget_s: seconds to spend on waiting for one file or answer.

    A server that says when to come back is believed as long as the budget lasts; only silent failures use up attempts.
    """

    attempts: int = 5
    first_wait_s: float = 0.4
    longest_wait_s: float = 8.0
    budget_s: float = 300.0


@contextmanager
def heeding(check: Callable[[], None]) -> Iterator[None]:
    """The waits of this thread end early with what check raises."""
    before = _check.set(check)
    try:
        yield
    finally:
        _check.reset(before)


def wait(wait_s: float) -> None:
    """Sleep; an upstream may ask for minutes, and a failure elsewhere ends them within a second. See heeding."""
    until = time.monotonic() + wait_s
    while (left_s := until - time.monotonic()) > 0:
        _check.get()()
        time.sleep(min(left_s, _LOOK_EVERY_S))


class Backoff:
    """The waits of one operation."""

    def __init__(self, patience: Patience, sleep: Callable[[float], None] = wait) -> None:
        self._patience = patience
        self._sleep = sleep
        self._silent = 0
        self._tries = 0
        self._waited_s = 0.0

    def progress(self) -> None:
        """Something arrived: the attempts start anew."""
        self._silent = self._tries = 0

    def pause(self, what: str, cause: str, asked_s: float | None = None) -> None:
        """Wait before the next try; asked_s is what the server asked for. Raises Unreachable when patience ends."""
        limits = self._patience
        self._tries += 1
        self._silent += asked_s is None
        if self._silent >= limits.attempts:
            raise Unreachable(
                f"{what}: {cause}; gave up after {self._tries} tries",
                "Check the network and the upstream's status page, then run the same command again.",
            )
        wait_s = min(limits.longest_wait_s, limits.first_wait_s * 2 ** min(self._tries - 1, 16))
        # Half of it random, so that a fleet that failed together does not come back together.
        wait_s = max(wait_s, asked_s or 0.0) + random.random() * wait_s * 0.5
        if self._waited_s + wait_s > limits.budget_s:
            raise Unreachable(
                f"{what}: {cause}; the next try would be in {wait_s:.0f} s, beyond the {limits.budget_s:g} s to spend",
                f"Run the same command again in {wait_s:.0f} s.",
            )
        self._waited_s += wait_s
        self._sleep(wait_s)


def asked_wait_s(headers: Mapping[str, str], now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> float | None:
    """Seconds that a server asks to wait: Retry-After (seconds or a date, RFC 9110 10.2.3), or an empty RateLimit."""
    asked = headers.get("Retry-After", "").strip()
    if asked.isascii() and asked.isdigit():
        return float(asked)
    if asked:
        try:
            until = parsedate_to_datetime(asked)
        except ValueError:
            return None
        until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
        return max(0.0, (until - now()).total_seconds())
    limit = _RATE_LIMIT.search(headers.get("RateLimit", ""))
    return float(limit.group(1)) if limit is not None else None
