"""Going back to an earlier version: a NEW statement for it, and a hold that keeps syncs and misses there.

prepare() decides from at most eight reads, carry_out() acts in at most seven writes, however large the versions are:

1. the lease, taken as prepare() saw it: nothing has moved since   2. holds.json, by compare-and-swap
3. statements/<serial>.dsse.json, created once: THE COMMIT         4. manifest.json and .done, by compare-and-swap

The hold comes first: killed between 2 and 3 the bucket holds at what is active, and the same command goes on; the
other way round the nightly sync could undo a rollback that somebody believes to be done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scripts.errors import STATUS, BadInput, NotFound
from scripts.models import copies, holds, layout, publish, shelf, signing, statements
from scripts.models.holds import Hold
from scripts.models.publish import Publisher
from scripts.models.shelf import Shelf
from scripts.models.statements import Problem, Statement, Trusted
from scripts.plan import Action, Change, Plan
from scripts.settings.types import TrustedKey

if TYPE_CHECKING:
    from scripts.cloud.storage import Bucket

_LIST = "Run: ./dev invoke cache.list --env ENVIRONMENT"


@dataclass(frozen=True)
class Rollback:
    """What a rollback would do. active: what the newest statement names (None when none holds up)."""

    seen: Shelf
    active: Statement | None
    to: Trusted
    serial: int
    reason: str

    @property
    def commits(self) -> bool:
        """Whether a statement is needed: the version may be active already."""
        return self.active is None or self.active.version != self.to.version or self.active.serial < self.top

    @property
    def mends(self) -> bool:
        """Whether the copies are behind what is active already: an earlier run died between the commit and them."""
        if self.commits or self.active is None or self.active.serial != self.to.serial:
            return False
        return not copies.are(self.seen.copies, self.to)

    @property
    def top(self) -> int:
        """The highest serial that is listed, believed or not."""
        return self.seen.commits[0].serial if self.seen.commits else 0

    @property
    def holds(self) -> bool:
        """Whether the hold has to be set or moved."""
        return self.seen.holds.hold is None or self.seen.holds.hold.version != self.to.version

    def plan(self) -> Plan:
        """The changes in their order; none when this version is active and held."""
        before = self.seen.holds.hold
        found: list[Change] = []
        if self.holds:
            found.append(Change(Action.UPDATE, "hold", "", before.version if before else None, self.to.version))
        if self.commits:
            was = f"{self.active.version} (serial {self.active.serial})" if self.active else None
            now = f"{self.to.version} (serial {self.serial})"
            found.append(Change(Action.UPDATE, "active version", "", was, now))
        if self.mends:
            found.append(Change(Action.UPDATE, "manifest.json and .done", "", "behind", self.to.version))
        return Plan(f"roll back to {self.to.version}", tuple(found))


def prepare(
    bucket: Bucket, keys: Sequence[TrustedKey], *, to: str = "", generation: int = 0, reason: str = "", floor: int = 0
) -> Rollback:
    """Decide what to go back to: a version by name, by a generation of manifest.json, or the newest one older than the
    active version.

    floor: the lowest serial that services accept. Raises BadInput for what is no version, NotFound when there is no
    such version or it is not complete, with its remedy.
    """
    if to:
        layout.check_version(to, "--to")
    seen = shelf.survey(bucket)
    active = next(_believed(bucket, seen, keys), None)
    if generation:
        target = _of_generation(bucket, keys, generation)
    else:
        name = to or _previous(seen, active.version if active else "")
        target = _of_version(bucket, seen, keys, name)
    if not seen.is_complete(target.version):
        text = f"version {target.version} is not complete any more: its manifest or .done is gone (pruned?)"
        raise NotFound(text, f"{_LIST} and choose a complete one, or sync: the models are pulled again.")
    return Rollback(seen, active, target, max(seen.next_serial, floor), reason or "rolled back")


def carry_out(publisher: Publisher, todo: Rollback, by: str) -> Trusted:
    """Do it, under the lease and settled, and return what is active then. Raises Conflict when somebody was faster."""
    bucket, seen = publisher.bucket, todo.seen
    if todo.holds:
        hold = Hold(todo.to.version, todo.reason, publish.timestamp(), by)
        data = holds.dump_holds(replace(seen.holds, hold=hold))
        bucket.replace(layout.HOLDS, data, seen.holds_generation)
    if not todo.commits:
        publish.mend(publisher, todo.to)
        return todo.to
    return publish.commit(publisher, todo.to.manifest, todo.reason, seen.copies)


def _believed(bucket: Bucket, seen: Shelf, keys: Sequence[TrustedKey]) -> Iterator[Statement]:
    """The statements that verify and whose version is complete, highest first."""
    for commit in seen.commits[: statements.MAX_TRIED]:
        opened = statements.open_statement(bucket, commit.serial, keys)
        if not isinstance(opened, Problem) and seen.is_complete(opened[0].version):
            yield opened[0]


def _previous(seen: Shelf, active: str) -> str:
    """The newest complete version older than the active one: going back twice goes back two versions, not forth.

    One that was never active is none: its publisher died between .done and the statement.
    """
    older = [version for version in seen.activated if version < active] if active else seen.activated
    if not older:
        than = f" older than {active}" if active else ""
        raise NotFound(f"there is no complete version{than} to go back to", _LIST)
    return older[0]


def _of_version(bucket: Bucket, seen: Shelf, keys: Sequence[TrustedKey], version: str) -> Trusted:
    """A version that some statement vouches for. The one that claims to name it is read first, then all the others."""
    claimed = [commit for commit in seen.commits if commit.names == version]
    others = [commit for commit in seen.commits if not commit.names]
    problem: Problem | None = None
    for commit in (*claimed, *others)[: statements.MAX_TRIED]:
        opened = statements.open_statement(bucket, commit.serial, keys)
        if isinstance(opened, Problem) or opened[0].version != version:
            continue
        content = statements.open_manifest(bucket, opened[0])
        if not isinstance(content, Problem):
            statement = opened[0]
            return Trusted(statement.serial, version, content, statement.manifest_sha256, *opened)
        problem = content
    if problem is not None:
        raise NotFound(f"version {version} cannot be believed: {problem.line()}", problem.remedy)
    raise NotFound(f"no signed statement of this bucket names version {version}", _LIST)


def _of_generation(bucket: Bucket, keys: Sequence[TrustedKey], generation: int) -> Trusted:
    """The version that an earlier generation of manifest.json tells; its envelope proves it."""
    found = bucket.read(layout.MANIFEST_COPY, generation, limit_bytes=copies.MAX_BYTES)
    if found is None:
        kept = [info.generation for info in bucket.list(layout.MANIFEST_COPY, versions=True)]
        known = ", ".join(str(item) for item in kept) or "none"
        raise NotFound(f"manifest.json has no generation {generation}; there are: {known}", "Choose one of these.")
    try:
        return copies.open_copy(found[0], keys)
    except (BadInput, signing.Untrusted) as error:
        text = f"generation {generation} of manifest.json cannot be believed: {error.message}"
        raise BadInput(text, f"{_LIST} and go back by --to VERSION. {STATUS}") from None
