"""Waiting for a new revision; when it fails, its last words are part of the error."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from scripts.cloud.logs import of_service
from scripts.cloud.run import ServiceState
from scripts.errors import OpsError
from scripts.service import publication, shift, veil
from scripts.service.target import Target

TIMEOUT_S = 600.0


def await_ready(target: Target, generation: int, say: Callable[[str], None]) -> ServiceState:
    """The service once its newest revision is ready.

    Raises OpsError with the revision's last log lines when it fails, or is not ready within TIMEOUT_S; Conflict when
    somebody else changed the service meanwhile: the newest revision is theirs then.
    """
    state = target.run.wait_service(
        target.name, generation, timeout_s=TIMEOUT_S,
        on_change=lambda now: say(now.reason or "waiting for the new revision"),
    )  # fmt: skip
    shift.check_ours(target, state, generation)
    if state.ready is True:
        return state
    revision = state.latest_created_revision
    words = last_words(target, revision)
    told = veil.masked(state.reason if words else state.message, state.container_env)
    what = told or f"not ready within {TIMEOUT_S:g} s"
    raise OpsError(
        "\n".join([f"revision {revision} is not ready: {what}", *words]),
        f"Run: ./dev invoke logs --env {target.environment}; correct the cause, then type the same command again.",
    )


def last_words(target: Target, revision: str) -> list[str]:
    """The last log lines of a revision, secrets hidden; none when the logs cannot be read."""
    with contextlib.suppress(OpsError):
        known = target.run.get_revision(revision)
        env = known.container_env if known is not None else {}
        lines = publication.last_lines(target, of_service(target.name, revision))
        return [veil.masked(line, env) for line in lines]
    return []
