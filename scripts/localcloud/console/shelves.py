"""The panels of Cloud Storage as values: buckets, the versions of the models in them, and the signed statements."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.localcloud.console.values import badges, moment

_NONCURRENT = 8
_STATEMENTS = 50
_VERSIONS = 30
_LARGEST_BYTES = 1 << 20  # reading JSON holds Python's lock: this much takes some 10 ms
_MOST_READ = 2000
_NO_SIZE = 1 << 63
_TOTALS = """
SELECT b.name AS bucket, coalesce(sum(o.live), 0) AS objects, count(o.name) AS generations,
    coalesce(sum(o.size_bytes), 0) AS size_bytes, coalesce(sum(o.size_bytes * (1 - o.live)), 0) AS noncurrent_bytes
FROM storage_buckets b LEFT JOIN storage_objects o ON o.bucket = b.name GROUP BY b.name
"""
_SOFT = "SELECT bucket, count(*) AS count, sum(size_bytes) AS size_bytes FROM storage_soft_deleted GROUP BY bucket"
_GONE = """
SELECT bucket, name, generation, size_bytes, deleted FROM (
    SELECT bucket, name, generation, size_bytes, deleted,
        row_number() OVER (PARTITION BY bucket ORDER BY deleted DESC, name) AS place
    FROM storage_objects WHERE live = 0
) WHERE place <= ? ORDER BY bucket, place
"""
_LIVE = """
SELECT name, generation, size_bytes, body FROM storage_objects
WHERE bucket = ? AND live = 1 AND name >= ? AND name < ? ORDER BY {order} LIMIT ?
"""
_COUNT = (
    "SELECT count(*) FROM storage_objects WHERE bucket = ? AND live = 1 AND name GLOB 'statements/[0-9]*.dsse.json'"
)
Counts = dict[str, dict[str, Any]]


class Shelves:
    """Reads the buckets in the console's thread. What was read is kept by generation, as a generation never changes.

    path tells where a body lies.
    """

    def __init__(self, path: Callable[[str], Path]) -> None:
        self._path = path
        self._read: dict[tuple[str, str, int], Any] = {}

    def counts(self, db: sqlite3.Connection) -> Counts:
        """{BUCKET: {objects, noncurrent, size_bytes, …, newest_noncurrent}}: looks at every generation."""
        soft = {row["bucket"]: row for row in db.execute(_SOFT)}
        found: Counts = {}
        for row in db.execute(_TOTALS):
            gone = soft.get(row["bucket"])
            found[row["bucket"]] = {
                "objects": row["objects"],
                "noncurrent": row["generations"] - row["objects"],
                "noncurrent_bytes": row["noncurrent_bytes"],
                "size_bytes": row["size_bytes"],
                "soft_deleted": gone["count"] if gone else 0,
                "soft_deleted_bytes": gone["size_bytes"] if gone else 0,
                "newest_noncurrent": [],
            }
        for row in db.execute(_GONE, (_NONCURRENT,)):
            if row["bucket"] in found:
                found[row["bucket"]]["newest_noncurrent"].append(
                    {
                        "name": row["name"], "generation": str(row["generation"]), "size_bytes": row["size_bytes"],
                        "deleted_at": row["deleted"],
                    }
                )  # fmt: skip
        return found

    def buckets(self, db: sqlite3.Connection, counts: Counts | None, now: float) -> dict[str, Any]:
        """{buckets: [{name, settings, objects, noncurrent, soft_deleted, versions, active, newest_noncurrent, …}]}.

        Numbers are null in a bucket that has not been counted yet.
        """
        rows = db.execute("SELECT name, settings FROM storage_buckets ORDER BY name").fetchall()
        known = counts or {}
        return {"buckets": [self._bucket(db, row, known.get(row["name"]) or dict(_UNCOUNTED), now) for row in rows]}

    def statements(self, db: sqlite3.Connection, now: float) -> dict[str, Any]:
        """{buckets: [{name, statements: newest first, total}]} of the buckets that hold any.

        Payloads are decoded and their signatures are NOT checked: that is the readers' part, with keys of their own.
        """
        found = []
        for row in db.execute("SELECT name FROM storage_buckets ORDER BY name").fetchall():
            name = row["name"]
            every = self._statements(db, name)
            if every:
                newest = next((each["serial"] for each in every if not each["problem"]), None)
                shown = [
                    {**each, "newest": each["serial"] == newest, "age_s": _age(each["created_at"], now)}
                    for each in every
                ]
                total = db.execute(_COUNT, (name,)).fetchone()[0]
                found.append({"name": name, "total": total, "statements": shown})
        return {"buckets": found, "note": "signature not checked here"}

    def _bucket(self, db: sqlite3.Connection, row: sqlite3.Row, counts: dict[str, Any], now: float) -> dict[str, Any]:
        name, settings = row["name"], json.loads(row["settings"])
        statements = [each for each in self._statements(db, name) if not each["problem"]]
        active = statements[0] if statements else None
        versions = self._versions(db, name, {each["version"]: each["serial"] for each in reversed(statements)})
        for each in versions:
            each["active"] = active is not None and each["version"] == active["version"]
            each["age_s"] = _age(each["created_at"], now)
        gone = [{**each, "age_s": _age(each["deleted_at"], now)} for each in counts["newest_noncurrent"]]
        return {
            "name": name,
            **counts,
            "newest_noncurrent": gone,
            "badges": badges(settings),
            "held": self._held(db, name),
            "active": active,
            "versions": versions,
        }

    def _versions(self, db: sqlite3.Connection, bucket: str, serials: dict[str, int]) -> list[dict[str, Any]]:
        """The newest versions by their manifests; a manifest that cannot be read is told as a problem."""
        complete: set[str] = set()
        found: list[dict[str, Any]] = []
        # names of versions begin with their time, and each has a few objects
        for row in _live(db, bucket, "manifests/", "name DESC", _VERSIONS * 4):
            stem, _, kind = row["name"].removeprefix("manifests/").rpartition(".")
            if kind == "done":
                complete.add(stem)
            elif kind == "json" and len(found) < _VERSIONS:
                found.append({"version": stem, "serial": serials.get(stem), **self._manifest(bucket, row)})
        for each in found:
            each["complete"] = each["version"] in complete
        return sorted(found, key=lambda each: str(each["version"]), reverse=True)

    def _manifest(self, bucket: str, row: sqlite3.Row) -> dict[str, Any]:
        value = self._json(bucket, row)
        try:
            models = [
                {
                    "name": str(each["name"]), "kind": str(each["kind"]), "source": str(each["source"]),
                    "revision": str(each["revision"]),
                    "size_bytes": _size(sum(int(file["size_bytes"]) for file in each["files"])),
                    "files": len(each["files"]),
                }
                for each in value["models"]
            ]  # fmt: skip
            total, created = _size(value["total_size_bytes"]), str(value["created_at"])
        except (KeyError, TypeError, ValueError, OverflowError):
            return {"models": [], "size_bytes": None, "created_at": None, "problem": "the manifest cannot be read"}
        return {"models": models, "size_bytes": total, "created_at": created, "problem": ""}

    def _statements(self, db: sqlite3.Connection, bucket: str) -> list[dict[str, Any]]:
        found = []
        for row in _live(db, bucket, "statements/", "CAST(substr(name, 12) AS INTEGER) DESC", 2 * _STATEMENTS):
            serial = row["name"].removeprefix("statements/").removesuffix(".dsse.json")
            if row["name"].endswith(".dsse.json") and serial.isascii() and serial.isdecimal() and len(serial) < 19:
                found.append({"serial": int(serial), **_statement(self._json(bucket, row))})
        return sorted(found, key=lambda each: int(each["serial"]), reverse=True)[:_STATEMENTS]

    def _held(self, db: sqlite3.Connection, bucket: str) -> bool:
        for row in _live(db, bucket, "holds.json", "name", 1):
            value = self._json(bucket, row) if row["name"] == "holds.json" else None
            return isinstance(value, dict) and bool(value.get("hold"))
        return False

    def _json(self, bucket: str, row: sqlite3.Row) -> Any:
        """An object's content as JSON; None for what is too large or no JSON."""
        key = (bucket, row["name"], row["generation"])
        if key not in self._read:
            if len(self._read) >= _MOST_READ:
                self._read.clear()
            self._read[key] = _load(self._path(row["body"]), row["size_bytes"])
        return self._read[key]


