"""Retention: which versions stay, and how the others go, without a reader ever seeing half of one.

Kept are the newest versions that were ever active, and whatever is active, held, pinned or named by a live revision. Of
a version that goes `.done` is removed first (from then on no reader takes it), then its files, its manifest last:
whoever is killed in between leaves a manifest without `.done`, which the next run finishes. Everything is removed by
generation.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scripts.errors import AccessDenied, OpsError
from scripts.models import layout, shelf, statements
from scripts.models.shelf import Shelf
from scripts.models.statements import Problem
from scripts.plan import Action, Change, Plan
from scripts.settings.types import TrustedKey
from scripts.units import size

if TYPE_CHECKING:
    from scripts.cloud.storage import Bucket
    from scripts.cloud.storage_objects import ObjectInfo
    from scripts.lease import Lease

# How far below the active statement others are read for what readers would fall back to.
_READ = 20
# A sync removes nothing below this number, whatever is configured: a full bucket is warned of.
LEAST = 3


@dataclass(frozen=True)
class Retain:
    """What a sync keeps when it prunes by itself. live: asks for the versions that live revisions name."""

    keep: int
    live: Callable[[], Collection[str]]


@dataclass(frozen=True)
class Tidied:
    """What a sync removed by itself, and why it did not where it could not."""

    removed: tuple[str, ...] = ()
    freed_bytes: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Doomed:
    """A version that goes: its generations in the order in which they are removed, and the bytes that frees."""

    version: str
    why: str
    objects: tuple[ObjectInfo, ...]

    @property
    def size_bytes(self) -> int:
        return sum(info.size_bytes for info in self.objects)


@dataclass(frozen=True)
class Pruning:
    """What pruning would do. kept: the reasons of each version that stays; leftovers: what dead runs left in .tmp/."""

    seen: Shelf
    kept: Mapping[str, tuple[str, ...]]
    doomed: tuple[Doomed, ...]
    leftovers: tuple[ObjectInfo, ...]

    @property
    def freed_bytes(self) -> int:
        return sum(item.size_bytes for item in self.doomed) + sum(info.size_bytes for info in self.leftovers)

    def plan(self) -> Plan:
        """The changes, oldest version first."""
        found = [
            Change(Action.DELETE, f"version {item.version}", "", f"{size(item.size_bytes)}, {item.why}")
            for item in self.doomed
        ]
        if self.leftovers:
            bytes_ = sum(info.size_bytes for info in self.leftovers)
            found.append(Change(Action.DELETE, ".tmp/", "", f"{size(bytes_)} of interrupted syncs"))
        return Plan(f"prune to free {size(self.freed_bytes)}" if found else "prune", tuple(found))


def reasons(seen: Shelf, keep: int, taken: Sequence[str], live: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Why each version stays, newest first; a version that is not in it goes.

    taken: what readers take, then what they would take if that did not hold up.
    """
    found: dict[str, list[str]] = {}

    def note(versions: Iterable[str], why: str) -> None:
        for version in versions:
            found.setdefault(version, []).append(why)

    note(taken[:1], "active")
    note(taken[1:], "readers fall back to it")
    hold = seen.holds.hold
    note([hold.version] if hold is not None else [], "held")
    note(seen.holds.pins, "pinned")
    note(live, "named by a live revision")
    note(seen.activated[:keep], f"one of the newest {keep}")
    return {version: tuple(dict.fromkeys(found[version])) for version in sorted(found, reverse=True)}


def prepare(bucket: Bucket, keys: Sequence[TrustedKey], *, keep: int, live: Collection[str] = ()) -> Pruning:
    """Decide what goes. live: versions that revisions of this environment name. Raises what the bucket raises."""
    seen = shelf.survey(bucket)
    kept = reasons(seen, max(keep, 1), _taken(bucket, seen, keys), live)
    versions = sorted(_named(bucket, seen))
    doomed = [_doomed(bucket, seen, version) for version in versions if version not in kept]
    rubbish = [info for info in bucket.list(layout.TMP, versions=True) if layout.split_tmp(info.name) is not None]
    return Pruning(seen, kept, tuple(doomed), tuple(rubbish))


def carry_out(bucket: Bucket, lease: Lease, todo: Pruning) -> int:
    """Remove it, under the lease and settled; the bytes freed. Raises Conflict when the lease is lost on the way."""
    return _remove(bucket, lease, (*(info for item in todo.doomed for info in item.objects), *todo.leftovers))


def _remove(bucket: Bucket, lease: Lease, objects: Iterable[ObjectInfo]) -> int:
    freed_bytes = 0
    for info in objects:
        lease.check()
        if bucket.delete(info.name, info.generation):
            freed_bytes += info.size_bytes
    return freed_bytes


def tidy(bucket: Bucket, lease: Lease, keys: Sequence[TrustedKey], retain: Retain) -> Tidied:
    """Prune at the end of a sync, under its lease. What stands in the way is a warning: what was published stands."""
    removed, freed_bytes = [], 0
    try:
        live = retain.live()
    except OpsError as error:
        remedy = error.remedy
        if isinstance(error, AccessDenied):
            remedy = "Give the sync job's account roles/run.viewer on the project, or run: cache.prune by hand"
        return Tidied(warnings=(f"no old version was removed: {error.message}. {remedy}",))
    try:
        todo = prepare(bucket, keys, keep=max(retain.keep, LEAST), live=live)
        for item in todo.doomed:
            freed_bytes += _remove(bucket, lease, item.objects)
            removed.append(item.version)
        freed_bytes += _remove(bucket, lease, todo.leftovers)
    except OpsError as error:
        return Tidied(tuple(removed), freed_bytes, (f"old versions were not all removed: {error.message}",))
    low = f"cache.keep is {retain.keep}: a sync keeps {LEAST}; to remove more run: cache.prune --keep {retain.keep}"
    return Tidied(tuple(removed), freed_bytes, (low,) if retain.keep < LEAST else ())


def _taken(bucket: Bucket, seen: Shelf, keys: Sequence[TrustedKey]) -> list[str]:
    """What readers take now, and what they would take if that did not hold up."""
    found: list[str] = []
    left = statements.MAX_TRIED  # as many as a reader tries
    for commit in seen.commits:
        if not left or len(found) == 2:
            break
        left -= 1
        opened = statements.open_statement(bucket, commit.serial, keys)
        if isinstance(opened, Problem) or not seen.is_complete(opened[0].version):
            continue
        if not found:
            left = min(left, _READ)
        if opened[0].version not in found:
            found.append(opened[0].version)
    return found


def _named(bucket: Bucket, seen: Shelf) -> set[str]:
    """Every version of which anything is there: recorded, or a folder."""
    recorded = {name.removeprefix(layout.MANIFESTS).rpartition(".")[0] for name in seen.records}
    folders = {
        path.rstrip("/").rpartition("/")[2] for store in layout.STORES.values() for path in bucket.prefixes(f"{store}/")
    }
    return {name for name in recorded | folders if layout.is_version(name)}


def _doomed(bucket: Bucket, seen: Shelf, version: str) -> Doomed:
    stores = [f"{store}/{version}/" for store in layout.STORES.values()]
    records = bucket.list(f"{layout.MANIFESTS}{version}.", versions=True)
    files = [info for prefix in stores for info in bucket.list(prefix, versions=True)]
    mark = [info for info in records if info.name == layout.done_name(version)]
    last = [info for info in records if info.name != layout.done_name(version)]
    if not seen.is_complete(version):
        why = "never finished, or pruned half"
    else:
        why = "older than what is kept" if version in seen.activated else "never activated: no statement names it"
    return Doomed(version, why, (*mark, *files, *last))
