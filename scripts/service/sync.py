"""Run the sync job by itself: the first six steps of a deploy, without touching the service."""

from __future__ import annotations

from scripts.errors import BadInput, OpsError
from scripts.models import compare
from scripts.models.sources.base import open_sources
from scripts.plan import Action, Change, Plan
from scripts.service import deploy, observe, target
from scripts.service.deployment import Deployment
from scripts.service.planning import SyncMode
from scripts.service.preflight import Options
from scripts.service.publication import Published
from scripts.service.steps import SILENT, Steps, Talk
from scripts.settings.model import Settings


def plan_sync(settings: Settings, service: str, *, accept: bool = False, talk: Talk = SILENT) -> Plan:
    """What sync would do: what is missing, the job's changes, its run; with accept also which tags moved upstream.

    talk hears when the upstream cannot be asked from here. Raises as sync does.
    """
    if accept:
        _check_accept(settings, talk)
    whole = deploy.plan_deploy(settings, Options(service, SyncMode.ALWAYS.value))
    name = f"service {settings.service(service).cloud_run_name}"
    changes = tuple(change for change in whole.changes if change.target != name)
    return Plan(f"sync {settings.environment}", (*changes, *(_moved(settings, service, talk) if accept else ())))


def _moved(settings: Settings, service: str, talk: Talk) -> tuple[Change, ...]:
    """The revisions that the job would take instead of the published ones."""
    try:
        reached = target.reach(settings, service)
        trusted = observe.models(reached).reading.trusted if reached.bucket.exists() else None
        sources = open_sources(reached.cloud.upstreams(), client="cache.sync --dry-run")
        resolved = [sources[spec.kind].resolve(spec) for spec in settings.specs]
    except OpsError as error:
        talk.note(f"which tags moved is told by the job alone: {error.message}", warning=True)
        return ()
    moved = compare.accepted(trusted.manifest if trusted is not None else None, resolved)
    return tuple(Change(Action.UPDATE, f"model {tag.name}", "revision", tag.published, tag.upstream) for tag in moved)


def _check_accept(settings: Settings, talk: Talk) -> None:
    """A revision that the settings fix is theirs alone. Raises BadInput when all of them are fixed."""
    place = f"environments/{settings.environment}.yaml"
    fixed = [model.name for model in settings.models if model.revision]
    if len(fixed) == len(settings.models):
        text = f"--accept: {place} fixes the revision of every model ({', '.join(fixed)}), so no tag is followed"
        raise BadInput(text, f"Change or empty models[].revision in {place}.")
    if fixed:
        talk.note(f"--accept leaves alone what {place} fixes the revision of: {', '.join(fixed)}", warning=True)


def sync(settings: Settings, service: str, talk: Talk, *, accept: bool = False) -> Published:
    """Bring the job up to date, run it, and return what it published. Raises as deploy does, and BadInput.

    accept: publish what tags name upstream now, where the settings fix no revision.
    """
    if accept:
        _check_accept(settings, talk)
    run = Deployment(settings, Options(service, accept=accept), Steps(talk), command="sync")
    run.cloud()
    run.plan()
    run.bucket()
    with run.exclusive():
        run.keys()
        run.job()
        run.models(SyncMode.ALWAYS)
    assert run.published is not None, "models() with ALWAYS publishes"
    hold = observe.models(run.target).hold
    if hold is not None:
        lift = f"./dev invoke cache.resume --env {settings.environment}"
        talk.note(f"held at {hold.version} ({hold.reason}): nothing new becomes active until: {lift}", warning=True)
    return run.published
