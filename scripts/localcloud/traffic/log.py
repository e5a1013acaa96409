"""The request log: the newest 200,000 calls in an SQLite file of its own, written and read beside the event loop.

Calls are handed over in batches a fraction of a second after they ended; a kill -9 loses at most those. A file that
cannot be read is put aside: a log is no reason not to start.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from scripts.localcloud.traffic.calls import COLUMNS, Call, Names, row
from scripts.localcloud.traffic.queries import Query

KEPT = 200_000
_WAIT_S = 0.2
_AT_ONCE = 2000
# More than this is waiting only when the disk does not take it.
_MOST_WAITING = 50_000
_TABLE = f"CREATE TABLE IF NOT EXISTS requests (id INTEGER PRIMARY KEY, {', '.join(COLUMNS)})"
_INSERT = f"INSERT INTO requests ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
log = logging.getLogger("localcloud.traffic")
T = TypeVar("T")


class RequestLog:
    """add() is called from the event loop and never waits; all else happens in one thread, in order."""

    def __init__(self, path: Path, names: Names, kept: int = KEPT) -> None:
        self._names = names
        self._kept = kept
        self._waiting: list[Call] = []
        self._writing = False
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._thread = ThreadPoolExecutor(1, "request-log")
        self._db = _open(path)
        self.dropped = 0
        last = self._db.execute("SELECT min(id), max(id) FROM requests").fetchone()
        self._first, self._last = last[0] or 1, last[1] or 0

    def __len__(self) -> int:
        return min(self._last - self._first + 1, self._kept) + len(self._waiting)

    def add(self, call: Call) -> None:
        """Note a call that is over."""
        if self._closed:  # cut off by the end of the stand-in
            self.dropped += 1
            return
        self._waiting.append(call)
        if self._timer is None and not self._writing:
            self._timer = asyncio.get_running_loop().call_later(_WAIT_S, self._hand_over)
        elif len(self._waiting) > _MOST_WAITING:
            del self._waiting[0]
            self.dropped += 1

    async def find(self, query: Query) -> dict[str, Any]:
        """What a query asks for, the calls up to now included."""
        return await self._beside(lambda: query.run(self._db))

    async def close(self) -> None:
        """Write what is waiting, and close the file."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        await self._beside(self._db.close)
        self._thread.shutdown()

    async def _beside(self, work: Callable[[], T]) -> T:
        """Do something in the thread, after all that is waiting has been written."""
        batch, self._waiting = self._waiting, []
        loop = asyncio.get_running_loop()
        if batch:
            await loop.run_in_executor(self._thread, self._write, batch)
        return await loop.run_in_executor(self._thread, work)

    def _hand_over(self) -> None:
        self._timer = None
        batch, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
        if batch:
            self._writing = True
            self._thread.submit(self._write, batch).add_done_callback(self._written_from(asyncio.get_running_loop()))

    def _written_from(self, loop: asyncio.AbstractEventLoop) -> Callable[[Any], None]:
        def written() -> None:
            self._writing = False
            if self._waiting and self._timer is None and not self._closed:
                self._timer = loop.call_later(0 if len(self._waiting) > _AT_ONCE else _WAIT_S, self._hand_over)

        def tell(done: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(written)

        return tell

    def _write(self, batch: Sequence[Call]) -> None:
        try:
            self._db.execute("BEGIN")
            self._db.executemany(_INSERT, [row(call, self._names) for call in batch])
            self._db.execute("DELETE FROM requests WHERE id <= ?", (self._last + len(batch) - self._kept,))
            self._db.execute("COMMIT")
            self._last += len(batch)
            self._first = max(self._first, self._last - self._kept + 1)
        except Exception:
            self.dropped += len(batch)
            log.exception("%d calls are missing in the request log", len(batch))
            with contextlib.suppress(sqlite3.Error):
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")


def _open(path: Path) -> sqlite3.Connection:
    try:
        return _connect(path)
    except sqlite3.DatabaseError as error:
        log.warning("the request log %s cannot be read (%s); it is put aside as %s.bad", path, error, path.name)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        path.replace(path.with_name(f"{path.name}.bad"))
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=OFF")
    db.execute(_TABLE)
    found = {str(column[1]) for column in db.execute("PRAGMA table_info(requests)")}
    if found != {"id", *COLUMNS}:
        db.execute("DROP TABLE requests")
        db.execute(_TABLE)
    return db
