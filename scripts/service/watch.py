"""Gates of a roll-out: what the request log of a revision says, judged by the environment's limits."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from scripts.cloud.logs import Entry, both, equal, of_service
from scripts.errors import GateFailed
from scripts.service.target import Target
from scripts.settings.model import Rollout

LIMIT = 2000  # the youngest requests of a step stand for all of them
EARLY = 20  # with as many requests a step is given up before its time is over
LOOKS = 6  # reading the log has a quota: a step looks so many times, and every MIN_PAUSE_S at most
MIN_PAUSE_S = 1.0
TOO_MANY_REQUESTS = 429


@dataclass(frozen=True)
class Seen:
    """What the request log has of a revision; p95_ms is 0 without a request."""

    requests: int
    failed: int
    p95_ms: float

    @property
    def failed_percent(self) -> float:
        return 100 * self.failed / self.requests if self.requests else 0.0

    def line(self) -> str:
        """The numbers for people."""
        if not self.requests:
            return "no request yet"
        return f"{self.requests} requests, {self.failed} failed, p95 {self.p95_ms:.0f} ms"


def summarize(entries: Iterable[Entry]) -> Seen:
    """Numbers of request log entries. 429 counts as failed: there the platform had no instance."""
    requests = [entry.request for entry in entries if entry.request.get("status")]
    failed = sum(int(request["status"]) >= 500 or int(request["status"]) == TOO_MANY_REQUESTS for request in requests)
    took_ms = sorted(1000 * float(str(request.get("latency") or "0s").removesuffix("s")) for request in requests)
    p95_ms = took_ms[math.ceil(0.95 * len(took_ms)) - 1] if took_ms else 0.0
    return Seen(len(requests), failed, p95_ms)


def judge(seen: Seen, limits: Rollout) -> str:
    """What is wrong with what was seen; empty when nothing is."""
    if seen.failed_percent > limits.max_error_percent:
        return (
            f"{seen.failed} of {seen.requests} requests failed ({seen.failed_percent:.1f} %), "
            f"expected at most {limits.max_error_percent:g} %"
        )
    if limits.max_p95_ms and seen.p95_ms > limits.max_p95_ms:
        return f"p95 is {seen.p95_ms:.0f} ms over {seen.requests} requests, expected at most {limits.max_p95_ms} ms"
    return ""


def read(target: Target, revision: str, since: datetime) -> Seen:
    """What the request log has of a revision since a moment."""
    log = equal("logName", f"projects/{target.settings.project}/logs/run.googleapis.com%2Frequests")
    condition = both(of_service(target.name, revision), log)
    return summarize(target.logs.entries(condition, since=since, limit=LIMIT, newest_first=True))


def gate(target: Target, revision: str, since: datetime, say: Callable[[str], None], check: Callable[[], None]) -> Seen:
    """Watch a revision for the environment's watch_s; what was seen. check() says before each look that we may go on.

    Raises GateFailed as soon as many requests are enough to judge by, else when the time is over.
    """
    limits = target.settings.rollout
    deadline = time.monotonic() + limits.watch_s
    pause_s = max(MIN_PAUSE_S, limits.watch_s / LOOKS)
    while True:
        left_s = deadline - time.monotonic()
        seen = read(target, revision, since)
        wrong = judge(seen, limits)
        if wrong and (left_s <= 0 or seen.requests >= EARLY):
            remedy = f"Run: ./dev invoke logs --env {target.environment}; correct the cause, then deploy again."
            raise GateFailed(f"revision {revision} does not hold: {wrong}", remedy)
        if left_s <= 0:
            return seen
        say(f"watching {revision} for {left_s:.0f} s more: {seen.line()}")
        time.sleep(min(pause_s, left_s))
        check()
