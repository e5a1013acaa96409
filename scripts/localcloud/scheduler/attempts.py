"""One attempt of a job: its HTTP request as Cloud Scheduler sends it, and the log entries about it.

A request goes to this stand-in when its host is of googleapis.com, to loopback as it is, and nowhere else: nothing
leaves the machine. Tokens are recognisable as the stand-in's own and sign nothing.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from scripts.localcloud.scheduler import model
from scripts.localcloud.web import ApiError

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
# google.rpc.Code by HTTP status, as lastAttempt's status shows it
_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 429: 8, 500: 13, 503: 14, 504: 4}
_CODE_NAMES = {0: "OK", 3: "INVALID_ARGUMENT", 16: "UNAUTHENTICATED", 7: "PERMISSION_DENIED", 5: "NOT_FOUND"}
_CODE_NAMES |= {6: "ALREADY_EXISTS", 8: "RESOURCE_EXHAUSTED", 13: "INTERNAL", 14: "UNAVAILABLE", 2: "UNKNOWN"}
_CODE_NAMES |= {4: "DEADLINE_EXCEEDED", 9: "FAILED_PRECONDITION"}
# Headers that Cloud Scheduler sets or removes whatever a job says.
_RESERVED = re.compile(r"(?i)(host|content-length|user-agent|x-google-.*|x-appengine-.*|x-cloudscheduler.*)$")
_TYPE = "type.googleapis.com/google.cloud.scheduler.logging."


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: a google.rpc.Status ({} for success) and the HTTP status (0 without an answer)."""

    status: dict[str, Any]
    http: int = 0


def destination(uri: str, own_url: str) -> str:
    """Where a target's request really goes. Raises ApiError 400 for a host that is not on this machine."""
    parts = urlsplit(uri)
    host = parts.hostname or ""
    if host.endswith(".googleapis.com"):
        return own_url + parts._replace(scheme="", netloc="").geturl()
    if host in _LOOPBACK or host.endswith(".localhost"):
        return uri
    raise ApiError(
        400,
        f"The stand-in does not call {host}: a target must be run.googleapis.com (which it plays) or on loopback.",
        status="FAILED_PRECONDITION",
    )


def headers(job: model.Job, slot: float) -> dict[str, str]:
    """The headers of the request; slot is when it was due, in seconds since the epoch."""
    target = job["httpTarget"]
    given = {name: value for name, value in (target.get("headers") or {}).items() if not _RESERVED.match(name)}
    found = {"User-Agent": "Google-Cloud-Scheduler", **given}
    found["X-CloudScheduler"] = "true"
    found["X-CloudScheduler-JobName"] = job["name"].rpartition("/")[2]
    found["X-CloudScheduler-ScheduleTime"] = datetime.fromtimestamp(slot, UTC).isoformat()
    if target.get("body") and "content-type" not in {name.lower() for name in found}:
        found["Content-Type"] = "application/octet-stream"
    if "oauthToken" in target:
        found["Authorization"] = f"Bearer stand-in.{target['oauthToken']['serviceAccountEmail']}"
    elif "oidcToken" in target:
        token = target["oidcToken"]
        claims = {"iss": "https://accounts.google.com", "aud": token["audience"], "email": token["serviceAccountEmail"]}
        claims |= {"email_verified": True, "iat": int(slot), "exp": int(slot) + 3600}
        parts = ({"alg": "none", "typ": "JWT"}, claims)
        encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
        found["Authorization"] = f"Bearer {'.'.join(encoded)}."
    return found


async def send(job: model.Job, slot: float, own_url: str) -> Outcome:
    """Send the request and wait for the answer, as long as attemptDeadline allows."""
    import aiohttp

    target = job["httpTarget"]
    try:
        url = destination(target["uri"], own_url)
    except ApiError as error:
        return Outcome({"code": 9, "message": error.message})
    limit = aiohttp.ClientTimeout(total=model.deadline_s(job))
    options: dict[str, Any] = {"headers": headers(job, slot), "data": model.body_of(job), "allow_redirects": False}
    try:
        async with (
            aiohttp.ClientSession(timeout=limit, trust_env=False) as session,
            session.request(target["httpMethod"], url, **options) as answer,
        ):
            text = (await answer.content.read(300)).decode(errors="replace")
            if 200 <= answer.status < 300:
                return Outcome({}, answer.status)
            return Outcome(failure(answer.status, f"HTTP {answer.status}: {text}"), answer.status)
    except TimeoutError:
        return Outcome(failure(504, f"no answer within {job['attemptDeadline']}"))
    except (OSError, ValueError, aiohttp.ClientError) as error:
        return Outcome(failure(503, f"{type(error).__name__}: {error}"))


def failure(http: int, message: str) -> dict[str, Any]:
    """A google.rpc.Status for an HTTP status."""
    return {"code": _CODES.get(http, 2), "message": message}


class AttemptLog:
    """Writes what Cloud Scheduler writes: AttemptStarted and AttemptFinished of resource cloud_scheduler_job."""

    def __init__(self, write: Callable[[Sequence[dict[str, Any]]], None]) -> None:
        self._write = write

    def started(self, job: model.Job, slot: float) -> None:
        """An attempt begins."""
        scheduled = datetime.fromtimestamp(slot, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        self._entry(job, "INFO", {"@type": f"{_TYPE}AttemptStarted", "scheduledTime": scheduled}, 0)

    def finished(self, job: model.Job, outcome: Outcome) -> None:
        """An attempt has ended."""
        payload: dict[str, Any] = {"@type": f"{_TYPE}AttemptFinished"}
        if outcome.status:
            payload["status"] = _CODE_NAMES[outcome.status["code"]]
            payload["debugInfo"] = outcome.status["message"]
        self._entry(job, "ERROR" if outcome.status else "INFO", payload, outcome.http)

    def _entry(self, job: model.Job, level: str, payload: dict[str, Any], http: int) -> None:
        _, project, _, location, _, job_id = job["name"].split("/")
        target = {"jobName": job["name"], "targetType": "HTTP", "url": job["httpTarget"]["uri"]}
        entry: dict[str, Any] = {
            "logName": f"projects/{project}/logs/cloudscheduler.googleapis.com%2Fexecutions",
            "resource": {
                "type": "cloud_scheduler_job",
                "labels": {"project_id": project, "location": location, "job_id": job_id},
            },
            "severity": level,
            "jsonPayload": {**payload, **target},
        }
        if http:
            entry["httpRequest"] = {"status": http}
        self._write([entry])
