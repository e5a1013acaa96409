"""Uploads under way, kept in the index: resumable sessions and multipart uploads go on after a restart or a kill -9.

Their bytes lie in bodies of their own, which belong to the rows here until an object takes them over.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict, dataclass
from typing import Any

from scripts.localcloud.context import Database
from scripts.localcloud.storage.bodies import Body
from scripts.localcloud.storage.conditions import Conditions
from scripts.localcloud.storage.records import Record
from scripts.localcloud.storage.target import Target

_TABLES = """
CREATE TABLE IF NOT EXISTS storage_sessions(
    id TEXT PRIMARY KEY, target TEXT NOT NULL, total INTEGER, body TEXT NOT NULL, began REAL NOT NULL,
    generation INTEGER) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS storage_sessions_began ON storage_sessions(began);
CREATE TABLE IF NOT EXISTS storage_multiparts(id TEXT PRIMARY KEY, target TEXT NOT NULL, began TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS storage_parts(
    upload TEXT NOT NULL, number INTEGER NOT NULL, body TEXT NOT NULL, size_bytes INTEGER NOT NULL,
    crc32c TEXT NOT NULL, md5 TEXT, modified TEXT NOT NULL, PRIMARY KEY(upload, number)) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Kept:
    """A session's row; generation is set once it has become an object."""

    id: str
    target: Target
    total: int | None
    body: str
    began: float
    generation: int | None


@dataclass(frozen=True)
class Part:
    """A part of a multipart upload that has arrived."""

    body: Body
    modified: str


class Journal:
    """Rows of sessions, multipart uploads and parts. Call what writes in a transaction with the bodies' own change."""

    def __init__(self, db: Database) -> None:
        self._db = db
        db.script(_TABLES)

    def begin(self, key: str, target: Target, total: int | None, body: str, now: float) -> None:
        """Remember a new session."""
        sql = "INSERT INTO storage_sessions VALUES (?, ?, ?, ?, ?, NULL)"
        self._db.run(sql, key, _text(target), total, body, now)

    def session(self, key: str) -> Kept | None:
        """One session, under way or finished."""
        row = self._db.row("SELECT * FROM storage_sessions WHERE id = ?", key)
        return _session(row) if row is not None else None

    def finish(self, key: str, made: Record) -> None:
        """The session has become this generation of its object."""
        self._db.run("UPDATE storage_sessions SET generation = ? WHERE id = ?", made.generation, key)

    def forget(self, key: str) -> None:
        """The session is given up."""
        self._db.run("DELETE FROM storage_sessions WHERE id = ?", key)

    def older(self, began: float) -> list[Kept]:
        """Sessions that began before."""
        return [_session(row) for row in self._db.rows("SELECT * FROM storage_sessions WHERE began < ?", began)]

    def under_way(self) -> int:
        """How many sessions have not become objects."""
        row = self._db.row("SELECT count(*) AS number FROM storage_sessions WHERE generation IS NULL")
        return int(row["number"]) if row is not None else 0

    def begin_multipart(self, key: str, target: Target, began: str) -> None:
        """Remember a new multipart upload."""
        self._db.run("INSERT INTO storage_multiparts VALUES (?, ?, ?)", key, _text(target), began)

    def multiparts(self) -> list[tuple[str, Target, str, dict[int, Part]]]:
        """All multipart uploads under way with their parts."""
        parts: dict[str, dict[int, Part]] = {}
        for row in self._db.rows("SELECT * FROM storage_parts"):
            body = Body(row["body"], row["size_bytes"], row["crc32c"], row["md5"])
            parts.setdefault(row["upload"], {})[row["number"]] = Part(body, row["modified"])
        uploads = self._db.rows("SELECT * FROM storage_multiparts")
        return [(row["id"], _target(row["target"]), row["began"], parts.get(row["id"], {})) for row in uploads]

    def put_part(self, upload: str, number: int, part: Part) -> None:
        """Remember a part, perhaps instead of a former one."""
        values = (part.body.id, part.body.size_bytes, part.body.crc32c, part.body.md5, part.modified)
        self._db.run("INSERT OR REPLACE INTO storage_parts VALUES (?, ?, ?, ?, ?, ?, ?)", upload, number, *values)

    def forget_multipart(self, key: str) -> None:
        """The upload is completed or given up."""
        self._db.run("DELETE FROM storage_parts WHERE upload = ?", key)
        self._db.run("DELETE FROM storage_multiparts WHERE id = ?", key)


def _session(row: sqlite3.Row) -> Kept:
    key, target, total, body, began, generation = row
    return Kept(key, _target(target), total, body, began, generation)


def _text(target: Target) -> str:
    return json.dumps(asdict(target), separators=(",", ":"))


def _target(text: str) -> Target:
    found: dict[str, Any] = json.loads(text)
    conditions = found["conditions"]
    tags = {key: tuple(conditions[key]) for key in ("etags", "not_etags")}
    return Target(**{**found, "conditions": Conditions(**{**conditions, **tags})})
