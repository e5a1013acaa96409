"""What the tests of publication share: a Source that serves a folder on disk, keys, and buckets of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scripts.cloud.storage import Bucket, open_bucket
from scripts.errors import NotFound
from scripts.models import manifest, signing, statements
from scripts.models.manifest import Manifest, Model, ModelFile
from scripts.models.outcome import SyncResult
from scripts.models.sources.base import RemoteFile, Resolved
from scripts.models.statements import Problem, Statement, Trusted
from scripts.models.sync import sync
from scripts.settings.types import Kind, ModelSpec, TrustedKey

CHUNK = 1 << 20
SPECS = (
    ModelSpec("llm", "ollama", "library/tiny:1b"),
    ModelSpec("embedder", "huggingface", "acme/mini"),
)
VERSION = "20261120T020000Z-3f9a1c2b"


class FolderSource:
    """A source whose upstream is a folder: `<root>/<source with / and : replaced>/<revision>/…`, the newest is the tag.

    hub: tell git blob ids for small files, as a hub does, instead of sha256.
    """

    def __init__(self, root: Path, kind: Kind, *, chunk: int = CHUNK) -> None:
        self.root = root
        self.kind = kind
        self.chunk = chunk
        self.received = 0
        self.opened: list[str] = []
        self.ranges: list[tuple[str, int, int]] = []

    @property
    def received_bytes(self) -> int:
        return self.received

    def home(self, source: str) -> Path:
        return self.root / source.replace("/", "--").replace(":", "-")

    def put(self, source: str, revision: str, files: dict[str, bytes]) -> None:
        """Publish a revision upstream; the tag moves to it."""
        home = self.home(source)
        for path, data in files.items():
            (home / revision / path).parent.mkdir(parents=True, exist_ok=True)
            (home / revision / path).write_bytes(data)
        (home / "TAG").write_text(revision, encoding="utf-8")

    def resolve(self, spec: ModelSpec, pinned: str | None = None) -> Resolved:
        home = self.home(spec.source)
        if not (home / "TAG").exists():
            raise NotFound(f"{spec.source} does not exist upstream", "Correct models[].source.")
        tag = (home / "TAG").read_text(encoding="utf-8")
        revision = spec.revision or pinned or tag
        if not (home / revision).is_dir():
            raise NotFound(f"{spec.source} has no revision {revision}", "Correct models[].revision.")
        moved = tag if not spec.revision and tag != revision else None
        paths = sorted(path for path in (home / revision).rglob("*") if path.is_file())
        files = tuple(self.describe(path, path.relative_to(home / revision).as_posix(), revision) for path in paths)
        return Resolved(spec, revision, files, moved)

    def describe(self, path: Path, name: str, revision: str) -> RemoteFile:
        data = path.read_bytes()
        if self.kind == "ollama":
            digest = hashlib.sha256(data).hexdigest()
            return RemoteFile(name, len(data), digest, f"sha256:{digest}")
        if name.startswith("refs/"):
            return RemoteFile(name, len(data), None, f"content:{revision}", content=data)
        if len(data) < 1000:
            oid = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
            return RemoteFile(name, len(data), None, f"git:{oid}")
        digest = hashlib.sha256(data).hexdigest()
        return RemoteFile(name, len(data), digest, f"sha256:{digest}")

    def open(self, resolved: Resolved, file: RemoteFile, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        self.opened.append(file.path)
        self.ranges.append((file.path, start, file.size_bytes if stop is None else stop))
        path = self.home(resolved.spec.source) / resolved.revision / file.path
        left = (path.stat().st_size if stop is None else stop) - start
        with path.open("rb") as stream:
            stream.seek(start)
            while chunk := stream.read(min(self.chunk, left)):
                left -= len(chunk)
                self.received += len(chunk)
                yield chunk


class BadSource(FolderSource):
    """An upstream that sends other bytes than it announced."""

    def open(self, resolved: Resolved, file: RemoteFile, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        for chunk in super().open(resolved, file, start, stop):
            yield bytes([chunk[0] ^ 1]) + chunk[1:]


def blob(data: bytes) -> str:
    """The path of an Ollama blob."""
    return f"blobs/sha256-{hashlib.sha256(data).hexdigest()}"


def ollama_files(*blobs: bytes) -> dict[str, bytes]:
    """An Ollama store's files with these blobs."""
    listing = "\n".join(blob(data) for data in blobs).encode()
    return {**{blob(data): data for data in blobs}, "manifests/registry.ollama.ai/library/tiny/1b": listing}


