"""Leases in the bucket: one holder at a time, renewed while it works, taken over after it died.

leases/<name>.json is {owner, purpose, expires_at, serial}, in its metadata too, so that a listing tells who holds it;
every change is a compare-and-swap on its generation. The serial grows by one with every holder. A lease keeps honest
commands from working against each other; it does not by itself protect a commit (a holder may sleep through its
expiry): commits are create-once writes on top of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from scripts.errors import AccessDenied, BadInput, Conflict, OpsError, Refused, Unreachable

if TYPE_CHECKING:
    from scripts.cloud.storage import Bucket
    from scripts.cloud.storage_objects import ObjectInfo

POLL_S = 0.5
_FOLDER = "leases/"
LIMIT_BYTES = 16 << 10


class Held(Refused):
    """Somebody else holds the lease, and keeps it longer than was waited."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lease: owner is host:pid:random, expires_at RFC 3339 UTC; an owner of "" means it was given back."""

    owner: str
    purpose: str
    expires_at: str
    serial: int

    def alive(self, now: datetime) -> bool:
        """Whether the lease still counts at this time by this machine's clock."""
        return bool(self.owner) and self.left_s(now) > 0

    def left_s(self, now: datetime) -> float:
        """Seconds until it lapses, by this machine's clock."""
        return (datetime.fromisoformat(self.expires_at) - now).total_seconds()


@dataclass(frozen=True)
class Seen:
    """A lease as somebody saw it: its generation (0: no object) and its holder, dead or alive."""

    generation: int
    holder: Holder | None


class Lease:
    """A held lease. check() before anything that must not happen without it.

    untouched: nobody has held it since the state that hold() was given as seen, so what was read then still is so.
    """

    def __init__(
        self, bucket: Bucket, name: str, holder: Holder, generation: int, ttl_s: float, began: float, *,
        untouched: bool = False, group: str = "",
    ) -> None:  # fmt: skip
        """began: time.monotonic() before the write that took the lease; its expiry counts from there. group: the owner
        that several processes are together."""
        self.name = name
        self.holder = holder
        self.untouched = untouched
        self._bucket = bucket
        self._generation = generation
        self._ttl_s = ttl_s
        self._until = began + ttl_s
        self._lost = ""
        self._group = group
        self._left = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease-{name}", daemon=True)

    def check(self) -> None:
        """Return if the lease is still held; raises Conflict when it was lost or could not be renewed in time."""
        if not self._lost and time.monotonic() < self._until:
            return
        why = self._lost or f"it could not be renewed within {self._ttl_s:g} s"
        remedy = "Run the same command again; it waits for the other one and continues from what is there."
        raise Conflict(f"the lease {self.name!r} was lost: {why}", remedy)

    def start(self) -> None:
        """Renew in the background from now on."""
        self._thread.start()

    def abandon(self) -> None:
        """Stop renewing and say nothing: the bucket is out of reach, the lease will lapse."""
        self._ended.set()

    def leave(self, stay: bool = True) -> None:
        """Of a group's lease: do not give it back at the end, for others may still need it (after the last one it
        lapses); stay=False: give it back after all."""
        self._left = stay and bool(self._group)

    def release(self) -> None:
        """Stop renewing and give the lease back; a lease that is lost already is left alone."""
        self._ended.set()
        self._thread.join(timeout=self._ttl_s)
        if self._thread.is_alive() or self._left:
            return
        free = Holder("", "", _text(datetime.now(UTC)), self.holder.serial)
        with contextlib.suppress(OpsError):
            _write(self._bucket, self.name, free, self._generation)

    def _beat(self) -> None:
        while not self._ended.wait(self._ttl_s / 3):
            self._renew()
            if self._lost:
                return

    def _renew(self) -> None:
        began = time.monotonic()
        until = datetime.now(UTC) + timedelta(seconds=self._ttl_s)
        renewed = Holder(self.holder.owner, self.holder.purpose, _text(until), self.holder.serial)
        try:
            self._generation = _write(self._bucket, self.name, renewed, self._generation)
        except Unreachable:
            return  # the next beat tries again; check() minds the clock
        except OpsError as error:
            if isinstance(error, Conflict) and self._adopted():
                return
            self._lost = f"somebody else took it ({error.message})" if isinstance(error, Conflict) else error.message
            return
        self._until = began + self._ttl_s

    def _adopted(self) -> bool:
        """Whether it was renewed after all: by somebody of the group, or by a renewal of this one that was given up as
        unanswered and arrived later."""
        began = time.monotonic()
        with contextlib.suppress(OpsError):
            generation, holder = _look(self._bucket, self.name)
            if holder is not None and holder.owner == self.holder.owner:
                self._generation = generation
                self._until = min(began + self._ttl_s, began + holder.left_s(datetime.now(UTC)))
                return True
        return False


