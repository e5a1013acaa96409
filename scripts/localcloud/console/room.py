"""The console: a page at / for browsers, the JSON behind each panel, a few guarded actions; all else is read-only."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from scripts.localcloud.console import cloud_run, page
from scripts.localcloud.console.actions import Actions, Guard, Refused, port_of
from scripts.localcloud.console.gate import Gate
from scripts.localcloud.console.inside import Inside
from scripts.localcloud.console.shelves import Shelves
from scripts.localcloud.console.tail import tail
from scripts.localcloud.console.traffic import Traffic
from scripts.localcloud.console.values import moment
from scripts.localcloud.context import Context, Room
from scripts.localcloud.logging.room import LoggingRoom
from scripts.localcloud.run.room import RunRoom
from scripts.localcloud.scheduler.room import SchedulerRoom
from scripts.localcloud.storage.room import StorageRoom
from scripts.localcloud.web import ApiError, Headers, Request, Response, Route

_BASE = "/_local/console"
_LOOPBACK = ("127.0.0.1", "localhost")
_HTML = "text/html; charset=utf-8"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_SECURITY: Headers = (
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    # same-origin and not no-referrer: with the latter browsers send "Origin: null" with our own forms
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)
_MOST_SAID = 20

Panel = Callable[[], Awaitable[dict[str, Any]]]


class ConsoleRoom:
    """Reads the other rooms. Register it first: GET / is the page for browsers, and for everybody else what it was."""

    def __init__(
        self, context: Context, rooms: Mapping[str, Room], storage: StorageRoom, logging: LoggingRoom, run: RunRoom,
        scheduler: SchedulerRoom,
    ) -> None:  # fmt: skip
        self._context = context
        self._logging, self._run, self._scheduler = logging, run, scheduler
        self._inside = Inside(rooms)
        self._actions = Actions(self._inside)
        self._guard = Guard(port_of(context.url))
        self._gate = Gate(logging.search)
        self._shelves = Shelves(storage)
        self._traffic = Traffic()
        self._began = time.monotonic()
        self._started_at = context.now()
        self._said: dict[str, tuple[bool, str]] = {}
        self._panels: dict[str, Panel] = {
            "overview": self._overview,
            "services": self._services,
            "instances": self._instances,
            "jobs": self._jobs,
            "buckets": self._buckets,
            "statements": self._statements,
            "scheduler": self._schedules,
            "upstreams": self._upstreams,
        }

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/", self._page, "local.console.page"),
            Route("GET", f"{_BASE}/panels.html", self._all_panels, "local.console.panels"),
            Route("GET", f"{_BASE}/logs.html", self._log_lines, "local.console.logs"),
            Route("GET", f"{_BASE}/logs.json", self._log_json, "local.console.logs"),
            Route("GET", f"{_BASE}/static/{{name}}", self._static, "local.console.static"),
            Route("GET", f"{_BASE}/{{panel}}.json", self._panel_json, "local.console.panel"),
            Route("POST", f"{_BASE}/actions", self._act, "local.console.act"),
        ]

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        self._traffic.stop()

    def status(self) -> dict[str, Any]:
        return {"url": f"{self._context.url}/"}

    # Answers

    async def _page(self, request: Request) -> Response:
        """The whole page for a browser; other clients, and Google's hosts, get what the other rooms answer."""
        host = request.headers.get("host", "").partition(":")[0]
        if "text/html" not in request.headers.get("accept", "") or host not in _LOOPBACK:
            return await self._inside.forward(request)
        self._traffic.seen(request)
        done, said = self._said.pop(request.query.get("said", ""), (True, ""))
        data = {
            **await self._values(),
            "logs": await self._tail(request),
            "said": said,
            "done": done,
        }
        return _html("page.html", data, (self._guard.header(),))

    async def _all_panels(self, request: Request) -> Response:
        self._traffic.seen(request)
        return _html("panels.html", await self._values())

    async def _log_lines(self, request: Request) -> Response:
        self._traffic.seen(request)
        return _html("lines.html", {"logs": await self._tail(request)})

    async def _log_json(self, request: Request) -> Response:
        self._traffic.seen(request)
        return Response.of_json(await self._tail(request), headers=_SECURITY)

    async def _panel_json(self, request: Request) -> Response:
        self._traffic.seen(request)
        name = request.params["panel"]
        if name not in self._panels:
            known = ", ".join([*self._panels, "logs"])
            raise ApiError(404, f"There is no panel {name!r}; there are: {known}", "notFound")
        return Response.of_json(await self._panels[name](), headers=_SECURITY)

    async def _static(self, request: Request) -> Response:
        self._traffic.seen(request)
        name = request.params["name"]
        if name not in page.ASSETS:
            raise ApiError(404, f"Not found: {name}", "notFound")
        return Response(200, page.asset(name), _SECURITY, page.ASSETS[name])

    async def _act(self, request: Request) -> Response:
        """Carry a form's action out and go back to the page, which says what was done."""
        self._traffic.seen(request)
        try:
            fields = await self._guard.form(request)
        except Refused as refused:
            return _html("refused.html", {"why": str(refused)}, status=403)
        except ValueError:  # more fields than a form of ours has
            return _html("refused.html", {"why": "The request is not a form of this page."}, status=403)
        action = fields.get("action", "")
        try:
            said = (True, await self._actions.do(action, fields.get("target", "")))
        except ApiError as error:
            said = (False, error.message)
        key = secrets.token_urlsafe(9)
        self._said[key] = said
        while len(self._said) > _MOST_SAID:
            del self._said[next(iter(self._said))]
        return Response(303, b"", (*_SECURITY, ("Location", f"/?said={key}#{self._actions.panel(action)}")), _HTML)

    # Values

    async def _values(self) -> dict[str, Any]:
        found = {name: await panel() for name, panel in self._panels.items()}
        return {**found, "token": self._guard.token}

    async def _tail(self, request: Request) -> dict[str, Any]:
        wanted, since = request.query.get("filter", ""), request.query.get("since", "")
        return await tail(self._logging.search, wanted, since)

    async def _overview(self) -> dict[str, Any]:
        buckets = self._shelves.totals()
        found = self._run.documents("service")
        instances = self._run.status().get("instances") or ()
        return {
            "url": self._context.url,
            "state": str(self._context.state),
            "pid": os.getpid(),
            "started_at": self._started_at,
            "uptime_s": round(time.monotonic() - self._began, 1),
            **self._traffic.status(),
            "services": len(found),
            "services_ready": sum(cloud_run.condition(each, "Ready")["status"] == "True" for _, each in found),
            "instances_ready": sum(each.get("state") == "ready" for each in instances),
            "executions_running": int(self._run.status().get("executions_running") or 0),
            "buckets": len(buckets),
            "size_bytes": sum(int(each["size_bytes"]) for each in buckets),
            "objects": sum(int(each["objects"]) for each in buckets),
            "log_entries": int(self._logging.status().get("entries") or 0),
        }

    async def _services(self) -> dict[str, Any]:
        return cloud_run.services(self._run, self._context.clock())

    async def _instances(self) -> dict[str, Any]:
        return await cloud_run.instances(self._run, self._gate, self._context.clock())

    async def _jobs(self) -> dict[str, Any]:
        return cloud_run.jobs(self._run, self._context.clock())

    async def _buckets(self) -> dict[str, Any]:
        return self._shelves.buckets(self._context.clock())

    async def _statements(self) -> dict[str, Any]:
        return self._shelves.statements(self._context.clock())

    async def _schedules(self) -> dict[str, Any]:
        now = self._context.clock()
        return {"jobs": [_schedule(each, now) for each in self._scheduler.jobs()]}

    async def _upstreams(self) -> dict[str, Any]:
        found: dict[str, Any] = await self._inside.call("GET", "/_local/upstreams")
        return found


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


def _html(template: str, data: dict[str, Any], headers: Headers = (), status: int = 200) -> Response:
    return Response(status, page.render(template, data), (*_SECURITY, *headers), _HTML)
