"""The stand-in's clock: the machine's, plus what has been skipped on request; and the timers that go by it.

GET /_local/clock tells it. POST {"advance_s": 86400} moves it forward: on the way every timer rings at its own moment,
in order, and what it starts is waited for, so a day passes as fast as its events can be carried out. POST
{"rate": 3600} lets it run fast from then on, an hour each second, with the same promise: no moment is passed before its
timer has rung, and time stands still while that is carried out. What was skipped and the rate are kept over a restart;
time does not go backwards, and while the daemon is down it passes as on the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from scripts.localcloud.context import Context
from scripts.localcloud.web import ApiError, Request, Response, Route

log = logging.getLogger("localcloud")
LONGEST_ADVANCE_S = 366 * 86400.0
_TABLE = """
CREATE TABLE IF NOT EXISTS clock(one INTEGER PRIMARY KEY CHECK (one = 1), skipped_s REAL NOT NULL);
CREATE TABLE IF NOT EXISTS clock_rate(one INTEGER PRIMARY KEY CHECK (one = 1), rate REAL NOT NULL);
INSERT OR IGNORE INTO clock VALUES (1, 0);
INSERT OR IGNORE INTO clock_rate VALUES (1, 1);
"""
FASTEST = 86400.0
# A clock that runs fast is kept as it will be so much later by the machine: after kill -9 it goes on from there.
_AHEAD_S = 0.2
# A machine that was suspended is noticed after at most this long.
_LONGEST_SLEEP_S = 30.0
_PAUSE_AFTER_FAILURE_S = 60.0


class Timer(Protocol):
    """Something of a room that happens at certain times."""

    def next_at(self) -> float | None:
        """When it rings next, in seconds since the epoch; None for never."""
        ...

    def ring(self) -> None:
        """Start what is due by the clock; must move next_at() on."""
        ...

    async def settle(self) -> None:
        """Wait for what ring() started."""
        ...


class Clock:
    """Callable as a clock: seconds since the epoch. Rooms add their timers and call changed() when one moves."""

    def __init__(self, context: Context, machine: Callable[[], float] = time.time) -> None:
        self._db = context.db
        self._db.script(_TABLE)
        row = self._db.row("SELECT skipped_s, rate FROM clock JOIN clock_rate USING (one)")
        self._machine = machine
        self.rate = float(row["rate"]) if row else 1.0
        # the time at some moment, and what the machine's clock was then
        self._since = machine()
        self._anchor = self._since + (float(row["skipped_s"]) if row else 0.0)
        self._ceiling = math.inf
        self._held: float | None = None
        self._timers: list[Timer] = []
        self._not_before: dict[int, float] = {}
        self._moved = asyncio.Event()
        self._advancing = asyncio.Lock()
        context.clock = self

    def __call__(self) -> float:
        return self._held if self._held is not None else min(self._free(), self._ceiling)

    @property
    def skipped_s(self) -> float:
        """How far it is ahead of the machine's."""
        return self() - self._machine()

    def add(self, timer: Timer) -> None:
        """Let a timer ring from now on."""
        self._timers.append(timer)
        self.changed()

    def changed(self) -> None:
        """A timer's next_at() is another than before."""
        self._moved.set()

    def next_at(self) -> float | None:
        """When the next timer rings, in seconds since the epoch."""
        return min((at for timer in self._timers if (at := self._due_at(timer)) is not None), default=None)

    async def advance(self, seconds: float) -> None:
        """Move forward; one call after the other. Within each moment the clock stands still."""
        async with self._advancing:
            for timer in self._timers:  # what is under way belongs to the time before
                await timer.settle()
            await self._pass_to(self() + seconds)

    async def run_at(self, rate: float) -> None:
        """Run so many times as fast as the machine's clock from now on; 1 is as fast as that."""
        async with self._advancing:
            self._go_on_from(self())
            self.rate = rate
            self._ceiling = math.inf if rate == 1 else self._next_or_never()
            self._db.run("UPDATE clock_rate SET rate = ?", rate)
        self.changed()

    async def run(self) -> None:
        """Ring timers as time goes by, until cancelled."""
        while True:
            self._moved.clear()
            at, fast = self._next_or_never(), self.rate != 1
            if fast and not self._advancing.locked():
                self._ceiling = max(at, self())
                self._keep(min(self._free() + _AHEAD_S * self.rate, self._ceiling))
            longest_s = _AHEAD_S / 2 if fast else _LONGEST_SLEEP_S
            wait_s = min(max(at - self(), 0.0) / self.rate, longest_s)
            if wait_s > 0 or self._advancing.locked():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._moved.wait(), max(wait_s, 0.001 if fast else 0.02))
            elif fast:
                async with self._advancing:
                    await self._pass_to(self._free())
            else:
                self._ring()
                await asyncio.sleep(0)

    async def _pass_to(self, target: float) -> None:
        """Ring every timer up to a moment, each at its own, and stand there."""
        try:
            while (at := self._next_or_never()) <= target:
                self._hold(max(at, self()))
                await self._ring_all()
            self._hold(max(target, self()))
        finally:
            # What the events took of the machine's time is not added on top of what was asked for.
            self._go_on_from(self())
            self.changed()

    def _ring(self) -> list[Timer]:
        due = [timer for timer in self._timers if (at := self._due_at(timer)) is not None and at <= self()]
        for timer in due:
            try:
                timer.ring()
            except Exception:
                log.exception("a timer failed; it rings again in %.0f s", _PAUSE_AFTER_FAILURE_S)
                self._not_before[id(timer)] = self() + _PAUSE_AFTER_FAILURE_S
        return due

    def _due_at(self, timer: Timer) -> float | None:
        at = timer.next_at()
        return None if at is None else max(at, self._not_before.get(id(timer), at))

    async def _ring_all(self) -> None:
        for timer in self._ring():
            await timer.settle()

    def _free(self) -> float:
        """What it would be if no timer had to ring first."""
        return self._anchor + (self._machine() - self._since) * self.rate

    def _next_or_never(self) -> float:
        at = self.next_at()
        return math.inf if at is None else at

    def _hold(self, at: float) -> None:
        self._held = at
        self._keep(at)

    def _go_on_from(self, at: float) -> None:
        self._anchor, self._since, self._held = at, self._machine(), None
        self._ceiling = math.inf if self.rate == 1 else max(self._next_or_never(), at)
        self._keep(at)

    def keep(self) -> None:
        """Keep the time as it is: the daemon stops."""
        self._keep(self())

    def _keep(self, at: float) -> None:
        self._db.run("UPDATE clock SET skipped_s = ?", at - self._machine())


