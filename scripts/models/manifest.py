"""Manifest v1: what a version consists of, file by file. Immutable, and signed through its digest.

{schema_version, version, created_at, total_size_bytes, models: [{name, kind, source, revision, prefix, files:
[{path, size_bytes, sha256, crc32c}]}]}; an object's name is prefix + "/" + path. total_size_bytes counts every object
once: Ollama models that share a blob share its bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

from scripts.errors import SYNC, BadInput
from scripts.models import layout
from scripts.models.strict import Reader, show
from scripts.models.strict import dump as dump_json
from scripts.settings.types import KINDS, Kind

if TYPE_CHECKING:
    from scripts.cloud.storage_objects import Stretch

SCHEMA_VERSION = 1
# 100,000 files of 300 bytes each, doubled; a reader never takes more into memory.
MAX_BYTES = 64 << 20
# How many names Cloud Storage lists in one answer.
_PAGE = 1000

_KEYS = ("schema_version", "version", "created_at", "total_size_bytes", "models")
_MODEL_KEYS = ("name", "kind", "source", "revision", "prefix", "files")
_FILE_KEYS = ("path", "size_bytes", "sha256", "crc32c")
_READER = Reader("manifest", SYNC)


@dataclass(frozen=True)
class ModelFile:
    """A file of a model; crc32c is base64 as Cloud Storage writes it, sha256 is hex."""

    path: str
    size_bytes: int
    sha256: str
    crc32c: str


@dataclass(frozen=True)
class Model:
    """A model of a version; prefix is the folder that its files' paths start from."""

    name: str
    kind: Kind
    source: str
    revision: str
    prefix: str
    files: tuple[ModelFile, ...]


@dataclass(frozen=True)
class Manifest:
    """All models of a version."""

    schema_version: int
    version: str
    created_at: str
    total_size_bytes: int
    models: tuple[Model, ...]

    def objects(self) -> dict[str, ModelFile]:
        """Every object of the version once, by its full name."""
        return {f"{model.prefix}/{file.path}": file for model in self.models for file in model.files}

    def stretches(self) -> list[Stretch]:
        """What to list to see all that is in the version's folders: a page at a time, none waiting for another."""
        from scripts.cloud.storage_objects import Stretch

        names: dict[str, list[str]] = {}
        for model in self.models:
            folder = f"{layout.folder(model.kind, self.version)}/"
            names.setdefault(folder, []).extend(f"{model.prefix}/{file.path}" for file in model.files)
        found = []
        for folder, known in sorted(names.items()):
            cuts = ["", *sorted(set(known))[_PAGE::_PAGE], ""]
            found += [Stretch(folder, first, before) for first, before in pairwise(cuts)]
        return found

    @cached_property
    def data(self) -> bytes:
        """The manifest's bytes: the same manifest gives the same bytes."""
        return dump_json(as_json(self))


def make(version: str, created_at: str, models: tuple[Model, ...]) -> Manifest:
    """A manifest of these models with its total counted; raises BadInput when `parse` would refuse it."""
    draft = Manifest(SCHEMA_VERSION, version, created_at, 0, models)
    total = sum(file.size_bytes for file in draft.objects().values())
    return parse(dump(Manifest(SCHEMA_VERSION, version, created_at, total, models)))


def sha256(data: bytes) -> str:
    """The digest that a statement signs: SHA-256 over the manifest object's bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def as_json(manifest: Manifest) -> dict[str, Any]:
    """The manifest as a JSON object, keys in the documented order."""
    return {
        "schema_version": manifest.schema_version,
        "version": manifest.version,
        "created_at": manifest.created_at,
        "total_size_bytes": manifest.total_size_bytes,
        "models": [
            {
                **{key: getattr(model, key) for key in _MODEL_KEYS[:-1]},
                "files": [{key: getattr(file, key) for key in _FILE_KEYS} for file in model.files],
            }
            for model in manifest.models
        ],
    }


def dump(manifest: Manifest) -> bytes:
    """The manifest's bytes, see Manifest.data."""
    return manifest.data


