"""Small documents that the room keeps for its clients without acting on them: one table for all their kinds."""

from __future__ import annotations

import json
from typing import Any

from scripts.localcloud.context import Database

_TABLE = """
CREATE TABLE IF NOT EXISTS storage_kept(
    kind TEXT NOT NULL, parent TEXT NOT NULL, id TEXT NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY(kind, parent, id)) WITHOUT ROWID;
"""


class Kept:
    """Documents of one kind; parent is a bucket's or a project's name."""

    def __init__(self, db: Database, kind: str) -> None:
        self._db = db
        self._kind = kind
        db.script(_TABLE)

    def put(self, parent: str, key: str, document: dict[str, Any]) -> None:
        """Insert or replace a document."""
        sql = "INSERT OR REPLACE INTO storage_kept VALUES (?, ?, ?, ?)"
        self._db.run(sql, self._kind, parent, key, json.dumps(document, separators=(",", ":")))

    def find(self, parent: str, key: str) -> dict[str, Any] | None:
        """One document."""
        sql = "SELECT document FROM storage_kept WHERE kind = ? AND parent = ? AND id = ?"
        row = self._db.row(sql, self._kind, parent, key)
        found: dict[str, Any] | None = json.loads(row["document"]) if row is not None else None
        return found

    def all(self, parent: str, first: str = "") -> list[dict[str, Any]]:
        """The documents of a parent by id, from an id on."""
        sql = "SELECT document FROM storage_kept WHERE kind = ? AND parent = ? AND id >= ? ORDER BY id"
        return [json.loads(row["document"]) for row in self._db.rows(sql, self._kind, parent, first)]

    def drop(self, parent: str, key: str) -> bool:
        """Delete a document; False when there was none."""
        sql = "DELETE FROM storage_kept WHERE kind = ? AND parent = ? AND id = ?"
        return self._db.run(sql, self._kind, parent, key) > 0


def drop_bucket(db: Database, bucket: str) -> None:
    """Forget what belongs to a bucket. Call in its transaction."""
    db.run("DELETE FROM storage_kept WHERE parent = ? AND kind IN ('notification', 'managedFolder')", bucket)
