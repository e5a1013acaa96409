"""What the rooms have written down, read in a thread of the console's own: nobody who looks holds up those who work.

The connection is read-only and opened by the first look. SQL over the tables of other rooms is in the panels' modules.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")
_SWITCH_S = 0.0005
_CHEAP_S = 0.05
_PAUSES = 30  # what is dear takes at most a thirtieth of the time


class Ledger:
    """One thread with one connection to the daemon's database."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, "console")
        self._db: sqlite3.Connection | None = None

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do something with the connection in the thread."""
        return await self.beside(lambda: work(self._connection()))

    async def beside(self, work: Callable[[], T]) -> T:
        """Do something that needs no connection in the same thread: writing the page."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, _politely, work)

    async def close(self) -> None:
        """Wait for what is under way, and let the file go."""
        if self._db is not None:
            await self.beside(self._db.close)
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            self._db = sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True, check_same_thread=False)
            self._db.row_factory = sqlite3.Row
        return self._db


def _politely(work: Callable[[], T]) -> T:
    """Give Python's lock back soon: the loop's thread asks for it after each of its system calls."""
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    try:
        return work()
    finally:
        sys.setswitchinterval(usual_s)


class Kept(Generic[T]):
    """A value that can be dear: whoever asks waits a moment for a new one, and else gets the last."""

    def __init__(self, make: Callable[[], Awaitable[T]]) -> None:
        self._make = make
        self._task: asyncio.Task[None] | None = None
        self._again = 0.0
        self._value: T | None = None

    async def get(self, patience_s: float) -> T | None:
        """The newest value there is after so long; None when there was never one. Raises what making it raised."""
        if self._task is None and time.monotonic() >= self._again:
            self._task = asyncio.create_task(self._renew())
        if self._task is not None:
            done, _ = await asyncio.wait([self._task], timeout=patience_s)
            for task in done:
                task.result()
        return self._value

    async def fresh(self) -> T:
        """A value that was made after this call."""
        while self._task is not None:
            await asyncio.wait([self._task])
        self._task = asyncio.create_task(self._renew())
        await asyncio.shield(self._task)
        assert self._value is not None
        return self._value

    def stop(self) -> None:
        """Give up what is under way."""
        if self._task is not None:
            self._task.cancel()

    async def _renew(self) -> None:
        began = time.monotonic()
        try:
            self._value = await self._make()
        finally:
            spent_s = time.monotonic() - began
            self._again = began + (spent_s * _PAUSES if spent_s > _CHEAP_S else 0.0)
            self._task = None