@contextlib.contextmanager
def hold(
    bucket: Bucket,
    name: str,
    purpose: str,
    *,
    ttl_s: float = 20.0,
    wait_s: float = 0.0,
    on_wait: Callable[[Holder], None] | None = None,
    seen: Seen | None = None,
    group: str = "",
) -> Iterator[Lease]:
    """Hold a lease while the block runs; renewed every third of ttl_s, given back at the end.

    While somebody else holds it, wait up to wait_s (on_wait is told of each new holder once). seen: the lease as it was
    before the caller read what it is going to change; the lease says whether that is still so (untouched). group: the
    owner that several processes are together; whoever comes while one of them holds it, holds it too. Raises
    Held naming the holder, its purpose and expiry when waiting is not enough, and what the bucket raises.
    """
    lease = _take_unchanged(bucket, name, purpose, ttl_s, seen) if seen is not None else None
    lease = lease or _take(bucket, name, purpose, ttl_s, time.monotonic() + wait_s, on_wait, group)
    lease.start()
    try:
        yield lease
    except BaseException as error:
        # Who was refused was heard, and nothing of theirs is under way: the next command need not wait for this one.
        if isinstance(error, Unreachable) and not isinstance(error, AccessDenied):
            lease.abandon()
            raise
        lease.leave()
        lease.release()
        raise
    lease.release()


def claim(bucket: Bucket, name: str, purpose: str, *, ttl_s: float) -> int:
    """Take a lease that nobody renews: it lapses after ttl_s, until when nobody else gets it. Its generation, for
    unclaim(); 0 when somebody else has it. Raises what the bucket raises."""
    generation, current = _look(bucket, name)
    if current is not None and current.alive(datetime.now(UTC)):
        return 0
    with contextlib.suppress(Conflict):
        return _write(bucket, name, _mine(purpose, ttl_s, current), generation)
    return 0


def unclaim(bucket: Bucket, name: str, generation: int) -> None:
    """Give back what claim() took; one that somebody else has by now is left alone."""
    with contextlib.suppress(OpsError):
        _write(bucket, name, Holder("", "", _text(datetime.now(UTC)), 0), generation)


def holder_of(bucket: Bucket, name: str) -> Holder | None:
    """Who holds a lease now, or None."""
    holder = _look(bucket, name)[1]
    return holder if holder is not None and holder.alive(datetime.now(UTC)) else None


def seen(info: ObjectInfo | None) -> Seen:
    """A lease as a listing tells it; None: it is not there."""
    return (
        Seen(info.generation, _parse(json.dumps(dict(info.metadata)).encode())) if info is not None else Seen(0, None)
    )


def all_of(bucket: Bucket) -> dict[str, Seen]:
    """Every lease that a bucket knows by its name, held or not, from one listing."""
    found = {info.name.removeprefix(_FOLDER).removesuffix(".json"): seen(info) for info in bucket.list(_FOLDER)}
    return dict(sorted(found.items()))


