"""The Cloud Scheduler room: the life cycle of jobs, firing by the clock, and `:run`, which sends it at once."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

from scripts.localcloud.clock import Clock
from scripts.localcloud.context import Context
from scripts.localcloud.logging.room import LoggingRoom
from scripts.localcloud.scheduler import attempts, cron, model, retries
from scripts.localcloud.scheduler.runs import Firing, Runs
from scripts.localcloud.schema import without_nulls
from scripts.localcloud.web import ApiError, Request, Response, Route

log = logging.getLogger("localcloud")
_PARENT = "/v1/projects/{project}/locations/{location}"
_TABLE = "CREATE TABLE IF NOT EXISTS scheduler_jobs (name TEXT PRIMARY KEY, document TEXT NOT NULL);"
_ANSWER_S = 10.0


class SchedulerRoom:
    """Jobs are kept in the database; attempts run in the background and leave lastAttemptTime and status.

    A timer of the clock: it rings when a job is due or is to be tried again.
    """

    def __init__(self, context: Context, clock: Clock, logging_room: LoggingRoom) -> None:
        self._context = context
        self._clock = clock
        self._db = context.db
        self._db.script(_TABLE)
        self._runs = Runs(context.db)
        self._log = attempts.AttemptLog(logging_room.write)
        self._sending: set[asyncio.Task[None]] = set()
        # how often a job of this name was deleted: an attempt of a former job says nothing about the new one
        self._deleted: Counter[str] = Counter()

    def routes(self) -> list[Route]:
        return [
            Route("POST", f"{_PARENT}/jobs", self._create, "cloudscheduler.projects.locations.jobs.create"),
            Route("GET", f"{_PARENT}/jobs", self._list, "cloudscheduler.projects.locations.jobs.list"),
            Route("GET", f"{_PARENT}/jobs/{{job}}", self._get, "cloudscheduler.projects.locations.jobs.get"),
            Route("PATCH", f"{_PARENT}/jobs/{{job}}", self._patch, "cloudscheduler.projects.locations.jobs.patch"),
            Route("DELETE", f"{_PARENT}/jobs/{{job}}", self._delete, "cloudscheduler.projects.locations.jobs.delete"),
            Route("POST", f"{_PARENT}/jobs/{{job}}:run", self._run, "cloudscheduler.projects.locations.jobs.run"),
            Route("POST", f"{_PARENT}/jobs/{{job}}:pause", self._pause, "cloudscheduler.projects.locations.jobs.pause"),
            Route(
                "POST", f"{_PARENT}/jobs/{{job}}:resume", self._resume, "cloudscheduler.projects.locations.jobs.resume"
            ),
        ]

    async def start(self) -> None:
        """Take up where the daemon stopped: what was missed or cut short is due now."""
        known = self._runs.known()
        for row in self._db.rows("SELECT document FROM scheduler_jobs"):
            job = json.loads(row["document"])
            if job["name"] not in known:  # kept by a version that did not fire by the clock
                self._adopt({**job, "retryConfig": {**retries.DEFAULTS, **(job.get("retryConfig") or {})}})
        self._runs.resume()
        self._clock.add(self)

    async def stop(self) -> None:
        """Give up attempts under way."""
        for attempt in self._sending:
            attempt.cancel()

    def status(self) -> dict[str, Any]:
        row = self._db.row("SELECT COUNT(*) AS n FROM scheduler_jobs")
        at = self._runs.next_at()
        return {"jobs": row["n"] if row else 0, "next": None if at is None else _text(at)}

    def next_at(self) -> float | None:
        """When a job is due next."""
        return self._runs.next_at()

    def ring(self) -> None:
        """Start the attempts that are due."""
        now = self._clock()
        for name in self._runs.due(now):
            job = self._read(name)
            if job is None:
                self._runs.forget(name)
                continue
            firing = self._runs.begin(job, now)
            self._spawn(self._fire(job, firing))

    async def settle(self) -> None:
        """Wait for the attempts under way."""
        while self._sending:
            await asyncio.wait(self._sending)

    def _adopt(self, job: model.Job) -> None:
        try:
            self._runs.plan(job, self._clock())
        except cron.BadSchedule:
            job["state"] = "DISABLED"
            log.warning("scheduler job %s has no times: %r", job["name"], job["schedule"])
            self._runs.plan(job, self._clock())
        self._save(job)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        attempt = asyncio.create_task(work)
        self._sending.add(attempt)
        attempt.add_done_callback(self._sending.discard)
        return attempt

    def jobs(self) -> list[model.Job]:
        """Every job of every project, by name."""
        rows = self._db.rows("SELECT document FROM scheduler_jobs ORDER BY name")
        return [self._shown(json.loads(row["document"])) for row in rows]

    def _read(self, name: str) -> model.Job | None:
        row = self._db.row("SELECT document FROM scheduler_jobs WHERE name = ?", name)
        return json.loads(row["document"]) if row else None

    def _need(self, request: Request) -> model.Job:
        name = f"{_parent(request)}/jobs/{request.params['job']}"
        found = self._read(name)
        if found is None:
            raise ApiError(404, f"Job not found: {name}")
        return found

    def _save(self, job: model.Job) -> None:
        document = json.dumps(job, separators=(",", ":"))
        self._db.run("INSERT OR REPLACE INTO scheduler_jobs (name, document) VALUES (?, ?)", job["name"], document)

    def _planned(self, job: model.Job) -> Response:
        """Keep a job and count its times from now."""
        with self._db.transaction():
            self._save(job)
            self._runs.plan(job, self._clock())
        self._clock.changed()
        return Response.of_json(self._shown(job))

    def _shown(self, job: model.Job) -> model.Job:
        """With scheduleTime: the next time it runs, a retry included; none while it is paused."""
        at = self._runs.next_at(job["name"])
        return job if at is None else {**job, "scheduleTime": _text(at)}

    async def _create(self, request: Request) -> Response:
        job = model.new_job(without_nulls(await request.json_object()), _parent(request), self._context.now())
        if self._read(job["name"]) is not None:
            raise ApiError(409, f"Job [{job['name']}] already exists.")
        return self._planned(job)

    async def _list(self, request: Request) -> Response:
        """Pages by name: the token is the last name of the page before."""
        prefix, after = f"{_parent(request)}/jobs/", request.query.get("pageToken", "")
        wanted = request.query.get("pageSize") or "500"
        if not (wanted.isascii() and wanted.isdigit()):
            raise ApiError(400, f"Invalid value at 'page_size' (TYPE_INT32), {wanted!r}")
        size = min(int(wanted[:9]) or 500, 500)
        rows = self._db.rows(
            "SELECT document FROM scheduler_jobs WHERE substr(name, 1, ?) = ? AND name > ? ORDER BY name LIMIT ?",
            len(prefix), prefix, after, size + 1,
        )  # fmt: skip
        jobs = [self._shown(json.loads(row["document"])) for row in rows]
        answer: dict[str, Any] = {"jobs": jobs[:size]}
        if len(jobs) > size:
            answer["nextPageToken"] = jobs[size - 1]["name"]
        return Response.of_json(answer)

    async def _get(self, request: Request) -> Response:
        return Response.of_json(self._shown(self._need(request)))

    async def _patch(self, request: Request) -> Response:
        body = without_nulls(await request.json_object())
        old = self._need(request)
        new = model.patched(old, body, request.query.get("updateMask", ""), self._context.now())
        if (old["schedule"], old["timeZone"]) != (new["schedule"], new["timeZone"]):
            return self._planned(new)
        self._save(new)
        return Response.of_json(self._shown(new))

    async def _delete(self, request: Request) -> Response:
        name = self._need(request)["name"]
        with self._db.transaction():
            self._db.run("DELETE FROM scheduler_jobs WHERE name = ?", name)
            self._runs.forget(name)
        self._deleted[name] += 1
        self._clock.changed()
        return Response.of_json({})

    async def _pause(self, request: Request) -> Response:
        return self._planned({**self._need(request), "state": "PAUSED"})

    async def _resume(self, request: Request) -> Response:
        """Times that passed while it was paused are not made up."""
        job = self._need(request)
        if job["state"] == "ENABLED":
            return Response.of_json(self._shown(job))
        return self._planned({**job, "state": "ENABLED"})

    async def _run(self, request: Request) -> Response:
        """Send the request now, paused or not; the answer waits for it a while, so that its status can be seen."""
        job = self._need(request)
        attempts.destination(job["httpTarget"]["uri"], self._context.url)
        attempt = self._spawn(self._once(job))
        await asyncio.wait([attempt], timeout=_ANSWER_S)
        return Response.of_json(self._shown(self._need(request)))

    async def _once(self, job: model.Job) -> None:
        await self._attempt(job, self._clock())

    async def _fire(self, job: model.Job, firing: Firing) -> None:
        succeeded = await self._attempt(job, firing.slot)
        latest = self._read(job["name"])
        if latest is not None:
            self._runs.end(latest, firing, succeeded, self._clock())
        self._clock.changed()

    async def _attempt(self, job: model.Job, slot: float) -> bool:
        """Whether the target answered well; job's status tells it too."""
        began, deleted = self._context.now(), self._deleted[job["name"]]
        self._log.started(job, slot)
        outcome = await attempts.send(job, slot, self._context.url)
        self._log.finished(job, outcome)
        latest = self._read(job["name"])
        if latest is not None and deleted == self._deleted[job["name"]]:
            self._save({**latest, "lastAttemptTime": began, "status": outcome.status})
        if outcome.status:
            log.warning("scheduler job %s failed: %s", job["name"], outcome.status["message"])
        return not outcome.status


def _parent(request: Request) -> str:
    return f"projects/{request.params['project']}/locations/{request.params['location']}"


def _text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