_UNCOUNTED: dict[str, Any] = {
    **dict.fromkeys(("objects", "noncurrent", "noncurrent_bytes", "size_bytes", "soft_deleted", "soft_deleted_bytes")),
    "newest_noncurrent": [],
}


def _live(db: sqlite3.Connection, bucket: str, prefix: str, order: str, most: int) -> list[sqlite3.Row]:
    return db.execute(_LIVE.format(order=order), (bucket, prefix, f"{prefix}\U0010ffff", most)).fetchall()


def _size(given: Any) -> int:
    """Bytes as a whole number. Raises ValueError, TypeError or OverflowError for what cannot be a size."""
    size_bytes = int(given)
    if not 0 <= size_bytes < _NO_SIZE:
        raise ValueError("no size")
    return size_bytes


def _load(path: Path, size_bytes: int) -> Any:
    if size_bytes > _LARGEST_BYTES:
        return None
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def _statement(envelope: Any) -> dict[str, Any]:
    """{version, created_at, reason, keys, problem} of a DSSE envelope, whose signature nobody has checked."""
    try:
        payload = json.loads(base64.b64decode(envelope["payload"], validate=True))
        keys = [str(each["keyid"])[:12] for each in envelope["signatures"]]
        return {
            "version": str(payload["version"]), "created_at": str(payload["created_at"]),
            "reason": str(payload["reason"]), "keys": keys, "problem": "",
        }  # fmt: skip
    except (KeyError, TypeError, ValueError, RecursionError):
        empty: dict[str, Any] = {"version": "", "created_at": None, "reason": "", "keys": []}
        return {**empty, "problem": "the statement cannot be read"}


def _age(text: str | None, now: float) -> float | None:
    began = moment(text)
    return None if began is None else now - began
