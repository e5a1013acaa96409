"""Send a service or a job to Cloud Run; when the answer was lost, look once whether it arrived."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from scripts.cloud.run import Job, ServiceState
from scripts.errors import AccessDenied, Unreachable
from scripts.rendering import diff
from scripts.service.target import Target

T = TypeVar("T", Job, ServiceState)


def service(target: Target, body: Mapping[str, Any], before: ServiceState | None) -> ServiceState:
    """Create or replace the service. Raises what RunClient.apply_service raises."""
    return _sent(
        lambda: target.run.apply_service(body, before.resource_version if before else ""),
        lambda: target.run.get_service(target.name),
        body,
        before,
    )


def job(target: Target, body: Mapping[str, Any], before: Job | None) -> Job:
    """Create or replace the sync job. Raises what RunClient.apply_job raises."""
    return _sent(
        lambda: target.run.apply_job(body, before.resource_version if before else ""),
        lambda: target.run.get_job(target.job_name),
        body,
        before,
    )


def _sent(send: Callable[[], T], read: Callable[[], T | None], body: Mapping[str, Any], before: T | None) -> T:
    """A change is never sent twice. One that nobody answered counts when what is there now is new and says the same."""
    try:
        return send()
    except AccessDenied:
        raise
    except Unreachable:
        found = read()
        new = found is not None and (before is None or found.resource_version != before.resource_version)
        if found is None or not new or diff.changes(body, found.body, found.name):
            raise
        return found
