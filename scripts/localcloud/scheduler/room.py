"""The Cloud Scheduler room: the life cycle of jobs and `:run`, which really sends the job's HTTP request.

Firing by cron is not imitated yet: schedules are checked and kept, scheduleTime is absent. A request goes to this
stand-in when its host is run.googleapis.com (or REGION-run.googleapis.com), to loopback as it is, and nowhere else:
nothing leaves the machine.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from scripts.localcloud.context import Context
from scripts.localcloud.scheduler import model
from scripts.localcloud.schema import without_nulls
from scripts.localcloud.web import ApiError, Request, Response, Route

log = logging.getLogger("localcloud")
_PARENT = "/v1/projects/{project}/locations/{location}"
_TABLE = "CREATE TABLE IF NOT EXISTS scheduler_jobs (name TEXT PRIMARY KEY, document TEXT NOT NULL);"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
# google.rpc.Code by HTTP status, as lastAttempt's status shows it
_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 429: 8, 500: 13, 503: 14, 504: 4}
_ANSWER_S = 10.0


class SchedulerRoom:
    """Jobs are kept in the database; attempts run in the background and leave lastAttemptTime and status."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._db = context.db
        self._db.script(_TABLE)
        self._attempts: set[asyncio.Task[None]] = set()

    def routes(self) -> list[Route]:
        return [
            Route("POST", f"{_PARENT}/jobs", self._create),
            Route("GET", f"{_PARENT}/jobs", self._list),
            Route("GET", f"{_PARENT}/jobs/{{job}}", self._get),
            Route("PATCH", f"{_PARENT}/jobs/{{job}}", self._patch),
            Route("DELETE", f"{_PARENT}/jobs/{{job}}", self._delete),
            Route("POST", f"{_PARENT}/jobs/{{job}}:run", self._run),
            Route("POST", f"{_PARENT}/jobs/{{job}}:pause", self._pause),
            Route("POST", f"{_PARENT}/jobs/{{job}}:resume", self._resume),
        ]

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Give up attempts under way."""
        for attempt in self._attempts:
            attempt.cancel()

    def status(self) -> dict[str, Any]:
        row = self._db.row("SELECT COUNT(*) AS n FROM scheduler_jobs")
        return {"jobs": row["n"] if row else 0}

    def jobs(self) -> list[model.Job]:
        """Every job of every project, by name."""
        rows = self._db.rows("SELECT document FROM scheduler_jobs ORDER BY name")
        return [json.loads(row["document"]) for row in rows]

    def _read(self, name: str) -> model.Job | None:
        row = self._db.row("SELECT document FROM scheduler_jobs WHERE name = ?", name)
        return json.loads(row["document"]) if row else None

    def _need(self, request: Request) -> model.Job:
        name = f"{_parent(request)}/jobs/{request.params['job']}"
        found = self._read(name)
        if found is None:
            raise ApiError(404, f"Job not found: {name}")
        return found

    def _save(self, job: model.Job) -> Response:
        document = json.dumps(job, separators=(",", ":"))
        self._db.run("INSERT OR REPLACE INTO scheduler_jobs (name, document) VALUES (?, ?)", job["name"], document)
        return Response.of_json(job)

    async def _create(self, request: Request) -> Response:
        job = model.new_job(without_nulls(await request.json_object()), _parent(request), self._context.now())
        if self._read(job["name"]) is not None:
            raise ApiError(409, f"Job [{job['name']}] already exists.")
        return self._save(job)

    async def _list(self, request: Request) -> Response:
        """Pages by name: the token is the last name of the page before."""
        prefix, after = f"{_parent(request)}/jobs/", request.query.get("pageToken", "")
        wanted = request.query.get("pageSize") or "500"
        if not wanted.isdigit():
            raise ApiError(400, f"Invalid value at 'page_size' (TYPE_INT32), {wanted!r}")
        size = min(int(wanted) or 500, 500)
        rows = self._db.rows(
            "SELECT document FROM scheduler_jobs WHERE substr(name, 1, ?) = ? AND name > ? ORDER BY name LIMIT ?",
            len(prefix), prefix, after, size + 1,
        )  # fmt: skip
        jobs = [json.loads(row["document"]) for row in rows]
        answer: dict[str, Any] = {"jobs": jobs[:size]}
        if len(jobs) > size:
            answer["nextPageToken"] = jobs[size - 1]["name"]
        return Response.of_json(answer)

    async def _get(self, request: Request) -> Response:
        return Response.of_json(self._need(request))

    async def _patch(self, request: Request) -> Response:
        old, body = self._need(request), without_nulls(await request.json_object())
        return self._save(model.patched(old, body, request.query.get("updateMask", ""), self._context.now()))

    async def _delete(self, request: Request) -> Response:
        self._db.run("DELETE FROM scheduler_jobs WHERE name = ?", self._need(request)["name"])
        return Response.of_json({})

    async def _pause(self, request: Request) -> Response:
        return self._save({**self._need(request), "state": "PAUSED"})

    async def _resume(self, request: Request) -> Response:
        return self._save({**self._need(request), "state": "ENABLED"})

    async def _run(self, request: Request) -> Response:
        """Send the request now, paused or not; the answer waits for it a while, so that its status can be seen."""
        job = self._need(request)
        url = self._destination(job["httpTarget"]["uri"])
        attempt = asyncio.create_task(self._attempt(job, url))
        self._attempts.add(attempt)
        attempt.add_done_callback(self._attempts.discard)
        await asyncio.wait([attempt], timeout=_ANSWER_S)
        return Response.of_json(self._need(request))

    def _destination(self, uri: str) -> str:
        """Where a target's request really goes. Raises ApiError 400 for a host that is not on this machine."""
        parts = urlsplit(uri)
        host = parts.hostname or ""
        if host == "run.googleapis.com" or host.endswith("-run.googleapis.com"):
            return self._context.url + parts._replace(scheme="", netloc="").geturl()
        if host in _LOOPBACK or host.endswith(".localhost"):
            return uri
        raise ApiError(
            400,
            f"The stand-in does not call {host}: a target must be run.googleapis.com (which it plays) or on loopback.",
            status="FAILED_PRECONDITION",
        )

    async def _attempt(self, job: model.Job, url: str) -> None:
        target = job["httpTarget"]
        headers = {"User-Agent": "Google-Cloud-Scheduler", **(target.get("headers") or {})}
        headers["X-CloudScheduler"] = "true"
        headers["X-CloudScheduler-JobName"] = job["name"].rpartition("/")[2]
        headers.setdefault("Content-Type", "application/octet-stream")
        limit = aiohttp.ClientTimeout(total=model.deadline_s(job))
        try:
            async with (
                aiohttp.ClientSession(timeout=limit, trust_env=False) as session,
                session.request(
                    target["httpMethod"], url, headers=headers, data=model.body_of(job), allow_redirects=False
                ) as answer,
            ):
                text = (await answer.content.read(300)).decode(errors="replace")
                outcome = {} if answer.status < 300 else _status(answer.status, f"HTTP {answer.status}: {text}")
        except TimeoutError:
            outcome = _status(504, f"no answer within {job['attemptDeadline']}")
        except (OSError, aiohttp.ClientError) as error:
            outcome = _status(503, f"{type(error).__name__}: {error}")
        latest = self._read(job["name"])
        if latest is not None:
            self._save({**latest, "lastAttemptTime": self._context.now(), "status": outcome})
        if outcome:
            log.warning("scheduler job %s failed: %s", job["name"], outcome["message"])


def _parent(request: Request) -> str:
    return f"projects/{request.params['project']}/locations/{request.params['location']}"


def _status(http: int, message: str) -> dict[str, Any]:
    return {"code": _CODES.get(http, 2), "message": message}
