"""Bringing the files of a version into the bucket: pulled once in a stream, copied on the server, or taken up again.

A pull goes upstream → SHA-256 and crc32c → `.tmp/<version>/…` in one pass, nothing kept on disk. The digest is compared
before the last part is sent, so an object that exists under `.tmp/` is whole. What an earlier run left there is read
back from the bucket and hashed before it counts: nobody can smuggle bytes into a signed version through `.tmp/`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scripts.errors import OpsError
from scripts.models import layout
from scripts.models.manifest import Manifest, ModelFile
from scripts.models.sources.base import RemoteFile, Resolved, Source

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
        """The digest that the upstream tells, or empty."""
        found = _SHA256.fullmatch(self.file.sha256 or "") or _SHA256.fullmatch(self.file.identity)
        return found[1] if found else ""

    @property
    def git_oid(self) -> str:
        """The git blob id that the upstream tells, or empty."""
        found = _GIT.fullmatch(self.file.identity)
        return found[1] if found else ""


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
    """Hashes a stream on its way and says at its end whether it is what the upstream announced."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._sha256 = hashlib.sha256()
        # A git blob id is a SHA-1 over a header with the size, then the bytes (git's object format).
        header = b"blob %d\0" % wanted.file.size_bytes
        self._git: Any = hashlib.sha1(header, usedforsecurity=False) if wanted.git_oid else None
        self.size_bytes = 0

    def passing(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The same chunks; raises OpsError after the last one when the whole is not what was announced."""
        for chunk in chunks:
            self.add(chunk)
            yield chunk
        fault = self.fault()
        if fault:
            raise OpsError(
                f"{self._wanted.resolved.spec.source}: {self._wanted.file.path} {fault}; nothing was published",
                "Run the same command again; if it repeats, the upstream serves something else than it announces.",
            )

    def add(self, chunk: bytes) -> None:
        """The next bytes of the stream."""
        self._sha256.update(chunk)
        if self._git is not None:
            self._git.update(chunk)
        self.size_bytes += len(chunk)

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

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()


def wanted_objects(resolved: Iterable[Resolved], version: str) -> dict[str, Wanted]:
    """Every object of a version once, by its final name; raises BadInput for a path that may not be one."""
    found: dict[str, Wanted] = {}
    for model in resolved:
        spec = model.spec
        prefix = layout.model_prefix(spec.kind, spec.source, version)
        for file in model.files:
            path = layout.check_path(file.path, f"{spec.name} ({spec.source})")
            name = layout.check_path(f"{prefix}/{path}", f"{spec.name} ({spec.source})")
            found.setdefault(name, Wanted(name, model, file))
    return found


def pull(bucket: Bucket, wanted: Wanted, source: Source, version: str) -> Placed:
    """Stream one file from its upstream to `.tmp/<version>/…`; no object is left behind when its digest is wrong."""
    digest = Digest(wanted)
    content = wanted.file.content
    chunks = source.open(wanted.resolved, wanted.file) if content is None else iter([content] if content else [])
    info = bucket.upload(layout.tmp_name(version, wanted.name), digest.passing(chunks))
    return Placed(info.name, info.generation, info.size_bytes, digest.sha256, info.crc32c)


def take_up(bucket: Bucket, wanted: Wanted, left: ObjectInfo) -> Placed | None:
    """An object that an earlier run left under `.tmp/`, if its bytes (read back and hashed) are what is wanted.

    None also when the upstream tells no digest: then nothing proves what these bytes are.
    """
    if left.size_bytes != wanted.file.size_bytes or not (wanted.sha256 or wanted.git_oid):
        return None
    digest = Digest(wanted)
    for chunk in bucket.read_chunks(left):
        digest.add(chunk)
    if digest.fault():
        return None
    return Placed(left.name, left.generation, left.size_bytes, digest.sha256, left.crc32c)


def published(bucket: Bucket, manifests: Iterable[Manifest]) -> dict[str, Placed]:
    """The files of signed versions by sha256, as far as their objects still fit the manifest."""
    found: dict[str, Placed] = {}
    for content in manifests:
        folders = {layout.folder(model.kind, content.version) for model in content.models}
        objects = {info.name: info for folder in folders for info in bucket.list(f"{folder}/")}
        for name, file in content.objects().items():
            info = objects.get(name)
            if info is not None and (info.size_bytes, info.crc32c) == (file.size_bytes, file.crc32c):
                placed = Placed(name, info.generation, info.size_bytes, file.sha256, info.crc32c)
                found.setdefault(file.sha256, placed)
    return found


def left_over(bucket: Bucket) -> Mapping[str, tuple[ObjectInfo, ...]]:
    """Live objects under `.tmp/` by their path without the version, newest version first."""
    found: dict[str, tuple[ObjectInfo, ...]] = {}
    for info in sorted(bucket.list(layout.TMP), key=lambda item: item.name, reverse=True):
        parts = layout.split_tmp(info.name)
        if parts is not None:
            found[parts[1]] = (*found.get(parts[1], ()), info)
    return found


def rest_of(name: str, version: str) -> str:
    """The path of an object of a version without the version: what left_over() finds it by."""
    return layout.tmp_name(version, name).removeprefix(layout.tmp_folder(version))
