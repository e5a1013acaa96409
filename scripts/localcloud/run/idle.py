"""Scale-in by the stand-in's clock: instances that nobody needs are stopped when their time has come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from scripts.localcloud.run.fleet import Fleet

# What drains for longer than this goes on while the clock does.
_PATIENCE_S = 15.0


class IdleTimer:
    """A clock.Timer over all fleets."""

    def __init__(self, fleets: Callable[[], Iterable[Fleet]]) -> None:
        self._fleets = fleets
        self._work: set[asyncio.Task[None]] = set()

    def next_at(self) -> float | None:
        """When an instance may have become superfluous, in seconds since the epoch."""
        return min((at for fleet in self._fleets() if (at := fleet.next_at()) is not None), default=None)

    def ring(self) -> None:
        """Begin to stop what is superfluous."""
        for fleet in list(self._fleets()):
            self._work.update(fleet.scale_in())

    async def settle(self) -> None:
        """Wait until it has ended."""
        if self._work:
            await asyncio.wait(self._work, timeout=_PATIENCE_S)
        self._work = {each for each in self._work if not each.done()}
