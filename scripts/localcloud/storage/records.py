"""Buckets and object generations as values, and as the JSON resources of the API."""

from __future__ import annotations

import json
import re
import sqlite3
import zlib
from binascii import b2a_base64
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote

_ENCODER = json.JSONEncoder(separators=(",", ":"))


_DECODE = json.JSONDecoder().raw_decode
_SMALL = [bytes((number,)) for number in range(0x80)]
_EASY = re.compile(r"[A-Za-z0-9_.~/-]*")


class Position(NamedTuple):
    """Which generation of which name."""

    name: str
    generation: int


@dataclass(frozen=True)
class Bucket:
    """A bucket; settings are the fields that its owner chose, policy its IAM policy."""

    name: str
    project: str
    metageneration: int
    created: str
    updated: str
    settings: dict[str, Any]
    policy: dict[str, Any]

    @property
    def versioned(self) -> bool:
        return bool((self.settings.get("versioning") or {}).get("enabled"))

    @property
    def soft_delete_s(self) -> int:
        """How long a deleted generation can be restored."""
        return int((self.settings.get("softDeletePolicy") or {}).get("retentionDurationSeconds", 0))

    @property
    def uniform(self) -> bool:
        """Access is given by IAM alone, not by ACLs."""
        access = (self.settings.get("iamConfiguration") or {}).get("uniformBucketLevelAccess") or {}
        return bool(access.get("enabled"))

    @property
    def private(self) -> bool:
        """Nothing here can be given to allUsers (public access prevention is enforced)."""
        return (self.settings.get("iamConfiguration") or {}).get("publicAccessPrevention") == "enforced"

    @property
    def etag(self) -> str:
        return _etag(0, self.metageneration)

    def resource(self, base_url: str, *, full: bool = False) -> dict[str, Any]:
        """The bucket as the API shows it; base_url is the address that the client used; full: with access lists."""
        hidden = () if full else ("acl", "defaultObjectAcl")
        return {
            "kind": "storage#bucket",
            "id": self.name,
            "name": self.name,
            "selfLink": f"{base_url}/storage/v1/b/{self.name}",
            "projectNumber": project_number(self.project),
            "generation": str(round(datetime.fromisoformat(self.created).timestamp() * 1_000_000)),
            "metageneration": str(self.metageneration),
            "etag": self.etag,
            "timeCreated": self.created,
            "updated": self.updated,
            **{key: value for key, value in self.settings.items() if key not in hidden},
        }


@dataclass(frozen=True)
class Record:
    """One generation of an object; fields are those its owner chose (contentType, metadata, …).

    A field whose name begins with "_" is the stand-in's own and never shown; soft_deleted and hard_deleted are the
    times between which a deleted generation can be restored.
    """

    bucket: str
    name: str
    generation: int
    metageneration: int
    live: bool
    body: str
    size_bytes: int
    crc32c: str
    md5: str | None
    created: str
    updated: str
    deleted: str | None
    fields: dict[str, Any] = field(default_factory=dict)
    soft_deleted: str | None = None
    hard_deleted: str | None = None

    @property
    def etag(self) -> str:
        return _etag(self.generation, self.metageneration)

    @property
    def held(self) -> bool:
        return bool(self.fields.get("temporaryHold") or self.fields.get("eventBasedHold"))

    def resource(self, base_url: str) -> dict[str, Any]:
        """The object as the API shows it; base_url is the address that the client used."""
        path = f"/storage/v1/b/{self.bucket}/o/{_quoted(self.name)}"
        shown: dict[str, Any] = {
            "kind": "storage#object",
            "id": f"{self.bucket}/{self.name}/{self.generation}",
            "selfLink": base_url + path,
            "mediaLink": f"{base_url}/download{path}?generation={self.generation}&alt=media",
            "name": self.name,
            "bucket": self.bucket,
            "generation": str(self.generation),
            "metageneration": str(self.metageneration),
            "size": str(self.size_bytes),
            "crc32c": self.crc32c,
            "etag": self.etag,
            "timeCreated": self.created,
            "updated": self.updated,
            "timeStorageClassUpdated": self.created,
            "timeFinalized": self.created,
        }
        for key, value in self.fields.items():
            if key[0] != "_" and key != "acl":
                shown[key] = value
        if self.md5 is not None:
            shown["md5Hash"] = self.md5
        if self.deleted is not None:
            shown["timeDeleted"] = self.deleted
        if self.soft_deleted is not None:
            shown["softDeleteTime"], shown["hardDeleteTime"] = self.soft_deleted, self.hard_deleted
        return shown


def project_number(project: str) -> str:
    """A stable made-up number for a project id; a number stands for itself."""
    return project if project.isdigit() else str(100_000_000_000 + zlib.crc32(project.encode()))


def dump(value: Any) -> str:
    """JSON as the index keeps it."""
    return _ENCODER.encode(value)


def columns(record: Record) -> tuple[Any, ...]:
    """A generation as a row of the index."""
    return (
        record.bucket, record.name, record.generation, record.metageneration, int(record.live), record.body,
        record.size_bytes, record.crc32c, record.md5, record.created, record.updated, record.deleted,
        dump(record.fields),
    )  # fmt: skip


def record_of(row: sqlite3.Row) -> Record:
    """The generation of a row, which may have the two columns of soft-deleted ones."""
    (
        bucket,
        name,
        generation,
        metageneration,
        live,
        body,
        size,
        crc32c,
        md5,
        created,
        updated,
        deleted,
        fields,
        *soft,
    ) = row
    return Record(
        bucket, name, generation, metageneration, bool(live), body, size, crc32c, md5, created, updated, deleted,
        _DECODE(fields)[0], *soft,
    )  # fmt: skip


def _quoted(name: str) -> str:
    """A name as a segment of a path."""
    return name.replace("/", "%2F") if _EASY.fullmatch(name) else quote(name, safe="")


def times(at: datetime) -> str:
    """A time as Google writes it: RFC 3339, UTC, microseconds."""
    return f"{at.astimezone(UTC).isoformat(timespec='microseconds')[:-6]}Z"


def _etag(generation: int, metageneration: int) -> str:
    """As Google writes it: base64 of the two numbers as protocol-buffer fields 1 and 2."""
    raw = (b"\x08" + _varint(generation) if generation else b"") + b"\x10" + _varint(metageneration)
    return b2a_base64(raw, newline=False).decode()


def _varint(number: int) -> bytes:
    if number < 0x80:
        return _SMALL[number]
    if 1 << 49 <= number < 1 << 56:  # what nearly every generation is, and a list has a thousand
        n = number
        return bytes((
            n & 127 | 128, n >> 7 & 127 | 128, n >> 14 & 127 | 128, n >> 21 & 127 | 128, n >> 28 & 127 | 128,
            n >> 35 & 127 | 128, n >> 42 & 127 | 128, n >> 49,
        ))  # fmt: skip
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
