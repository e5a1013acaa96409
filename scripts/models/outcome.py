"""What a sync did, as its caller and the audit are told."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from scripts import audit
from scripts.errors import OpsError, Unreachable
from scripts.models import holds
from scripts.models.compare import Moved
from scripts.models.flight import Landed
from scripts.models.retention import Tidied
from scripts.models.statements import Problem
from scripts.settings.types import ModelSpec

if TYPE_CHECKING:
    from scripts.cloud.storage import Bucket

Outcome = Literal["published", "reactivated", "up_to_date", "held", "placed"]


@dataclass(frozen=True)
class SyncResult:
    """What a sync did. version and serial are the active ones afterwards (empty and 0 when there is none).

    outcome: published (a new version), reactivated (a new statement for a whole version under broken ones), up_to_date,
    held, placed (this task's share of the files; another task publishes). upstream_bytes: model bytes received;
    reused_bytes: bytes that were in the bucket already. moved: tags that name another revision upstream than the
    published one; accepted: those whose new one was taken.
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


@dataclass(frozen=True)
class Noted:
    """What the audit tells of every run. execution: the job execution; command: what was typed."""

    bucket: Bucket
    environment: str
    command: str
    execution: str
    specs: tuple[ModelSpec, ...]
    say: Callable[[str], None]


def audited(noted: Noted, work: Callable[[float], SyncResult], landed: Callable[[], Landed]) -> SyncResult:
    """Do the work and leave a record when it changed something or failed (unless the bucket is out of reach).

    work: gets time.monotonic() at its start. landed: what was placed so far.
    """
    started_at = datetime.now(UTC)
    try:
        result = work(time.monotonic())
    except Unreachable:
        raise
    except BaseException as error:
        _record(noted, landed(), "failed", started_at, {"error": f"{type(error).__name__}: {error}"})
        raise
    if result.changed:
        details = {
            "version": result.version, "serial": result.serial, "pruned": list(result.tidied.removed),
            "moved": [vars(item) for item in result.moved], "accepted": [vars(item) for item in result.accepted],
        }  # fmt: skip
        _record(noted, landed(), result.outcome, started_at, details)
    return result


def _record(noted: Noted, landed: Landed, outcome: str, started_at: datetime, details: Mapping[str, Any]) -> None:
    bytes_ = {"upstream_bytes": landed.upstream_bytes, "reused_bytes": landed.reused_bytes}
    try:
        audit.record(
            noted.bucket,
            command=noted.command,
            environment=noted.environment,
            plan={"title": "sync", "models": [f"{spec.name}: {spec.kind} {spec.source}" for spec in noted.specs]},
            outcome=outcome,
            started_at=started_at,
            details={**details, "execution": noted.execution, **bytes_},
        )
    except OpsError as error:
        # What was done stands; a failed sync is about to say so itself.
        noted.say(f"the audit record could not be written: {error.message}")
