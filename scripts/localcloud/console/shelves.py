"""The panels of Cloud Storage as values: buckets, the versions of the models in them, and the signed statements."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

from scripts.localcloud.console.values import moment
from scripts.localcloud.storage.events import StoredObject
from scripts.localcloud.storage.room import StorageRoom

_NONCURRENT = 8
_STATEMENTS = 50
_VERSIONS = 30
_LARGEST_BYTES = 4 << 20
_MOST_READ = 2000
_NO_SIZE = 1 << 63
_CHEAP_S = 0.02
_PAUSES = 30  # what is dear takes at most a thirtieth of the daemon's time


class Shelves:
    """Reads the buckets. What was read is kept by generation, as a generation never changes."""

    def __init__(self, storage: StorageRoom) -> None:
        self._storage = storage
        self._read: dict[tuple[str, str, int], Any] = {}
        self._counted: list[dict[str, Any]] = []
        self._count_again = 0.0

    def totals(self) -> list[dict[str, Any]]:
        """[{bucket, objects, generations, size_bytes}]; counted seldom where counting takes long (many objects)."""
        began = time.monotonic()
        if began >= self._count_again:
            self._counted = list(self._storage.status()["buckets"])
            spent_s = time.monotonic() - began
            self._count_again = began + (spent_s * _PAUSES if spent_s > _CHEAP_S else 0.0)
        return self._counted

    def buckets(self, now: float) -> dict[str, Any]:
        """{buckets: [{name, objects, noncurrent, size_bytes, versions, active, newest_noncurrent}]}."""
        return {"buckets": [self._bucket(each, now) for each in self.totals()]}

    def statements(self, now: float) -> dict[str, Any]:
        """{buckets: [{name, statements: newest first, total}]} of the buckets that hold any.

        Payloads are decoded and their signatures are NOT checked: that is the readers' part, with keys of their own.
        """
        found = []
        for name in self._names():
            every = self._statements(name)
            if every:
                newest = next((each["serial"] for each in every if not each["problem"]), None)
                shown = [
                    {**each, "newest": each["serial"] == newest, "age_s": _age(each["created_at"], now)}
                    for each in every[:_STATEMENTS]
                ]
                found.append({"name": name, "total": len(every), "statements": shown})
        return {"buckets": found, "note": "signature not checked here"}

    def _names(self) -> list[str]:
        return [str(each["bucket"]) for each in self.totals()]

    def _bucket(self, totals: dict[str, Any], now: float) -> dict[str, Any]:
        name = str(totals["bucket"])
        statements = [each for each in self._statements(name) if not each["problem"]]
        active = statements[0] if statements else None
        versions = self._versions(name, {each["version"]: each["serial"] for each in reversed(statements)})
        for each in versions:
            each["active"] = active is not None and each["version"] == active["version"]
            each["age_s"] = _age(each["created_at"], now)
        gone = self._storage.noncurrent(name, _NONCURRENT)
        return {
            "name": name,
            "objects": totals["objects"],
            "noncurrent": totals["generations"] - totals["objects"],
            "size_bytes": totals["size_bytes"],
            "active": active,
            "held": self._held(name),
            "versions": versions[:_VERSIONS],
            "newest_noncurrent": [
                {
                    "name": each.name, "generation": str(each.generation), "size_bytes": each.size_bytes,
                    "deleted_at": each.deleted, "age_s": _age(each.deleted, now),
                }
                for each in gone
            ],
        }  # fmt: skip

    def _versions(self, bucket: str, serials: dict[str, int]) -> list[dict[str, Any]]:
        """Versions by their manifests, newest first; a manifest that cannot be read is told as a problem."""
        complete, found = set(), []
        for each in self._storage.live_objects(bucket, "manifests/"):
            stem, _, kind = each.name.removeprefix("manifests/").rpartition(".")
            if kind == "done":
                complete.add(stem)
            elif kind == "json":
                found.append({"version": stem, "serial": serials.get(stem), **self._manifest(bucket, each)})
        for each_version in found:
            each_version["complete"] = each_version["version"] in complete
        return sorted(found, key=lambda each: str(each["version"]), reverse=True)

    def _manifest(self, bucket: str, stored: StoredObject) -> dict[str, Any]:
        value = self._json(bucket, stored)
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

    def _statements(self, bucket: str) -> list[dict[str, Any]]:
        found = []
        for each in self._storage.live_objects(bucket, "statements/"):
            serial = each.name.removeprefix("statements/").removesuffix(".dsse.json")
            if each.name.endswith(".dsse.json") and serial.isdecimal():
                found.append({"serial": int(serial), **_statement(self._json(bucket, each))})
        return sorted(found, key=lambda each: int(each["serial"]), reverse=True)

    def _held(self, bucket: str) -> bool:
        found = next(self._exact(bucket, "holds.json"), None)
        value = self._json(bucket, found) if found is not None else None
        return isinstance(value, dict) and bool(value.get("hold"))

    def _exact(self, bucket: str, name: str) -> Iterator[StoredObject]:
        return (each for each in self._storage.live_objects(bucket, name) if each.name == name)

    def _json(self, bucket: str, stored: StoredObject) -> Any:
        """An object's content as JSON; None for what is too large or no JSON."""
        key = (bucket, stored.name, stored.generation)
        if key not in self._read:
            if len(self._read) >= _MOST_READ:
                self._read.clear()
            self._read[key] = _load(stored)
        return self._read[key]


def _size(given: Any) -> int:
    """Bytes as a whole number. Raises ValueError, TypeError or OverflowError for what cannot be a size."""
    size_bytes = int(given)
    if not 0 <= size_bytes < _NO_SIZE:
        raise ValueError("no size")
    return size_bytes


def _load(stored: StoredObject) -> Any:
    if stored.size_bytes > _LARGEST_BYTES:
        return None
    try:
        return json.loads(stored.body.read_bytes())
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
