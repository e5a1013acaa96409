"""What was resolved upstream against what is published: pure comparisons, and the entry that follows from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scripts.models import layout
from scripts.models.manifest import Manifest, Model
from scripts.models.sources.base import RemoteFile, Resolved
from scripts.models.transfer import Placed, Wanted


@dataclass(frozen=True)
class Moved:
    """A tag that names another revision upstream than the published one; reported, not activated."""

    name: str
    source: str
    published: str
    upstream: str


def identity(resolved: Sequence[Resolved]) -> str:
    """A hex digest of what is about to be published: the same content gives the same digest."""
    content = [
        [model.spec.name, model.spec.kind, model.spec.source, model.revision]
        + [[file.path, file.size_bytes, file.sha256 or file.identity] for file in sorted(model.files, key=_path)]
        for model in sorted(resolved, key=lambda model: model.spec.name)
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def up_to_date(content: Manifest, resolved: Sequence[Resolved]) -> bool:
    """Whether a version holds exactly what was resolved: models, revisions, and files by size and known digest."""
    models = {model.name: model for model in content.models}
    return len(models) == len(resolved) and all(
        model.spec.name in models and _same(models[model.spec.name], model) for model in resolved
    )


def _same(model: Model, resolved: Resolved) -> bool:
    spec = resolved.spec
    if (model.kind, model.source, model.revision) != (spec.kind, spec.source, resolved.revision):
        return False
    files = {file.path: file for file in model.files}
    if len(files) != len({file.path for file in resolved.files}):
        return False
    for remote in resolved.files:
        known = files.get(remote.path)
        if known is None or known.size_bytes != remote.size_bytes:
            return False
        if known.sha256 != (Wanted("", resolved, remote).sha256 or known.sha256):
            return False
    return True


def model_of(resolved: Resolved, version: str, placed: Mapping[str, Placed]) -> Model:
    """The manifest's entry of a model, once its bytes are in the bucket; placed: what is where, by final name."""
    spec = resolved.spec
    prefix = layout.model_prefix(spec.kind, spec.source, version)
    paths = sorted({file.path for file in resolved.files})
    files = tuple(placed[f"{prefix}/{path}"].as_file(path) for path in paths)
    return Model(spec.name, spec.kind, spec.source, resolved.revision, prefix, files)


def moved_of(resolved: Resolved) -> Moved:
    """What is told of a tag that moved."""
    return Moved(resolved.spec.name, resolved.spec.source, resolved.revision, resolved.moved_to or "")


def accepted(before: Manifest | None, resolved: Sequence[Resolved]) -> tuple[Moved, ...]:
    """Tags that lead to another revision than the one that is published."""
    models = {(model.name, model.kind, model.source): model.revision for model in before.models} if before else {}
    found = ((model, models.get((model.spec.name, model.spec.kind, model.spec.source))) for model in resolved)
    return tuple(
        Moved(model.spec.name, model.spec.source, published, model.revision)
        for model, published in found
        if published is not None and published != model.revision and not model.spec.revision
    )


def _path(file: RemoteFile) -> str:
    return file.path
