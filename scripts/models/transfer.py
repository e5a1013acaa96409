"""What a version needs and what is known of its bytes: wanted, on their way (hashed), placed in the bucket."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scripts.errors import SYNC, BadInput, OpsError
from scripts.models import layout
from scripts.models.manifest import Manifest, ModelFile
from scripts.models.sources.base import RemoteFile, Resolved

if TYPE_CHECKING:
    from scripts.cloud.storage import Bucket
    from scripts.cloud.storage_objects import ObjectInfo

_GIT = re.compile(r"git:([0-9a-f]{40})")
_SHA256 = re.compile(r"(?:sha256:)?([0-9a-f]{64})")


@dataclass(frozen=True)
class Wanted:
    """One object that a version needs: its final name, and where its bytes come from."""

    name: str
    resolved: Resolved
    file: RemoteFile

    @property
    def sha256(self) -> str:
        """The digest that the upstream tells, or that of what came with the metadata; else empty."""
        if self.file.content is not None and not self.file.sha256:
            return hashlib.sha256(self.file.content).hexdigest()
        found = _SHA256.fullmatch(self.file.sha256 or "") or _SHA256.fullmatch(self.file.identity)
        return found[1] if found else ""

    @property
    def git_oid(self) -> str:
        """The git blob id that the upstream tells, or empty."""
        found = _GIT.fullmatch(self.file.identity)
        return found[1] if found else ""

    @property
    def digest(self) -> str:
        """What proves these bytes wherever they are found: hex, or empty when the upstream tells nothing."""
        return self.sha256 or self.git_oid

    @property
    def key(self) -> str:
        """Equal for equal content, hex: the digest, else one over what the upstream tells instead."""
        return self.digest or hashlib.sha256(f"{self.resolved.revision} {self.file.identity}".encode()).hexdigest()


@dataclass(frozen=True)
class Placed:
    """Bytes that are in the bucket and known: the object that has them, its generation, size and digests."""

    name: str
    generation: int
    size_bytes: int
    sha256: str
    crc32c: str

    def as_file(self, path: str) -> ModelFile:
        """The manifest's entry for these bytes."""
        return ModelFile(path, self.size_bytes, self.sha256, self.crc32c)


class Digest:
    """Hashes bytes in their order and says at their end whether they are what the upstream announced."""

    def __init__(self, wanted: Wanted) -> None:
        from scripts.cloud.storage_objects import Crc32c

        self._wanted = wanted
        self._sha256 = hashlib.sha256()
        self._crc32c = Crc32c()
        # A git blob id is a SHA-1 over a header with the size, then the bytes (git's object format).
        header = b"blob %d\0" % wanted.file.size_bytes
        self._git: Any = hashlib.sha1(header, usedforsecurity=False) if wanted.git_oid else None
        self.size_bytes = 0

    def add(self, data: Iterable[bytes]) -> None:
        """The next bytes, in pieces."""
        for piece in data:
            self._sha256.update(piece)
            self._crc32c.update(piece)
            if self._git is not None:
                self._git.update(piece)
            self.size_bytes += len(piece)

    def fault(self) -> str:
        """What is not as announced, or empty."""
        wanted = self._wanted
        if self.size_bytes != wanted.file.size_bytes:
            return f"has {self.size_bytes} bytes, the upstream announced {wanted.file.size_bytes}"
        if wanted.sha256 and self.sha256 != wanted.sha256:
            return f"has the sha256 {self.sha256}, the upstream announced {wanted.sha256}"
        if self._git is not None and self._git.hexdigest() != wanted.git_oid:
            return f"has the git id {self._git.hexdigest()}, the upstream announced {wanted.git_oid}"
        return ""

    def refused(self) -> OpsError:
        """The error for what an upstream sent instead of what it announced."""
        return OpsError(
            f"{self._wanted.resolved.spec.source}: {self._wanted.file.path} {self.fault()}; nothing was published",
            "Run the same command again; if it repeats, the upstream serves something else than it announces.",
        )

    def placed(self, info: ObjectInfo) -> Placed:
        """The bytes as an object that has them."""
        return Placed(info.name, info.generation, info.size_bytes, self.sha256, info.crc32c)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def crc32c(self) -> str:
        return self._crc32c.text()


def wanted_objects(resolved: Iterable[Resolved], version: str) -> dict[str, Wanted]:
    """Every object of a version once, by its final name; raises BadInput for a path that may not be one, and for two
    models that need other bytes under one name."""
    found: dict[str, Wanted] = {}
    for model in resolved:
        spec = model.spec
        prefix = layout.model_prefix(spec.kind, spec.source, version)
        for file in model.files:
            path = layout.check_path(file.path, f"{spec.name} ({spec.source})")
            name = layout.check_path(f"{prefix}/{path}", f"{spec.name} ({spec.source})")
            item = Wanted(name, model, file)
            first = found.setdefault(name, item)
            if (first.key, first.file.size_bytes) != (item.key, file.size_bytes):
                both = (
                    f"models: {spec.name!r} and {first.resolved.spec.name!r} both have a file {path}, with other bytes"
                )
                raise BadInput(both, "Two revisions of one source exclude each other: correct models[].source.")
    return found


def published(bucket: Bucket, manifests: Iterable[Manifest]) -> dict[str, Placed]:
    """The files of signed versions by sha256, as far as their objects still fit the manifest."""
    found: dict[str, Placed] = {}
    for content in manifests:
        objects = {info.name: info for store in bucket.list_each(*content.stretches()) for info in store}
        for name, file in content.objects().items():
            info = objects.get(name)
            if info is not None and (info.size_bytes, info.crc32c) == (file.size_bytes, file.crc32c):
                placed = Placed(name, info.generation, info.size_bytes, file.sha256, info.crc32c)
                found.setdefault(file.sha256, placed)
    return found


def copy_once(bucket: Bucket, source: Placed, target: str) -> Placed:
    """Give bytes their final name, server-side; raises Conflict when it is taken, OpsError when other bytes arrived."""
    info = bucket.copy(source.name, target, source_generation=source.generation)
    if (info.size_bytes, info.crc32c) != (source.size_bytes, source.crc32c):
        text = f"{target} has {info.size_bytes} bytes with crc32c {info.crc32c} after the copy, expected {source}"
        raise OpsError(text, SYNC)
    return Placed(target, info.generation, info.size_bytes, source.sha256, info.crc32c)
