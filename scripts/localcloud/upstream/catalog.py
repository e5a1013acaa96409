"""What the upstreams hold: recipes of models, the tags that point at them, and the content made from them.

A recipe is a small JSON object. Ollama: {"seed", "size_bytes"}. Hub: {"seed", "corpus": true} for the real model
(a seed above 1 appends a line to its README) or {"seed", "files": {path: size_bytes}}. A revision stays available
after its tag has moved on, as it does upstream, until its model is withdrawn.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from scripts.localcloud.context import Database
from scripts.localcloud.upstream.content import Content, Digests, Generated, Held, digest
from scripts.localcloud.upstream.corpus import CorpusFile

SYNTHETIC = ("ollama", "library/synthetic", "64m")
MINILM = ("huggingface", "sentence-transformers/all-MiniLM-L6-v2", "main")
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
_LFS_ENDINGS = (".safetensors", ".bin", ".gguf", ".onnx", ".h5", ".msgpack", ".pt", ".pth")
_LFS_FROM_BYTES = 10 << 20
_TABLES = """
CREATE TABLE IF NOT EXISTS upstream_recipes (
    kind TEXT NOT NULL, name TEXT NOT NULL, recipe TEXT NOT NULL, revision TEXT, PRIMARY KEY (kind, name, recipe)
);
CREATE TABLE IF NOT EXISTS upstream_tags (
    kind TEXT NOT NULL, name TEXT NOT NULL, tag TEXT NOT NULL, recipe TEXT NOT NULL, PRIMARY KEY (kind, name, tag)
);
"""


@dataclass(frozen=True)
class Entry:
    """One file of a model: its path (or layer type), content and digests; lfs says that the hub stores it elsewhere."""

    path: str
    content: Content
    digests: Digests
    lfs: bool = False


@dataclass(frozen=True)
class Revision:
    """An immutable state of a model: a registry manifest (`manifest` holds its bytes) or a hub commit."""

    kind: str
    name: str
    revision: str
    entries: dict[str, Entry]
    manifest: bytes = b""


class Catalog:
    """Finds revisions by tag or by digest; makes their content on first use, in a thread."""

    def __init__(self, db: Database, corpus: Callable[[], Any]) -> None:
        self._db = db
        self._corpus = corpus
        self._made: dict[tuple[str, str, str], Revision] = {}
        self._blobs: dict[str, Content] = {}
        self._making = asyncio.Lock()
        db.script(_TABLES)
        if db.row("SELECT 1 FROM upstream_recipes") is None:
            self.point(*SYNTHETIC, {"seed": 1, "size_bytes": 64 << 20})
            self.point(*MINILM, {"seed": 1, "corpus": True})

    def point(self, kind: str, name: str, tag: str, recipe: dict[str, Any]) -> None:
        """Let a tag (or branch) point at a recipe; what it pointed at before stays available by revision."""
        text = json.dumps(recipe, sort_keys=True)
        with self._db.transaction():
            self._db.run("INSERT OR IGNORE INTO upstream_recipes VALUES (?, ?, ?, NULL)", kind, name, text)
            self._db.run("INSERT OR REPLACE INTO upstream_tags VALUES (?, ?, ?, ?)", kind, name, tag, text)

    def withdraw(self, kind: str, name: str) -> None:
        """Forget a model, its tags and its revisions, as when its owner deletes it."""
        with self._db.transaction():
            self._db.run("DELETE FROM upstream_recipes WHERE kind = ? AND name = ?", kind, name)
            self._db.run("DELETE FROM upstream_tags WHERE kind = ? AND name = ?", kind, name)

    def recipe(self, kind: str, name: str, tag: str) -> dict[str, Any] | None:
        """The recipe that a tag points at."""
        query = "SELECT recipe FROM upstream_tags WHERE kind = ? AND name = ? AND tag = ?"
        row = self._db.row(query, kind, name, tag)
        return dict(json.loads(row["recipe"])) if row is not None else None

    def tags(self, kind: str, name: str) -> list[str]:
        """The tags of a model; empty for an unknown one."""
        rows = self._db.rows("SELECT tag FROM upstream_tags WHERE kind = ? AND name = ? ORDER BY tag", kind, name)
        return [row["tag"] for row in rows]

    async def find(self, kind: str, name: str, reference: str) -> Revision | None:
        """The revision that a tag or a revision id names, or None."""
        tagged = self.recipe(kind, name, reference)
        if tagged is not None:
            return await self._make(kind, name, json.dumps(tagged, sort_keys=True))
        for row in self._db.rows("SELECT * FROM upstream_recipes WHERE kind = ? AND name = ?", kind, name):
            if row["revision"] in (None, reference):
                made = await self._make(kind, name, row["recipe"])
                if made.revision == reference:
                    return made
        return None

    async def blob(self, sha256: str, kind: str = "%") -> Content | None:
        """The content with this digest, or None; with a kind, only models of that kind are made to find it."""
        if sha256 not in self._blobs:
            # What has to be fetched first comes last: the other models answer without it.
            query = "SELECT * FROM upstream_recipes WHERE kind LIKE ? ORDER BY recipe LIKE '%corpus%'"
            for row in self._db.rows(query, kind):
                await self._make(row["kind"], row["name"], row["recipe"])
                if sha256 in self._blobs:
                    break
        return self._blobs.get(sha256)

    async def _make(self, kind: str, name: str, recipe: str) -> Revision:
        key = (kind, name, recipe)
        if key in self._made:
            return self._made[key]
        wanted: dict[str, Any] = json.loads(recipe)
        corpus: tuple[CorpusFile, ...] = await self._corpus() if wanted.get("corpus") else ()
        async with self._making:
            if key not in self._made:
                build = _manifest if kind == "ollama" else _commit
                made = await asyncio.to_thread(build, name, wanted, corpus)
                query = "UPDATE upstream_recipes SET revision = ? WHERE kind = ? AND name = ? AND recipe = ?"
                self._db.run(query, made.revision, kind, name, recipe)
                self._blobs.update((entry.digests.sha256, entry.content) for entry in made.entries.values())
                self._made[key] = made
        return self._made[key]


def _manifest(name: str, recipe: dict[str, Any], corpus: tuple[CorpusFile, ...]) -> Revision:
    """A registry manifest (schema 2) over one generated weights layer and the small layers that every model has."""
    weights = Generated(f"{name}#{recipe['seed']}", recipe["size_bytes"])
    sha256 = digest(weights).sha256
    config = {
        "model_format": "gguf", "model_family": "llama", "model_families": ["llama"], "model_type": "synthetic",
        "file_type": "Q8_0", "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256}"]},
    }  # fmt: skip
    small = {
        "template": b"{{ if .System }}{{ .System }}\n{{ end }}{{ .Prompt }}\n",
        "license": b"Generated bytes without meaning; nobody claims any right in them.\n",
        "params": json.dumps({"num_ctx": 2048, "stop": ["<|end|>"]}).encode(),
    }
    entries = {
        "config": _entry("config", Held(json.dumps(config).encode())),
        "model": Entry("model", weights, Digests(sha256, "")),
        **{path: _entry(path, Held(data)) for path, data in small.items()},
    }
    described = {path: _descriptor(entry) for path, entry in entries.items()}
    body = {
        "schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": described.pop("config"),
        "layers": list(described.values()),
    }  # fmt: skip
    raw = json.dumps(body, separators=(",", ":")).encode()
    by_digest = {entry.digests.sha256: entry for entry in entries.values()}
    return Revision("ollama", name, f"sha256:{hashlib.sha256(raw).hexdigest()}", by_digest, raw)


def _descriptor(entry: Entry) -> dict[str, Any]:
    media_type = _CONFIG_TYPE if entry.path == "config" else f"application/vnd.ollama.image.{entry.path}"
    return {"mediaType": media_type, "digest": f"sha256:{entry.digests.sha256}", "size": entry.content.size_bytes}


def _commit(name: str, recipe: dict[str, Any], corpus: tuple[CorpusFile, ...]) -> Revision:
    """A hub commit; its id is the SHA-1 over the sorted paths and digests, so that equal content is one commit."""
    if recipe.get("corpus"):
        found: Iterable[Entry] = (_corpus_entry(file, recipe["seed"]) for file in corpus)
    else:
        found = (
            _entry(path, Generated(f"{name}/{path}#{recipe['seed']}", size_bytes))
            for path, size_bytes in recipe["files"].items()
        )
    entries = {entry.path: entry for entry in sorted(found, key=lambda entry: entry.path)}
    listing = "".join(f"{entry.path} {entry.digests.sha256}\n" for entry in entries.values())
    commit = hashlib.sha1(f"commit {name}\n{listing}".encode(), usedforsecurity=False).hexdigest()
    return Revision("huggingface", name, commit, entries)


def _corpus_entry(file: CorpusFile, seed: int) -> Entry:
    if seed > 1 and file.path == "README.md":
        return _entry(file.path, Held(file.content.read(0, file.content.size_bytes) + f"\nEdition {seed}\n".encode()))
    return Entry(file.path, file.content, file.digests, _is_lfs(file.path, file.content))


def _entry(path: str, content: Content) -> Entry:
    return Entry(path, content, digest(content), _is_lfs(path, content))


def _is_lfs(path: str, content: Content) -> bool:
    return path.endswith(_LFS_ENDINGS) or content.size_bytes >= _LFS_FROM_BYTES
