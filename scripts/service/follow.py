"""Let a running service follow what the bucket says now: a new revision, and proof that every instance reports it.

Only what binds the service to the bucket is changed in its live document (MODEL_MIN_SERIAL and the version's note);
other differences from the environment file are left for the next deploy.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from scripts.errors import Conflict, NotFound, OpsError
from scripts.models.revisions import VERSION_NOTE
from scripts.models.statements import Trusted
from scripts.service import apply, instances, ownership, probe, readiness
from scripts.service.steps import Steps
from scripts.service.target import Target

MIN_SERIAL = "MODEL_MIN_SERIAL"


def follow(target: Target, trusted: Trusted, steps: Steps) -> str:
    """Roll a new revision of the service and wait until its instances serve this version; the revision's name.

    Empty where there is no service. Raises OpsError with the last log lines when the revision does not get ready, or
    when an instance reports another version.
    """
    with ownership.exclusive(target, target.lease_name, f"follow {trusted.version}"):
        with steps.step("service") as step:
            before = target.run.get_service(target.name)
            if before is None:
                step.outcome = f"{target.name} does not exist: nothing to roll"
                return ""
            if before.min_serial == trusted.serial and before.ready is True:
                revision = before.latest_ready_revision
            else:
                state = apply.service(target, bound(before.body, trusted), before)
                state = readiness.await_ready(target, state.generation, steps.talk.progress)
                revision = state.latest_ready_revision
            step.outcome = f"revision {revision}"
        with steps.step("instances") as step:
            step.outcome = _all_report(target, revision, trusted, steps)
    return revision


def bound(live: Mapping[str, Any], trusted: Trusted) -> dict[str, Any]:
    """The live document as it is to be sent: bound to the version, without what the server says of it."""
    body: dict[str, Any] = copy.deepcopy({key: value for key, value in live.items() if key != "status"})
    template = body["spec"]["template"]
    meta = template.setdefault("metadata", {})
    meta.pop("name", None)  # a name of the revision can be used once only
    meta.setdefault("annotations", {})[VERSION_NOTE] = trusted.version
    container = template["spec"]["containers"][0]
    others = [item for item in container.get("env", ()) if item.get("name") != MIN_SERIAL]
    container["env"] = [*others, {"name": MIN_SERIAL, "value": str(trusted.serial)}]
    return body


def _all_report(target: Target, revision: str, trusted: Trusted, steps: Steps) -> str:
    state = target.run.get_service(target.name)
    if state is None:
        raise NotFound(
            f"service {target.name} was deleted meanwhile", f"./dev invoke deploy --env {target.environment}"
        )
    if not state.percent(revision):
        raise Conflict(
            f"revision {revision} is ready but gets no traffic: it is pinned to another revision",
            f"Run: ./dev invoke deploy --env {target.environment}",
        )
    told = probe.check_all(target, state.url, steps.talk.progress)
    steps.talk.progress("reading the instances' decisions from the logs")
    found = instances.await_instances(target, revision, max(1, target.service.min_instances))
    others = [item for item in found if item.version != trusted.version]
    if others:
        names = ", ".join(f"{item.id[:12]} ({item.version or 'none'}, {item.reason})" for item in others[:3])
        raise OpsError(
            f"{len(others)} of {len(found)} instances do not serve {trusted.version}: {names}",
            f"Run: ./dev invoke logs --env {target.environment} --severity WARNING",
        )
    return f"{told}; {len(found)} of {len(found)} instances report {trusted.version}"
