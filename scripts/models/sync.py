"""One sync: see what the settings want, pull what is missing, publish it as a new version; or find nothing to do.

lease → holds → resolve → up to date? → pull to `.tmp/` → final names → publish.record → publish.commit → clear `.tmp/`
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from scripts import audit, lease
from scripts.errors import BadInput, Conflict, OpsError, Unreachable
from scripts.models import (
    compare,
    gate,
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
from scripts.models.manifest import Manifest
from scripts.models.publish import Publisher
from scripts.models.retention import Retain, Tidied
from scripts.models.sources.base import Resolved, Source
from scripts.models.statements import Problem, Reading, Trusted
from scripts.models.transfer import Placed, Wanted
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

Outcome = Literal["published", "reactivated", "up_to_date", "held"]
Say = Callable[[str], None]


@dataclass(frozen=True)
class SyncResult:
    """What a sync did. version and serial are the active ones afterwards (empty and 0 when there is none).

    outcome: published (a new version), reactivated (a new statement for a whole version under broken ones), up_to_date,
    held. upstream_bytes: model bytes received; reused_bytes: bytes that were in the bucket already. moved: tags that
    name another revision upstream than the published one; accepted: those whose new one was taken.
    """

    changed: bool
    version: str
    serial: int
    upstream_bytes: int
    reused_bytes: int
    moved: tuple[Moved, ...]
    seconds: float
    outcome: Outcome
    hold: holds.Hold | None = None
    problems: tuple[Problem, ...] = ()
    accepted: tuple[Moved, ...] = ()
    tidied: Tidied = field(default_factory=Tidied)


def sync(
    bucket: Bucket,
    specs: Sequence[ModelSpec],
    sources: Mapping[Kind, Source],
    signer: Signer,
    *,
    keys: Sequence[TrustedKey],
    say: Say = lambda line: None,
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

    execution: the job execution that runs this, for the audit. wait_s: how long to wait for another sync, which
    after it was killed still holds the lease for lease_ttl_s. accept: take what tags name upstream now, where the
    settings fix no revision. retain: prune afterwards, unless a hold is set. Raises
    BadInput, Refused (lease, unknown signing key), Conflict (somebody else committed), and what sources and bucket
    raise; the active version stays what it was then, and finished files are taken up by the next run.
    """
    _check_specs(specs)
    publish.check_signer(signer, keys)

    def waiting(holder: lease.Holder) -> None:
        say(f"another sync is at work ({holder.owner}, {holder.purpose}); waiting for it")

    purpose = f"sync of {environment}".removesuffix(" of ") + (f" ({execution})" if execution else "")
    with lease.hold(bucket, shelf.LEASE, purpose, ttl_s=lease_ttl_s, wait_s=wait_s, on_wait=waiting) as held:
        serial = publish.next_serial(bucket, min_serial)
        publisher = Publisher(bucket, signer, tuple(keys), held, serial)
        run = _Sync(publisher, tuple(specs), sources, say, min_serial, accept, retain)
        noted = {"environment": environment, "command": command, "execution": execution}
        return _audited(run, noted)


def _audited(run: _Sync, noted: Mapping[str, str]) -> SyncResult:
    """Run it and leave a record when it changed something or failed (unless the bucket itself is out of reach)."""
    started_at = datetime.now(UTC)
    try:
        result = run.work(time.monotonic())
    except Unreachable:
        raise
    except BaseException as error:
        _record(run, noted, "failed", started_at, {"error": f"{type(error).__name__}: {error}"})
        raise
    if result.changed:
        details = {
            "version": result.version, "serial": result.serial, "pruned": list(result.tidied.removed),
            "moved": [vars(item) for item in result.moved], "accepted": [vars(item) for item in result.accepted],
        }  # fmt: skip
        _record(run, noted, result.outcome, started_at, details)
    return result