class ClockRoom:
    """The routes of the clock, and the task that makes its timers ring."""

    def __init__(self, context: Context) -> None:
        self.clock = Clock(context)
        self._task: asyncio.Task[None] | None = None

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/_local/clock", self._tell, "local.clock.get"),
            Route("POST", "/_local/clock", self._move, "local.clock.advance"),
        ]

    async def start(self) -> None:
        """Let timers ring."""
        self._task = asyncio.create_task(self.clock.run())

    async def stop(self) -> None:
        """No timer rings any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self.clock.keep()

    def status(self) -> dict[str, Any]:
        at = self.clock.next_at()
        return {
            "now": _text(self.clock()),
            "skipped_s": round(self.clock.skipped_s, 3),
            "rate": self.clock.rate,
            "next": None if at is None else _text(at),
        }

    async def _tell(self, request: Request) -> Response:
        return Response.of_json(self.status())

    async def _move(self, request: Request) -> Response:
        body = await request.json_object()
        unknown = sorted(body.keys() - {"advance_s", "rate"})
        if unknown or not body:
            raise ApiError(400, f"expected advance_s or rate, found {', '.join(unknown)[:100] or 'neither'}")
        seconds = _number(body, "advance_s", 0.0, LONGEST_ADVANCE_S, "seconds")
        rate = _number(body, "rate", 1.0, FASTEST, "seconds a second")
        if seconds is not None:
            await self.clock.advance(seconds)
        if rate is not None:
            await self.clock.run_at(rate)
        return Response.of_json(self.status())


def _number(body: dict[str, Any], key: str, least: float, most: float, unit: str) -> float | None:
    """A number of the body; None when it is not there. Raises ApiError 400."""
    if key not in body:
        return None
    value: Any = body[key]
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not least <= value <= most:
        raise ApiError(400, f"{key}: expected {least:.0f} to {most:.0f} {unit}, found {str(value)[:50]}")
    return float(value)


def _text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