def give_back(bucket: Bucket, name: str, at: Seen) -> None:
    """Make a lease free that was seen so, whoever holds it: its holder's next check fails.

    Raises Conflict when it changed since: it was renewed, given back or taken by somebody else.
    """
    free = Holder("", "", _text(datetime.now(UTC)), at.holder.serial if at.holder else 0)
    _write(bucket, name, free, at.generation)


def _take_unchanged(bucket: Bucket, name: str, purpose: str, ttl_s: float, at: Seen) -> Lease | None:
    """The lease, if nobody has held it since it was seen free."""
    if at.generation and (at.holder is None or at.holder.alive(datetime.now(UTC))):
        return None
    began = time.monotonic()
    mine = _mine(purpose, ttl_s, at.holder)
    with contextlib.suppress(Conflict):
        return Lease(bucket, name, mine, _write(bucket, name, mine, at.generation), ttl_s, began, untouched=True)
    return None


def _mine(purpose: str, ttl_s: float, before: Holder | None, group: str = "") -> Holder:
    owner = group or f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    until = _text(datetime.now(UTC) + timedelta(seconds=ttl_s))
    return Holder(owner, purpose, until, (before.serial if before else 0) + 1)


def _write(bucket: Bucket, name: str, holder: Holder, generation: int) -> int:
    data = json.dumps(vars(holder), indent=2).encode() + b"\n"
    told = {key: str(value) for key, value in vars(holder).items()}
    return bucket.replace(object_name(name), data, generation, told).generation


def _take(
    bucket: Bucket,
    name: str,
    purpose: str,
    ttl_s: float,
    deadline: float,
    on_wait: Callable[[Holder], None] | None,
    group: str = "",
) -> Lease:
    told = ""
    while True:
        generation, current = _look(bucket, name)
        if current is None or not current.alive(datetime.now(UTC)):
            began = time.monotonic()
            mine = _mine(purpose, ttl_s, current, group)
            with contextlib.suppress(Conflict):  # somebody was faster: look who
                return Lease(bucket, name, mine, _write(bucket, name, mine, generation), ttl_s, began, group=group)
            continue
        if group and current.owner == group:
            began = time.monotonic() - ttl_s + current.left_s(datetime.now(UTC))
            return Lease(bucket, name, current, generation, ttl_s, min(began, time.monotonic()), group=group)
        if time.monotonic() >= deadline:
            raise _refusal(name, current)
        if on_wait is not None and told != current.owner:
            on_wait(current)
        told = current.owner
        time.sleep(min(POLL_S, max(deadline - time.monotonic(), 0.01)))


def _refusal(name: str, holder: Holder) -> Held:
    return Held(
        f"{name} is in use by {holder.owner} ({holder.purpose}) until {holder.expires_at}",
        f"Wait until it has ended, then run the same command again; should it have died, the lease lapses at "
        f"{holder.expires_at} by itself.",
    )


def object_name(name: str) -> str:
    """The object of a lease."""
    return f"{_FOLDER}{name}.json"


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _look(bucket: Bucket, name: str) -> tuple[int, Holder | None]:
    """The generation of a lease's object (0: there is none) and its holder, dead or alive."""
    try:
        found = bucket.read(object_name(name), limit_bytes=LIMIT_BYTES)
    except BadInput:  # larger than any lease
        info = bucket.stat(object_name(name))
        return (info.generation if info is not None else 0), None
    return (found[1].generation, _parse(found[0])) if found is not None else (0, None)


def _parse(data: bytes) -> Holder | None:
    """The holder in a lease object; one that cannot be read protects nobody and counts as free."""
    try:
        value: Any = json.loads(data)
        holder = Holder(
            str(value["owner"])[:200], str(value["purpose"])[:200], str(value["expires_at"]), int(value["serial"])
        )
        if datetime.fromisoformat(holder.expires_at).tzinfo is None or holder.serial < 0:
            return None
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None
    return holder
