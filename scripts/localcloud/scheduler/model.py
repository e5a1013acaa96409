"""Jobs of Cloud Scheduler as values: checked, with names for enums, and with what a patch changes. Pure functions."""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
import zoneinfo
from typing import Any, NoReturn
from urllib.parse import urlsplit

from scripts.localcloud import schema
from scripts.localcloud.scheduler import cron, retries
from scripts.localcloud.web import ApiError

Job = dict[str, Any]
_METHODS = ["HTTP_METHOD_UNSPECIFIED", "POST", "GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"]
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,500}")
_FIELDS = {
    "name", "description", "httpTarget", "schedule", "timeZone", "retryConfig", "attemptDeadline",
    "userUpdateTime", "state", "status", "scheduleTime", "lastAttemptTime", "satisfiesPzs",
}  # fmt: skip
_WITH_BODY = ("POST", "PUT", "PATCH")
_LONGEST_URI, _LONGEST_DESCRIPTION, _LARGEST_JOB = 2083, 500, 1 << 20
_OUTPUT_ONLY = ("userUpdateTime", "state", "status", "scheduleTime", "lastAttemptTime", "satisfiesPzs")
_NESTED = {"httpTarget", "retryConfig"}


def new_job(body: Job, parent: str, now: str) -> Job:
    """A job to be created under projects/P/locations/R. Raises ApiError 400."""
    _known(body)
    prefix = f"{parent}/jobs/"
    name = body.get("name") or f"{prefix}{secrets.randbelow(10**19):019d}"  # Google names a job that has no name
    if not name.startswith(prefix) or _JOB_ID.fullmatch(name.removeprefix(prefix)) is None:
        _refuse("name", f"expected {prefix}JOB_ID (letters, digits, - and _), found {name!r}")
    job = {"name": name, **{key: value for key, value in body.items() if key != "name" and key not in _OUTPUT_ONLY}}
    job.setdefault("timeZone", "Etc/UTC")
    job.setdefault("attemptDeadline", "180s")
    return _checked({**job, "state": "ENABLED", "userUpdateTime": now})


def patched(job: Job, body: Job, mask: str, now: str) -> Job:
    """The job after a patch; without a mask every field of the body replaces the old one. Raises ApiError 400."""
    _known(body)
    if body.get("name") and body["name"] != job["name"]:
        _refuse("name", f"expected {job['name']}, found {body['name']!r}")
    paths = [_camel(path) for path in mask.split(",") if path] or [key for key in body if key not in _OUTPUT_ONLY]
    changed = {**job}
    for path in paths:
        top, _, inner = path.partition(".")
        if top not in _FIELDS or top in _OUTPUT_ONLY:
            _refuse("update_mask", f"field {path!r} cannot be updated")
        if inner:
            given = body.get(top) or {}
            if not isinstance(given, dict) or "." in inner or top not in _NESTED:
                _refuse("update_mask", f"field {path!r} cannot be updated")
            changed[top] = {**changed.get(top, {})}
            _move(changed[top], given, inner)
        else:
            _move(changed, body, top)
    return _checked({**changed, "userUpdateTime": now})


def body_of(job: Job) -> bytes:
    """The request body of the job's target."""
    return base64.b64decode(job["httpTarget"].get("body") or "")


def deadline_s(job: Job) -> float:
    """attemptDeadline in seconds."""
    return float(job["attemptDeadline"].removesuffix("s"))


def _move(target: Job, source: Job, key: str) -> None:
    if key in source:
        target[key] = source[key]
    else:
        target.pop(key, None)


def _known(body: Job) -> None:
    for key in ("name", "description", "schedule", "timeZone", "attemptDeadline"):
        if not isinstance(body.get(key, ""), str):
            _refuse(key, f"expected text, found {body[key]!r}")
    for key in body:
        if key in ("pubsubTarget", "appEngineHttpTarget"):
            _refuse(key, "the stand-in imitates HTTP targets only")
        if key not in _FIELDS:
            raise ApiError(400, f"Invalid JSON payload received. Unknown name \"{key}\" at 'job': Cannot find field.")


