"""The stand-in's clock: the machine's, plus what has been skipped on request; and the timers that go by it.

GET /_local/clock tells it; POST /_local/clock {"advance_s": 86400} moves it forward. On the way every timer rings at
its own moment, in order, and what it starts is waited for: a day passes as fast as its events can be carried out. What
was skipped is kept, so that time does not go backwards over a restart.
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
INSERT OR IGNORE INTO clock VALUES (1, 0);
"""
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
        row = self._db.row("SELECT skipped_s FROM clock")
        self.skipped_s = float(row["skipped_s"]) if row else 0.0
        self._machine = machine
        self._held: float | None = None
        self._timers: list[Timer] = []
        self._not_before: dict[int, float] = {}
        self._moved = asyncio.Event()
        self._advancing = asyncio.Lock()
        context.clock = self

    def __call__(self) -> float:
        return self._held if self._held is not None else self._machine() + self.skipped_s

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
            target = self() + seconds
            try:
                while (at := self.next_at()) is not None and at <= target:
                    self._hold(max(at, self()))
                    await self._ring_all()
                self._hold(target)
            finally:
                # What the events took of the machine's time is not added on top of what was asked for.
                self._hold(self())
                self._held = None
                self.changed()

    async def run(self) -> None:
        """Ring timers as time goes by, until cancelled."""
        while True:
            self._moved.clear()
            at = self.next_at()
            wait_s = _LONGEST_SLEEP_S if at is None else min(max(at - self(), 0.0), _LONGEST_SLEEP_S)
            if wait_s > 0 or self._advancing.locked():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._moved.wait(), max(wait_s, 0.02))
                continue
            self._ring()
            await asyncio.sleep(0)

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

    def _hold(self, at: float) -> None:
        self._held = at
        self._skip(at - self._machine())

    def _skip(self, skipped_s: float) -> None:
        self.skipped_s = skipped_s
        self._db.run("UPDATE clock SET skipped_s = ?", skipped_s)


class ClockRoom:
    """The routes of the clock, and the task that makes its timers ring."""

    def __init__(self, context: Context) -> None:
        self.clock = Clock(context)
        self._task: asyncio.Task[None] | None = None

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/_local/clock", self._tell, "local.clock.get"),
            Route("POST", "/_local/clock", self._advance, "local.clock.advance"),
        ]

    async def start(self) -> None:
        """Let timers ring."""
        self._task = asyncio.create_task(self.clock.run())

    async def stop(self) -> None:
        """No timer rings any more."""
        if self._task is not None:
            self._task.cancel()

    def status(self) -> dict[str, Any]:
        at = self.clock.next_at()
        return {
            "now": _text(self.clock()),
            "skipped_s": round(self.clock.skipped_s, 3),
            "next": None if at is None else _text(at),
        }

    async def _tell(self, request: Request) -> Response:
        return Response.of_json(self.status())

    async def _advance(self, request: Request) -> Response:
        body = await request.json_object()
        seconds: Any = body.get("advance_s")
        number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
        if not number or not math.isfinite(seconds) or not 0 <= seconds <= LONGEST_ADVANCE_S:
            shown = str(seconds)[:50]
            raise ApiError(400, f"advance_s: expected 0 to {LONGEST_ADVANCE_S:.0f} seconds, found {shown}")
        await self.clock.advance(float(seconds))
        return Response.of_json(self.status())


def _text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
