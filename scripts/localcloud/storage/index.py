"""The index in SQLite: which buckets and generations exist. Knows rows, not rules (those are in store.py)."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import Any

from scripts.localcloud.context import Database
from scripts.localcloud.storage.joints import Joints
from scripts.localcloud.storage.kept import drop_bucket
from scripts.localcloud.storage.records import Bucket, Position, Record, columns, dump, record_of
from scripts.localcloud.storage.soft import SoftDeleted, several

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
# How far the generations' bound lies ahead: a restart within it makes the next ones a little late.
_AHEAD_US = 1_000_000
# How a bucket's settings look in the index when they hold rules.
_RULES = '"lifecycle":{"rule":['


class Index:
    """Rows of buckets and objects."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._known: dict[str, Bucket] = {}
        self._last = self._bound = 0
        db.script(_TABLES)
        self.soft = SoftDeleted(db)
        self.joints = Joints(db)

    def next_generation(self) -> int:
        """Microseconds since the epoch as at Google, but always above every earlier one. Call in a transaction.

        What is written down is a bound that none has reached, so that not every object costs a write more.
        """
        if not self._bound:
            row = self._db.row("SELECT generation FROM storage_clock")
            self._last = max(self._last, row["generation"] if row else 0)
        self._last = max(self._last + 1, time.time_ns() // 1000)
        if self._last >= self._bound:
            self._bound = self._last + _AHEAD_US
            self._db.run("UPDATE storage_clock SET generation = ?", self._bound)
        return self._last

    def rolled_back(self) -> None:
        """What the transaction wrote is not there."""
        self._bound = 0
        self._known.clear()

    def bucket(self, name: str) -> Bucket | None:
        """The bucket of this name. Every call asks for one, so known ones are kept in memory."""
        known = self._known.get(name)
        if known is not None:
            return known
        row = self._db.row("SELECT * FROM storage_buckets WHERE name = ?", name)
        if row is None:
            return None
        found = _bucket(row)
        if not self._db.changing:  # what a transaction has written may yet be rolled back
            self._known[name] = found
        return found

    def buckets(self, project: str, prefix: str, after: str, limit: int) -> list[Bucket]:
        """A project's buckets by name."""
        sql = """SELECT * FROM storage_buckets WHERE project = ? AND name > ? AND substr(name, 1, length(?)) = ?
                 ORDER BY name LIMIT ?"""
        return [_bucket(row) for row in self._db.rows(sql, project, after, prefix, prefix, limit)]

    def put_bucket(self, bucket: Bucket) -> None:
        """Insert or replace a bucket's row."""
        self._known.pop(bucket.name, None)
        values = (bucket.name, bucket.project, bucket.metageneration, bucket.created, bucket.updated)
        sql = "INSERT OR REPLACE INTO storage_buckets VALUES (?, ?, ?, ?, ?, ?, ?)"
        self._db.run(sql, *values, dump(bucket.settings), dump(bucket.policy))

    def drop_bucket(self, name: str) -> None:
        """Delete a bucket's row, and what belongs to it besides objects."""
        drop_bucket(self._db, name)
        self._known.pop(name, None)
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
        return record_of(row) if row is not None else None

    def several(self, bucket: str, positions: list[Position]) -> list[Record]:
        """These generations, as far as they still exist."""
        return several(self._db, "storage_objects", bucket, positions)

    def live(self, bucket: str, first: str) -> Iterator[Record]:
        """Live generations from a name on, by name."""
        sql = "SELECT * FROM storage_objects WHERE bucket = ? AND name >= ? AND live = 1 ORDER BY name"
        return map(record_of, self._db.cursor(sql, (bucket, first)))

    def positions(self, bucket: str, name: str, generation: int, *, versions: bool) -> Iterator[Position]:
        """From (name, generation) on, by name and then by age; without versions only live ones.

        Names alone, as a list looks at many and shows few.
        """
        live = "" if versions else "AND live = 1"
        sql = f"""SELECT name, generation FROM storage_objects
                  WHERE bucket = ? AND (name, generation) >= (?, ?) {live} ORDER BY name, generation"""
        return map(Position._make, self._db.cursor(sql, (bucket, name, generation)))

    def matching(
        self, bucket: str, name: str, generation: int, matches: Callable[[dict[str, Any]], bool], *, versions: bool
    ) -> Iterator[Position]:
        """Positions of those whose fields pass a test."""
        live = "" if versions else "AND live = 1"
        sql = f"""SELECT name, generation, fields FROM storage_objects
                  WHERE bucket = ? AND (name, generation) >= (?, ?) {live} ORDER BY name, generation"""
        found = self._db.cursor(sql, (bucket, name, generation))
        return (Position(row[0], row[1]) for row in found if matches(json.loads(row[2])))

    def slice(self, bucket: str, name: str, generation: int, limit: int) -> list[Record]:
        """About `limit` generations after (name, generation), by name and age: always all generations of a name."""
        sql = """SELECT * FROM storage_objects WHERE bucket = ? AND (name, generation) > (?, ?)
                 ORDER BY name, generation LIMIT ?"""
        found = [record_of(row) for row in self._db.rows(sql, bucket, name, generation, limit)]
        if len(found) == limit:
            sql = "SELECT * FROM storage_objects WHERE bucket = ? AND name = ? AND generation > ? ORDER BY generation"
            last = found[-1]
            found.extend(record_of(row) for row in self._db.rows(sql, bucket, last.name, last.generation))
        return found

    def has_rules(self) -> bool:
        """Some bucket has lifecycle rules."""
        return self._db.row("SELECT 1 FROM storage_buckets WHERE instr(settings, ?) LIMIT 1", _RULES) is not None

    def with_rules(self) -> list[Bucket]:
        """The buckets that have lifecycle rules, by name."""
        sql = "SELECT * FROM storage_buckets WHERE instr(settings, ?) ORDER BY name"
        found = [_bucket(row) for row in self._db.rows(sql, _RULES)]
        return [bucket for bucket in found if (bucket.settings.get("lifecycle") or {}).get("rule")]

    def put(self, record: Record) -> None:
        """Insert or replace a generation's row."""
        self._db.run(f"INSERT OR REPLACE INTO storage_objects VALUES ({'?, ' * 12}?)", *columns(record))

    def note_md5(self, body: str, md5: str) -> None:
        """The MD5 of a body that went without one so far, for all generations that have it."""
        for table in ("storage_objects", "storage_soft_deleted"):
            self._db.run(f"UPDATE {table} SET md5 = ? WHERE body = ?", md5, body)

    def drop(self, record: Record) -> None:
        """Delete a generation's row."""
        sql = "DELETE FROM storage_objects WHERE bucket = ? AND name = ? AND generation = ?"
        self._db.run(sql, record.bucket, record.name, record.generation)

    def owns(self, body: str) -> bool:
        """Some generation still has this body (copies share one), a soft-deleted one too, or is joined of it."""
        found = self._db.row("SELECT 1 FROM storage_objects WHERE body = ? LIMIT 1", body)
        return found is not None or self.soft.owns(body) or self.joints.holds(body)

    def noncurrent(self, bucket: str, limit: int) -> list[Record]:
        """The generations that became noncurrent last, newest first."""
        sql = "SELECT * FROM storage_objects WHERE bucket = ? AND live = 0 ORDER BY deleted DESC, name LIMIT ?"
        return [record_of(row) for row in self._db.rows(sql, bucket, limit)]

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
