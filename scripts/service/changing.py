"""Changing a live service: under its lease, and with an audit record of how it ended."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from scripts import audit
from scripts.errors import Conflict, GateFailed, OpsError
from scripts.lease import Holder, Lease
from scripts.plan import Plan
from scripts.service import ownership
from scripts.service.steps import SILENT, Steps, Talk
from scripts.service.target import Target


@contextlib.contextmanager
def at_work(target: Target, command: str, plan: Plan, steps: Steps, details: dict[str, Any]) -> Iterator[Lease]:
    """Hold the service's lease and record the command; details may be filled while it works. Raises Refused."""

    def waiting(holder: Holder) -> None:
        steps.talk.note(f"waiting for {holder.owner} ({holder.purpose})")

    purpose = f"{command} {target.name} on {target.environment}"
    with (
        ownership.exclusive(target, target.lease_name, purpose, waiting) as held,
        noted(target, command, plan, steps, details),
    ):
        yield held


@contextlib.contextmanager
def noted(target: Target, command: str, plan: Plan, steps: Steps, details: dict[str, Any]) -> Iterator[None]:
    """Leave an audit record of the block with its steps and these details, which may be filled while it works."""
    told: dict[str, Any] = {"service": target.name}
    with recorded(target, command, plan, told, steps.talk):
        try:
            yield
        finally:
            told |= {**details, "steps": steps.as_json()}


@contextlib.contextmanager
def recorded(
    target: Target, command: str, plan: Plan, details: Mapping[str, Any] | None = None, talk: Talk = SILENT
) -> Iterator[None]:
    """Leave an audit record of the block, however it ends; talk hears of one that could not be written."""
    began, ended, failure = datetime.now(UTC), "changed", {}
    try:
        yield
    except BaseException as error:
        ended, failure = outcome(error), {"error": told(error)}
        raise
    finally:
        with written(talk):
            audit.record(
                target.bucket, command=command, environment=target.environment, plan=plan, outcome=ended,
                started_at=began, details={**(details or {}), **failure},
            )  # fmt: skip


def outcome(error: BaseException, gate: str = "failed") -> str:
    """A word for the audit record; gate: the one for a gate that failed."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return gate if isinstance(error, GateFailed) else "failed"


def told(error: BaseException) -> str:
    """What an audit record says of an error."""
    return error.message if isinstance(error, OpsError) else repr(error)


@contextlib.contextmanager
def written(talk: Talk) -> Iterator[None]:
    """What was done stands, and what failed says so itself: a record that cannot be written is a warning."""
    try:
        yield
    except OpsError as error:
        talk.note(f"no audit record of this could be written: {error.message}", warning=True)


def settled(before: Plan, after: Plan, name: str) -> None:
    """Raise Conflict when what was decided anew under the lease is not what was confirmed."""
    if before != after:
        text = f"service {name} changed while this was decided; nothing was done"
        raise Conflict(text, "Run the same command again: it looks anew, and shows its plan.")
