"""Retries of Cloud Scheduler: the documented sequence of pauses, and when to give up."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.localcloud.scheduler import retries
from scripts.localcloud.web import ApiError


def config(**given: Any) -> dict[str, Any]:
    return retries.checked(given)


def test_pauses_double_then_grow_by_the_same_step() -> None:
    # the example of the API's reference
    given = config(minBackoffDuration="10s", maxBackoffDuration="300s", maxDoublings=3)
    assert [retries.pause_s(given, retry) for retry in range(1, 9)] == [10, 20, 40, 80, 160, 240, 300, 300]
    assert retries.pause_s(config(maxDoublings=0), 3) == 15
    assert retries.pause_s(config(maxDoublings=10**6), 10**6) == 3600


def test_both_limits_must_be_reached() -> None:
    assert not retries.allowed(config(), 1, 0)
    assert retries.allowed(config(retryCount=2), 2, 1e6) and not retries.allowed(config(retryCount=2), 3, 0)
    both = config(retryCount=1, maxRetryDuration="60s")
    assert retries.allowed(both, 5, 59) and not retries.allowed(both, 2, 60)


@pytest.mark.parametrize(
    "given",
    [
        {"retryCount": 6}, {"retryCount": -1}, {"minBackoffDuration": "five"}, {"maxBackoffDuration": "1s"},
        {"maxDoublings": -1}, {"maxRetryDuration": "-1s"},
    ],
)  # fmt: skip
def test_bad_configurations_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ApiError, match="retry_config"):
        config(**given)
