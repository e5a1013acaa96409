"""What the rooms share: the state folder, one SQLite database, the clock and the daemon's own address."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from scripts.localcloud.web import Handler, Route

REGION = "europe-west1"
log = logging.getLogger("localcloud")


class Database:
    """One SQLite connection (WAL), used from the event loop's thread only, so every call is atomic among rooms.

    WAL with synchronous=NORMAL survives kill -9 of the daemon (not a power cut, which a stand-in need not).
    """

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA synchronous=OFF")  # a new file need not wait for the disk
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        # Four times SQLite's own: each puts the loop on hold, and most pages have changed again by the next.
        self._connection.execute("PRAGMA wal_autocheckpoint=4000")
        self._depth = 0

    def script(self, sql: str) -> None:
        """Create tables and indexes (idempotent statements only)."""
        self._connection.executescript(sql)

    def run(self, sql: str, *values: Any) -> int:
        """Execute one statement; the number of rows it changed."""
        return self._connection.execute(sql, values).rowcount

    def many(self, sql: str, values: Sequence[Sequence[Any]]) -> None:
        """Execute one statement once for each of many rows of values."""
        self._connection.executemany(sql, values)

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """All rows of a query."""
        return self._connection.execute(sql, values).fetchall()

    def row(self, sql: str, *values: Any) -> sqlite3.Row | None:
        """The first row of a query, or None."""
        found: sqlite3.Row | None = self._connection.execute(sql, values).fetchone()
        return found

    def cursor(self, sql: str, values: Sequence[Any] = ()) -> Iterator[sqlite3.Row]:
        """Rows one at a time; do not write while iterating."""
        return iter(self._connection.execute(sql, values))

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; may be nested (the outermost one commits). Do not await inside."""
        if self._depth == 0:
            self._connection.execute("BEGIN IMMEDIATE")
        self._depth += 1
        try:
            yield
            if self._depth == 1:
                self._connection.execute("COMMIT")
        except BaseException:
            # SQLite has rolled back by itself when the disk was full.
            if self._depth == 1 and self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        finally:
            self._depth -= 1

    @property
    def changing(self) -> bool:
        """A transaction is under way, which may yet be rolled back."""
        return self._depth > 0

    def close(self) -> None:
        """Close the connection; the WAL is folded back."""
        self._connection.close()


@dataclass
class Context:
    """Handed to every room. clock returns seconds since the epoch and can be replaced by a test."""

    state: Path
    url: str
    project_root: Path
    db: Database
    clock: Callable[[], float] = time.time
    listeners: dict[str, list[Callable[[Any], None]]] = field(default_factory=dict)

    def now(self) -> str:
        """The time as Google writes it: RFC 3339, UTC, microseconds."""
        return f"{datetime.fromtimestamp(self.clock(), UTC).isoformat(timespec='microseconds')[:-6]}Z"

    def folder(self, name: str) -> Path:
        """A folder under the state folder, made on first use with mode 0700."""
        path = self.state / name
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def listen(self, topic: str, call: Callable[[Any], None]) -> None:
        """Be told synchronously of every event published on a topic, in order."""
        self.listeners.setdefault(topic, []).append(call)

    def publish(self, topic: str, event: Any) -> None:
        """Tell the listeners of a topic; what happened has happened, so a listener's failure is only logged."""
        for call in self.listeners.get(topic, ()):
            try:
                call(event)
            except Exception:
                log.exception("a listener of %s failed", topic)


class Room(Protocol):
    """An API of the stand-in: its routes, and what it does when the daemon starts and stops."""

    def routes(self) -> list[Route]: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def status(self) -> dict[str, Any]:
        """What `invoke local.status` shows of this room."""
        ...


@runtime_checkable
class HostRoom(Protocol):
    """A room that also answers for host names of its own."""

    def by_host(self, host: str) -> Handler | None:
        """The handler of requests to a host other than loopback, or None."""
        ...
