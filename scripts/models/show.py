"""What `cache.list` and `cache.show` print: values gathered from the bucket, nothing believed that is not signed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scripts.errors import BadInput
from scripts.models import copies, gate, history, holds, layout, leftovers, manifest
from scripts.models.manifest import Manifest
from scripts.models.statements import Problem, Reading, Statement
from scripts.settings.types import TrustedKey

if TYPE_CHECKING:
    from scripts.cloud.storage import Bucket


@dataclass(frozen=True)
class VersionRow:
    """One version name found in the bucket. serials: of the verified statements that name it, newest first.

    complete: manifest and .done are there. size_bytes and created_at are the manifest's (0 and "" without one).
    """

    version: str
    complete: bool
    active: bool
    held: bool
    pinned: bool
    size_bytes: int
    created_at: str
    serials: tuple[int, ...]
    models: tuple[str, ...]


@dataclass(frozen=True)
class Listing:
    """Every version, newest name first, and what did not hold up."""

    versions: tuple[VersionRow, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Shown:
    """The active version in full. signature: the id of the key that signed it, empty when nothing is trusted."""

    manifest: Manifest | None
    statement: Statement | None
    signature: str
    copies_in_step: bool
    hold: holds.Hold | None
    pins: tuple[str, ...]
    problems: tuple[Problem, ...]

    @property
    def healthy(self) -> bool:
        """Whether a version is active and nothing is wrong with it or beside it."""
        return self.manifest is not None and not self.problems


def versions(bucket: Bucket, keys: Sequence[TrustedKey], *, min_serial: int = 0) -> Listing:
    """All versions in a bucket; raises what the bucket raises (NotFound without bucket)."""
    reading = gate.read(bucket, keys, min_serial=min_serial)
    held, problems = _holds(bucket, reading.problems)
    serials: dict[str, list[int]] = {}
    for item in history.verified(bucket, keys):
        if not isinstance(item, Problem):
            serials.setdefault(item[0].version, []).append(item[0].serial)
    names = {info.name for info in bucket.list(layout.MANIFESTS)}
    found = leftovers.version_names(bucket) | set(serials)
    rows = [_row(bucket, version, names, reading, held, serials) for version in sorted(found, reverse=True)]
    return Listing(tuple(rows), problems)


def _row(
    bucket: Bucket,
    version: str,
    names: set[str],
    reading: Reading,
    held: holds.Holds,
    serials: dict[str, list[int]],
) -> VersionRow:
    active = reading.trusted is not None and reading.trusted.version == version
    content = reading.trusted.manifest if active and reading.trusted is not None else _manifest(bucket, version, names)
    return VersionRow(
        version=version,
        complete=content is not None and layout.done_name(version) in names,
        active=active,
        held=held.hold is not None and held.hold.version == version,
        pinned=version in held.pins,
        size_bytes=content.total_size_bytes if content else 0,
        created_at=content.created_at if content else "",
        serials=tuple(serials.get(version, ())),
        models=tuple(model.name for model in content.models) if content else (),
    )


def _manifest(bucket: Bucket, version: str, names: set[str]) -> Manifest | None:
    if layout.manifest_name(version) not in names:
        return None
    try:
        found = bucket.read(layout.manifest_name(version), limit_bytes=manifest.MAX_BYTES)
        return manifest.parse(found[0]) if found is not None else None
    except BadInput:
        return None


def active(bucket: Bucket, keys: Sequence[TrustedKey], *, min_serial: int = 0) -> Shown:
    """The version that serves now, its signature, its copies and what holds; raises what the bucket raises."""
    reading = gate.read(bucket, keys, min_serial=min_serial)
    held, problems = _holds(bucket, reading.problems)
    trusted = reading.trusted
    if trusted is None:
        return Shown(None, None, "", False, held.hold, held.pins, problems)
    faults = copies.check(bucket, trusted)
    signer = str(trusted.envelope["signatures"][0]["keyid"])
    shown = (*problems, *faults)
    return Shown(trusted.manifest, trusted.statement, signer, not faults, held.hold, held.pins, shown)


def _holds(bucket: Bucket, problems: tuple[Problem, ...]) -> tuple[holds.Holds, tuple[Problem, ...]]:
    try:
        return holds.read(bucket), problems
    except BadInput as error:
        return holds.Holds(), (*problems, Problem(layout.HOLDS, error.message, error.remedy, "holds"))
