"""The values behind the panels: what the rooms have in memory, and what they have written down, put together."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from scripts.localcloud.clock import ClockRoom
from scripts.localcloud.console import alarms, calls, cloud_run
from scripts.localcloud.console.gate import Gate
from scripts.localcloud.console.glance import glance
from scripts.localcloud.console.inside import Inside
from scripts.localcloud.console.ledger import Kept, Ledger
from scripts.localcloud.console.shelves import Shelves
from scripts.localcloud.console.traffic import Traffic
from scripts.localcloud.console.values import moment
from scripts.localcloud.context import Context
from scripts.localcloud.logging.room import LoggingRoom
from scripts.localcloud.run.room import RunRoom
from scripts.localcloud.scheduler.room import SchedulerRoom
from scripts.localcloud.storage.room import StorageRoom
from scripts.localcloud.traffic.faults import KINDS
from scripts.localcloud.traffic.room import TrafficRoom

Values = dict[str, Any]
# How long a page waits for what can be dear: after that it shows what was found out last.
_PATIENCE_S = 0.15
_STORED = ("services", "jobs", "statements", "incidents")


@dataclass(frozen=True)
class Sources:
    """The rooms that the console looks at."""

    clock: ClockRoom
    traffic: TrafficRoom
    storage: StorageRoom
    logging: LoggingRoom
    run: RunRoom
    scheduler: SchedulerRoom


class Panels:
    """every() for the page, one() for the JSON behind a panel."""

    def __init__(self, context: Context, sources: Sources, inside: Inside, ledger: Ledger) -> None:
        self._context = context
        self._from = sources
        self._inside = inside
        self._ledger = ledger
        self.traffic = Traffic()
        shelves = Shelves(sources.storage.store.bodies.path)
        self._shelves = shelves
        self._gate = Gate(sources.logging.search)
        self._counts = Kept(lambda: ledger.read(shelves.counts))
        self._logged = Kept(lambda: calls.logged(sources.traffic))
        self._began = time.monotonic()
        self._started_at = context.now()
        self._alone: dict[str, Callable[[], Awaitable[Values]]] = {
            "instances": self._instances,
            "requests": self._requests,
            "faults": self._faults,
            "clock": self._clock,
            "scheduler": self._schedules,
            "upstreams": self._upstreams,
            "buckets": self._buckets,
        }

    @property
    def names(self) -> list[str]:
        """Every panel, in the order of the page."""
        return [
            "overview", "glance", "services", "instances", "jobs", "statements", "incidents", "requests", "faults",
            "clock", "buckets", "scheduler", "upstreams",
        ]  # fmt: skip

    async def one(self, name: str) -> Values:
        """A panel's values as they are now. Raises KeyError."""
        if name in self._alone:
            return await self._alone[name]()
        if name in _STORED:
            found: Values = (await self._ledger.read(self._stored))[name]
            return found
        return dict((await self.every(patience_s=None))[name])

    async def every(self, patience_s: float | None = _PATIENCE_S) -> Values:
        """All panels; with patience, what is dear may be a little old, or null where it was never found out yet."""
        instances, requests, buckets = await asyncio.gather(
            self._instances(patience_s), self._requests(patience_s), self._buckets(patience_s)
        )
        found: Values = {
            **await self._ledger.read(self._stored),
            "instances": instances, "requests": requests, "buckets": buckets, "faults": await self._faults(),
            "clock": await self._clock(), "scheduler": await self._schedules(), "upstreams": await self._upstreams(),
        }  # fmt: skip
        found["overview"] = self._overview(found)
        found["glance"] = glance(found, self._context.clock())
        return found

    def stop(self) -> None:
        """Nothing is found out any more."""
        self.traffic.stop()
        for each in (self._counts, self._logged, self._gate):
            each.stop()

    def _stored(self, db: sqlite3.Connection) -> Values:
        now = self._context.clock()
        return {
            "services": cloud_run.services(db, now),
            "jobs": cloud_run.jobs(db, now),
            "statements": self._shelves.statements(db, now),
            "incidents": alarms.incidents(db, now),
        }

    async def _instances(self, patience_s: float | None = None) -> Values:
        now = self._context.clock()
        given = self._from.run.instances()
        return cloud_run.instances(await self._gate.add_to(given, now, patience_s), now)

    async def _requests(self, patience_s: float | None = None) -> Values:
        found = await (self._logged.fresh() if patience_s is None else self._logged.get(patience_s))
        return calls.requests(self._from.traffic.rates(), found, self._context.clock())

    async def _buckets(self, patience_s: float | None = None) -> Values:
        counts = await (self._counts.fresh() if patience_s is None else self._counts.get(patience_s))
        now = self._context.clock()
        return await self._ledger.read(lambda db: self._shelves.buckets(db, counts, now))

    async def _faults(self) -> Values:
        return calls.faults(self._from.traffic.faults(), KINDS, self._context.clock())

    async def _clock(self) -> Values:
        return alarms.moved(self._from.clock.status(), self._context.clock())

    async def _schedules(self) -> Values:
        now = self._context.clock()
        return {"jobs": [_schedule(each, now) for each in self._from.scheduler.jobs()]}

    async def _upstreams(self) -> Values:
        found: Values = await self._inside.call("GET", "/_local/upstreams")
        return found

    def _overview(self, found: Values) -> Values:
        services, buckets = found["services"]["services"], found["buckets"]["buckets"]
        counted = all(each["objects"] is not None for each in buckets)
        return {
            "url": self._context.url,
            "state": str(self._context.state),
            "pid": os.getpid(),
            "started_at": self._started_at,
            "uptime_s": round(time.monotonic() - self._began, 1),
            **self.traffic.status(),
            "services": len(services),
            "services_ready": sum(each["ready"]["status"] == "True" for each in services),
            "instances_ready": sum(each["state"] == "ready" for each in found["instances"]["instances"]),
            "executions_running": found["jobs"]["running"],
            "buckets": len(buckets),
            "size_bytes": sum(each["size_bytes"] for each in buckets) if counted else None,
            "objects": sum(each["objects"] for each in buckets) if counted else None,
            "log_entries": int(self._from.logging.status().get("entries") or 0),
        }


def _schedule(job: dict[str, Any], now: float) -> dict[str, Any]:
    attempt, next_at = moment(job.get("lastAttemptTime")), moment(job.get("scheduleTime"))
    status = job.get("status") or {}
    return {
        "path": job["name"],
        "name": job["name"].rpartition("/")[2],
        "schedule": str(job.get("schedule") or ""),
        "time_zone": str(job.get("timeZone") or "Etc/UTC"),
        "state": str(job.get("state") or ""),
        "target": str((job.get("httpTarget") or {}).get("uri") or ""),
        "next_at": job.get("scheduleTime"),
        "next_s": None if next_at is None else next_at - now,
        "last_attempt_at": job.get("lastAttemptTime"),
        "last_attempt_s": None if attempt is None else now - attempt,
        "problem": str(status.get("message") or ""),
    }
