"""Which images exist: a digest for each program of the table and repository, tags that were moved or taken away.

Every tag of a repository whose last component is in the table names the program as it is now. An image is an OCI image
of one layer, made from the program's source: its digest is the SHA-256 of the manifest and changes with the source.
What was once resolved stays known by its digest.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.localcloud.context import Context
from scripts.localcloud.run import images
from scripts.localcloud.run.images import Reference
from scripts.localcloud.web import ApiError

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_TABLES = """
CREATE TABLE IF NOT EXISTS run_image_tags (
  repository TEXT NOT NULL, tag TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (repository, tag));
CREATE TABLE IF NOT EXISTS run_image_manifests (
  repository TEXT NOT NULL, digest TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (repository, digest));
CREATE TABLE IF NOT EXISTS run_image_blobs (digest TEXT PRIMARY KEY, media TEXT NOT NULL, body BLOB NOT NULL);
"""


@dataclass(frozen=True)
class Stored:
    """A manifest or a blob: its digest, media type and bytes."""

    digest: str
    media: str
    body: bytes


class ImageStore:
    """Tags and digests by repository (`HOST/PATH`); a digest of "" marks a tag that was taken away."""

    def __init__(self, context: Context) -> None:
        self._db = context.db
        self._root = context.project_root
        self._db.script(_TABLES)

    def digest(self, reference: str) -> str:
        """What REPOSITORY@DIGEST a reference means now, the repository as it is written; "" when there is none."""
        found = images.parse(reference)
        stored = self.manifest(found.repository, found.digest or found.tag) if found is not None else None
        return f"{_without_tag(reference)}@{stored.digest}" if stored is not None else ""

    def manifest(self, repository: str, wanted: str) -> Stored | None:
        """The manifest of a tag or digest of a repository; None when there is none."""
        if DIGEST.fullmatch(wanted) is None:
            row = self._db.row("SELECT digest FROM run_image_tags WHERE repository = ? AND tag = ?", repository, wanted)
            if row is None:
                return self._build(repository)
            wanted = row["digest"]
        row = self._row(repository, wanted)
        if row is None and (built := self._build(repository)) is not None:
            row = self._row(repository, wanted) if built.digest == wanted else None
        return Stored(wanted, MANIFEST, row["body"]) if row is not None else None

    def blob(self, digest: str) -> Stored | None:
        """A configuration or layer by its digest."""
        row = self._db.row("SELECT media, body FROM run_image_blobs WHERE digest = ?", digest)
        return Stored(digest, row["media"], row["body"]) if row is not None else None

    def tags(self, repository: str) -> list[str]:
        """The tags that were set by hand, and `latest` unless it was taken away."""
        rows = self._db.rows("SELECT tag, digest FROM run_image_tags WHERE repository = ?", repository)
        known = {row["tag"]: row["digest"] for row in rows}
        return sorted(tag for tag, digest in {"latest": "-", **known}.items() if digest)

    def repositories(self) -> list[str]:
        """The repositories that were asked for or written to so far."""
        sql = "SELECT repository FROM run_image_tags UNION SELECT repository FROM run_image_manifests ORDER BY 1"
        return [row["repository"] for row in self._db.rows(sql)]

    def set_by_hand(self) -> list[dict[str, Any]]:
        """The tags that were moved or taken away: {reference, digest, exists}."""
        rows = self._db.rows("SELECT * FROM run_image_tags ORDER BY repository, tag")
        return [
            {"reference": f"{row['repository']}:{row['tag']}", "digest": row["digest"], "exists": bool(row["digest"])}
            for row in rows
        ]

    def move(self, reference: str, digest: str = "") -> str:
        """Point a tag at a digest, or without one at a new build; the digest. Raises ApiError 400."""
        found = _tagged(reference)
        if digest and DIGEST.fullmatch(digest) is None:
            raise ApiError(400, f"digest: expected sha256: and 64 hexadecimal digits, found {digest[:100]!r}.")
        if images.image_name(reference) not in images.IMAGES:
            known = ", ".join(sorted(images.IMAGES))
            raise ApiError(
                400, f"reference: no program stands for {reference!r}; the last component is one of: {known}."
            )
        with self._db.transaction():
            if not digest:
                build = 1 + len(self._db.rows("SELECT 1 FROM run_image_manifests"))
                digest = self._keep(found.repository, _image(found.path, self._program(found), build)).digest
            elif self.manifest(found.repository, digest) is None:
                self._put(found.repository, digest, self._body_for(found, digest))
            self._set(found, digest)
        return digest

    def take_away(self, reference: str) -> None:
        """Make a tag unknown. Raises ApiError 400."""
        self._set(_tagged(reference), "")

    def _set(self, found: Reference, digest: str) -> None:
        sql = "INSERT OR REPLACE INTO run_image_tags (repository, tag, digest) VALUES (?, ?, ?)"
        self._db.run(sql, found.repository, found.tag, digest)

    def _body_for(self, found: Reference, digest: str) -> bytes:
        """The manifest that another repository has under this digest, else this program's own."""
        row = self._db.row("SELECT body FROM run_image_manifests WHERE digest = ?", digest)
        body: bytes = row["body"] if row is not None else _image(found.path, self._program(found), 0)[0].body
        return body

    def _row(self, repository: str, digest: str) -> Any:
        sql = "SELECT body FROM run_image_manifests WHERE repository = ? AND digest = ?"
        return self._db.row(sql, repository, digest)

    def _build(self, repository: str) -> Stored | None:
        """The image of a repository as the program is now; None for one that stands for no program."""
        found = images.parse(repository)
        if found is None or images.image_name(repository) not in images.IMAGES:
            return None
        return self._keep(found.repository, _image(found.path, self._program(found), 0))

    def _program(self, found: Reference) -> str:
        """The SHA-256 over the sources of a program."""
        image = images.IMAGES[images.image_name(found.path)]
        whole = hashlib.sha256()
        for file in _sources(self._root, image.sources):
            whole.update(f"{file.relative_to(self._root)}\n{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
        return whole.hexdigest()

    def _keep(self, repository: str, parts: list[Stored]) -> Stored:
        manifest, *blobs = parts
        if self._row(repository, manifest.digest) is None:
            with self._db.transaction():
                self._put(repository, manifest.digest, manifest.body)
                for blob in blobs:
                    sql = "INSERT OR IGNORE INTO run_image_blobs (digest, media, body) VALUES (?, ?, ?)"
                    self._db.run(sql, blob.digest, blob.media, blob.body)
        return manifest

    def _put(self, repository: str, digest: str, body: bytes) -> None:
        sql = "INSERT OR REPLACE INTO run_image_manifests (repository, digest, body) VALUES (?, ?, ?)"
        self._db.run(sql, repository, digest, body)


def _tagged(reference: str) -> Reference:
    found = images.parse(reference)
    if found is None or found.digest:
        raise ApiError(
            400, f"reference: expected [HOST/]PATH:TAG of gcr.io, docker.pkg.dev or docker.io: {reference!r}."
        )
    return found


def _without_tag(reference: str) -> str:
    path, slash, last = reference.partition("@")[0].rpartition("/")
    return f"{path}{slash}{last.partition(':')[0]}"


def _sources(root: Path, names: tuple[str, ...]) -> list[Path]:
    found: list[Path] = []
    for name in names:
        path = root / name
        found.extend(sorted(path.rglob("*.py")) if path.is_dir() else [path] if path.is_file() else [])
    return found


def _image(path: str, program: str, build: int) -> list[Stored]:
    """Manifest, configuration and layer of one build of a program in a repository."""
    image = images.IMAGES[images.image_name(path)]
    layer = _stored(LAYER, _layer(f"{path} {program} {build}\n".encode()))
    start = {"Entrypoint": ["python", *image.entry_point[1:]], "Cmd": list(image.arguments)}
    described = {
        "architecture": "amd64",
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": start,
        "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
    }
    config = _stored(CONFIG, json.dumps(described, separators=(",", ":")).encode())
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _descriptor(config),
        "layers": [_descriptor(layer)],
    }
    return [_stored(MANIFEST, json.dumps(manifest, separators=(",", ":")).encode()), config, layer]


def _layer(content: bytes) -> bytes:
    import tarfile

    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        entry = tarfile.TarInfo("program")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return whole.getvalue()


def _stored(media: str, body: bytes) -> Stored:
    return Stored(f"sha256:{hashlib.sha256(body).hexdigest()}", media, body)


def _descriptor(part: Stored) -> dict[str, Any]:
    return {"mediaType": part.media, "digest": part.digest, "size": len(part.body)}
