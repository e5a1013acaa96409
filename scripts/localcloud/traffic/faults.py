"""Faults as values: what was asked for, which calls they choose, and how often they really happened.

A fault sees the calls that match its patterns, from when it was set. It is due at call number `nth`, then at every
call after it (`every` K: at each K-th from there; `probability` P: with that chance, by a generator of its own), until
it has happened `count` times. A call at which it was due but could not happen (nothing to cut off in an empty answer)
is counted as missed, and the next due call gets it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from scripts.localcloud.web import ApiError

KINDS = {
    "reset": "the connection is reset (RST) before anything was done, or after so many bytes",
    "503": "refused with 503 before anything was done",
    "429": "refused with 429 before anything was done",
    "403": "refused with 403 before anything was done: the caller lacks a permission",
    "403-quota": "refused with 403 before anything was done: a quota is used up",
    "stall": "the connection is held open in silence, until the client leaves or for delay_s",
    "truncate": "the answer announces all of its bytes, and ends before they are sent",
    "lost-reply": "carried out, then the connection is reset without an answer",
    "slow": "bodies pass at rate_bytes_s, in both directions; with delay_s only, the call waits first",
    "412-after-success": "carried out, then answered with 412",
}
# Options that only some kinds have.
_ONLY = {
    "after_bytes": ("reset", "truncate", "stall", "slow"),
    "delay_s": ("stall", "slow"),
    "rate_bytes_s": ("slow",),
    "retry_after_s": ("503", "429"),
}
DEFAULT_RATE_BYTES_S = 64 << 10
_TEXTS = ("on", "kind", "bucket", "object", "instance")
_WHOLE = {"nth": 1, "every": 1, "after_bytes": 0, "rate_bytes_s": 1, "retry_after_s": 0, "seed": 0}
_MOST = 2**53


@dataclass
class Fault:
    """One fault and its counts. count None: for ever."""

    id: str
    on: str
    kind: str
    nth: int = 1
    count: int | None = 1
    every: int | None = None
    probability: float | None = None
    seed: int = 0
    bucket: str = ""
    object: str = ""
    instance: str = ""
    after_bytes: int | None = None
    delay_s: float | None = None
    rate_bytes_s: int | None = None
    retry_after_s: int | None = None
    set_at: str = ""
    seen: int = 0
    fired: int = 0
    missed: int = 0
    under_way: int = 0
    _chance: random.Random = field(default_factory=random.Random, repr=False)

    def __post_init__(self) -> None:
        self._chance.seed(self.seed)

    @property
    def left(self) -> int | None:
        """How often it can still happen; None: for ever."""
        return None if self.count is None else max(0, self.count - self.fired)

    def matches(self, operation: str, instance: str) -> bool:
        """Whether its patterns are met, but for those of bucket and object."""
        return fnmatchcase(operation, self.on) and (not self.instance or fnmatchcase(instance, self.instance))

    def matches_names(self, bucket: str, name: str) -> bool:
        """Whether its patterns of bucket and object are met."""
        return (not self.bucket or fnmatchcase(bucket, self.bucket)) and (
            not self.object or fnmatchcase(name, self.object)
        )

    def see(self) -> bool:
        """Count a matching call; True when the fault is due at it, which takes it until fire() or miss()."""
        self.seen += 1
        drawn = self.probability is None or self._chance.random() < self.probability
        if self.seen < self.nth or not drawn or (self.every is not None and (self.seen - self.nth) % self.every):
            return False
        return self.count is None or self.fired + self.under_way < self.count

    def described(self) -> dict[str, Any]:
        """As /_local/faults tells it; what was not asked for is left out."""
        asked = {
            key: value
            for key, value in vars(self).items()
            if not key.startswith("_") and key not in ("under_way", "count") and value not in (None, "")
        }
        if self.probability is None:
            asked.pop("seed")
        return asked | {"count": "forever" if self.count is None else self.count, "left": self.left}


@dataclass
class Shot:
    """A fault that is due at one call: it happens once, or it is missed when the call is over."""

    fault: Fault
    fired: bool = False
    over: bool = False

    def __post_init__(self) -> None:
        self.fault.under_way += 1

    def fire(self) -> None:
        """It happens now."""
        if not self.fired and not self.over:
            self.fired = True
            self.fault.fired += 1
            self.fault.under_way -= 1

    def end(self) -> None:
        """The call is over."""
        if not self.fired and not self.over:
            self.fault.missed += 1
            self.fault.under_way -= 1
        self.over = True


class Faults:
    """Those that were set, in the order in which they were; the first that is due at a call gets it."""

    def __init__(self) -> None:
        self._faults: dict[str, Fault] = {}
        self._next = 1

    @property
    def any(self) -> bool:
        """Whether a call has to be looked at."""
        return bool(self._faults)

    def listed(self) -> list[Fault]:
        """All faults, the oldest first."""
        return list(self._faults.values())

    def add(self, asked: dict[str, Any], now: str) -> Fault:
        """Set a fault. Raises ApiError 400 for what cannot be meant."""
        fault = Fault(id=f"f{self._next}", set_at=now, **_checked(asked))
        self._next += 1
        self._faults[fault.id] = fault
        return fault

    def clear(self, id: str = "") -> list[Fault]:
        """Remove one or all. Raises ApiError 404, naming those that are set."""
        if id and id not in self._faults:
            there = f"set are {', '.join(self._faults)}" if self._faults else "none is set"
            raise ApiError(404, f"There is no fault {id[:50]!r}; {there}", "notFound")
        gone = [self._faults.pop(id)] if id else list(self._faults.values())
        if not id:
            self._faults.clear()
        return gone

    def meant(self, operation: str, instance: str) -> list[Fault]:
        """The faults whose patterns a call meets, but for the names of its bucket and object."""
        return [fault for fault in self._faults.values() if fault.matches(operation, instance)]


def due(faults: list[Fault]) -> Shot | None:
    """Count a call at all of these faults; the first that is due."""
    chosen = None
    for fault in faults:
        if fault.see() and chosen is None:
            chosen = Shot(fault)
    return chosen


def _checked(asked: dict[str, Any]) -> dict[str, Any]:
    """The fields of a fault. Raises ApiError 400."""
    fields: dict[str, Any] = {}
    for key, value in asked.items():
        if value is None:
            continue
        fields[key] = _value(key, value)
    if fields.get("kind") not in KINDS:
        given = repr(str(asked["kind"])[:50]) if asked.get("kind") else "nothing"
        raise _bad(f"kind: found {given}, expected one of {', '.join(KINDS)}")
    if not fields.get("on"):
        raise _bad("on: found nothing, expected an operation or a pattern like storage.objects.*")
    for key, kinds in _ONLY.items():
        if key in fields and fields["kind"] not in kinds:
            raise _bad(f"{key}: the kind {fields['kind']} does not have it, only {', '.join(kinds)}")
    if "every" in fields and "probability" in fields:
        raise _bad("every and probability exclude each other")
    if "seed" in fields and "probability" not in fields:
        raise _bad("seed: only with probability")
    if "count" not in fields and ("every" in fields or "probability" in fields):
        fields["count"] = None
    return fields


def _value(key: str, value: Any) -> Any:
    """One field's value. Raises ApiError 400."""
    if key in _TEXTS:
        if isinstance(value, str) and len(value) <= 1024:
            return value
        raise _bad(f"{key}: expected a text")
    if key in _WHOLE:
        if isinstance(value, int) and not isinstance(value, bool) and _WHOLE[key] <= value <= _MOST:
            return value
        raise _bad(f"{key}: found {str(value)[:50]!r}, expected a whole number from {_WHOLE[key]}")
    if key == "count":
        if value == "forever":
            return None
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST:
            return value
        raise _bad(f"count: found {str(value)[:50]!r}, expected a whole number from 1, or forever")
    if key in ("probability", "delay_s"):
        most = 1.0 if key == "probability" else 86400.0
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= most:
            return float(value)
        raise _bad(f"{key}: found {str(value)[:50]!r}, expected a number above 0 and up to {most:g}")
    expected = ", ".join((*_TEXTS, *_WHOLE, "count", "probability", "delay_s"))
    raise _bad(f"{key[:50]!r} is no option of a fault; expected {expected}")


def _bad(text: str) -> ApiError:
    return ApiError(400, text, "invalid")
