"""Numbers of the request log, and what the limits say of them."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.cloud import logs
from scripts.service import watch
from scripts.service.watch import Seen
from scripts.settings.model import Rollout


def entry(**request: Any) -> logs.Entry:
    return logs.entry({"timestamp": "2026-11-30T00:00:00Z", "httpRequest": request})


def test_requests_are_counted_and_429_failed() -> None:
    given = [
        entry(status=status, latency=f"{number / 100}s") for number, status in enumerate([200] * 17 + [404, 429, 503])
    ]
    seen = watch.summarize([*given, logs.entry({"textPayload": "no request"})])
    assert (seen.requests, seen.failed, seen.p95_ms) == (20, 2, 180.0)
    assert seen.line() == "20 requests, 2 failed, p95 180 ms"
    assert watch.summarize([]).line() == "no request yet"


@pytest.mark.parametrize(
    ("seen", "limits", "expected"),
    [
        (Seen(100, 1, 900), Rollout(), ""),
        (Seen(100, 2, 900), Rollout(), "2 of 100 requests failed (2.0 %), expected at most 1 %"),
        (Seen(100, 0, 900), Rollout(max_p95_ms=899), "p95 is 900 ms over 100 requests, expected at most 899 ms"),
        (Seen(100, 0, 900), Rollout(max_p95_ms=900), ""),
        (Seen(0, 0, 0), Rollout(max_error_percent=0.0, max_p95_ms=1), ""),
    ],
)
def test_limits_judge(seen: Seen, limits: Rollout, expected: str) -> None:
    assert watch.judge(seen, limits) == expected
