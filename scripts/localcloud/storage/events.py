"""What the storage room tells the other rooms, synchronously after each commit (topic "storage.object")."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

TOPIC = "storage.object"
EventKind = Literal["finalized", "deleted", "archived", "metadata"]


@dataclass(frozen=True)
class ObjectEvent:
    """One change of one generation.

    An overwrite publishes the old generation first (deleted, or archived in a versioned bucket), then the new one as
    finalized. body is the immutable file (mode 0444) with the content, in buckets that are mounted; None once the
    generation is gone for good.
    """

    kind: EventKind
    bucket: str
    name: str
    generation: int
    body: Path | None
    size_bytes: int


@dataclass(frozen=True)
class StoredObject:
    """A live object as other rooms see it; crc32c is base64 as in the API."""

    name: str
    generation: int
    size_bytes: int
    crc32c: str
    body: Path
