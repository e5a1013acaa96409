"""Make in a stand-in what Terraform makes on Google Cloud, so that an environment of Terraform's can be rehearsed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scripts.errors import Refused
from scripts.plan import Action, Change, Plan
from scripts.service import changing, ownership, target
from scripts.service.target import Target
from scripts.settings.model import Settings

# What Terraform puts into a shell: a deploy replaces it by the real image.
HELLO_IMAGE = "us-docker.pkg.dev/cloudrun/container/hello"


def provision(settings: Settings, service: str, *, dry_run: bool = False) -> Plan:
    """Create what is missing of bucket, signing key, job and service shell, schedule; what was (or would be) made.

    Raises Refused on Google Cloud, where all of it is Terraform's.
    """
    reached = target.reach(settings, service)
    if not reached.cloud.is_standin:
        text = f"{reached.cloud.name} is Terraform's to provision; this command only fills a stand-in"
        raise Refused(text, "Set MODELSHELF_ENDPOINT=http://127.0.0.1:8085 for a rehearsal.")
    plan = _plan(reached)
    if dry_run or plan.empty:
        return plan
    ownership.make_bucket(reached)
    purpose = f"provision {reached.name} on {settings.environment}"
    lease = ownership.exclusive(reached, reached.lease_name, purpose)
    with lease, changing.recorded(reached, "local.provision", plan):
        for change in plan.changes:
            _make(reached, change)
    return plan


def _plan(reached: Target) -> Plan:
    keys = ownership.trusted_keys(reached)
    sync = reached.settings.sync
    there = [
        (reached.bucket.exists(), f"bucket {reached.bucket.name}"),
        (ownership.can_sign(reached) and bool(keys), f"signing key {reached.settings.signing.key}"),
        (reached.run.get_job(reached.job_name) is not None, f"job {reached.job_name}"),
        (reached.run.get_service(reached.name) is not None, f"service {reached.name}"),
        (reached.cloud.scheduler().get(sync.schedule_name) is not None, f"schedule {sync.schedule_name}"),
    ]
    changes = tuple(Change(Action.CREATE, name) for exists, name in there if not exists)
    return Plan(f"provision {reached.settings.environment} on the {reached.cloud.name}", changes)


def _make(reached: Target, change: Change) -> None:
    kind = change.target.split(" ", 1)[0]
    makers: dict[str, Callable[[], object]] = {
        "bucket": lambda: ownership.make_bucket(reached),
        "signing": lambda: ownership.make_key(reached),
        "job": lambda: reached.run.apply_job(job_shell(reached)),
        "service": lambda: reached.run.apply_service(service_shell(reached)),
        "schedule": lambda: ownership.make_schedule(reached),
    }
    makers[kind]()


def service_shell(reached: Target) -> dict[str, Any]:
    """A service that says hello, as Terraform makes it: the deploy owns everything in its template."""
    spec = {"serviceAccountName": reached.service.service_account, "containers": [{"image": HELLO_IMAGE}]}
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": _metadata(reached, reached.name),
        "spec": {"template": {"spec": spec}, "traffic": [{"percent": 100, "latestRevision": True}]},
    }


def job_shell(reached: Target) -> dict[str, Any]:
    """A job that is never meant to run like this; the deploy gives it its image and variables."""
    account = reached.settings.sync.service_account
    task = {"serviceAccountName": account, "containers": [{"image": HELLO_IMAGE}], "maxRetries": 0}
    return {
        "apiVersion": "run.googleapis.com/v1",
        "kind": "Job",
        "metadata": _metadata(reached, reached.job_name),
        "spec": {"template": {"spec": {"taskCount": 1, "template": {"spec": task}}}},
    }


def _metadata(reached: Target, name: str) -> dict[str, Any]:
    return {"name": name, "namespace": reached.settings.project, "labels": ownership.labels(reached)}
