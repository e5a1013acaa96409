"""Decide what a deploy would do, from values alone. The same Plan is shown by --dry-run and carried out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from scripts.cloud import run
from scripts.plan import Action, Change, Plan
from scripts.rendering import diff, render
from scripts.service import ownership, standing
from scripts.service.observe import Live
from scripts.service.target import Target

SECRET = re.compile(r"(?i)token|secret|passw|credential|api_?key|private")
HIDDEN = "[redacted]"
ATTEMPT = "modelshelf.dev/attempt"
SPECS = "MODEL_SPECS"
MISSES: Mapping[str, str] = {
    "no_trusted_version": "no trusted version is published",
    "files_missing": "files of the published version are missing or damaged",
    "models_differ": "the published models are not the configured ones",
}


class SyncMode(StrEnum):
    """When a deploy runs the sync job first."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


def plan(target: Target, live: Live, mode: SyncMode) -> Plan:
    """Everything that a deploy would change, in order. A sync's own outcome is only known after it ran."""
    found = Plan(f"deploy {target.name} to {target.environment}").extended(ownership.missing(target, live.foundation))
    found = found.extended(job_changes(target, live))
    reason = sync_reason(target, live, mode)
    if reason:
        found = found.extended([Change(Action.RUN, f"job {target.job_name}", after=reason)])
    return found.extended(service_changes(target, live))


def sync_reason(target: Target, live: Live, mode: SyncMode) -> str:
    """Why the sync job has to run first; empty when it has not to.

    A pinned version is never changed by a sync, and with the cache off nobody reads what it publishes.
    """
    if mode is SyncMode.ALWAYS:
        return "asked for"
    cache = target.settings.cache
    decision = live.models.decision
    if mode is SyncMode.NEVER or not cache.enabled or cache.version:
        return ""
    if not decision.hit:
        return MISSES[decision.reason]
    return (
        "what is wanted of the models has changed"
        if live.models.hold is None and _wants_other_models(target, live)
        else ""
    )


def _wants_other_models(target: Target, live: Live) -> bool:
    """Whether the service runs with other models, or other files of them: a manifest does not tell the patterns."""
    before = live.service.container_env.get(SPECS) if live.service is not None else None
    return before is not None and before != run.service_state(desired_service(target, live)).container_env.get(SPECS)


def warnings(target: Target, live: Live) -> list[str]:
    """What in the bucket was not believed, each with its remedy, and whether instances will miss."""
    told = [f"{problem.line()}. {target.advice(problem.remedy)}" for problem in live.models.problems]
    decision = live.models.decision
    if not decision.hit and target.settings.cache.enabled:
        told.append(f"instances start on a miss: {MISSES[decision.reason]}")
    return told + standing.notes(target, live.service)


def desired_job(target: Target, live: Live) -> dict[str, Any]:
    """The job as it should be."""
    return render.render_job(target.settings, service=target.key, trusted_keys=live.foundation.trusted_keys)


def desired_service(target: Target, live: Live) -> dict[str, Any]:
    """The service as it should be, bound to the trusted version: a new one makes a new revision."""
    return render.render_service(
        target.settings,
        service=target.key,
        min_serial=live.min_serial,
        model_version=live.version,
        trusted_keys=live.foundation.trusted_keys,
    )


def job_changes(target: Target, live: Live) -> tuple[Change, ...]:
    """What differs between the job and what it should be."""
    body = live.job.body if live.job else None
    found = diff.changes(desired_job(target, live), _plain(body), f"job {target.job_name}")
    return tuple(veiled(change) for change in found)


def service_changes(target: Target, live: Live) -> tuple[Change, ...]:
    """What differs between the service and what it should be; a revision that failed is tried anew."""
    body = live.service.body if live.service else None
    found = diff.changes(desired_service(target, live), _plain(body), f"service {target.name}")
    if not found and live.service is not None and live.service.ready is False:
        why = f"revision {live.service.latest_created_revision} failed; a new one is tried"
        return (Change(Action.RUN, f"service {target.name}", after=why),)
    return tuple(veiled(change) for change in found)


def veiled(change: Change) -> Change:
    """The change without the values of variables whose names speak of secrets: it is shown, and kept in the audit."""
    secret = SECRET.search(change.path.rpartition("[")[2]) is not None
    return replace(change, before=_veil(change.before, secret), after=_veil(change.after, secret))


def _veil(value: Any, secret: bool) -> Any:
    if isinstance(value, list):
        return [_veil(item, secret) for item in value]
    if isinstance(value, Mapping):
        named = secret or SECRET.search(str(value.get("name", ""))) is not None
        return {key: _veil(item, named and key == "value") for key, item in value.items()}
    return HIDDEN if secret and value is not None else value


def next_attempt(body: Mapping[str, Any]) -> dict[str, Any]:
    """The same service with a fresh annotation in its template, so that it gets a new revision."""
    template = body["spec"]["template"]
    meta = template.get("metadata", {})
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    noted = {**meta, "annotations": {**meta.get("annotations", {}), ATTEMPT: stamp}}
    return {**body, "spec": {**body["spec"], "template": {**template, "metadata": noted}}}


def _plain(body: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return dict(body) if body is not None else None
