"""Rollback: back to the revision that served before, to an earlier version of the models, or to both.

Of the service only its traffic changes: all of it goes to the earlier revision by name, so that no later revision takes
it by itself; annotations let the next deploy's plan say so. Of the models what cache.rollback does. Both: models first
(a statement and a hold; what runs is not touched), then a new revision with the earlier one's template, because running
instances keep the models that they started with.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from scripts.cloud.retry import delays
from scripts.cloud.run import Revision, ServiceState
from scripts.errors import BadInput, GateFailed, NotFound, Refused
from scripts.models import layout, shelf
from scripts.models.revisions import VERSION_NOTE
from scripts.plan import Action, Change, Plan
from scripts.service import apply, changing, hooks, observe, planning, probe, readiness, routing, shift
from scripts.service.served import History
from scripts.service.steps import Step, Steps, Talk
from scripts.service.target import Target
from scripts.service.upkeep import Done, Rolling, Work
from scripts.settings.model import Settings

PREVIOUS = "previous"
MOVE_TIMEOUT_S = 300.0  # an instance of the earlier revision may have to start first
NAMED = 8


@dataclass(frozen=True)
class Reverting:
    """What a rollback of the service would do. current: the newest revision with traffic; why: what nothing is to do
    for."""

    state: ServiceState
    current: str
    to: Revision
    pinned: bool

    @property
    def done(self) -> bool:
        """Whether the revision has all traffic already: by its name, or because it is the latest one and works."""
        whole = self.state.percent(self.to.name) == 100 and self.current == self.to.name
        return whole and (self.pinned or self.state.ready is True)

    def plan(self, service: str) -> Plan:
        """The one change, or none."""
        name, before = f"service {service}", routing.told(routing.serving(self.state))
        change = Change(Action.UPDATE, name, "traffic", before, f"100 % {self.to.name}")
        return Plan(f"roll {service} back to {self.to.name}", () if self.done else (change,))


def decide(target: Target, to: str, *, models: str = "") -> Reverting:
    """What to go back to: the revision that was named, else the newest one that served and is older than what serves.

    models: the version that is made active along with it. Raises NotFound (no service, no such revision, none that
    served), Refused when its models are gone from the bucket.
    """
    state = observe.service(target)
    revisions = target.run.list_revisions(target.name)
    current = next((item.name for item in revisions if state.percent(item.name)), "")
    history = History(target, state)
    back = routing.rolled_back(state)
    if to and to != PREVIOUS:
        chosen = _named(target, history, revisions, to)
    elif (standing := _standing(revisions, back)) is not None:
        chosen = standing
    else:
        chosen = _previous(target, history, revisions, current)
    found = Reverting(state, current, chosen, routing.pinned(state) == chosen.name)
    if not found.done:
        _check_models(target, chosen, models)
    return found


def _standing(revisions: list[Revision], back: tuple[str, str] | None) -> Revision | None:
    """The revision that a rollback which stands went back to, if it works: one that did not start serves nobody."""
    return next((item for item in revisions if back and item.name == back[1] and item.ready is not False), None)


def _named(target: Target, history: History, revisions: list[Revision], name: str) -> Revision:
    found = next((item for item in revisions if item.name == name), None)
    if found is not None and history.served(found):
        return found
    known = [item.name for item in revisions[: 4 * NAMED] if history.served(item)][:NAMED]
    served = f"those that served: {', '.join(known) or 'none'}"
    remedy = f"Run: ./dev invoke rollback --env {target.environment} --to {known[-1] if known else 'REVISION'}"
    if found is None:
        text = f"revision {name!r} not found in {target.name} ({target.environment}); {served}"
        raise NotFound(text, remedy)
    why = "never served" if found.ready is True else "never became ready"
    raise NotFound(f"revision {name} of {target.name} {why}, so it is nothing to go back to; {served}", remedy)


def _previous(target: Target, history: History, revisions: list[Revision], current: str) -> Revision:
    names = [item.name for item in revisions]
    older = revisions[names.index(current) + 1 :] if current in names else revisions
    found = next((item for item in older if history.served(item)), None)
    if found is not None:
        return found
    text = f"{target.name} ({target.environment}) has no earlier revision that served; {current or 'none'} serves"
    raise NotFound(text, target.advice("See what there is: ./dev invoke status --env ENVIRONMENT"))


def _check_models(target: Target, revision: Revision, models: str) -> None:
    """Refuse a revision that was deployed with models that are not in the bucket any more."""
    env = revision.container_env
    version = env.get("MODEL_CACHE_VERSION") or ("" if models else revision.annotations.get(VERSION_NOTE, ""))
    if env.get(planning.TOGGLE) == "false" or not layout.is_version(version):
        return
    seen = shelf.survey(target.bucket)
    if seen.is_complete(version):
        return
    known = ", ".join(seen.activated[:NAMED]) or "none"
    text = f"revision {revision.name} was deployed with models {version}, which are gone from {target.bucket.name}"
    newest = next(iter(seen.activated), "VERSION")
    way = f"./dev invoke rollback --env {target.environment} --to {revision.name} --models {newest}"
    advice = f"Bring it back with models that are there ({known}): {way}"
    if env.get("MODEL_CACHE_VERSION"):
        advice = f"It pins them, so choose another revision: ./dev invoke status --env {target.environment}"
    raise Refused(text, advice)


class Back(Work):
    """`invoke rollback`: of the service, of the models, or of both."""

    def __init__(self, settings: Settings, service: str, to: str, models: str) -> None:
        super().__init__(settings, service)
        if to == "latest":
            raise BadInput(
                "--to: found 'latest', expected an earlier revision", "Forwards goes: ./dev invoke deploy --unpin"
            )
        if models:
            layout.check_version(models, "--models")
        self._to = to or ("" if models else PREVIOUS)
        self._models = models

    @cached_property
    def todo(self) -> Reverting | None:
        """The service's part; None where only the models go back."""
        return decide(self.target, self._to, models=self._models) if self._to else None

    @cached_property
    def rolling(self) -> Rolling | None:
        """The models' part."""
        return Rolling(self._settings, self._service, self._models, 0, "rolled back") if self._models else None

    @cached_property
    def plan(self) -> Plan:
        changes = self.rolling.plan.changes if self.rolling else ()
        if self.todo is None:
            return Plan(f"roll the models of {self._settings.environment} back to {self._models}", changes)
        own = self.todo.plan(self.target.name)
        if self.rolling is None:
            return own
        found = Plan(f"{own.title} with models {self._models}", changes)
        return found.extended(() if self._follows(self.todo, self.rolling) else own.changes or _fresh(self.todo))

    def about(self) -> str:
        """The first thing that is said: what is rolled back, where."""
        what = f"{self.target.name} on {self._settings.environment} ({self.target.cloud.name})"
        if self.todo is None:
            return f"rolling back: the models of {what}"
        if self.todo.done:
            return f"rolling back: {what}, where {self.todo.to.name} serves already"
        return f"rolling back: {what}, from {self.todo.current or 'nothing'} to {self.todo.to.name}"

    def remarks(self) -> list[str]:
        """Why nothing is to be done, where a default was asked for."""
        back = routing.rolled_back(self.todo.state) if self.todo is not None and self.todo.done else None
        if back is None or self._to != PREVIOUS:
            return []
        further = f"./dev invoke rollback --env {self._settings.environment} --to REVISION"
        return [f"already rolled back from {back[0]} to {back[1]}; further back: {further}"]

    def carry_out(self, talk: Talk) -> Done:
        """Do it. Raises what the parts raise; after a failed start of the earlier revision traffic is where it was."""
        steps = Steps(talk)
        if self.rolling is None:
            assert self.todo is not None, "without models it is about the service"
            return self._service_only(self.todo, steps)
        revision = self.rolling.carry_out_in(steps, self.todo.to.name if self.todo else "")
        fields = (("models", f"{self._models}, held"), ("revision", revision or "none"))
        result = {"models": self._models, "revision": revision, "changed": not self.plan.empty}
        return self._done(f"rolled back to models {self._models}", fields, result, steps)

    def _service_only(self, todo: Reverting, steps: Steps) -> Done:
        seconds = 0.0
        if not self.plan.empty:
            seconds = move(self.target, todo, lambda: decide(self.target, self._to), steps)
        held = todo.pinned or not self.plan.empty
        how = "by name: no later revision takes it by itself" if held else "as the newest revision: a later one gets it"
        fields = (
            ("revision", todo.to.name),
            ("traffic", f"100 %, {how}"),
            ("forwards", f"./dev invoke deploy --env {self._settings.environment} --unpin"),
        )
        result = {"models": "", "revision": todo.to.name, "changed": not self.plan.empty, "moved_s": round(seconds, 3)}
        title = f"rolled back to {todo.to.name}" if result["changed"] else f"{todo.to.name} serves: nothing to change"
        return self._done(title, fields, result, steps)

    def _done(self, title: str, fields: tuple[tuple[str, str], ...], own: dict[str, Any], steps: Steps) -> Done:
        head = {"environment": self._settings.environment, "service": self.target.name}
        return Done(title, fields, {**head, **own, "steps": steps.as_json()})

    def _follows(self, todo: Reverting, rolling: Rolling) -> bool:
        return rolling.plan.empty and bool(rolling.followed(todo.to.name))


