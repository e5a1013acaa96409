"""Composites that lie in the bodies of their parts until somebody reads them: composing moves no byte (as at Google).

A publisher composes gigabytes, some of them twice over a tree of parts, and deletes the parts a moment later.
"""

from __future__ import annotations

from typing import NamedTuple

from scripts.localcloud.context import Database
from scripts.localcloud.storage.bodies import Body
from scripts.localcloud.storage.checksums import combined, number, text

# From this size on it pays.
JOINED_BYTES = 8 << 20
_TABLE = """
CREATE TABLE IF NOT EXISTS storage_joints(
    body TEXT NOT NULL, position INTEGER NOT NULL, part TEXT NOT NULL, size_bytes INTEGER NOT NULL,
    crc32c TEXT NOT NULL, PRIMARY KEY(body, position)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS storage_joint_parts ON storage_joints(part);
"""


class Piece(NamedTuple):
    """A whole body that is a part of another one; crc32c in base64."""

    body: str
    size_bytes: int
    crc32c: str


class Joints:
    """Which bodies are joined of which others. A part stays on disk as long as it stands here."""

    def __init__(self, db: Database) -> None:
        self._db = db
        db.script(_TABLE)

    def of(self, body: str) -> list[Piece]:
        """The parts of a joined body in their order; none of a body that has a file of its own."""
        sql = "SELECT part, size_bytes, crc32c FROM storage_joints WHERE body = ? ORDER BY position"
        return [Piece(*row) for row in self._db.rows(sql, body)]

    def put(self, body: str, pieces: list[Piece]) -> None:
        """Join a body. Call in the transaction that makes its object."""
        rows = [(body, at, *piece) for at, piece in enumerate(pieces)]
        self._db.many("INSERT INTO storage_joints VALUES (?, ?, ?, ?, ?)", rows)

    def drop(self, body: str) -> list[str]:
        """The body is gone, or has a file of its own now: what were its parts. Call in a transaction."""
        parts = {piece.body: None for piece in self.of(body)}
        if parts:
            self._db.run("DELETE FROM storage_joints WHERE body = ?", body)
        return list(parts)

    def holds(self, part: str) -> bool:
        """Some joined body has this part."""
        return self._db.row("SELECT 1 FROM storage_joints WHERE part = ? LIMIT 1", part) is not None

    def in_bucket(self, bucket: str) -> list[str]:
        """The joined bodies of a bucket's generations, noncurrent and soft-deleted ones too."""
        found = []
        for table in ("storage_objects", "storage_soft_deleted"):
            sql = f"""SELECT DISTINCT j.body FROM storage_joints j JOIN {table} o ON o.body = j.body
                      WHERE j.position = 0 AND o.bucket = ?"""
            found += [row["body"] for row in self._db.rows(sql, bucket)]
        return found


def joined(body: str, pieces: list[Piece]) -> Body:
    """The body that bodies after each other are; like every composite it has no MD5."""
    crc32c = 0
    for piece in pieces:
        crc32c = combined(crc32c, number(piece.crc32c), piece.size_bytes)
    return Body(body, sum(piece.size_bytes for piece in pieces), text(crc32c), None)
