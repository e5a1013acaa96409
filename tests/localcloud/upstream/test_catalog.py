"""Tags move, revisions stay, equal content has equal names."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

from scripts.localcloud.context import Database
from scripts.localcloud.upstream.catalog import Catalog, Revision
from scripts.localcloud.upstream.content import Generated, Stored, chunks, digest
from scripts.localcloud.upstream.corpus import CorpusFile

TINY = ("ollama", "library/tiny", "1b")
REPO = ("huggingface", "org/tiny", "main")


async def no_corpus() -> Any:
    raise AssertionError("the real model is not needed here")


def open_catalog(folder: Path) -> Catalog:
    return Catalog(Database(folder / "state.db"), no_corpus)


def find(catalog: Catalog, kind: str, name: str, reference: str) -> Revision:
    found = asyncio.run(catalog.find(kind, name, reference))
    assert found is not None
    return found


def test_a_manifest_describes_its_layers_exactly(tmp_path: Path) -> None:
    catalog = open_catalog(tmp_path)
    catalog.point(*TINY, {"seed": 1, "size_bytes": 100_003})
    found = find(catalog, *TINY)
    assert found.revision == f"sha256:{hashlib.sha256(found.manifest).hexdigest()}"
    manifest = json.loads(found.manifest)
    assert [layer["mediaType"].rpartition(".")[2] for layer in manifest["layers"]] == [
        "model", "template", "license", "params",
    ]  # fmt: skip
    assert manifest["layers"][0]["size"] == 100_003
    for layer in (manifest["config"], *manifest["layers"]):
        content = asyncio.run(catalog.blob(layer["digest"].removeprefix("sha256:")))
        assert content is not None
        assert content.size_bytes == layer["size"]
        assert f"sha256:{digest(content).sha256}" == layer["digest"]


def test_a_moved_tag_leaves_the_old_revision_available(tmp_path: Path) -> None:
    catalog = open_catalog(tmp_path)
    for kind, name, tag, recipe in (
        (*TINY, {"seed": 1, "size_bytes": 1000}),
        (*REPO, {"seed": 1, "files": {"config.json": 5, "model.bin": 10}}),
    ):
        catalog.point(kind, name, tag, recipe)
        old = find(catalog, kind, name, tag)
        catalog.point(kind, name, tag, recipe | {"seed": 2})
        new = find(catalog, kind, name, tag)
        assert new.revision != old.revision
        assert find(catalog, kind, name, old.revision) == old
        again = open_catalog(tmp_path)
        assert find(again, kind, name, tag) == new
        assert find(again, kind, name, old.revision) == old


def test_a_revision_is_found_before_anybody_asked_for_its_tag(tmp_path: Path) -> None:
    first = open_catalog(tmp_path)
    first.point(*TINY, {"seed": 1, "size_bytes": 1000})
    revision = find(first, *TINY).revision
    (tmp_path / "other").mkdir()
    second = open_catalog(tmp_path / "other")
    second.point(*TINY, {"seed": 1, "size_bytes": 1000})
    assert find(second, TINY[0], TINY[1], revision).revision == revision
    assert asyncio.run(second.find(TINY[0], TINY[1], "sha256:" + "0" * 64)) is None


def test_a_withdrawn_model_is_gone(tmp_path: Path) -> None:
    catalog = open_catalog(tmp_path)
    catalog.point(*TINY, {"seed": 1, "size_bytes": 1000})
    revision = find(catalog, *TINY).revision
    catalog.withdraw(TINY[0], TINY[1])
    assert catalog.tags(TINY[0], TINY[1]) == []
    assert asyncio.run(catalog.find(*TINY)) is None
    assert asyncio.run(catalog.find(TINY[0], TINY[1], revision)) is None


def test_a_commit_is_named_by_its_content(tmp_path: Path) -> None:
    catalog = open_catalog(tmp_path)
    catalog.point(*REPO, {"seed": 1, "files": {"b.json": 5, "a.safetensors": 10, "big.txt": 11 << 20}})
    found = find(catalog, *REPO)
    assert list(found.entries) == ["a.safetensors", "b.json", "big.txt"]
    assert [entry.lfs for entry in found.entries.values()] == [True, False, True]
    catalog.point(
        "huggingface", "org/tiny", "copy", {"files": {"a.safetensors": 10, "big.txt": 11 << 20, "b.json": 5}, "seed": 1}
    )
    assert find(catalog, "huggingface", "org/tiny", "copy").revision == found.revision


def test_an_edition_of_the_real_model_changes_its_readme_alone(tmp_path: Path) -> None:
    def stored(path: str, size_bytes: int) -> CorpusFile:
        place = tmp_path / path
        place.write_bytes(b"".join(chunks(Generated(path, size_bytes))))
        content = Stored(place, size_bytes)
        return CorpusFile(path, content, digest(content))

    async def corpus() -> tuple[CorpusFile, ...]:
        return stored("README.md", 100), stored("model.safetensors", 1000)

    catalog = Catalog(Database(tmp_path / "state.db"), corpus)
    catalog.point(*REPO, {"seed": 1, "corpus": True})
    first = find(catalog, *REPO)
    catalog.point(*REPO, {"seed": 2, "corpus": True})
    second = find(catalog, *REPO)
    assert first.entries["README.md"].content.size_bytes == 100
    assert second.entries["README.md"] != first.entries["README.md"]
    assert second.entries["model.safetensors"] == first.entries["model.safetensors"]
    assert second.revision != first.revision
