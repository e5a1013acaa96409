"""Waits grow, carry jitter, obey the server, and end."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from scripts.errors import Unreachable
from scripts.models.sources.backoff import Backoff, Patience, asked_wait_s

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


def test_waits_double_up_to_a_limit_and_carry_at_most_half_as_jitter() -> None:
    waits: list[float] = []
    backoff = Backoff(Patience(attempts=6, first_wait_s=1, longest_wait_s=4, budget_s=100), waits.append)
    for _ in range(5):
        backoff.pause("a file", "broken")
    for waited, least in zip(waits, (1, 2, 4, 4, 4), strict=True):
        assert least <= waited <= least * 1.5
    with pytest.raises(Unreachable, match="a file: broken; gave up after 6 tries"):
        backoff.pause("a file", "broken")


def test_progress_starts_the_attempts_anew() -> None:
    waits: list[float] = []
    backoff = Backoff(Patience(attempts=2, first_wait_s=1, longest_wait_s=4, budget_s=100), waits.append)
    for _ in range(5):
        backoff.pause("a file", "broken")
        backoff.progress()
    assert all(waited <= 1.5 for waited in waits)


def test_a_server_that_names_a_time_is_believed_within_the_budget_and_beyond_the_attempts() -> None:
    waits: list[float] = []
    backoff = Backoff(Patience(attempts=2, first_wait_s=0.1, longest_wait_s=1, budget_s=100), waits.append)
    for _ in range(9):
        backoff.pause("a file", "busy", 10.0)
    assert all(10 <= waited <= 10.5 for waited in waits)
    with pytest.raises(Unreachable, match="beyond the 100 s") as caught:
        backoff.pause("a file", "busy", 60.0)
    assert "in 60 s" in caught.value.remedy or "in 61 s" in caught.value.remedy


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "Fri, 20 Nov 2026 12:01:30 GMT"}, 90.0),
        ({"Retry-After": "Fri, 20 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "²"}, None),
        ({"RateLimit": '"api";r=0;t=55'}, 55.0),
        ({"RateLimit": '"api";r=3;t=55'}, None),
        ({}, None),
    ],
)
def test_what_the_server_asks_for(headers: dict[str, str], wait_s: float | None) -> None:
    assert asked_wait_s(headers, lambda: NOW) == wait_s