def _checked(job: Job) -> Job:
    _check_schedule(job.get("schedule") or "")
    zone = job["timeZone"]
    if not isinstance(zone, str) or zone not in zoneinfo.available_timezones():
        _refuse("time_zone", f"expected a name of the tz database such as Etc/UTC, found {zone!r}")
    deadline = str(job["attemptDeadline"])
    if re.fullmatch(r"\d+(\.\d{1,9})?s", deadline) is None or not 15 <= float(deadline[:-1]) <= 1800:
        _refuse("attempt_deadline", f"expected 15s to 1800s, found {deadline!r}")
    if len(job.get("description") or "") > _LONGEST_DESCRIPTION:
        _refuse("description", f"expected up to {_LONGEST_DESCRIPTION} characters, found {len(job['description'])}")
    job = {**job, "httpTarget": _checked_target(job.get("httpTarget"))}
    schema.check("cloudscheduler.v1", "Job", job, "job", numbers=True)
    job = {**job, "retryConfig": retries.checked(job.get("retryConfig") or {})}
    if (size := len(json.dumps(job))) > _LARGEST_JOB:
        raise ApiError(400, f"Job: expected up to {_LARGEST_JOB} bytes, found {size}.")
    return job


def _checked_target(target: Any) -> Job:
    if not isinstance(target, dict) or not target:
        _refuse("http_target", "required")
    try:
        uri = urlsplit(str(target.get("uri") or ""))
    except ValueError:
        uri = urlsplit("")
    if uri.scheme not in ("http", "https") or not uri.hostname:
        _refuse("http_target.uri", f"expected an http or https address, found {target.get('uri')!r}")
    if len(target["uri"]) > _LONGEST_URI:
        _refuse("http_target.uri", f"expected up to {_LONGEST_URI} characters, found {len(target['uri'])}")
    if "oauthToken" in target and "oidcToken" in target:
        _refuse("http_target", "oauth_token and oidc_token exclude each other")
    headers = target.get("headers") or {}
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        _refuse("http_target.headers", "expected texts by name")
    if "oauthToken" in target and not uri.hostname.endswith(".googleapis.com"):
        _refuse("http_target.oauth_token", f"only for *.googleapis.com, found host {uri.hostname}")
    method = target.get("httpMethod", "POST")
    if isinstance(method, int) and 0 <= method < len(_METHODS):
        method = _METHODS[method]
    method = "POST" if method == _METHODS[0] else method
    if method not in _METHODS:
        _refuse("http_target.http_method", f"expected one of {', '.join(_METHODS[1:])}, found {method!r}")
    if target.get("body") and method not in _WITH_BODY:
        _refuse("http_target.body", f"only for {', '.join(_WITH_BODY)}, found {method}")
    try:
        base64.b64decode(target.get("body") or "", validate=True)
    except (binascii.Error, TypeError, ValueError):
        _refuse("http_target.body", "expected base64")
    return {**target, "httpMethod": method, **_tokens(target)}


def _tokens(target: Job) -> Job:
    """The token that the request is sent with, with its default scope or audience."""
    for key, default in (("oauthToken", {"scope": _SCOPE}), ("oidcToken", {"audience": target["uri"]})):
        token = target.get(key)
        if token is None:
            continue
        if not isinstance(token, dict) or not token.get("serviceAccountEmail"):
            _refuse(f"http_target.{key}.service_account_email", "required")
        return {key: {**default, **{name: value for name, value in token.items() if value}}}
    return {}


def _check_schedule(schedule: str) -> None:
    try:
        cron.parse(schedule)
    except cron.BadSchedule:
        expected = "five fields of unix cron such as '0 2 * * *', or 'every 15 minutes'"
        _refuse("schedule", f"expected {expected}, found {schedule!r}")


def _camel(path: str) -> str:
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), path.strip())


def _refuse(field: str, message: str) -> NoReturn:
    raise ApiError(400, f"Job.{field}: {message}.")
