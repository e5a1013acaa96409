"""Promotion of a version from one bucket to another: the same manifest, every byte copied server-side, signed anew.

The source's signature is verified with the source's keys and every file compared before; the target's own signer signs
the statement. The order of writes is that of publish.py, under the target's publication lease, so that a promotion that
dies leaves nothing that a reader would take, and the next one goes on: a file that is there with the same size and
checksum is not copied again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scripts.errors import SYNC, Conflict, OpsError, Refused
from scripts.models import gate, publish, shelf, statements
from scripts.models.publish import Publisher
from scripts.models.shelf import Shelf
from scripts.models.statements import Problem, Statement, Trusted
from scripts.plan import Action, Change, Plan
from scripts.settings.types import TrustedKey
from scripts.units import size

if TYPE_CHECKING:
    from scripts.cloud.storage import Bucket
    from scripts.cloud.storage_objects import ObjectInfo


@dataclass(frozen=True)
class Verified:
    """A version that held up in its source bucket, with its objects there by name."""

    bucket: str
    trusted: Trusted
    objects: Mapping[str, ObjectInfo]


@dataclass(frozen=True)
class Promotion:
    """What a promotion would do. missing: the objects that are not in the target yet. seen None: no bucket there."""

    source: Verified
    seen: Shelf | None
    missing: tuple[str, ...]
    active: Statement | None
    serial: int

    @property
    def version(self) -> str:
        return self.source.trusted.version

    @property
    def commits(self) -> bool:
        """Whether a statement is needed: the version may be active already."""
        return self.active is None or self.active.version != self.version

    @property
    def complete(self) -> bool:
        """Whether the target has the version's manifest and .done."""
        return self.seen is not None and self.seen.is_complete(self.version)

    def plan(self) -> Plan:
        """The changes in their order; none when the version is active in the target."""
        found: list[Change] = []
        if self.missing or not self.complete:
            size_bytes = sum(self.source.objects[name].size_bytes for name in self.missing)
            told = f"{len(self.missing)} files, {size(size_bytes)}, from gs://{self.source.bucket}"
            found.append(Change(Action.CREATE, f"version {self.version}", after=told))
        if self.commits:
            was = f"{self.active.version} (serial {self.active.serial})" if self.active else None
            now = f"{self.version} (serial {self.serial})"
            found.append(Change(Action.UPDATE, "active version", "", was, now))
        return Plan(f"promote {self.version}", tuple(found))


def verify(bucket: Bucket, keys: Sequence[TrustedKey], *, floor: int = 0, pinned_version: str = "") -> Verified:
    """The active version of a source, checked from its signature to the checksum of every file.

    Raises Refused when none holds up, or the newest one does not.
    """
    reading = gate.read(bucket, keys, min_serial=floor, pinned_version=pinned_version)
    if reading.trusted is None or reading.problems:
        told = "; ".join(problem.line() for problem in reading.problems[:3]) or "no trusted version is published"
        remedy = reading.problems[0].remedy if reading.problems else SYNC
        raise Refused(f"gs://{bucket.name} has no version that can be promoted: {told}", remedy)
    content = reading.trusted.manifest
    objects = {info.name: info for store in bucket.list_each(*content.stretches()) for info in store}
    return Verified(bucket.name, reading.trusted, {name: objects[name] for name in content.objects()})


def prepare(source: Verified, bucket: Bucket, keys: Sequence[TrustedKey], *, floor: int = 0) -> Promotion:
    """Decide what the target lacks. Raises Refused where a hold keeps it at another version, or other bytes are there
    under the version's names."""
    if not bucket.exists():
        return Promotion(source, None, tuple(source.objects), None, max(1, floor))
    seen = shelf.survey(bucket)
    hold = seen.holds.hold
    if hold is not None and hold.version != source.trusted.version:
        text = f"gs://{bucket.name} is held at {hold.version} since {hold.since} by {hold.by}: {hold.reason}"
        raise Refused(text, "Run: ./dev invoke cache.resume --env ENVIRONMENT")
    there = _there(bucket, source)
    missing = tuple(name for name in source.objects if name not in there)
    return Promotion(source, seen, missing, _active(bucket, seen, keys), max(seen.next_serial, floor))


def _there(bucket: Bucket, source: Verified) -> set[str]:
    """The version's objects that the target has. Raises Refused when one of them has other bytes."""
    stretches = source.trusted.manifest.stretches()
    found = {info.name: info for store in bucket.list_each(*stretches) for info in store}
    for name in source.objects.keys() & found.keys():
        _check_same(source.objects[name], found[name], bucket.name)
    return set(source.objects.keys() & found.keys())


def _check_same(expected: ObjectInfo, found: ObjectInfo, bucket: str) -> None:
    if (expected.size_bytes, expected.crc32c) != (found.size_bytes, found.crc32c):
        text = f"gs://{bucket}/{found.name} has other bytes than the version that is promoted"
        raise Refused(text, "Find out who wrote it (audit/ and the bucket's access log), then delete that generation.")


def _active(bucket: Bucket, seen: Shelf, keys: Sequence[TrustedKey]) -> Statement | None:
    """What the newest statement that verifies names, when its version is complete."""
    for commit in seen.commits[: statements.MAX_TRIED]:
        opened = statements.open_statement(bucket, commit.serial, keys)
        if not isinstance(opened, Problem) and seen.is_complete(opened[0].version):
            return opened[0]
    return None


def carry_out(
    publisher: Publisher, todo: Promotion, reason: str, settled: Callable[[], None], say: Callable[[str], None]
) -> Trusted | None:
    """Copy, compare, record and commit, under the target's lease; what is active then, None when it was already.

    settled: asked before the commit; raises when the source is not what was verified any more. Raises Conflict when the
    lease was lost or somebody else committed.
    """
    for number, name in enumerate(todo.missing, 1):
        publisher.lease.check()
        say(f"copying {number} of {len(todo.missing)}: {name}")
        _copy(publisher.bucket, todo.source, todo.source.objects[name])
    digest = publish.record(publisher, todo.source.trusted.manifest)
    if digest != todo.source.trusted.manifest_sha256:
        text = f"the manifest of {todo.version} became sha256 {digest[:12]}…, which is not what the source signed"
        raise OpsError(text, "Update the program (git pull): it writes manifests otherwise than the one that made it.")
    settled()
    return publish.commit(publisher, todo.source.trusted.manifest, reason) if todo.commits else None


def _copy(bucket: Bucket, source: Verified, info: ObjectInfo) -> None:
    try:
        made = bucket.copy(info.name, info.name, source_generation=info.generation, source_bucket=source.bucket)
    except Conflict:
        found = bucket.stat(info.name)
        if found is None:
            raise
        made = found
    _check_same(info, made, bucket.name)
