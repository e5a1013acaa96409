"""Finding entries in the daemon's database, on threads with connections of their own.

The daemon's one thread answers others meanwhile. A page that takes too long ends where the search stands, with a token
to go on, as Cloud Logging does it too; a search nobody waits for any more is given up.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from scripts.localcloud.context import Database
from scripts.localcloud.logging import severity
from scripts.localcloud.logging.filters import Comparison, Filter
from scripts.localcloud.logging.regex import TooMuchWork
from scripts.localcloud.logging.times import to_nanoseconds
from scripts.localcloud.web import ApiError

LONGEST_S = 5.0
_THREADS = 3
_TOO_MUCH = "The filter's regular expression needs too much work; write it without nested repetitions."
_T = TypeVar("_T")

Entry = dict[str, Any]


@dataclass(frozen=True)
class Position:
    """Where a page ended: time and id of its last entry."""

    at: int
    id: int


@dataclass(frozen=True)
class Page:
    """Entries in the order asked for, and where to go on (None at the end)."""

    entries: list[Entry]
    next: Position | None


@dataclass(frozen=True)
class Matched:
    """What was made of the entries that match, the last id that was looked at, and whether there may be more."""

    made: list[Any]
    upto: int
    more: bool


class Reader:
    """page() for who lists, since() for who counts every entry once."""

    def __init__(self, db: Database, longest_s: float = LONGEST_S) -> None:
        row = db.row("SELECT file FROM pragma_database_list WHERE name = 'main'")
        self._path = str(row["file"]) if row else ""
        self._longest_s = longest_s
        self._local = threading.local()
        self._threads: concurrent.futures.ThreadPoolExecutor | None = None

    async def page(
        self, parents: Sequence[str], wanted: Filter, newest_first: bool, size: int, after: Position | None
    ) -> Page:
        """One page of the entries under the parents (projects/P; all when there are none) that the filter matches.

        Raises ApiError 400 for an expression that is too expensive.
        """
        where, values = _where(parents, wanted)
        order, beyond = ("DESC", "<") if newest_first else ("ASC", ">")
        if after is not None:
            where, values = f"{where} AND (at, id) {beyond} (?, ?)", [*values, after.at, after.id]
        sql = f"SELECT id, at, entry FROM log_entries WHERE {where} ORDER BY at {order}, id {order}"

        def look(over: Callable[[], bool]) -> Page:
            found: list[Entry] = []
            for row in self._rows(sql, values):
                entry = json.loads(row["entry"])
                if wanted.matches(entry):
                    found.append(entry)
                if len(found) == size or over():
                    return Page(found, Position(row["at"], row["id"]))
            return Page(found, None)

        return await self._apart(look, self._longest_s)

    async def since(
        self,
        parent: str,
        upto: int,
        matches: Callable[[Entry], bool],
        make: Callable[[int, Entry], Any],
        longest_s: float = LONGEST_S,
    ) -> Matched:
        """Entries of a parent with larger ids, as make(time in nanoseconds, entry), as far as the time reaches.

        An entry that the expression is too expensive for does not match.
        """

        def look(over: Callable[[], bool]) -> Matched:
            made: list[Any] = []
            last = upto
            sql = "SELECT id, at, entry FROM log_entries WHERE id > ? AND parent = ? ORDER BY id"
            for row in self._rows(sql, [upto, parent]):
                last, entry = row["id"], json.loads(row["entry"])
                if _cheap(matches, entry):
                    made.append(make(row["at"], entry))
                if over():
                    return Matched(made, last, True)
            return Matched(made, last, False)

        return await self._apart(look, longest_s)

    def _rows(self, sql: str, values: Sequence[Any]) -> Iterator[sqlite3.Row]:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = sqlite3.connect(self._path)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA query_only = 1")
        cursor = connection.execute(sql, values)
        try:
            yield from cursor
        finally:
            cursor.close()  # or the snapshot stays, and the write-ahead log grows

    async def _apart(self, look: Callable[[Callable[[], bool]], _T], longest_s: float) -> _T:
        if self._threads is None:
            self._threads = concurrent.futures.ThreadPoolExecutor(_THREADS, "log-search")
        until, left = time.monotonic() + longest_s, threading.Event()
        work = asyncio.get_running_loop().run_in_executor(
            self._threads, look, lambda: left.is_set() or time.monotonic() > until
        )
        try:
            return await work
        except TooMuchWork:
            raise ApiError(400, _TOO_MUCH) from None
        finally:
            left.set()


def _cheap(matches: Callable[[Entry], bool], entry: Entry) -> bool:
    try:
        return matches(entry)
    except TooMuchWork:
        return False


def _where(parents: Sequence[str], wanted: Filter) -> tuple[str, list[Any]]:
    """SQL that every matching entry satisfies; the filter itself decides in the end."""
    parts = [f"parent IN ({', '.join('?' * len(parents))})"] if parents else ["1"]
    values: list[Any] = list(parents)
    for test in wanted.required:
        part, value = _hint(test)
        if part:
            parts.append(part)
            values.append(value)
    return " AND ".join(parts), values


def _hint(test: Comparison) -> tuple[str, Any]:
    if test.path == ("timestamp",) and test.operator in ("=", ">", ">=", "<", "<="):
        return f"at {test.operator} ?", to_nanoseconds(test.value)
    if test.path == ("severity",) and test.operator in ("=", ">", ">="):
        return f"severity {test.operator} ?", severity.number(test.value)
    if test.path == ("resource", "type") and test.operator == "=":
        return "resource = ? COLLATE NOCASE", test.value
    if test.path == ("logName",) and test.operator == "=":
        return "log_name = ? COLLATE NOCASE", test.value
    return "", None
