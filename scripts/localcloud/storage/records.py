"""Buckets and object generations as values, and as the JSON resources of the API."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote


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
    def etag(self) -> str:
        return _etag(0, self.metageneration)

    def resource(self, base_url: str) -> dict[str, Any]:
        """The bucket as the API shows it; base_url is the address that the client used."""
        return {
            "kind": "storage#bucket",
            "id": self.name,
            "name": self.name,
            "selfLink": f"{base_url}/storage/v1/b/{self.name}",
            "projectNumber": project_number(self.project),
            "metageneration": str(self.metageneration),
            "etag": self.etag,
            "timeCreated": self.created,
            "updated": self.updated,
            **self.settings,
        }


@dataclass(frozen=True)
class Record:
    """One generation of an object; fields are those its owner chose (contentType, metadata, …)."""

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

    @property
    def etag(self) -> str:
        return _etag(self.generation, self.metageneration)

    @property
    def held(self) -> bool:
        return bool(self.fields.get("temporaryHold") or self.fields.get("eventBasedHold"))

    def resource(self, base_url: str) -> dict[str, Any]:
        """The object as the API shows it; base_url is the address that the client used."""
        path = f"/storage/v1/b/{self.bucket}/o/{quote(self.name, safe='')}"
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
            **self.fields,
        }
        if self.md5 is not None:
            shown["md5Hash"] = self.md5
        if self.deleted is not None:
            shown["timeDeleted"] = self.deleted
        return shown


def project_number(project: str) -> str:
    """A stable made-up number for a project id; a number stands for itself."""
    return project if project.isdigit() else str(100_000_000_000 + zlib.crc32(project.encode()))


def dump(value: Any) -> str:
    """JSON as the index keeps it."""
    return json.dumps(value, separators=(",", ":"))


def _etag(generation: int, metageneration: int) -> str:
    """As Google writes it: base64 of the two numbers as protocol-buffer fields 1 and 2."""
    raw = (b"\x08" + _varint(generation) if generation else b"") + b"\x10" + _varint(metageneration)
    return base64.b64encode(raw).decode()


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
