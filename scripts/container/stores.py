"""Where one instance's model files are: the folders of the active version, and whether they are all visible yet."""

from __future__ import annotations

import errno
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.errors import AccessDenied, OpsError, Unreachable
from scripts.settings.types import Kind

VISIBLE_TIMEOUT_S = 30.0
_OLLAMA_HOST = "registry.ollama.ai"


@dataclass(frozen=True)
class Expected:
    """A file that has to be there: where, and how many bytes."""

    path: Path
    size_bytes: int


@dataclass(frozen=True)
class Served:
    """A model of the active version. folder: the Ollama store, or the model's entry in the Hugging Face cache."""

    name: str
    kind: Kind
    source: str
    revision: str
    folder: Path


@dataclass(frozen=True)
class Stores:
    """The two folders that the clients are pointed at; version is empty for a private download."""

    ollama: Path
    sbert: Path
    version: str

    def folder(self, kind: Kind) -> Path:
        """The store of a kind of models."""
        return self.ollama if kind == "ollama" else self.sbert


def environment(stores: Stores, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that point every client INTO the active version; a HOME that cannot be written to is replaced.

    A starting Ollama deletes blobs that no manifest names (OLLAMA_NOPRUNE) and wants a HOME for its key.
    """
    narrowed = {
        "OLLAMA_MODELS": str(stores.ollama),
        "OLLAMA_NOPRUNE": "1",
        "SENTENCE_TRANSFORMERS_HOME": str(stores.sbert),
        "HUGGINGFACE_HUB_CACHE": str(stores.sbert),
        "HF_HUB_CACHE": str(stores.sbert),
        "HF_HUB_OFFLINE": "1",
        "MODEL_CACHE_ACTIVE_VERSION": stores.version,
    }
    home = environ.get("HOME", "")
    if not home or not os.access(home, os.W_OK | os.X_OK):
        narrowed["HOME"] = tempfile.mkdtemp(prefix="home-")
    return narrowed


def wait_visible(
    files: Iterable[Expected], *, bucket: str, timeout_s: float = VISIBLE_TIMEOUT_S, on_wait: Callable[[str], None]
) -> int:
    """Wait until every file shows on the mount with its size; returns their bytes. No byte is read.

    The bucket's API is ahead of the mount, whose metadata may be cached (Cloud Storage FUSE: metadata-cache-ttl-secs,
    a negative entry for 5 s). on_wait gets the first file still missing, every few seconds.
    Raises Unreachable naming that file after timeout_s; AccessDenied at once when a permission is missing.
    """
    waiting, total = list(files)[::-1], 0
    deadline, next_word = time.monotonic() + timeout_s, time.monotonic() + 2.0
    while True:
        problem = ""
        while waiting and not (problem := _problem(waiting[-1], bucket)):
            total += waiting.pop().size_bytes
        if not waiting:
            return total
        if time.monotonic() >= deadline:
            remedy = (
                f"Check that the mount shows the bucket {bucket} with implicit-dirs=true and metadata-cache-ttl-secs=0 "
                "(run: invoke render --env ENVIRONMENT) and that the object is still there (run: invoke cache.show); "
                "a version that lacks a file is published again by: invoke sync --env ENVIRONMENT"
            )
            raise Unreachable(f"{problem} {timeout_s:g} s after its version was trusted", remedy)
        if time.monotonic() >= next_word:
            on_wait(problem)
            next_word += 5.0
        time.sleep(0.25)


def _problem(file: Expected, bucket: str) -> str:
    try:
        status = file.path.stat()
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            remedy = f"Give the service's account roles/storage.objectViewer on the bucket {bucket}."
            raise AccessDenied(f"not allowed to look at {file.path} (bucket {bucket})", remedy) from error
        return f"{file.path} is not visible on the mount ({error.strerror or error})"
    if not file.path.is_file():
        return f"{file.path} is not a file"
    if status.st_size != file.size_bytes:
        return f"{file.path} has {status.st_size} bytes, expected {file.size_bytes},"
    return ""


def check_ollama(store: Path, source: str) -> str:
    """Look for a model as Ollama itself would: the manifest below the store, then its blobs with their sizes.

    source: `[namespace/]name:tag`. Returns what is wrong, empty when Ollama would find everything (sizes only: Ollama
    does not hash an existing blob either).
    """
    path = ollama_manifest(store, source)
    try:
        document = json.loads(path.read_bytes())
        for layer in [document["config"], *document["layers"]]:
            blob = store / "blobs" / str(layer["digest"]).replace(":", "-")
            size_bytes = blob.stat().st_size
            if size_bytes != layer["size"]:
                return f"{blob} has {size_bytes} bytes, its manifest says {layer['size']}"
    except OSError as error:
        return f"cannot read {error.filename}: {error.strerror}"
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return f"{path} is not an Ollama manifest: {type(error).__name__} {error}"
    return ""


def ollama_manifest(store: Path, source: str) -> Path:
    """Where Ollama keeps the manifest of `[namespace/]name[:tag]`; the default namespace is library, the tag latest."""
    name, _, tag = source.rpartition(":") if ":" in source else (source, "", "latest")
    if "/" not in name:
        name = f"library/{name}"
    if ".." in name.split("/") or ".." in tag or "/" in tag:
        raise OpsError(f"{source!r} is not an Ollama reference", "Correct models[].source in the environment file.")
    return store / "manifests" / _OLLAMA_HOST / name / tag


def describe(model: Served) -> dict[str, Any]:
    """A model for /info, with Ollama's files looked up."""
    facts: dict[str, Any] = {
        "name": model.name,
        "kind": model.kind,
        "source": model.source,
        "revision": model.revision,
        "folder": str(model.folder),
    }
    if model.kind == "ollama":
        problem = check_ollama(model.folder, model.source)
        facts |= {"present": not problem} | ({"problem": problem} if problem else {})
    return facts
