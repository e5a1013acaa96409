"""Log entries in the daemon's database: written in batches, read in pages, the oldest removed first.

Cloud Run's request log has a quota of its own, so that many requests do not push out what instances wrote.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from scripts.localcloud.context import Context
from scripts.localcloud.logging import severity
from scripts.localcloud.logging.filters import Filter
from scripts.localcloud.logging.reading import Page, Position, Reader
from scripts.localcloud.logging.times import to_nanoseconds

MOST_ENTRIES = 200_000  # of each quota
_TRIM_EVERY = 1_000
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


class LogStore:
    """Entries are complete LogEntry dicts; the same (log, timestamp, insertId) is kept once."""

    def __init__(self, context: Context, most_entries: int = MOST_ENTRIES) -> None:
        self._db = context.db
        self._db.script(_TABLES)
        if all(column["name"] != "quota" for column in self._db.rows("PRAGMA table_info(log_entries)")):
            self._db.run(_QUOTA)  # the folder of an earlier version
        self._db.run(_BY_QUOTA)
        self.reader = Reader(context.db)
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

    def newest(self) -> int:
        """The id of the entry that was written last; 0 for none."""
        row = self._db.row("SELECT COALESCE(MAX(id), 0) AS id FROM log_entries")
        return int(row["id"]) if row else 0

    def names(self, parent: str) -> list[str]:
        """The names of a parent's logs that have entries."""
        found, after, end = list[str](), f"{parent}/logs/", f"{parent}/logs0"
        while True:  # from one name to the next: the index has as many steps as there are logs
            row = self._db.row(
                "SELECT MIN(log_name) AS name FROM log_entries WHERE log_name > ? AND log_name < ?", after, end
            )
            if row is None or row["name"] is None:
                return found
            after = row["name"]
            found.append(after)

    def delete(self, log_name: str, most: int) -> int:
        """Remove up to so many entries of a log; how many there were."""
        sql = "DELETE FROM log_entries WHERE id IN (SELECT id FROM log_entries WHERE log_name = ? LIMIT ?)"
        return self._db.run(sql, log_name, most)

    async def page(
        self, parents: Sequence[str], wanted: Filter, newest_first: bool, size: int, after: Position | None
    ) -> Page:
        """One page of the entries under the parents (projects/P; all when there are none) that the filter matches."""
        return await self.reader.page(parents, wanted, newest_first, size, after)


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
