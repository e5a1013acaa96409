"""Let a running service follow what the bucket says now: a new revision, and proof that every instance reports it.

Only what binds the service to the bucket is changed in its live document (MODEL_MIN_SERIAL and the version's note);
other differences from the environment file are left for the next deploy.
"""

from __future__ import annotations

from typing import Any

from scripts.cloud.run import ServiceState
from scripts.errors import Conflict, NotFound, OpsError
from scripts.models.revisions import VERSION_NOTE
from scripts.models.statements import Trusted
from scripts.service import apply, instances, ownership, probe, readiness, routing
from scripts.service.steps import Steps
from scripts.service.successor import merge_env, origin_of, successor
from scripts.service.target import Target

MIN_SERIAL = "MODEL_MIN_SERIAL"


def follow(target: Target, trusted: Trusted, steps: Steps, origin: str = "") -> str:
    """Roll a new revision of the service and wait until its instances serve this version; the revision's name.

    origin: the revision whose template it gets; without it the live one's, or that of the revision which has all
    traffic by its name. Empty where there is no service. Raises OpsError with the last log lines when the revision does
    not get ready, or when an instance reports another version.
    """
    with ownership.exclusive(target, target.lease_name, f"follow {trusted.version}"):
        with steps.step("service") as step:
            before = target.run.get_service(target.name)
            if before is None:
                step.outcome = f"{target.name} does not exist: nothing to roll"
                return ""
            revision = following(target, before, trusted, origin)
            if not revision:
                body = bound(successor(target, before, origin), trusted)
                state = apply.service(target, body, before)
                state = readiness.await_ready(target, state.generation, steps.talk.progress)
                revision = state.latest_ready_revision
            step.outcome = f"revision {revision}"
        with steps.step("instances") as step:
            step.outcome = _all_report(target, revision, trusted, steps)
    return revision


def following(target: Target, state: ServiceState, trusted: Trusted, origin: str = "") -> str:
    """The revision that serves and is bound to this version already; empty where a new one is needed."""
    named = routing.pinned(state)
    if not named and not origin:
        return state.latest_ready_revision if state.min_serial == trusted.serial and state.ready is True else ""
    found = target.run.get_revision(named) if named else None
    if found is None or found.ready is not True or (origin and origin_of(found) != origin):
        return ""
    return named if found.container_env.get(MIN_SERIAL) == str(trusted.serial) else ""


def bound(body: dict[str, Any], trusted: Trusted) -> dict[str, Any]:
    """A document bound to the version."""
    body["spec"]["template"]["metadata"].setdefault("annotations", {})[VERSION_NOTE] = trusted.version
    merge_env(body, MIN_SERIAL, str(trusted.serial))
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
    if state.percent(revision) != routing.WHOLE:
        shares = routing.told(routing.serving(state))
        text = f"revision {revision} gets {state.percent(revision)} % of the traffic, which is split ({shares})"
        advice = f"Bring it to one revision: ./dev invoke deploy --env {target.environment}"
        raise Conflict(f"{text}: the others go on with the models that they have", advice)
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
