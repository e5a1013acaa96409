"""Log entries in the daemon's database: written in batches, read in pages, the oldest removed first.

Cloud Run's request log has a quota of its own, so that many requests do not push out what instances wrote.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from scripts.localcloud.context import Context
from scripts.localcloud.logging import severity
from scripts.localcloud.logging.filters import Filter
from scripts.localcloud.logging.times import to_nanoseconds

MOST_ENTRIES = 200_000  # of each quota
_TRIM_EVERY = 1_000
_STEP = 500
_GENERAL, _REQUESTS = 0, 1
_REQUEST_LOG = "/logs/run.googleapis.com%2Frequests"

_TABLES = """
CREATE TABLE IF NOT EXISTS log_entries (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, parent TEXT NOT NULL, log_name TEXT NOT NULL,
  insert_id TEXT NOT NULL, severity INTEGER NOT NULL, resource TEXT NOT NULL, entry TEXT NOT NULL,
  UNIQUE (log_name, at, insert_id));
CREATE INDEX IF NOT EXISTS log_entries_by_time ON log_entries (at, id);
"""
_QUOTA = "ALTER TABLE log_entries ADD COLUMN quota INTEGER NOT NULL DEFAULT 0"
_BY_QUOTA = "CREATE INDEX IF NOT EXISTS log_entries_by_quota ON log_entries (quota, id)"
_INSERT = (
    "INSERT OR IGNORE INTO log_entries (at, parent, log_name, insert_id, severity, resource, entry, quota)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)

Entry = dict[str, Any]


class Row(NamedTuple):
    """A complete LogEntry as JSON, with what it is found by; at is in nanoseconds since the epoch."""

    at: int
    parent: str
    log_name: str
    insert_id: str
    severity: int
    resource: str
    entry: str


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


class LogStore:
    """Entries are complete LogEntry dicts; the same (log, timestamp, insertId) is kept once."""

    def __init__(self, context: Context, most_entries: int = MOST_ENTRIES) -> None:
        self._db = context.db
        self._db.script(_TABLES)
        if all(column["name"] != "quota" for column in self._db.rows("PRAGMA table_info(log_entries)")):
            self._db.run(_QUOTA)  # the folder of an earlier version
        self._db.run(_BY_QUOTA)
        self._most = most_entries
        self._since_trim = dict.fromkeys((_GENERAL, _REQUESTS), _TRIM_EVERY)

    def write(self, entries: Sequence[Entry]) -> None:
        """Add entries."""
        rows = [_row(entry) for entry in entries]
        of_requests = [row for row in rows if row.log_name.endswith(_REQUEST_LOG)]
        with self._db.transaction():
            self._add(of_requests, _REQUESTS)
            self._add([row for row in rows if not row.log_name.endswith(_REQUEST_LOG)], _GENERAL)

    def write_requests(self, rows: Sequence[Row]) -> None:
        """Add entries of Cloud Run's request log."""
        with self._db.transaction():
            self._add(rows, _REQUESTS)

    def _add(self, rows: Sequence[Row], quota: int) -> None:
        if not rows:
            return
        self._db.many(_INSERT, [(*row, quota) for row in rows])
        self._since_trim[quota] += len(rows)
        if self._since_trim[quota] >= _TRIM_EVERY:
            self._since_trim[quota] = 0
            self._db.run(
                "DELETE FROM log_entries WHERE quota = ? AND id <="
                " (SELECT id FROM log_entries WHERE quota = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
                quota, quota, self._most,
            )  # fmt: skip

    def count(self) -> int:
        """How many entries are kept."""
        row = self._db.row("SELECT COUNT(*) AS n FROM log_entries")
        return int(row["n"]) if row else 0

    async def page(
        self, parents: Sequence[str], wanted: Filter, newest_first: bool, size: int, after: Position | None
    ) -> Page:
        """One page of the entries under the parents (projects/P; all when there are none) that the filter matches."""
        where, values = _where(parents, wanted)
        order, beyond = ("DESC", "<") if newest_first else ("ASC", ">")
        found: list[Entry] = []
        last = after
        while True:
            place, bounds = ("", ()) if last is None else (f" AND (at, id) {beyond} (?, ?)", (last.at, last.id))
            rows = self._db.rows(
                f"SELECT id, at, entry FROM log_entries WHERE {where}{place} ORDER BY at {order}, id {order} LIMIT ?",
                *values, *bounds, _STEP,
            )  # fmt: skip
            for row in rows:
                last = Position(row["at"], row["id"])
                entry = json.loads(row["entry"])
                if wanted.matches(entry):
                    found.append(entry)
                    if len(found) == size:
                        return Page(found, last)
            if len(rows) < _STEP:
                return Page(found, None)
            await asyncio.sleep(0)  # other requests have their turn during a long search


def _row(entry: Entry) -> Row:
    return Row(
        to_nanoseconds(entry["timestamp"]) or 0,
        entry["logName"].partition("/logs/")[0],
        entry["logName"],
        entry["insertId"],
        severity.number(entry.get("severity", 0)) or 0,
        str(entry.get("resource", {}).get("type", "")),
        json.dumps(entry, separators=(",", ":")),
    )


def _where(parents: Sequence[str], wanted: Filter) -> tuple[str, list[Any]]:
    """SQL that every matching entry satisfies; the filter itself decides in the end."""
    parts = [f"parent IN ({', '.join('?' * len(parents))})"] if parents else ["1"]
    values: list[Any] = list(parents)
    for test in wanted.required:
        if test.path == ("timestamp",) and test.operator in ("=", ">", ">=", "<", "<="):
            parts.append(f"at {test.operator} ?")
            values.append(to_nanoseconds(test.value))
        elif test.path == ("severity",) and test.operator in ("=", ">", ">="):
            parts.append(f"severity {test.operator} ?")
            values.append(severity.number(test.value))
        elif test.path == ("resource", "type") and test.operator == "=":
            parts.append("resource = ? COLLATE NOCASE")
            values.append(test.value)
    return " AND ".join(parts), values
