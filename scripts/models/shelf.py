"""What a bucket lists of its versions: read in four calls before a rollback, a pruning or a repair decides anything.

Names, generations and checksums, no contents but holds.json. The lease is seen first, so that whoever then takes it
untouched knows that all of this still holds: everything that changes versions works under that lease.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from scripts import lease
from scripts.errors import Conflict
from scripts.models import holds, layout
from scripts.models.holds import Holds
from scripts.plan import Plan

if TYPE_CHECKING:
    from scripts.cloud.storage import Bucket
    from scripts.cloud.storage_objects import ObjectInfo

# The lease of everything that writes statements, versions, holds or the copies.
LEASE = "publish"
_AGAIN = "Run the same command again: it looks anew, and shows its plan."
# The metadata of a statement's object that tells, unproven, which version it names: what need not be read is not.
NAMES = "modelshelf-version"
# The metadata of a flight's note and of a statement that tells, unproven, which execution of several tasks made it.
EXECUTION = "modelshelf-execution"


@dataclass(frozen=True)
class Commit:
    """A statement's object as it is listed; names: the version that its metadata claims, or empty."""

    serial: int
    names: str
    info: ObjectInfo


@dataclass(frozen=True)
class Shelf:
    """One look at a bucket. commits: live statements, highest serial first; next_serial: none was ever higher.

    records: the live objects under manifests/ by name. copies: manifest.json and .done as far as they exist. named: the
    versions that some statement, live or not, claims to name; None when one of them does not tell.
    """

    lease: lease.Seen
    commits: tuple[Commit, ...]
    next_serial: int
    records: dict[str, ObjectInfo]
    copies: dict[str, ObjectInfo]
    holds: Holds
    holds_generation: int
    named: frozenset[str] | None

    @property
    def complete(self) -> list[str]:
        """The versions that have both their manifest and .done, newest first."""
        versions = {name.removeprefix(layout.MANIFESTS).rpartition(".")[0] for name in self.records}
        return sorted((item for item in versions if self.is_complete(item)), reverse=True)

    @property
    def activated(self) -> list[str]:
        """The complete versions that were committed; the others were recorded by somebody who died before that."""
        return [version for version in self.complete if self.named is None or version in self.named]

    def is_complete(self, version: str) -> bool:
        """Whether a version has both its manifest and .done."""
        names = (layout.manifest_name(version), layout.done_name(version))
        return layout.is_version(version) and all(name in self.records for name in names)


def survey(bucket: Bucket) -> Shelf:
    """Look once. Raises what the bucket raises, and BadInput when holds.json is not what a writer here would make."""
    # holds.json, leases/…, manifest.json and manifests/… are neighbours in the order of names.
    middle = {info.name: info for info in bucket.list(first=layout.HOLDS, before=f"{layout.MANIFESTS[:-1]}0")}
    listed = bucket.list(layout.STATEMENTS, versions=True)
    done = bucket.stat(layout.DONE_COPY)
    copies = {info.name: info for info in (middle.get(layout.MANIFEST_COPY), done) if info is not None}
    known = [(serial, info) for info in listed if (serial := layout.statement_serial(info.name)) is not None]
    live = [Commit(serial, info.metadata.get(NAMES, ""), info) for serial, info in known if not info.deleted]
    held = middle.get(layout.HOLDS)
    named = frozenset(info.metadata.get(NAMES, "") for _, info in known)
    return Shelf(
        lease=lease.seen(middle.get(lease.object_name(LEASE))),
        commits=tuple(sorted(live, key=lambda item: -item.serial)),
        next_serial=max((serial for serial, _ in known), default=0) + 1,
        records={name: info for name, info in middle.items() if name.startswith(layout.MANIFESTS)},
        copies=copies,
        holds=holds.read(bucket) if held is not None else Holds(),
        holds_generation=held.generation if held is not None else 0,
        named=None if "" in named else named,
    )


class Decided(Protocol):
    """What was decided from a survey."""

    def plan(self) -> Plan: ...


D = TypeVar("D", bound=Decided)


def settled(held: lease.Lease, todo: D, again: Callable[[], D]) -> D:
    """What was decided before the lease was taken, if it still holds: decided again where somebody worked meanwhile.

    Raises Conflict when that comes out otherwise: it is not what was confirmed.
    """
    if held.untouched:
        return todo
    fresh = again()
    if fresh.plan() != todo.plan():
        raise Conflict("the versions of this bucket changed while this was decided; nothing was done", _AGAIN)
    return fresh
