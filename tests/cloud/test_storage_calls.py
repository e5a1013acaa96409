"""Which failures are repeated, how long, and what they are called in the end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import requests
from google.api_core import exceptions as api
from google.auth.exceptions import DefaultCredentialsError

from scripts.cloud import storage_calls
from scripts.cloud.storage_calls import attempt, for_response, understand
from scripts.errors import AccessDenied, BadInput, Conflict, NotFound, OpsError, Unreachable


def answer(**headers: str) -> Any:
    return SimpleNamespace(headers=requests.structures.CaseInsensitiveDict(headers), json=dict, text="")


@pytest.mark.parametrize(
    ("status", "reason", "kind", "transient"),
    [
        (429, "", Unreachable, True),
        (503, "", Unreachable, True),
        (500, "", Unreachable, True),
        (403, "rateLimitExceeded", Unreachable, True),
        (403, "", AccessDenied, False),
        (403, "quotaExceeded", OpsError, False),
        (401, "", AccessDenied, False),
        (404, "", NotFound, False),
        (412, "", Conflict, False),
        (409, "", Conflict, False),
        (400, "", BadInput, False),
        (507, "", OpsError, False),
    ],
)
def test_a_status_has_one_meaning(status: int, reason: str, kind: type[OpsError], transient: bool) -> None:
    failure = for_response(status, reason, "why.", answer(), "write gs://b/o", "Cloud Storage")
    assert (type(failure.error), failure.transient) == (kind, transient)
    assert failure.error.message == f"cannot write gs://b/o: why (HTTP {status} from Cloud Storage)"
    assert failure.error.remedy


@pytest.mark.parametrize(
    ("error", "kind", "transient"),
    [
        (requests.ConnectionError("reset"), Unreachable, True),
        (requests.Timeout("slow"), Unreachable, True),
        (ConnectionResetError("reset"), Unreachable, True),
        (api.NotFound("gone"), NotFound, False),
        (api.ServiceUnavailable("busy"), Unreachable, True),
        (DefaultCredentialsError("none"), AccessDenied, False),
    ],
)
def test_an_exception_has_one_meaning(error: Exception, kind: type[OpsError], transient: bool) -> None:
    failure = understand(error, "list gs://b", "Cloud Storage")
    assert failure is not None
    assert (type(failure.error), failure.transient) == (kind, transient)


def test_other_exceptions_are_not_swallowed() -> None:
    assert understand(KeyError("bug"), "", "") is None
    with pytest.raises(KeyError):
        attempt(lambda: {}["bug"], "", "")


class Flaky:
    """Fails a number of times, then answers."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures = failures
        self.error = error
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return "done"


def test_waits_grow_and_end() -> None:
    slept: list[float] = []
    call = Flaky(5, api.ServiceUnavailable("busy"))
    assert attempt(call, "list", "x", sleep=slept.append) == "done"
    assert len(slept) == 5
    for number, pause_s in enumerate(slept):
        ceiling_s = min(storage_calls.FIRST_WAIT_S * 2**number, storage_calls.LONGEST_WAIT_S)
        assert ceiling_s / 2 <= pause_s <= ceiling_s


def test_retry_after_is_obeyed_within_the_budget() -> None:
    slept: list[float] = []
    error = api.ServiceUnavailable("busy")
    error._response = answer(**{"Retry-After": "7"})
    assert attempt(Flaky(1, error), "list", "x", sleep=slept.append) == "done"
    assert slept == [7.0]
    error._response = answer(**{"Retry-After": "9999"})
    assert understand(error, "", "").retry_after_s == storage_calls.BUSY_BUDGET_S  # type: ignore[union-attr]
    error._response = answer(**{"Retry-After": "Fri, 20 Nov 2026 02:00:00 GMT"})
    assert understand(error, "", "").retry_after_s is None  # type: ignore[union-attr]


def test_what_is_final_is_not_repeated() -> None:
    call = Flaky(9, api.PreconditionFailed("412"))
    with pytest.raises(Conflict):
        attempt(call, "write", "x")
    assert call.calls == 1