def hub_files(revision: str, **files: bytes) -> dict[str, bytes]:
    """A hub repository's files at a revision."""
    return {"refs/main": revision.encode(), **{f"snapshots/{revision}/{name}": data for name, data in files.items()}}


@dataclass
class World:
    """A bucket with its upstreams, a signer, and what is asked of them."""

    url: str
    bucket: Bucket
    upstream: Path
    signer: Any
    keys: tuple[TrustedKey, ...]
    specs: tuple[ModelSpec, ...] = SPECS
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ollama = FolderSource(self.upstream, "ollama")
        self.hub = FolderSource(self.upstream, "huggingface")

    def fill(self, seed: bytes = b"one", size: int = 300_000) -> None:
        """Put a first revision of both models upstream."""
        self.ollama.put("library/tiny:1b", f"r-{seed.decode()}", ollama_files(seed * size, b"template " + seed))
        files = hub_files(f"c-{seed.decode()}", config=b"{}", weights=seed * 700)
        self.hub.put("acme/mini", f"c-{seed.decode()}", files)

    def sync(self, **changes: Any) -> SyncResult:
        """A sync by this process."""
        values: dict[str, Any] = {"keys": self.keys, "environment": "test", "say": self.said.append, **changes}
        sources: dict[Kind, Any] = {"ollama": self.ollama, "huggingface": self.hub}
        specs = values.pop("specs", self.specs)
        return sync(self.bucket, specs, values.pop("sources", sources), values.pop("signer", self.signer), **values)

    def reading(self, **values: Any) -> statements.Reading:
        return statements.read_trusted(self.bucket, self.keys, **values)

    def trusted(self) -> Trusted:
        found = self.reading().trusted
        assert found is not None
        return found

    def overwrite(self, name: str, data: bytes) -> None:
        """Replace an object as somebody with write access would."""
        info = self.bucket.stat(name)
        self.bucket.replace(name, data, info.generation if info else 0)

    def remove(self, name: str) -> None:
        info = self.bucket.stat(name)
        assert info is not None
        self.bucket.delete(name, info.generation)

    def names(self, prefix: str = "") -> list[str]:
        return [info.name for info in self.bucket.list(prefix)]

    def state(self, version: str, serial: int, digest: str, **changes: Any) -> bytes:
        """A statement signed by this world's key."""
        statement = Statement(serial, version, digest, "2026-11-20T02:00:00Z", "by a test")
        return statements.seal(replace(statement, **changes), self.signer)


def make_world(url: str, folder: Path, name: str) -> World:
    """A fresh bucket at a stand-in, with a key of its own."""
    key = signing.make_key(folder / "keys")
    bucket = open_bucket("test-project", url, name)
    bucket.create("europe-west1", {})
    signer = signing.load_signer(f"file:{folder / 'keys' / signing.PRIVATE_NAME}")
    return World(url, bucket, folder / "upstream", signer, (key,))


def sample(version: str = VERSION) -> Manifest:
    """A small manifest of both kinds."""
    digest, crc32c = "0" * 64, "AAAAAA=="
    llm = ModelFile("blobs/sha256-00", 10, digest, crc32c)
    config = ModelFile("snapshots/abc/config.json", 2, digest, crc32c)
    models = (
        Model("llm", "ollama", "library/tiny:1b", "sha256:abc", f"ollama/{version}", (llm,)),
        Model("embedder", "huggingface", "acme/mini", "abc", f"sbert/{version}/models--acme--mini", (config,)),
    )
    return manifest.make(version, "2026-11-20T02:00:00Z", models)


def kinds(problems: tuple[Problem, ...]) -> list[str]:
    return [problem.kind for problem in problems]