def _fresh(todo: Reverting) -> tuple[Change, ...]:
    return (Change(Action.RUN, f"service {todo.state.name}", after=f"a new revision like {todo.to.name}"),)


def move(target: Target, todo: Reverting, again: Callable[[], Reverting], steps: Steps) -> float:
    """Give the earlier revision all traffic, under the lease; seconds until it had it, counted from here.

    Raises Conflict when the service changed since this was decided (what others changed is left alone), GateFailed when
    the revision does not start (traffic is where it was), OpsError when it does not answer its checks.
    """
    began = time.monotonic()
    details: dict[str, Any] = {"from": todo.current, "revision": todo.to.name}
    with changing.at_work(target, "rollback", todo.plan(target.name), steps, details):
        with steps.step("traffic") as step:
            _send(target, todo, again, step)
            seconds = time.monotonic() - began
        with steps.step("verify") as step:
            step.outcome = probe.check_all(target, todo.state.url, steps.talk.progress)
    hooks.run(target, "on_rollback", steps, "rollback", todo.plan(target.name), details)
    return seconds


def _send(target: Target, todo: Reverting, again: Callable[[], Reverting], step: Step) -> None:
    before = target.run.get_service(target.name)
    if before is None or before.resource_version != todo.state.resource_version:
        fresh = again()
        changing.settled(todo.plan(target.name), fresh.plan(target.name), target.name)
        todo = fresh
    traffic = routing.pinned_lines(todo.state, todo.to.name)
    body = routing.with_traffic(todo.state.body, traffic, routing.rollback_note(todo.current, todo.to.name))
    applied = apply.service(target, body, todo.state)
    problem = _await_moved(target, applied.generation, todo.to.name)
    if problem:
        now = target.run.get_service(target.name)
        if now is not None:
            shift.check_ours(target, now, applied.generation)
            apply.service(target, routing.sendable(todo.state.body), now)
        words = readiness.last_words(target, todo.to.name)
        text = f"revision {todo.to.name} does not start; traffic is where it was: {problem}"
        raise GateFailed("\n".join([text, *words]), target.advice("Run: ./dev invoke logs --env ENVIRONMENT"))
    step.outcome = f"100 % {todo.to.name}"


def _await_moved(target: Target, generation: int, revision: str) -> str:
    """Wait until a revision has all traffic; why it will not, or empty. The service itself may stay not ready: its
    latest revision, which gets no traffic, can be a broken one."""
    deadline = time.monotonic() + MOVE_TIMEOUT_S
    for delay_s in delays(0.05, 1.0):
        state = target.run.get_service(target.name)
        if state is None:
            return "the service was deleted meanwhile"
        if state.observed_generation >= generation:
            routes = _routes(state)
            if routes.get("status") == "True" and state.percent(revision) == 100:
                return ""
            if routes.get("status") == "False":
                return str(routes.get("message") or routes.get("reason") or "the route failed")
        if time.monotonic() + delay_s > deadline:
            return f"it was not ready within {MOVE_TIMEOUT_S:g} s"
        time.sleep(delay_s)
    raise AssertionError("delays() is endless")


def _routes(state: ServiceState) -> dict[str, Any]:
    found = state.body.get("status", {}).get("conditions", ())
    return next((dict(item) for item in found if item.get("type") == "RoutesReady"), {})
