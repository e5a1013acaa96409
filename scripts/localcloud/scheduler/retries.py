"""When a failed job is tried again (RetryConfig of Cloud Scheduler v1), as pure functions."""

from __future__ import annotations

import re
from typing import Any, NoReturn

from scripts.localcloud.web import ApiError

DEFAULTS: dict[str, Any] = {
    "retryCount": 0,
    "maxRetryDuration": "0s",
    "minBackoffDuration": "5s",
    "maxBackoffDuration": "3600s",
    "maxDoublings": 5,
}
MOST_RETRIES = 5
_DURATION = re.compile(r"\d{1,9}(\.\d{1,9})?s", re.ASCII)


def seconds(duration: str) -> float:
    """A duration of the API such as 3.5s, in seconds. Raises ValueError."""
    if not isinstance(duration, str) or _DURATION.fullmatch(duration) is None:
        raise ValueError(duration)
    return float(duration[:-1])


def checked(given: dict[str, Any]) -> dict[str, Any]:
    """A RetryConfig with its defaults. Raises ApiError 400."""
    config = {**DEFAULTS, **given}
    for key in ("maxRetryDuration", "minBackoffDuration", "maxBackoffDuration"):
        try:
            seconds(config[key])
        except ValueError:
            _refuse(key, f"expected a duration such as 5s, found {config[key]!r}")
    for key, most in (("retryCount", MOST_RETRIES), ("maxDoublings", 2**31 - 1)):
        value = config[key] = int(config[key])
        if not 0 <= value <= most:
            _refuse(key, f"expected 0 to {most}, found {value}")
    if seconds(config["minBackoffDuration"]) > seconds(config["maxBackoffDuration"]):
        _refuse("minBackoffDuration", "larger than maxBackoffDuration")
    return config


def pause_s(config: dict[str, Any], retry: int) -> float:
    """How long to wait before a retry (1 = the first): doubled maxDoublings times, then growing by the same step."""
    least, most = seconds(config["minBackoffDuration"]), seconds(config["maxBackoffDuration"])
    doublings = int(config["maxDoublings"])
    if retry <= doublings + 1:
        return min(least * 2.0 ** min(retry - 1, 60), most)
    return min(least * 2.0 ** min(doublings, 60) * (retry - doublings), most)


def allowed(config: dict[str, Any], retry: int, since_first_s: float) -> bool:
    """Whether a retry may still be made: while one of retryCount and maxRetryDuration is not used up."""
    return retry <= int(config["retryCount"]) or since_first_s < seconds(config["maxRetryDuration"])


def _refuse(field: str, message: str) -> NoReturn:
    raise ApiError(400, f"Job.retry_config.{field}: {message}.")
