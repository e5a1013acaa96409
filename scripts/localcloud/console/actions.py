"""What the console may change, and how a form proves that it is the console's: token, cookie, Origin, Host."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from scripts.localcloud.console.inside import Inside
from scripts.localcloud.console.values import day_time, duration
from scripts.localcloud.web import ApiError, Request

log = logging.getLogger("localcloud")
_LARGEST_BYTES = 16 << 10
_INSTANCE = re.compile(r"[0-9a-f]{8,64}")
_JOB = re.compile(r"([a-z0-9.:-]{1,100})/([a-z0-9-]{1,63})")
_FAULT = re.compile(r"f[0-9]{1,9}")
_NUMBER = re.compile(r"[0-9]{1,9}")
_WHOLE = ("nth", "after_bytes")
_MOST_FIELDS = 20
_SCHEDULE = re.compile(r"projects/[A-Za-z0-9.:-]{1,100}/locations/[a-z0-9-]{1,40}/jobs/[A-Za-z0-9_-]{1,500}")


class Refused(Exception):
    """A form that is not this console's; str() says why, in a sentence."""


class Guard:
    """One random token a daemon; a form must bring it in the cookie and in its hidden field."""

    def __init__(self, port: int) -> None:
        self.token = secrets.token_urlsafe(32)
        # cookies know no port: two daemons on one machine must not overwrite each other's
        self._cookie = f"modelshelf-console-{port}"
        self._port = port

    def header(self) -> tuple[str, str]:
        """The Set-Cookie header."""
        return "Set-Cookie", f"{self._cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"

    async def form(self, request: Request) -> dict[str, str]:
        """The fields of a form that is ours. Raises Refused."""
        self._from_here(request)
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
            raise Refused("The request is not a form of this page.")
        raw = (await request.read(_LARGEST_BYTES)).decode("utf-8", errors="replace")
        fields = {
            key: values[-1]
            for key, values in parse_qs(raw, keep_blank_values=True, max_num_fields=_MOST_FIELDS).items()
        }
        proofs = (self._sent_cookie(request), fields.get("token", ""))
        if not all(secrets.compare_digest(each.encode(), self.token.encode()) for each in proofs):
            raise Refused("The page is older than the running stand-in, or the form was not made by it.")
        return fields

    def _from_here(self, request: Request) -> None:
        host = request.headers.get("host", "")
        if host not in (f"127.0.0.1:{self._port}", f"localhost:{self._port}"):
            raise Refused("The request was sent to another host.")
        if request.headers.get("origin") != f"http://{host}":
            raise Refused("The request comes from another site.")
        if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            raise Refused("The request comes from another site.")

    def _sent_cookie(self, request: Request) -> str:
        for part in request.headers.get("cookie", "").split(";"):
            name, _, value = part.strip().partition("=")
            if name == self._cookie:
                return value
        return ""


