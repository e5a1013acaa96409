"""The index in SQLite: which buckets and generations exist. Knows rows, not rules (those are in store.py)."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from scripts.localcloud.context import Database
from scripts.localcloud.storage.records import Bucket, Record, dump

# Text is compared byte by byte (BINARY), so names sort as in Cloud Storage: by their UTF-8.
_TABLES = """
CREATE TABLE IF NOT EXISTS storage_buckets(
    name TEXT PRIMARY KEY, project TEXT NOT NULL, metageneration INTEGER NOT NULL, created TEXT NOT NULL,
    updated TEXT NOT NULL, settings TEXT NOT NULL, policy TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS storage_objects(
    bucket TEXT NOT NULL, name TEXT NOT NULL, generation INTEGER NOT NULL, metageneration INTEGER NOT NULL,
    live INTEGER NOT NULL, body TEXT NOT NULL, size_bytes INTEGER NOT NULL, crc32c TEXT NOT NULL, md5 TEXT,
    created TEXT NOT NULL, updated TEXT NOT NULL, deleted TEXT, fields TEXT NOT NULL,
    PRIMARY KEY(bucket, name, generation)) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS storage_live ON storage_objects(bucket, name) WHERE live = 1;
CREATE INDEX IF NOT EXISTS storage_bodies ON storage_objects(body);
CREATE TABLE IF NOT EXISTS storage_clock(one INTEGER PRIMARY KEY CHECK (one = 1), generation INTEGER NOT NULL);
INSERT OR IGNORE INTO storage_clock VALUES (1, 0);
"""


class Position(NamedTuple):
    """Which generation of which name."""

    name: str
    generation: int


class Index:
    """Rows of buckets and objects."""

    def __init__(self, db: Database) -> None:
        self._db = db
        db.script(_TABLES)

    def next_generation(self) -> int:
        """Microseconds since the epoch as at Google, but always above every earlier one. Call in a transaction."""
        row = self._db.row("SELECT generation FROM storage_clock")
        generation = max((row["generation"] if row else 0) + 1, time.time_ns() // 1000)
        self._db.run("UPDATE storage_clock SET generation = ?", generation)
        return generation

    def bucket(self, name: str) -> Bucket | None:
        """The bucket of this name."""
        row = self._db.row("SELECT * FROM storage_buckets WHERE name = ?", name)
        return _bucket(row) if row is not None else None

    def buckets(self, project: str, prefix: str, after: str, limit: int) -> list[Bucket]:
        """A project's buckets by name."""
        sql = """SELECT * FROM storage_buckets WHERE project = ? AND name > ? AND substr(name, 1, length(?)) = ?
                 ORDER BY name LIMIT ?"""
        return [_bucket(row) for row in self._db.rows(sql, project, after, prefix, prefix, limit)]

    def put_bucket(self, bucket: Bucket) -> None:
        """Insert or replace a bucket's row."""
        values = (bucket.name, bucket.project, bucket.metageneration, bucket.created, bucket.updated)
        sql = "INSERT OR REPLACE INTO storage_buckets VALUES (?, ?, ?, ?, ?, ?, ?)"
        self._db.run(sql, *values, dump(bucket.settings), dump(bucket.policy))

    def drop_bucket(self, name: str) -> None:
        """Delete a bucket's row."""
        self._db.run("DELETE FROM storage_buckets WHERE name = ?", name)

    def is_empty(self, bucket: str) -> bool:
        """No generation, live or noncurrent, is left in the bucket."""
        return self._db.row("SELECT 1 FROM storage_objects WHERE bucket = ? LIMIT 1", bucket) is None

    def find(self, bucket: str, name: str, generation: int | None = None) -> Record | None:
        """One generation, or the live one."""
        if generation is None:
            row = self._db.row("SELECT * FROM storage_objects WHERE bucket = ? AND name = ? AND live = 1", bucket, name)
        else:
            sql = "SELECT * FROM storage_objects WHERE bucket = ? AND name = ? AND generation = ?"
            row = self._db.row(sql, bucket, name, generation)
        return _record(row) if row is not None else None

    def live(self, bucket: str, first: str) -> Iterator[Record]:
        """Live generations from a name on, by name."""
        sql = "SELECT * FROM storage_objects WHERE bucket = ? AND name >= ? AND live = 1 ORDER BY name"
        return map(_record, self._db.cursor(sql, (bucket, first)))

    def positions(self, bucket: str, name: str, generation: int, *, versions: bool) -> Iterator[Position]:
        """From (name, generation) on, by name and then by age; without versions only live ones.

        Names alone, as a list looks at many and shows few.
        """
        live = "" if versions else "AND live = 1"
        sql = f"""SELECT name, generation FROM storage_objects
                  WHERE bucket = ? AND (name, generation) >= (?, ?) {live} ORDER BY name, generation"""
        return (Position(*row) for row in self._db.cursor(sql, (bucket, name, generation)))

    def put(self, record: Record) -> None:
        """Insert or replace a generation's row."""
        values: tuple[Any, ...] = (
            record.bucket, record.name, record.generation, record.metageneration, int(record.live), record.body,
            record.size_bytes, record.crc32c, record.md5, record.created, record.updated, record.deleted,
        )  # fmt: skip
        self._db.run(f"INSERT OR REPLACE INTO storage_objects VALUES ({'?, ' * 12}?)", *values, dump(record.fields))

    def drop(self, record: Record) -> None:
        """Delete a generation's row."""
        sql = "DELETE FROM storage_objects WHERE bucket = ? AND name = ? AND generation = ?"
        self._db.run(sql, record.bucket, record.name, record.generation)

    def owns(self, body: str) -> bool:
        """Some generation still has this body (copies share one)."""
        return self._db.row("SELECT 1 FROM storage_objects WHERE body = ? LIMIT 1", body) is not None

    def noncurrent(self, bucket: str, limit: int) -> list[Record]:
        """The generations that became noncurrent last, newest first."""
        sql = "SELECT * FROM storage_objects WHERE bucket = ? AND live = 0 ORDER BY deleted DESC, name LIMIT ?"
        return [_record(row) for row in self._db.rows(sql, bucket, limit)]

    def totals(self) -> list[dict[str, Any]]:
        """Per bucket: live objects, all generations, bytes of all generations."""
        sql = """SELECT b.name AS bucket, coalesce(sum(o.live), 0) AS objects, count(o.name) AS generations,
                 coalesce(sum(o.size_bytes), 0) AS size_bytes
                 FROM storage_buckets b LEFT JOIN storage_objects o ON o.bucket = b.name
                 GROUP BY b.name ORDER BY b.name"""
        return [dict(row) for row in self._db.rows(sql)]


def _bucket(row: sqlite3.Row) -> Bucket:
    name, project, metageneration, created, updated, settings, policy = row
    return Bucket(name, project, metageneration, created, updated, json.loads(settings), json.loads(policy))


def _record(row: sqlite3.Row) -> Record:
    values = dict(row)
    return Record(**{**values, "live": bool(values["live"]), "fields": json.loads(values["fields"])})