def parse(data: bytes) -> Manifest:
    """Read a manifest strictly; raises BadInput with a place like models[0].files[2].path."""
    value = _READER.load(data, MAX_BYTES)
    if isinstance(value, dict) and "schema_version" in value:
        _schema_version(value["schema_version"])
    value = _READER.record(value, "", _KEYS)
    version = layout.check_version(_READER.text(value["version"], "version"), "manifest: version")
    created_at = _READER.time(value["created_at"], "created_at")
    total = _READER.whole(value["total_size_bytes"], "total_size_bytes", most=2**53)
    models = tuple(
        _model(entry, f"models[{number}]", version)
        for number, entry in enumerate(_READER.items(value["models"], "models"))
    )
    manifest = Manifest(SCHEMA_VERSION, version, created_at, total, models)
    _check_names(models)
    _check_objects(manifest)
    return manifest


def _schema_version(value: Any) -> None:
    if isinstance(value, int) and not isinstance(value, bool) and value != SCHEMA_VERSION:
        raise BadInput(
            f"manifest: schema_version: found {str(value)[:20]}, expected {SCHEMA_VERSION}, "
            "the only one this program knows",
            f"Update the program (git pull), or publish anew. {SYNC}",
        )
    _READER.whole(value, "schema_version", least=SCHEMA_VERSION, most=SCHEMA_VERSION)


def _model(value: Any, place: str, version: str) -> Model:
    value = _READER.record(value, place, _MODEL_KEYS)
    kind = cast(Kind, _READER.choice(value["kind"], f"{place}.kind", KINDS))
    source = _READER.text(value["source"], f"{place}.source", limit=512)
    prefix = _READER.text(value["prefix"], f"{place}.prefix")
    layout.check_path(prefix, f"manifest: {place}.prefix")
    expected = layout.model_prefix(kind, source, version)
    if prefix != expected:
        _READER.fail(f"{place}.prefix", show(prefix), f"{expected} (the folder of this kind, source and version)")
    files = tuple(
        _file(entry, f"{place}.files[{number}]", prefix)
        for number, entry in enumerate(_READER.items(value["files"], f"{place}.files"))
    )
    seen: set[str] = set()
    for number, file in enumerate(files):
        if file.path in seen:
            _READER.fail(f"{place}.files[{number}].path", f"{show(file.path)} a second time", "each path once")
        seen.add(file.path)
    return Model(
        name=_READER.text(value["name"], f"{place}.name", limit=256),
        kind=kind,
        source=source,
        revision=_READER.text(value["revision"], f"{place}.revision", limit=256),
        prefix=prefix,
        files=files,
    )


def _file(value: Any, place: str, prefix: str) -> ModelFile:
    value = _READER.record(value, place, _FILE_KEYS)
    if not isinstance(value["path"], str):
        _READER.text(value["path"], f"{place}.path")
    path = layout.check_path(value["path"], f"manifest: {place}.path")
    layout.check_path(f"{prefix}/{path}", f"manifest: {place}.path (with its prefix)")
    return ModelFile(
        path=path,
        size_bytes=_READER.whole(value["size_bytes"], f"{place}.size_bytes"),
        sha256=_READER.sha256(value["sha256"], f"{place}.sha256"),
        crc32c=_READER.crc32c(value["crc32c"], f"{place}.crc32c"),
    )


def _check_names(models: tuple[Model, ...]) -> None:
    names: set[str] = set()
    for number, model in enumerate(models):
        if model.name in names:
            _READER.fail(f"models[{number}].name", f"{show(model.name)} a second time", "each name once")
        names.add(model.name)


def _check_objects(manifest: Manifest) -> None:
    """The same object always with the same content; none that is a folder of another; the total."""
    objects: dict[str, ModelFile] = {}
    for place, name, file in _placed(manifest.models):
        known = objects.setdefault(name, file)
        if known != file:
            _READER.fail(place, f"{show(name)} with two different contents", "one size and digest per object")
    folders = {name[:end] for name in objects for end in range(len(name)) if name[end] == "/"}
    for place, name, _ in _placed(manifest.models):
        if name in folders:
            _READER.fail(place, f"{show(name)} as a file and as a folder", "one or the other")
    total = sum(file.size_bytes for file in objects.values())
    if total != manifest.total_size_bytes:
        _READER.fail("total_size_bytes", str(manifest.total_size_bytes), f"{total}, the sum of the files")


def _placed(models: tuple[Model, ...]) -> Iterator[tuple[str, str, ModelFile]]:
    for number, model in enumerate(models):
        for index, file in enumerate(model.files):
            yield f"models[{number}].files[{index}].path", f"{model.prefix}/{file.path}", file
