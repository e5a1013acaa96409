"""Toggle: switch the shared models of a live service off or on, by merging one variable into it.

All other variables, also those that no file names, and whatever else differs from the files stay as they are. Running
instances keep the value that they started with, so a new revision starts and the old instances are waited for.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from scripts.cloud.retry import delays
from scripts.cloud.run import ServiceState
from scripts.errors import SYNC, BadInput, Conflict, Refused
from scripts.models import gate
from scripts.plan import Action, Change, Plan
from scripts.service import apply, changing, observe, planning, probe, readiness, routing
from scripts.service.planning import TOGGLE
from scripts.service.steps import Steps, Talk
from scripts.service.successor import merge_env, successor
from scripts.service.target import Target
from scripts.service.upkeep import Done, Work
from scripts.settings.model import Settings

VALUES = {True: "true", False: "false"}
SLACK_S = 30.0  # between the last request's end and the process's
_DRIVER = "gcsfuse.run.googleapis.com"


@dataclass(frozen=True)
class Toggling:
    """What a toggle would do. serves: what the revision that serves has for the variable, None without it."""

    state: ServiceState
    revision: str
    serves: str | None
    wanted: str

    def plan(self, name: str) -> Plan:
        """The one change; none where the revision that serves has the value already."""
        title = f"toggle {TOGGLE} of {name} to {self.wanted}"
        if self.serves == self.wanted:
            return Plan(title)
        return Plan(title, (Change(Action.UPDATE, f"service {name}", TOGGLE, self.serves, self.wanted),))


def decide(target: Target, on: bool) -> Toggling:
    """Look at what serves. Raises NotFound without a service, Refused where traffic is split, and for `on` where
    instances would have nothing verified to serve or no mount to serve it from."""
    state = observe.service(target)
    shares = routing.serving(state)
    if len(shares) > 1:
        text = f"the traffic of {target.name} is split: {routing.told(shares)}"
        raise Refused(text, target.advice("Bring it to one revision first: ./dev invoke rollback --env ENVIRONMENT"))
    serving = routing.most(shares)
    revision = target.run.get_revision(serving) if serving else None
    if revision is None:
        text = f"no revision of {target.name} serves: {state.reason or 'it is not ready'}"
        raise Refused(text, f"Run: ./dev invoke deploy --env {target.environment}")
    found = Toggling(state, serving, revision.container_env.get(TOGGLE), VALUES[on])
    if on and found.serves != found.wanted:
        _check_on(target, state, revision.body["spec"])
    return found


def _check_on(target: Target, state: ServiceState, spec: Mapping[str, Any]) -> None:
    drivers = {(volume.get("csi") or {}).get("driver") for volume in spec.get("volumes") or ()}
    if _DRIVER not in drivers:
        text = f"{target.name} has no mount of the bucket, so there is nothing to switch on"
        advice = f"Set cache.enabled: true in environments/{target.environment}.yaml, then deploy."
        raise Refused(text, advice)
    look = observe.models(target, observe.floor(target, state))
    if look.decision.hit and not look.problems:
        return
    missing = [planning.MISSES[look.decision.reason]] if look.decision.reason in gate.MISSES else []
    told = "; ".join([*missing, *(problem.line() for problem in look.problems[:3])])
    remedy = look.problems[0].remedy if look.problems else SYNC
    raise Refused(f"no verified version of the models to switch on: {told}", target.advice(remedy))


class Toggle(Work):
    """`invoke toggle`."""

    def __init__(self, settings: Settings, service: str, *, on: bool, off: bool) -> None:
        super().__init__(settings, service)
        if on == off:
            given = "both" if on else "neither"
            text = f"--on, --off: found {given}, expected one of them"
            raise BadInput(text, f"Run: ./dev invoke toggle --env {settings.environment} --off")
        self._on = on

    @cached_property
    def todo(self) -> Toggling:
        return decide(self.target, self._on)

    @property
    def plan(self) -> Plan:
        return self.todo.plan(self.target.name)

    def carry_out(self, talk: Talk) -> Done:
        """Do it, and wait until no instance has the old value. Raises as its steps do."""
        steps, revision = Steps(talk), self.todo.revision
        if not self.plan.empty:
            revision = _apply(self.target, self.todo, self._on, steps)
        with steps.step("instances") as step:
            left = _await_gone(self.target, revision, steps)
            step.outcome = left or f"every instance has {TOGGLE}={self.todo.wanted}"
        fields = (
            ("revision", revision),
            ("variable", f"{TOGGLE}={self.todo.wanted}"),
            ("until", f"./dev invoke deploy --env {self._settings.environment} (its plan says so)"),
        )
        result = {
            "environment": self._settings.environment, "service": self.target.name, "value": self.todo.wanted,
            "revision": revision, "changed": not self.plan.empty, "steps": steps.as_json(),
        }  # fmt: skip
        return Done(f"{self.target.name}: shared models {'on' if self._on else 'off'}", fields, result)


def _apply(target: Target, todo: Toggling, on: bool, steps: Steps) -> str:
    """Roll the new revision; its name."""
    details: dict[str, Any] = {"value": todo.wanted, "from": todo.revision}
    with changing.at_work(target, "toggle", todo.plan(target.name), steps, details):
        fresh = decide(target, on)
        changing.settled(todo.plan(target.name), fresh.plan(target.name), target.name)
        with steps.step("service") as step:
            body = successor(target, fresh.state)
            if fresh.state.container_env.get(TOGGLE) == fresh.wanted:  # an earlier attempt failed: a new revision
                body = planning.next_attempt(body)
            merge_env(body, TOGGLE, fresh.wanted)
            state = apply.service(target, body, fresh.state)
            details["revision"] = state.latest_created_revision
            state = readiness.await_ready(target, state.generation, steps.talk.progress)
            revision = details["revision"] = state.latest_ready_revision
            step.outcome = f"revision {revision}"
        with steps.step("verify") as step:
            if state.percent(revision) != 100:
                told = routing.told(routing.serving(state))
                text = f"revision {revision} is ready but does not get all traffic: {told}"
                raise Conflict(text, f"Run: ./dev invoke deploy --env {target.environment}")
            step.outcome = probe.check_all(target, state.url, steps.talk.progress)
    return revision


def _await_gone(target: Target, revision: str, steps: Steps) -> str:
    """Wait until no instance of another revision runs; what is to be said where that cannot be known, or empty. A
    revision that somebody gave a tag goes on behind it, without traffic: that is told, and not waited for.

    Raises Conflict when some still run after the longest request may have ended.
    """
    deadline = time.monotonic() + target.service.timeout_s + SLACK_S
    told: set[str] = set()
    tagged = {str(line.get("revisionName")) for line in observe.service(target).traffic if line.get("tag")}
    for delay_s in delays(0.1, 2.0):
        running = target.cloud.instances_by_revision(target.name)
        if running is None:
            return "Google Cloud ends those of earlier revisions once they are idle; new requests do not reach them"
        old = {name: ids for name, ids in running.items() if name != revision}
        for name, ids in old.items():
            for each in sorted(set(ids) - told):
                how = ", which has a tag, keeps" if name in tagged else " still runs with"
                steps.talk.note(f"instance {each[:12]} of {name}{how} what it started with")
        told |= {each for ids in old.values() for each in ids}
        old = {name: ids for name, ids in old.items() if name not in tagged}
        if not old:
            return ""
        if time.monotonic() + delay_s > deadline:
            names = ", ".join(each[:12] for ids in old.values() for each in ids)
            raise Conflict(f"instances of earlier revisions still run: {names}", "Look again: type the same command.")
        time.sleep(delay_s)
    raise AssertionError("delays() is endless")
