"""The way without the shared volume: the instance pulls the models itself onto its own private disk.

Used when SHARED_MODEL_VOLUME_ENABLED is false and for on_miss=private. The files lie as Ollama and huggingface_hub
keep them. Each is streamed to a hidden name, compared with its size and SHA-256 (where the upstream knows one) and
renamed. What an earlier start of the same instance left complete is hashed and kept. On Cloud Run the private disk is
memory: it counts against the container's limit.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from scripts.container import logs
from scripts.container.stores import Served, Stores
from scripts.errors import OpsError, Refused
from scripts.models import layout
from scripts.models.sources.base import RemoteFile, Resolved, Source
from scripts.settings.types import Kind, ModelSpec

FOLDER = "modelshelf-models"
_CHUNK_BYTES = 1 << 20
_PROGRESS_S = 5.0
_ROOM = "Give the service more memory (its private disk is memory), or serve from the shared volume: cache.enabled."


@dataclass(frozen=True)
class Downloaded:
    """A finished private download. upstream_bytes: what came over the network; kept_bytes: found complete on disk."""

    stores: Stores
    models: tuple[Served, ...]
    upstream_bytes: int
    kept_bytes: int
    duration_s: float


def online(environ: MutableMapping[str, str]) -> None:
    """Let huggingface_hub speak to its hub; to be called before its first import, which reads the variable."""
    environ.pop("HF_HUB_OFFLINE", None)
    environ["HF_HUB_DISABLE_XET"] = "1"


def default_root() -> Path:
    """Where private models go: below TMPDIR, the instance's own disk."""
    return Path(tempfile.gettempdir()) / FOLDER


def download(specs: Iterable[ModelSpec], sources: dict[Kind, Source], root: Path) -> Downloaded:
    """Pull every model below root and return where they are.

    Raises OpsError for content that is not what the upstream announced and for a full disk, Refused for a root that
    cannot be written, and what the sources raise.
    """
    began = time.monotonic()
    stores = Stores(root / "ollama", root / "sbert", "")
    resolved = [sources[spec.kind].resolve(spec) for spec in specs]
    progress = _Progress(sum(file.size_bytes for model in resolved for file in model.files))
    models: list[Served] = []
    kept_bytes = 0
    try:
        _clean(root)
        _need_room(root, resolved, stores)
        for model in resolved:
            folder = _folder(stores, model.spec)
            for file in model.files:
                kept_bytes += _place(sources[model.spec.kind], model, file, folder / file.path, progress)
            spec = model.spec
            models.append(Served(spec.name, spec.kind, spec.source, model.revision, folder))
    except OSError as error:
        raise _disk_error(error, root) from error
    upstream_bytes = sum(source.received_bytes for source in sources.values())
    return Downloaded(stores, tuple(models), upstream_bytes, kept_bytes, time.monotonic() - began)


@dataclass
class _Progress:
    """Says every few seconds how far the download is."""

    total_bytes: int
    done_bytes: int = 0
    said_at: float = 0.0

    def add(self, count: int) -> None:
        self.done_bytes += count
        now = time.monotonic()
        if now - self.said_at >= _PROGRESS_S:
            self.said_at = now
            logs.info("private download", done_bytes=self.done_bytes, total_bytes=self.total_bytes)


def _folder(stores: Stores, spec: ModelSpec) -> Path:
    """The folder that a model's paths start from, below its store as layout.model_prefix has it below a version."""
    version = "-"
    inside = layout.model_prefix(spec.kind, spec.source, version).removeprefix(layout.folder(spec.kind, version))
    return stores.folder(spec.kind) / inside.removeprefix("/")


def _place(source: Source, model: Resolved, file: RemoteFile, target: Path, progress: _Progress) -> int:
    """Put one file in its place; returns its size when it was already there and whole, else 0."""
    if _is_whole(target, file):
        progress.add(file.size_bytes)
        return file.size_bytes
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".partial-{target.name}"[:250])
    pieces = iter([file.content]) if file.content is not None else source.open(model, file)
    try:
        found, size_bytes = _stream(pieces, draft, progress.add)
        place = f"{model.spec.source} {file.path}"
        if size_bytes != file.size_bytes:
            raise OpsError(f"{place} has {size_bytes} bytes, its upstream announced {file.size_bytes}", "Start again.")
        if file.sha256 is not None and found != file.sha256:
            problem = f"{place} has sha256 {found}, its upstream announced {file.sha256}"
            raise OpsError(problem, "Do not serve it. If it happens again, the upstream or a proxy alters files.")
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return 0


def _stream(pieces: Iterator[bytes], draft: Path, add: Callable[[int], None]) -> tuple[str, int]:
    digest, size_bytes = hashlib.sha256(), 0
    with draft.open("wb") as out:
        for piece in pieces:
            digest.update(piece)
            out.write(piece)
            size_bytes += len(piece)
            add(len(piece))
    return digest.hexdigest(), size_bytes


def _is_whole(target: Path, file: RemoteFile) -> bool:
    expected = file.sha256 or (hashlib.sha256(file.content).hexdigest() if file.content is not None else None)
    if expected is None or not target.is_file() or target.stat().st_size != file.size_bytes:
        return False
    digest = hashlib.sha256()
    with target.open("rb") as stream:
        while piece := stream.read(_CHUNK_BYTES):
            digest.update(piece)
    return digest.hexdigest() == expected


def _clean(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for draft in root.rglob(".partial-*"):
        draft.unlink(missing_ok=True)


def _need_room(root: Path, resolved: Iterable[Resolved], stores: Stores) -> None:
    targets = {_folder(stores, model.spec) / file.path: file.size_bytes for model in resolved for file in model.files}
    needed_bytes = sum(size for path, size in targets.items() if not path.exists())
    free_bytes = shutil.disk_usage(root).free
    if needed_bytes > free_bytes:
        raise OpsError(f"the models need {needed_bytes} bytes on {root}, which has {free_bytes} free", _ROOM)


def _disk_error(error: OSError, root: Path) -> OpsError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OpsError(f"the private disk is full: {error.filename or root}", _ROOM)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Refused(f"cannot write to {error.filename or root}: {os.strerror(error.errno)}", "Set TMPDIR.")
    return OpsError(f"cannot keep models below {root}: {error}", "Start again.")
