"""Changing what the bucket holds, for an environment: roll back, resume, pin, prune, repair.

Each command decides first (plan), is confirmed, and acts under the publication lease, which proves that nothing moved
in between; an audit record tells how it ended.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scripts import audit, lease
from scripts.errors import BadInput, NotFound, OpsError
from scripts.lease import Holder, Lease, Seen
from scripts.models import gate, history, holds, layout, publish, repair, retention, revisions, rollback, shelf, signing
from scripts.models.holds import Holds
from scripts.models.publish import Publisher
from scripts.models.repair import Repair
from scripts.models.retention import Pruning
from scripts.models.rollback import Rollback
from scripts.models.statements import Problem, Trusted
from scripts.plan import Action, Change, Plan
from scripts.service import changing, ownership
from scripts.service.target import Target

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

# A sync that is at work is waited for: its version may be the one that is meant.
WAIT_S = 600.0
TTL_S = 15.0

Say = Callable[[str], None]


def plan_rollback(target: Target, to: str, generation: int, reason: str) -> Rollback:
    """What a rollback of the models would do. Raises BadInput where MODEL_CACHE_VERSION decides instead."""
    if target.settings.cache.version:
        text = f"cache.version pins {target.settings.cache.version}: instances do not follow the statements"
        raise BadInput(text, f"Change or empty cache.version in environments/{target.environment}.yaml, then deploy.")
    if to and generation:
        raise BadInput("--to and --generation: found both, expected one of them", "Leave one out.")
    service = target.run.get_service(target.name)
    floor = service.min_serial if service is not None else 0
    keys = ownership.trusted_keys(target)
    return rollback.prepare(target.bucket, keys, to=to, generation=generation, reason=reason, floor=floor)


def roll_back(target: Target, todo: Rollback, again: Callable[[], Rollback], say: Say) -> Trusted:
    """Carry a rollback out in the bucket. again: decides once more, should somebody have worked there meanwhile."""
    key = signer(target)
    with _work(target, "cache.rollback", todo.plan(), say, todo.seen.lease) as held:
        fresh = shelf.settled(held, todo, again)
        publisher = Publisher(target.bucket, key, ownership.trusted_keys(target), held, fresh.serial)
        return rollback.carry_out(publisher, fresh, audit.actor())


def signer(target: Target) -> Signer:
    """The environment's own signer. Raises NotFound without one, Refused when nobody would believe what it signs."""
    if not ownership.can_sign(target):
        text = f"environment {target.environment} has no signing key here"
        raise NotFound(text, f"Set signing.key in environments/{target.environment}.yaml to a key that you may use.")
    found = signing.load_signer(target.settings.signing_key, endpoint=target.settings.endpoint)
    publish.check_signer(found, ownership.trusted_keys(target))
    return found


def plan_resume(target: Target) -> Plan:
    """Lifting the hold."""
    hold = holds.read(target.bucket).hold
    changes = (Change(Action.DELETE, "hold", "", f"{hold.version}, {hold.reason}"),) if hold is not None else ()
    return Plan(f"resume {target.environment}", changes)


def plan_pin(target: Target, version: str, *, keep: bool) -> Plan:
    """Pinning a complete version, or letting it go. Raises BadInput for no version name, NotFound for none there."""
    if not version:
        known = f"Run: ./dev invoke cache.list --env {target.environment}"
        raise BadInput("--version: found nothing, expected the name of a version", known)
    layout.check_version(version, "--version")
    seen = shelf.survey(target.bucket)
    if keep and not seen.is_complete(version):
        known = ", ".join(seen.complete) or "none"
        raise NotFound(f"there is no complete version {version} to pin; there are: {known}", "Choose one of these.")
    pinned = version in seen.holds.pins
    changes = () if pinned == keep else (Change(Action.CREATE if keep else Action.DELETE, f"pin {version}"),)
    return Plan(f"{'pin' if keep else 'unpin'} {version}", changes)


def change_holds(
    target: Target, command: str, decide: Callable[[], Plan], edit: Callable[[Holds], Holds], say: Say
) -> Plan:
    """Change holds.json, decided under the lease: a version that is being pruned right now cannot be pinned."""
    todo = decide()
    if not todo.empty:
        with _work(target, command, todo, say, None):
            decide()
            holds.change(target.bucket, edit)
    return todo


