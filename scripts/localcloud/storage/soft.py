"""Soft-deleted generations: rows of the index that lists, reads and lifecycle do not see, until their hard deletion.

cloud.google.com/storage/docs/soft-delete
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from scripts.localcloud.context import Database
from scripts.localcloud.storage.records import Position, Record, columns, record_of, times

# How many generations are asked for in one statement.
_AT_ONCE = 250
_TABLE = """
CREATE TABLE IF NOT EXISTS storage_soft_deleted(
    bucket TEXT NOT NULL, name TEXT NOT NULL, generation INTEGER NOT NULL, metageneration INTEGER NOT NULL,
    live INTEGER NOT NULL, body TEXT NOT NULL, size_bytes INTEGER NOT NULL, crc32c TEXT NOT NULL, md5 TEXT,
    created TEXT NOT NULL, updated TEXT NOT NULL, deleted TEXT, fields TEXT NOT NULL,
    soft_deleted TEXT NOT NULL, hard_deleted TEXT NOT NULL,
    PRIMARY KEY(bucket, name, generation)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS storage_soft_bodies ON storage_soft_deleted(body);
CREATE INDEX IF NOT EXISTS storage_soft_ends ON storage_soft_deleted(hard_deleted);
"""


class SoftDeleted:
    """The table of what can still be restored."""

    def __init__(self, db: Database) -> None:
        self._db = db
        db.script(_TABLE)

    def put(self, record: Record, now: str, kept_s: int) -> None:
        """Keep a generation that has just left the index. Call in a transaction."""
        ends = times(datetime.fromisoformat(now) + timedelta(seconds=kept_s))
        kept = replace(record, live=False, soft_deleted=now, hard_deleted=ends)
        values = (*columns(kept), kept.soft_deleted, kept.hard_deleted)
        self._db.run(f"INSERT OR REPLACE INTO storage_soft_deleted VALUES ({'?, ' * 14}?)", *values)

    def drop(self, record: Record) -> None:
        """Forget a generation: it is restored, or its time has come."""
        sql = "DELETE FROM storage_soft_deleted WHERE bucket = ? AND name = ? AND generation = ?"
        self._db.run(sql, record.bucket, record.name, record.generation)

    def find(self, bucket: str, name: str, generation: int) -> Record | None:
        """One soft-deleted generation."""
        sql = "SELECT * FROM storage_soft_deleted WHERE bucket = ? AND name = ? AND generation = ?"
        row = self._db.row(sql, bucket, name, generation)
        return record_of(row) if row is not None else None

    def positions(self, bucket: str, name: str, generation: int) -> Iterator[Position]:
        """From (name, generation) on, by name and then by age."""
        sql = """SELECT name, generation FROM storage_soft_deleted
                 WHERE bucket = ? AND (name, generation) >= (?, ?) ORDER BY name, generation"""
        return (Position(*row) for row in self._db.cursor(sql, (bucket, name, generation)))

    def several(self, bucket: str, positions: list[Position]) -> list[Record]:
        """These generations, as far as they still exist."""
        return several(self._db, "storage_soft_deleted", bucket, positions)

    def owns(self, body: str) -> bool:
        """Some soft-deleted generation still has this body."""
        return self._db.row("SELECT 1 FROM storage_soft_deleted WHERE body = ? LIMIT 1", body) is not None

    def ends(self) -> str | None:
        """When the next one goes for good."""
        row = self._db.row("SELECT min(hard_deleted) AS ends FROM storage_soft_deleted")
        return str(row["ends"]) if row is not None and row["ends"] is not None else None

    def due(self, now: str, limit: int) -> list[Record]:
        """Those whose time has come, at most `limit`."""
        sql = "SELECT * FROM storage_soft_deleted WHERE hard_deleted <= ? ORDER BY hard_deleted LIMIT ?"
        return [record_of(row) for row in self._db.rows(sql, now, limit)]

    def abandon(self, bucket: str, now: str) -> None:
        """A bucket is gone: its generations are due now, under a name that no later bucket can have."""
        sql = "UPDATE storage_soft_deleted SET bucket = ?, hard_deleted = ? WHERE bucket = ?"
        self._db.run(sql, f"{bucket}/{now}", now, bucket)

    def totals(self) -> dict[str, Any]:
        """How many there are, and their bytes."""
        row = self._db.row(
            "SELECT count(*) AS generations, coalesce(sum(size_bytes), 0) AS size_bytes FROM storage_soft_deleted"
        )
        return dict(row) if row is not None else {}


def several(db: Database, table: str, bucket: str, positions: list[Position]) -> list[Record]:
    """These generations of a table. They are joined: SQLite searches no index for `IN` with pairs."""
    found: list[Record] = []
    for start in range(0, len(positions), _AT_ONCE):
        part = positions[start : start + _AT_ONCE]
        marks = ", ".join(["(?, ?)"] * len(part))
        sql = f"""WITH wanted(name, generation) AS (VALUES {marks})
                  SELECT here.* FROM wanted CROSS JOIN {table} AS here
                  ON here.bucket = ? AND here.name = wanted.name AND here.generation = wanted.generation"""
        found.extend(map(record_of, db.rows(sql, *chain.from_iterable(part), bucket)))
    return found
