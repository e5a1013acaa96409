"""Decide what a deploy would do, from values alone. The same Plan is shown by --dry-run and carried out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from scripts.cloud import registry, run
from scripts.cloud.run import ServiceState
from scripts.plan import Action, Change, Plan
from scripts.rendering import diff, render
from scripts.service import ownership, promoted, routing
from scripts.service.observe import Live
from scripts.service.target import Target
from scripts.service.veil import veiled

ATTEMPT = "modelshelf.dev/attempt"
SPECS = "MODEL_SPECS"
TOGGLE = "SHARED_MODEL_VOLUME_ENABLED"
TRAFFIC = "spec.traffic"
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
    return told + toggled(target, live.service)


def toggled(target: Target, state: ServiceState | None) -> list[str]:
    """What the next deploy does to a toggled cache, in one sentence; nothing where it is as the file says."""
    live = state.container_env.get(TOGGLE) if state is not None else None
    wanted = "true" if target.settings.cache.enabled else "false"
    if live is None or live == wanted:
        return []
    return [f"{TOGGLE} was toggled to {live}: a deploy sets it to {wanted}, as the environment file says"]


def desired_job(target: Target, live: Live) -> dict[str, Any]:
    """The job as it should be."""
    return render.render_job(target.settings, service=target.key, trusted_keys=live.foundation.trusted_keys)


def desired_service(target: Target, live: Live) -> dict[str, Any]:
    """The service as it should be, bound to the trusted version: a new one makes a new revision."""
    body = render.render_service(
        target.settings,
        service=target.key,
        min_serial=live.min_serial,
        model_version=live.version,
        trusted_keys=live.foundation.trusted_keys,
    )
    return promoted.kept(body, target)


def job_changes(target: Target, live: Live) -> tuple[Change, ...]:
    """What differs between the job and what it should be."""
    body = live.job.body if live.job else None
    return _shown(diff.changes(desired_job(target, live), _plain(body), f"job {target.job_name}"))


def service_changes(target: Target, live: Live) -> tuple[Change, ...]:
    """What differs between the service and what it should be; a revision that failed is tried anew.

    Traffic that is held on an earlier revision stays there while nothing else differs: nobody undoes a rollback with
    what was rolled back.
    """
    name, state = f"service {target.name}", live.service
    found = _shown(diff.changes(desired_service(target, live), _plain(state.body if state else None), name))
    if state is None or not moves_only(found):
        return found
    if routing.held(state) and not target.unpin:
        return ()
    if state.ready is False:
        why = f"revision {state.latest_created_revision} failed; a new one is tried"
        return (*found, Change(Action.RUN, name, after=why))
    return found


def moves_only(changes: Sequence[Change]) -> bool:
    """Whether nothing but the traffic differs, or nothing at all."""
    return all(change.path == TRAFFIC for change in changes)


def notes(target: Target, live: Live) -> list[str]:
    """What somebody who deploys should know of the traffic: it does not follow the newest revision, and why."""
    state = live.service
    if state is None or not (revision := routing.overtaken(state)):
        return []
    newest = state.latest_created_revision
    if routing.unfinished(state):
        return [f"an earlier deploy did not end: {newest} waits beside {routing.told(routing.base(state))}"]
    reason = routing.held(state)
    by = f" by a rollback ({reason})" if reason else ""
    told = f"traffic is pinned to {revision}{by}, though {newest} is newer"
    if not service_changes(target, live):
        return [f"{told}: it stays there until there is something new to deploy, or with --unpin"]
    return [f"{told}: this deploy moves it to the newest revision once that is verified"]


def _shown(changes: Sequence[Change]) -> tuple[Change, ...]:
    """Changes without secrets, and without an image that live is the digest of: only a deploy asks what a tag means."""
    return tuple(veiled(change) for change in changes if not _same_repository(change))


def _same_repository(change: Change) -> bool:
    if not change.path.endswith(".image") or "@" in str(change.after):
        return False
    before, _, digest = str(change.before).partition("@")
    return bool(digest) and before == registry.parse(str(change.after)).written


def next_attempt(body: Mapping[str, Any]) -> dict[str, Any]:
    """The same service with a fresh annotation in its template, so that it gets a new revision."""
    template = body["spec"]["template"]
    meta = template.get("metadata", {})
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    noted = {**meta, "annotations": {**meta.get("annotations", {}), ATTEMPT: stamp}}
    return {**body, "spec": {**body["spec"], "template": {**template, "metadata": noted}}}


def _plain(body: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return dict(body) if body is not None else None