def lifted(found: Holds) -> Holds:
    """Without the hold."""
    return replace(found, hold=None)


def pinned(version: str, *, keep: bool) -> Callable[[Holds], Holds]:
    """With, or without, a pinned version."""

    def edit(found: Holds) -> Holds:
        others = tuple(item for item in found.pins if item != version)
        return replace(found, pins=tuple(sorted((*others, version))) if keep else others)

    return edit


def plan_prune(target: Target, keep: int = 0) -> Pruning:
    """What pruning would remove. keep: another number than the environment's. Raises BadInput below 1."""
    if keep < 0:
        raise BadInput(f"--keep: found {keep}, expected 1 or more", "For example: --keep 3")
    keys = ownership.trusted_keys(target)
    number = keep or target.settings.cache.keep
    return retention.prepare(target.bucket, keys, keep=number, live=revisions.live_versions(target.run))


def prune(target: Target, todo: Pruning, again: Callable[[], Pruning], say: Say) -> int:
    """Remove what was planned; the bytes freed."""
    with _work(target, "cache.prune", todo.plan(), say, todo.seen.lease) as held:
        return retention.carry_out(target.bucket, held, shelf.settled(held, todo, again))


def plan_repair(target: Target) -> Repair:
    """What a repair would bring back."""
    if not target.bucket.exists():
        text = f"bucket {target.bucket.name} does not exist on {target.cloud.name}"
        raise NotFound(text, f"Run: ./dev invoke deploy --env {target.environment} (the models are pulled again)")
    return repair.prepare(target.bucket, ownership.trusted_keys(target))


def carry_out_repair(target: Target, todo: Repair, say: Say) -> None:
    """Bring it back."""
    with _work(target, "cache.repair", todo.plan(), say, None):
        repair.carry_out(target.bucket, todo)


@dataclass(frozen=True)
class KeyUse:
    """A trusted key, whether this environment signs with it, and the statements that it signed."""

    key_id: str
    signs: bool
    serials: tuple[int, ...]
    active: bool

    def cells(self) -> list[str]:
        """The row of `cache.keys`."""
        span = f"{len(self.serials)}: serial {self.serials[0]}" if self.serials else "none"
        if len(self.serials) > 1:
            span = f"{len(self.serials)}: serials {self.serials[-1]} to {self.serials[0]}"
        words = [word for word, there in (("signs", self.signs), ("signed the active version", self.active)) if there]
        return [self.key_id, ", ".join(words) or "trusted", span]


KEY_HEADERS = ("key id", "use", "statements")


def keys(target: Target) -> tuple[KeyUse, ...]:
    """Every trusted key and what it signed: an old one may go once no statement that readers could take needs it."""
    trusted = ownership.trusted_keys(target)
    signs = ""
    with contextlib.suppress(OpsError):
        signs = signing.key_of(signer(target)).key_id
    reading = gate.read(target.bucket, trusted).trusted if target.bucket.exists() else None
    current = signing.key_id_of(reading.envelope) if reading is not None else ""
    signed: dict[str, list[int]] = {key.key_id: [] for key in trusted}
    for item in history.verified(target.bucket, trusted) if reading is not None else ():
        if not isinstance(item, Problem):
            signed[signing.key_id_of(item[1])].append(item[0].serial)
    return tuple(
        KeyUse(key.key_id, key.key_id == signs, tuple(signed[key.key_id]), key.key_id == current) for key in trusted
    )


@contextlib.contextmanager
def _work(target: Target, command: str, todo: Plan, say: Say, at: Seen | None) -> Iterator[Lease]:
    """Hold the publication lease, and leave an audit record of how it ended."""

    def waiting(holder: Holder) -> None:
        say(f"waiting for {holder.owner} ({holder.purpose})")

    purpose = f"{command} of {target.environment}"
    taken = lease.hold(target.bucket, shelf.LEASE, purpose, ttl_s=TTL_S, wait_s=WAIT_S, on_wait=waiting, seen=at)
    with taken as held, changing.recorded(target, command, todo):
        yield held
