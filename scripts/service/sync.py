"""Run the sync job by itself: the first six steps of a deploy, without touching the service."""

from __future__ import annotations

from scripts.plan import Plan
from scripts.service import deploy, observe
from scripts.service.deployment import Deployment
from scripts.service.planning import SyncMode
from scripts.service.preflight import Options
from scripts.service.publication import Published
from scripts.service.steps import Steps, Talk
from scripts.settings.model import Settings


def plan_sync(settings: Settings, service: str) -> Plan:
    """What sync would do: what is missing, the job's changes, and its run."""
    whole = deploy.plan_deploy(settings, Options(service, SyncMode.ALWAYS.value))
    name = f"service {settings.service(service).cloud_run_name}"
    return Plan(f"sync {settings.environment}", tuple(change for change in whole.changes if change.target != name))


def sync(settings: Settings, service: str, talk: Talk) -> Published:
    """Bring the job up to date, run it, and return what it published. Raises as deploy does."""
    run = Deployment(settings, Options(service), Steps(talk), command="sync")
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