class Actions:
    """Carries an action out through the room's own route and says in a sentence what was done."""

    def __init__(self, inside: Inside) -> None:
        self._inside = inside
        self._known: dict[str, tuple[Callable[[str], Awaitable[str]], str]] = {
            "upstreams.stop": (lambda target: self._switch(False), "upstreams"),
            "upstreams.start": (lambda target: self._switch(True), "upstreams"),
            "instance.restart": (self._restart, "instances"),
            "job.run": (self._run, "jobs"),
            "schedule.run": (lambda target: self._schedule(target, "run"), "scheduler"),
            "schedule.pause": (lambda target: self._schedule(target, "pause"), "scheduler"),
            "schedule.resume": (lambda target: self._schedule(target, "resume"), "scheduler"),
            "fault.clear": (self._clear, "faults"),
            "fault.clear-all": (lambda target: self._clear(""), "faults"),
            "clock.advance": (lambda target: self._move("advance_s", target), "clock"),
            "clock.rate": (lambda target: self._move("rate", target), "clock"),
        }

    def panel(self, name: str) -> str:
        """The panel that an action belongs to; empty for one that is unknown."""
        if name == "fault.set":
            return "faults"
        return self._known[name][1] if name in self._known else ""

    async def do(self, name: str, fields: Mapping[str, str]) -> str:
        """What was done. Raises ApiError: 400 for an action or a target that is none, else what the room says."""
        target = fields.get("target", "")
        if name != "fault.set" and name not in self._known:
            raise ApiError(400, "There is no such action.")
        log.info("console: %s %r", name, target[:200] or "-")
        if name == "fault.set":
            return await self._set(fields)
        return await self._known[name][0](target)

    async def _switch(self, running: bool) -> str:
        await self._inside.call("POST", "/_local/upstreams", {"running": running})
        return "The upstreams serve again." if running else "The upstreams are stopped: every pull is refused now."

    async def _restart(self, target: str) -> str:
        identity = _checked(_INSTANCE, target)[0]
        await self._inside.call("POST", f"/_local/instances/{identity}:kill")
        return f"Instance {identity[:8]} was killed; its service starts another one."

    async def _run(self, target: str) -> str:
        found = _checked(_JOB, target)
        project, job = quote(found[1], safe=""), quote(found[2], safe="")
        path = f"/apis/run.googleapis.com/v1/namespaces/{project}/jobs/{job}:run"
        execution = await self._inside.call("POST", path, {})
        return f"Execution {execution['metadata']['name']} was started."

    async def _schedule(self, target: str, verb: str) -> str:
        path = _checked(_SCHEDULE, target)[0]
        job = await self._inside.call("POST", f"/v1/{path}:{verb}", {})
        name = path.rpartition("/")[2]
        message = str((job.get("status") or {}).get("message") or "")
        if verb == "run" and message:
            raise ApiError(502, f"{name} was run, and its target answered: {message}")
        return {"run": f"{name} was run.", "pause": f"{name} is paused.", "resume": f"{name} is on."}[verb]

    async def _set(self, fields: Mapping[str, str]) -> str:
        """Set a fault as the form says it; what was left empty is not asked for."""
        asked: dict[str, Any] = {key: fields[key] for key in ("on", "kind", "bucket", "object") if fields.get(key)}
        for key in _WHOLE:
            if fields.get(key):
                asked[key] = int(_checked(_NUMBER, fields[key].strip(), f"{key}: expected a whole number.")[0])
        times = fields.get("count", "").strip()
        if times:
            hint = "count: expected a whole number, or forever."
            asked["count"] = times if times == "forever" else int(_checked(_NUMBER, times, hint)[0])
        if fields.get("delay_s"):
            try:
                asked["delay_s"] = float(fields["delay_s"])
            except ValueError:
                raise ApiError(400, "delay_s: expected a number of seconds.") from None
        fault = await self._inside.call("POST", "/_local/faults", asked)
        return f"Fault {fault['id']} is set: {fault['kind']} on {fault['on']}."

    async def _clear(self, target: str) -> str:
        path = f"/_local/faults/{_checked(_FAULT, target)[0]}" if target else "/_local/faults"
        gone = (await self._inside.call("DELETE", path))["cleared"]
        if target:
            return f"Fault {target} is cleared; it happened {gone[0]['fired']} times."
        return f"{len(gone)} fault{' is' if len(gone) == 1 else 's are'} cleared."

    async def _move(self, key: str, target: str) -> str:
        number = int(_checked(_NUMBER, target)[0])
        clock = await self._inside.call("POST", "/_local/clock", {key: number})
        if key == "rate":
            return (
                "The clock runs at the machine's pace." if number == 1 else f"The clock runs {number:,} times as fast."
            )
        return f"The clock was moved forward by {duration(number)}; it is {day_time(clock['now'])}."


def _checked(
    pattern: re.Pattern[str], target: str, hint: str = "The form names nothing that there is."
) -> re.Match[str]:
    found = pattern.fullmatch(target)
    if found is None:
        raise ApiError(400, hint)
    return found


def port_of(url: str) -> int:
    """The port of the daemon's address."""
    return urlsplit(url).port or 80
