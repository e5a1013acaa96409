"""holds.json: a rollback's hold, which syncs and misses respect, and the versions that must be kept.

{schema_version, hold: {version, reason, since, by} | null, pins: [version, …]}. Not signed: a hold can only keep the
service on what was signed before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scripts.errors import Conflict
from scripts.models import layout
from scripts.models.strict import Reader, dump

if TYPE_CHECKING:
    from scripts.cloud.storage import Bucket

SCHEMA_VERSION = 1
MAX_BYTES = 1 << 20
_ATTEMPTS = 5
_READER = Reader("holds.json", "Delete the object: that lifts every hold and pin.")


@dataclass(frozen=True)
class Hold:
    """The service stays at a version until somebody resumes: why, since when (RFC 3339) and by whom."""

    version: str
    reason: str
    since: str
    by: str


@dataclass(frozen=True)
class Holds:
    """What holds.json says; nothing of it when the object is absent."""

    hold: Hold | None = None
    pins: tuple[str, ...] = ()


def parse(data: bytes) -> Holds:
    """Read holds.json strictly; raises BadInput with the place."""
    value = _READER.record(_READER.load(data, MAX_BYTES), "", ("schema_version", "hold", "pins"))
    _READER.whole(value["schema_version"], "schema_version", least=SCHEMA_VERSION, most=SCHEMA_VERSION)
    pins = tuple(
        layout.check_version(_READER.text(entry, f"pins[{number}]"), f"holds.json: pins[{number}]")
        for number, entry in enumerate(_READER.items(value["pins"], "pins", empty=True))
    )
    if value["hold"] is None:
        return Holds(None, pins)
    hold = _READER.record(value["hold"], "hold", ("version", "reason", "since", "by"))
    version = layout.check_version(_READER.text(hold["version"], "hold.version"), "holds.json: hold.version")
    reason = _READER.text(hold["reason"], "hold.reason", empty=True)
    since = _READER.time(hold["since"], "hold.since")
    return Holds(Hold(version, reason, since, _READER.text(hold["by"], "hold.by", empty=True)), pins)


def dump_holds(holds: Holds) -> bytes:
    """The bytes of holds.json."""
    hold = vars(holds.hold) if holds.hold is not None else None
    return dump({"schema_version": SCHEMA_VERSION, "hold": hold, "pins": list(holds.pins)})


def read(bucket: Bucket) -> Holds:
    """What holds now; raises BadInput when holds.json is not what a writer here would make."""
    found = bucket.read(layout.HOLDS, limit_bytes=MAX_BYTES)
    return parse(found[0]) if found is not None else Holds()


def change(bucket: Bucket, edit: Callable[[Holds], Holds]) -> Holds:
    """Replace holds.json by what edit makes of it (compare-and-swap, edit may run again); raises BadInput, Conflict."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return _change_once(bucket, edit)
        except Conflict:
            continue
    return _change_once(bucket, edit)


def _change_once(bucket: Bucket, edit: Callable[[Holds], Holds]) -> Holds:
    found = bucket.read(layout.HOLDS, limit_bytes=MAX_BYTES)
    before = parse(found[0]) if found is not None else Holds()
    after = edit(before)
    data = dump_holds(after)
    parse(data)
    if after != before:
        bucket.replace(layout.HOLDS, data, found[1].generation if found is not None else 0)
    return after
