"""What is known of an object in Cloud Storage, and its checksum."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# The metadata under which a writer leaves a random id, to recognise its own object when the reply to it was lost.
WRITER = "modelshelf-writer"
# What of an object's resource is asked for: all that ObjectInfo has, and nothing that costs the other side more.
FIELDS = "name,generation,size,crc32c,metadata,updated,timeDeleted"


@dataclass(frozen=True)
class ObjectInfo:
    """What is known of an object without reading it.

    crc32c: base64 as the server writes it. updated, deleted: RFC 3339; deleted is empty for a live object. An info that
    came with the content (read) has no metadata and no times.
    """

    name: str
    generation: int
    size_bytes: int
    crc32c: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    updated: str = ""
    deleted: str = ""


class Stretch(NamedTuple):
    """Part of a listing: the names under a prefix from `first` up to, but not including, `before` (empty: the end)."""

    prefix: str
    first: str = ""
    before: str = ""


class Pieces:
    """Bytes as they came, piece by piece: hashed and sent from where they lie, never put together."""

    def __init__(self, pieces: Iterable[bytes] = ()) -> None:
        self._pieces: list[bytes] = []
        self._size_bytes = 0
        for piece in pieces:
            self.add(piece)

    def add(self, piece: bytes) -> None:
        """The next bytes."""
        self._pieces.append(piece)
        self._size_bytes += len(piece)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)

    def __len__(self) -> int:
        """How many bytes; requests takes this for the length of a body."""
        return self._size_bytes


class Crc32c:
    """The checksum of a stream, as Cloud Storage writes it (Castagnoli, big-endian, base64)."""

    def __init__(self, data: bytes = b"") -> None:
        from google_crc32c import Checksum

        self._checksum: Any = Checksum(data)  # type: ignore[no-untyped-call]

    def update(self, data: bytes) -> None:
        """Add the next bytes of the stream."""
        self._checksum.update(data)

    def text(self) -> str:
        """The checksum so far."""
        return base64.b64encode(self._checksum.digest()).decode("ascii")


def crc32c(data: bytes) -> str:
    """The crc32c of some bytes as Cloud Storage writes it."""
    return Crc32c(data).text()


def of_blob(blob: Any) -> ObjectInfo:
    """From a google.cloud.storage.Blob whose properties were loaded."""
    return ObjectInfo(
        name=blob.name,
        generation=int(blob.generation),
        size_bytes=int(blob.size or 0),
        crc32c=blob.crc32c or "",
        metadata=dict(blob.metadata or {}),
        updated=blob.updated.isoformat() if blob.updated else "",
        deleted=blob.time_deleted.isoformat() if blob.time_deleted else "",
    )


def of_json(resource: Mapping[str, Any]) -> ObjectInfo:
    """From an object resource of the JSON API."""
    return ObjectInfo(
        name=str(resource["name"]),
        generation=int(resource["generation"]),
        size_bytes=int(resource["size"]),
        crc32c=str(resource.get("crc32c", "")),
        metadata=dict(resource.get("metadata") or {}),
        updated=str(resource.get("updated", "")),
        deleted=str(resource.get("timeDeleted", "")),
    )