def _record(
    run: _Sync, noted: Mapping[str, str], outcome: str, started_at: datetime, details: Mapping[str, Any]
) -> None:
    plan = {"title": "sync", "models": [f"{spec.name}: {spec.kind} {spec.source}" for spec in run.specs]}
    try:
        audit.record(
            run.publisher.bucket,
            command=noted["command"],
            environment=noted["environment"],
            plan=plan,
            outcome=outcome,
            started_at=started_at,
            details={
                **details,
                "execution": noted["execution"],
                "upstream_bytes": run.upstream_bytes,
                "reused_bytes": run.reused_bytes,
            },
        )
    except OpsError as error:
        # What was done stands; a failed sync is about to say so itself.
        run.say(f"the audit record could not be written: {error.message}")


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
    min_serial: int
    accept: bool
    retain: Retain | None
    upstream_bytes: int = 0
    reused_bytes: int = 0
    accepted: tuple[Moved, ...] = ()
    notes: list[Problem] = field(default_factory=list)

    def work(self, began: float) -> SyncResult:
        """Everything between taking the lease and giving it back; began: time.monotonic() at the start."""
        bucket = self.publisher.bucket
        reading = gate.read(bucket, self.publisher.keys, min_serial=self.min_serial)
        self.notes.extend(reading.problems)
        for problem in reading.problems:
            self.say(f"not trusted: {problem.line()}")
        active = reading.trusted
        hold = holds.read(bucket).hold
        if hold is not None:
            self.say(f"held at {hold.version} since {hold.since}: {hold.reason or 'no reason given'}; nothing pulled")
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
        trusted = self._publish(resolved)
        return self._result("published", trusted, moved, began)

    def _meant(self, reading: Reading) -> Manifest | None:
        """What was published last as it was signed. Its files may be damaged and an older version serve: a repair
        must bring back this one's revisions, not the older one's."""
        if reading.trusted is not None and not reading.problems:
            return reading.trusted.manifest
        return next(iter(history.signed_manifests(self.publisher.bucket, self.publisher.keys, limit=1)), None)

    def _resolve(self, before: Manifest | None) -> list[Resolved]:
        """The revisions to publish; a model that was published before keeps its revision, unless accept is asked."""
        models = before.models if before is not None else ()
        pinned = {(model.name, model.kind, model.source): model.revision for model in models}
        return [
            self.sources[spec.kind].resolve(
                spec, None if self.accept else pinned.get((spec.name, spec.kind, spec.source))
            )
            for spec in self.specs
        ]

    def _unchanged(self, active: Trusted, moved: tuple[Moved, ...], began: float) -> SyncResult:
        """Nothing to pull: mend the copies, and put a new statement on top of any that did not hold up."""
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

    def _publish(self, resolved: Sequence[Resolved]) -> Trusted:
        bucket = self.publisher.bucket
        known = history.signed_manifests(bucket, self.publisher.keys, limit=SEARCHED_VERSIONS)
        version = layout.new_version(compare.identity(resolved), datetime.now(UTC), leftovers.version_names(bucket))
        wanted = transfer.wanted_objects(resolved, version)
        size_bytes = sum(item.file.size_bytes for item in wanted.values())
        self.say(f"publishing {version}: {len(wanted)} files, {size_bytes / 1e6:,.1f} MB")
        placed = self._gather(wanted, version, known)
        for name, bytes_ in placed.items():
            self.publisher.lease.check()
            publish.copy_once(bucket, bytes_.name, name, bytes_.generation, bytes_.crc32c)
        models = tuple(compare.model_of(model, version, placed) for model in resolved)
        content = manifest.make(version, publish.timestamp(), models)
        publish.record(self.publisher, content)
        reason = "the models of the settings changed" if known else "the first version"
        trusted = publish.commit(self.publisher, content, reason)
        self._clean(version)
        self.say(f"published {version} as serial {trusted.serial}")
        return trusted

    def _gather(self, wanted: Mapping[str, Wanted], version: str, known: Sequence[Manifest]) -> dict[str, Placed]:
        """Have every object's bytes in the bucket: copied from a version, taken up from `.tmp/`, or pulled."""
        bucket = self.publisher.bucket
        there = transfer.published(bucket, known)
        left = transfer.left_over(bucket)
        placed: dict[str, Placed] = {}
        for name, item in wanted.items():
            self.publisher.lease.check()
            found = there.get(item.sha256) if item.sha256 else None
            if found is not None and found.size_bytes != item.file.size_bytes:
                found = None
            for info in left.get(transfer.rest_of(name, version), ()) if found is None else ():
                found = found or transfer.take_up(bucket, item, info)
            if found is not None:
                self.reused_bytes += found.size_bytes
            else:
                found = self._pull(item, version)
            placed[name] = found
            there.setdefault(found.sha256, found)
        return placed

    def _pull(self, item: Wanted, version: str) -> Placed:
        source = self.sources[item.resolved.spec.kind]
        before = source.received_bytes
        if item.file.size_bytes >= 1_000_000:
            self.say(f"pulling {item.resolved.spec.name} {item.file.path}, {item.file.size_bytes / 1e6:,.1f} MB")
        try:
            return transfer.pull(self.publisher.bucket, item, source, version)
        finally:
            self.upstream_bytes += source.received_bytes - before

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
        tidied = self._tidy() if outcome != "held" else Tidied()
        return SyncResult(
            changed=outcome in ("published", "reactivated"),
            version=trusted.version if trusted else "",
            serial=trusted.serial if trusted else 0,
            upstream_bytes=self.upstream_bytes,
            reused_bytes=self.reused_bytes,
            moved=moved,
            seconds=round(time.monotonic() - began, 3),
            outcome=outcome,
            hold=hold,
            problems=tuple(self.notes),
            accepted=self.accepted if outcome == "published" else (),
            tidied=tidied,
        )
