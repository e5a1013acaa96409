"""One sync: see what the settings want, pull what is missing, publish it as a new version; or find nothing to do.

lease → holds → resolve → up to date? → the flight's note → every file in place → publish.record → publish.commit →
clear what is left. Several tasks of one job execution share the lease and the files; the last one records and commits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from scripts import lease
from scripts.errors import BadInput, Conflict, OpsError
from scripts.models import (
    compare,
    flight,
    gate,
    gather,
    history,
    holds,
    layout,
    leftovers,
    manifest,
    publish,
    retention,
    shelf,
    statements,
    transfer,
)
from scripts.models.compare import Moved
from scripts.models.flight import ALONE, Flight, Landed, Share
from scripts.models.gather import Gathered, Order
from scripts.models.leftovers import Leftovers
from scripts.models.manifest import Manifest
from scripts.models.outcome import Noted, Outcome, SyncResult, audited
from scripts.models.progress import Pace
from scripts.models.publish import Publisher
from scripts.models.retention import Retain, Tidied
from scripts.models.sources.base import Resolved, Source
from scripts.models.statements import Problem, Reading, Trusted
from scripts.settings.types import Kind, ModelSpec, TrustedKey

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

    from scripts.cloud.storage import Bucket

# A killed publisher blocks the next one for at most this long; it is renewed three times as often.
LEASE_TTL_S = 15.0
# How long a sync waits for another one: as long as a large first sync may take.
WAIT_S = 1800.0
# How many published versions are searched for files that need no download.
SEARCHED_VERSIONS = 5

Say = Callable[[str], None]


def sync(
    bucket: Bucket,
    specs: Sequence[ModelSpec],
    sources: Mapping[Kind, Source],
    signer: Signer,
    *,
    keys: Sequence[TrustedKey],
    say: Say = lambda line: None,
    tell: Callable[[Pace], None] = lambda pace: None,
    share: Share = ALONE,
    environment: str = "",
    execution: str = "",
    command: str = "sync",
    min_serial: int = 0,
    wait_s: float = WAIT_S,
    lease_ttl_s: float = LEASE_TTL_S,
    accept: bool = False,
    retain: Retain | None = None,
) -> SyncResult:
    """Make the active version hold the models of the settings; changed is False when it does already or a hold is set.

    tell: hears the pace of the transfer. share: which task of an execution this is. execution: the job execution that
    runs this, for the audit. wait_s: how long to wait for another sync, which after it was killed still holds the lease
    for lease_ttl_s. accept: take what tags name upstream now, where the settings fix no revision. retain: prune
    afterwards, unless a hold is set. Raises BadInput, Refused (lease, unknown signing key), Conflict (somebody else
    committed), and what sources and bucket raise; the active version stays what it was then, and finished files are
    taken up by the next run.
    """
    _check_specs(specs)
    publish.check_signer(signer, keys)
    purpose = f"sync of {environment}".removesuffix(" of ") + (f" ({execution})" if execution else "")
    hold = lease.hold(
        bucket, shelf.LEASE, purpose, ttl_s=lease_ttl_s, wait_s=wait_s, on_wait=_waiting(say), group=share.group
    )
    with hold as held:
        serial = publish.next_serial(bucket, min_serial)
        publisher = Publisher(bucket, signer, tuple(keys), held, serial, share.execution)
        run = _Sync(publisher, tuple(specs), sources, say, tell, share, min_serial, accept, retain)
        noted = Noted(bucket, environment, command, execution, run.specs, say)
        return audited(noted, run.work, lambda: run.landed)


def _waiting(say: Say) -> Callable[[lease.Holder], None]:
    return lambda holder: say(f"another sync is at work ({holder.owner}, {holder.purpose}); waiting for it")


def _check_specs(specs: Sequence[ModelSpec]) -> None:
    if not specs:
        raise BadInput("models: found none, expected at least one model", "Add models to the environment file.")
    names = [spec.name for spec in specs]
    twice = next((name for name in names if names.count(name) > 1), "")
    if twice:
        raise BadInput(f"models: {twice!r} is there twice, expected each name once", "Correct the environment file.")


@dataclass
class _Sync:
    """The work of one sync, under the lease."""

    publisher: Publisher
    specs: tuple[ModelSpec, ...]
    sources: Mapping[Kind, Source]
    say: Say
    tell: Callable[[Pace], None]
    share: Share
    min_serial: int
    accept: bool
    retain: Retain | None
    landed: Landed = field(default_factory=lambda: Landed({}, 0, 0))
    accepted: tuple[Moved, ...] = ()
    notes: list[Problem] = field(default_factory=list)

    def work(self, began: float) -> SyncResult:
        """Everything between taking the lease and giving it back; began: time.monotonic() at the start."""
        bucket = self.publisher.bucket
        hold = None
        if self.share.count > 1:
            self.publisher.lease.leave()  # until it is clear that no other task needs it
            # Whoever set a hold at what is active made no statement, so the serial of a note does not tell of it.
            hold = holds.read(bucket).hold
            note = flight.joined(self.publisher, self.share) if hold is None else None
            if note is not None:
                known = self._known()
                left = leftovers.look(bucket, _newest(known))
                resolved = self._resolve(None, note.revisions)
                self.accepted = compare.accepted(next(iter(known), None), resolved) if self.accept else ()
                return self._fly(note, resolved, began, known, left)
        reading = gate.read(bucket, self.publisher.keys, min_serial=self.min_serial)
        self.notes.extend(reading.problems)
        for problem in reading.problems:
            self.say(f"not trusted: {problem.line()}")
        active = reading.trusted
        hold = hold or holds.read(bucket).hold
        if hold is not None:
            self.say(f"held at {hold.version} since {hold.since}: {hold.reason or 'no reason given'}; nothing pulled")
            self.publisher.lease.leave(stay=False)
            self._mend(active)
            return self._result("held", active, (), began, hold)
        before = self._meant(reading)
        resolved = self._resolve(before)
        self.accepted = compare.accepted(before, resolved) if self.accept else ()
        for tag in self.accepted:
            self.say(f"{tag.source} moved upstream: {tag.published} → {tag.upstream}, accepted")
        moved = tuple(compare.moved_of(model) for model in resolved if model.moved_to)
        for tag in moved:
            self.say(f"{tag.source} moved upstream to {tag.upstream}; {tag.published} stays published")
        if active is not None and compare.up_to_date(active.manifest, resolved):
            return self._unchanged(active, moved, began)
        return replace(self._publish(resolved, began), moved=moved)

    def _meant(self, reading: Reading) -> Manifest | None:
        """What was published last as it was signed. Its files may be damaged and an older version serve: a repair
        must bring back this one's revisions, not the older one's."""
        if reading.trusted is not None and not reading.problems:
            return reading.trusted.manifest
        return next(iter(history.signed_manifests(self.publisher.bucket, self.publisher.keys, limit=1)), None)

    def _resolve(self, before: Manifest | None, agreed: Mapping[str, str] | None = None) -> list[Resolved]:
        """The revisions to publish; a model that was published before keeps its revision, unless accept is asked.

        agreed: those that the tasks of this execution have agreed on.
        """
        models = before.models if before is not None and not self.accept else ()
        pinned = {(model.name, model.kind, model.source): model.revision for model in models}
        known = {spec.name: pinned.get((spec.name, spec.kind, spec.source)) for spec in self.specs} | dict(agreed or {})
        return [self.sources[spec.kind].resolve(spec, known[spec.name]) for spec in self.specs]

    def _unchanged(self, active: Trusted, moved: tuple[Moved, ...], began: float) -> SyncResult:
        """Nothing to pull: mend the copies, and put a new statement on top of any that did not hold up. Of several
        tasks the first does this, and only it gives the lease back: the others must not while it works. After a commit
        of their own nobody else does, and one that is run again since it died then does it."""
        if self.share.index > 0 and not flight.committed(self.publisher, self.share, active.serial):
            self.say(f"up to date: {active.version} (serial {active.serial}), 0 bytes pulled")
            return self._result("up_to_date", active, moved, began)
        self.publisher.lease.leave(stay=False)
        self._clean()
        if self.publisher.serial > max(active.serial + 1, self.min_serial) and self._covered(active):
            trusted = publish.commit(
                self.publisher,
                active.manifest,
                "put on top of statements that did not hold up or were deleted",
            )
            self.say(f"{active.version} is whole and active again as serial {trusted.serial}")
            return self._result("reactivated", trusted, moved, began)
        self._mend(active)
        self.say(f"up to date: {active.version} (serial {active.serial}), 0 bytes pulled")
        return self._result("up_to_date", active, moved, began)

    def _clean(self, version: str = "") -> None:
        """Remove what dead publishers left. version: the one just committed; everything dead has an earlier name. Once
        the lease is lost it is left alone: what lies there may be the successor's."""
        bucket, check = self.publisher.bucket, self.publisher.lease.check
        try:
            if not version:
                leftovers.clear(bucket, check)
                return
            leftovers.clear_unborn(bucket, check, version)
            leftovers.clear_tmp(bucket, check, version)
        except Conflict as error:
            self.say(f"what dead syncs left is not removed: {error.message}")

    def _covered(self, active: Trusted) -> bool:
        """Whether a live statement lies above the active one (a reader tries it first, and complains), or an honest one
        did that was deleted (a service whose MODEL_MIN_SERIAL it set refuses the active one)."""
        bucket, keys = self.publisher.bucket, self.publisher.keys
        if any(serial > active.serial for serial in statements.serials(bucket)[0]):
            return True
        return any(statements.was_signed(bucket, info, keys) for info in statements.above(bucket, active.serial))

    def _mend(self, active: Trusted | None) -> None:
        if active is not None and publish.mend(self.publisher, active):
            self.say("manifest.json and .done were behind and are in step again")

    def _publish(self, resolved: Sequence[Resolved], began: float) -> SyncResult:
        """Begin a version, or join the one that another task of this execution has begun meanwhile."""
        bucket, share, identity = self.publisher.bucket, self.share, compare.identity(resolved)
        known = self._known()
        left = leftovers.look(bucket, _newest(known))
        version = layout.new_version(identity, datetime.now(UTC), left.versions)
        revisions = {model.spec.name: model.revision for model in resolved}
        planned = Flight(
            version, self.publisher.serial, identity, revisions, share.execution, share.count, publish.timestamp()
        )
        note = flight.begin(self.publisher, planned)
        if note != planned:
            resolved = self._resolve(None, note.revisions)
        return self._fly(note, resolved, began, known, left)

    def _known(self) -> list[Manifest]:
        """The published versions whose files need no download."""
        return history.signed_manifests(self.publisher.bucket, self.publisher.keys, limit=SEARCHED_VERSIONS)

    def _fly(
        self, note: Flight, resolved: Sequence[Resolved], began: float, known: Sequence[Manifest], left: Leftovers
    ) -> SyncResult:
        """Place this task's share of the files; the last task records the version and commits."""
        version = note.version
        if compare.identity(resolved) != note.identity:
            text = f"the models of {version} are other ones for this task than for the one that began it"
            raise OpsError(text, "Run the same command again; if it repeats, an upstream alters immutable revisions.")
        if self.share.count == 1 or not flight.landed(self.publisher, note, self.share):
            self._place(note, resolved, known, left)
        if self.share.count > 1:
            together = flight.together(self.publisher, note, self.share)
            if together is None:
                self.say(f"task {self.share.index} of {self.share.count} is done; the last one publishes {version}")
                return self._result("placed", None, (), began)
            self.landed = together
        models = tuple(compare.model_of(model, version, self.landed.placed) for model in resolved)
        content = manifest.make(version, note.created_at, models)
        publish.record(self.publisher, content)
        trusted = publish.commit(
            self.publisher, content, "the models of the settings changed" if known else "the first version"
        )
        self.publisher.lease.leave(stay=False)
        self._clean(version)
        self.say(f"published {version} as serial {trusted.serial}")
        return self._result("published", trusted, (), began)

    def _place(self, note: Flight, resolved: Sequence[Resolved], known: Sequence[Manifest], left: Leftovers) -> None:
        """Have this task's share of the files in the bucket under their final names."""
        wanted = transfer.wanted_objects(resolved, note.version)
        groups = flight.mine(gather.contents(wanted.values()), self.share)
        size_bytes = sum(item.file.size_bytes for group in groups for item in group)
        which = f"task {self.share.index} of {self.share.count}: " if self.share.count > 1 else ""
        count = sum(len(group) for group in groups)
        self.say(f"publishing {note.version}: {which}{count} files, {size_bytes / 1e6:,.1f} MB")
        gathered, before = Gathered(), self._received()
        order = Order(
            self.publisher.bucket, note.version, self.sources, self.publisher.lease.check, self.say, self.tell
        )
        try:
            gather.gather(order, groups, known, left, gathered)
        finally:
            self.landed = Landed(gathered.placed, self._received() - before, gathered.reused_bytes)
        if self.share.count > 1:
            flight.land(self.publisher, note, self.share, self.landed)

    def _received(self) -> int:
        return sum(source.received_bytes for source in self.sources.values())

    def _tidy(self) -> Tidied:
        if self.retain is None:
            return Tidied()
        tidied = retention.tidy(self.publisher.bucket, self.publisher.lease, self.publisher.keys, self.retain)
        for version in tidied.removed:
            self.say(f"removed the old version {version}")
        return tidied

    def _result(
        self,
        outcome: Outcome,
        trusted: Trusted | None,
        moved: tuple[Moved, ...],
        began: float,
        hold: holds.Hold | None = None,
    ) -> SyncResult:
        changed = outcome in ("published", "reactivated")
        # Of several tasks one prunes: the one that published, else the first.
        tidies = changed or (outcome == "up_to_date" and self.share.index == 0)
        tidied = self._tidy() if tidies else Tidied()
        return SyncResult(
            changed=changed,
            version=trusted.version if trusted else "",
            serial=trusted.serial if trusted else 0,
            upstream_bytes=self.landed.upstream_bytes,
            reused_bytes=self.landed.reused_bytes,
            moved=moved,
            seconds=round(time.monotonic() - began, 3),
            outcome=outcome,
            hold=hold,
            problems=tuple(self.notes),
            accepted=self.accepted if outcome == "published" else (),
            tidied=tidied,
        )


def _newest(known: Sequence[Manifest]) -> str:
    return max((content.version for content in known), default="")
