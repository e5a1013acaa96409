"""Where models come from: the interface of a source, and what it tells about a model before its bytes are pulled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from scripts.errors import OpsError
from scripts.models.sources.backoff import Patience
from scripts.settings.types import Kind, ModelSpec


@dataclass(frozen=True)
class RemoteFile:
    """One file of a model as its upstream describes it.

    path: relative to the model's prefix in a version. sha256: hex, when the upstream knows it. identity: equal for
    equal content ("sha256:HEX" or "git:OID"). content: the bytes themselves when they came with the metadata or are
    made from it; such a file needs no download.
    """

    path: str
    size_bytes: int
    sha256: str | None
    identity: str
    content: bytes | None = None


@dataclass(frozen=True)
class Resolved:
    """A model pinned to one immutable revision: a manifest digest (ollama) or a 40-digit commit (huggingface).

    moved_to: the revision that the tag or branch points at now, when another one was pulled because it is pinned.
    """

    spec: ModelSpec
    revision: str
    files: tuple[RemoteFile, ...]
    moved_to: str | None = None


class Source(Protocol):
    """An upstream of models."""

    def resolve(self, spec: ModelSpec, pinned: str | None = None) -> Resolved:
        """Find the revision to pull: spec.revision, else `pinned` (from the active manifest), else what the tag names.

        Raises NotFound (gone upstream), BadInput (a source or pattern that cannot be meant), AccessDenied,
        Unreachable, and OpsError for an answer that cannot be trusted.
        """
        ...

    def open(self, resolved: Resolved, file: RemoteFile, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes of a file from `start` up to `stop` (its end when None), resumed by Range when a connection breaks.

        Sizes are checked here; digests are the caller's to compare. Raises like resolve.
        """
        ...

    @property
    def received_bytes(self) -> int:
        """Bytes of model files received so far, repeated ones included, metadata not."""
        ...


class Upstreams(Protocol):
    """Base addresses without a trailing slash, e.g. https://registry.ollama.ai and https://huggingface.co."""

    @property
    def ollama(self) -> str: ...

    @property
    def huggingface(self) -> str: ...


def open_sources(
    upstreams: Upstreams, token: str | None = None, *, client: str = "", patience: Patience | None = None
) -> dict[Kind, Source]:
    """A source for each kind of model.

    token: of the Hugging Face hub, sent to it alone. client: who asks (an instance, a job), told to the upstreams.
    """
    from scripts.models.sources.huggingface import HubSource
    from scripts.models.sources.ollama import OllamaSource

    waits = patience or Patience()
    return {
        "ollama": OllamaSource(upstreams.ollama, client=client, patience=waits),
        "huggingface": HubSource(upstreams.huggingface, token, client=client, patience=waits),
    }


def safe_path(path: object, told_by: str) -> str:
    """The path itself. Raises OpsError when a name from an upstream could leave its folder or cannot be a file name."""
    text = path if isinstance(path, str) else ""
    if not text.isprintable() or "\\" in text or any(part in ("", ".", "..") for part in text.split("/")):
        raise OpsError(f"{told_by} names a file {path!r}, which is no safe relative path", "Do not use this model.")
    return text


def part(content: bytes, start: int, stop: int | None) -> Iterator[bytes]:
    """A slice of content that is already here, as a stream."""
    wanted = content[start:stop]
    if wanted:
        yield wanted
