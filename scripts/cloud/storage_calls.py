"""How calls to Cloud Storage are repeated and how their failures are told: one time budget, Retry-After, jitter.

Every call made here is safe to repeat: it reads, or carries a precondition that lets it take effect once only.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from scripts.cloud.rest import LOGIN, cause, unreachable_remedy
from scripts.errors import STATUS, AccessDenied, BadInput, Conflict, NotFound, OpsError, Unreachable

T = TypeVar("T")

# (connect, between two reads); Cloud Storage answers metadata calls in well under a second.
TIMEOUT_S = (10.0, 60.0)
# A server that says "not now" gets longer than an address where nobody listens.
BUSY_BUDGET_S = 45.0
REFUSED_BUDGET_S = 8.0
FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 8.0
TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
AGAIN = "Wait a moment, then run the same command again: it continues where it stopped."


@dataclass(frozen=True)
class Failure:
    """A failed call: the error to raise, and whether (and when, in seconds) to try again."""

    error: OpsError
    transient: bool = False
    refused: bool = False
    retry_after_s: float | None = None


def attempt(call: Callable[[], T], what: str, place: str, *, sleep: Callable[[float], None] = time.sleep) -> T:
    """The result of a repeatable call. what: the attempt in words ("read gs://b/o"); place: who is called.

    Transient failures are repeated with exponential waits, full jitter and the server's Retry-After until the budget
    is spent. Raises NotFound, Conflict, AccessDenied, Unreachable, BadInput or OpsError.
    """
    waits = Waits(sleep)
    while True:
        try:
            return call()
        except Exception as error:
            failure = understand(error, what, place)
            if failure is None:
                raise
            if not failure.transient or not waits.again(failure):
                raise failure.error from error


class Waits:
    """The pauses of one call's repetitions, within its budget."""

    def __init__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        self._sleep = sleep
        self._began = time.monotonic()
        self._delays = self._growing()

    def again(self, failure: Failure) -> bool:
        """Wait for the next try; False when the budget does not reach that far."""
        pause_s = next(self._delays)
        if failure.retry_after_s is not None:
            pause_s = max(pause_s, failure.retry_after_s)
        budget_s = REFUSED_BUDGET_S if failure.refused else BUSY_BUDGET_S
        if time.monotonic() - self._began + pause_s > budget_s:
            return False
        self._sleep(pause_s)
        return True

    @staticmethod
    def _growing() -> Iterator[float]:
        ceiling_s = FIRST_WAIT_S
        while True:
            yield ceiling_s * (0.5 + random.random() / 2)
            ceiling_s = min(ceiling_s * 2, LONGEST_WAIT_S)


def understand(error: Exception, what: str, place: str) -> Failure | None:
    """What an exception of Google's client, of requests or of the sockets below means; None for anything else."""
    import http.client

    import requests
    import urllib3
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth import exceptions as auth
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

    if isinstance(error, GoogleAPICallError):
        message = response_message(error.response) or error.message
        return for_response(int(error.code or 0), _reason(error), message, error.response, what, place)
    if isinstance(error, InvalidResponse):
        response = error.response
        return for_response(
            int(response.status_code), _told(response), response_message(response), response, what, place
        )
    if isinstance(error, requests.HTTPError) and error.response is not None:
        answer = error.response
        return for_response(answer.status_code, _told(answer), response_message(answer), answer, what, place)
    if isinstance(error, DataCorruption):
        return Failure(Unreachable(f"cannot {what}: the bytes do not fit their checksum", AGAIN), transient=True)
    if isinstance(error, (auth.DefaultCredentialsError, auth.RefreshError)):
        return Failure(AccessDenied(f"cannot {what}: the credentials are missing or have expired ({error})", LOGIN))
    network = (
        auth.TransportError,
        requests.RequestException,
        urllib3.exceptions.HTTPError,
        http.client.HTTPException,
        ConnectionError,
        TimeoutError,
    )
    if isinstance(error, network):
        text = f"cannot {what}: {place} does not answer ({cause(error)})"
        return Failure(Unreachable(text, unreachable_remedy(place)), transient=True, refused=_refused(error))
    return None


def for_response(status: int, reason: str, message: str, response: Any, what: str, place: str) -> Failure:
    """A failure for an HTTP status; reason is Google's own word for it where the body has one."""
    text = f"cannot {what}: {message.strip().rstrip('.') or 'no reason given'} (HTTP {status} from {place})"
    if status in TRANSIENT or reason in ("rateLimitExceeded", "userRateLimitExceeded"):
        return Failure(Unreachable(text, AGAIN), transient=True, retry_after_s=_retry_after_s(response))
    if status == 401:
        return Failure(AccessDenied(text, LOGIN))
    if status == 507 or (status == 403 and reason == "quotaExceeded"):
        return Failure(OpsError(text, "Free space, or raise the quota. See: ./dev invoke cache.list --env ENVIRONMENT"))
    if status == 403:
        remedy = f"Grant the missing role on the bucket, or log in as who has it. {LOGIN}"
        return Failure(AccessDenied(text, remedy))
    if status == 404:
        return Failure(NotFound(text, STATUS))
    if status in (409, 412):
        return Failure(Conflict(text, "Somebody else wrote it first: run the same command again."))
    if status in (400, 416):
        return Failure(BadInput(text, "Correct the value named above."))
    return Failure(OpsError(text, AGAIN))


def response_message(response: Any) -> str:
    """The message in an answer's JSON body, else the start of the body."""
    try:
        found = response.json()["error"]
        return str(found["message"] if isinstance(found, dict) else found)
    except (AttributeError, ValueError, KeyError, TypeError):
        return str(getattr(response, "text", "") or "")[:300]


def _reason(error: Any) -> str:
    details = error.errors
    first = details[0] if isinstance(details, (list, tuple)) and details else None
    return str(first.get("reason", "")) if isinstance(first, dict) else _told(error.response)


def _told(response: Any) -> str:
    """Google's word for the failure in an answer's body: uploads' errors carry it nowhere else."""
    try:
        return str(response.json()["error"]["errors"][0]["reason"])
    except (AttributeError, ValueError, KeyError, TypeError, IndexError):
        return ""


def _retry_after_s(response: Any) -> float | None:
    try:
        return min(max(float(response.headers["retry-after"]), 0.0), BUSY_BUDGET_S)
    except (AttributeError, KeyError, TypeError, ValueError):  # absent, or the date form, which the back-off covers
        return None


def _refused(error: BaseException | None) -> bool:
    """Whether nobody listened at the address: looked for along the chain of causes."""
    import urllib3

    seen = 0
    while error is not None and seen < 10:
        if isinstance(error, (ConnectionRefusedError, urllib3.exceptions.NewConnectionError)):
            return True
        inner = next((item for item in error.args if isinstance(item, BaseException)), None)
        reason = getattr(error, "reason", None)
        error = reason if isinstance(reason, BaseException) else inner or error.__cause__ or error.__context__
        seen += 1
    return False
