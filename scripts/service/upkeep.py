"""The commands of `cache.*` that change the bucket, each as one object: its plan, and carrying it out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from scripts.errors import ExitCode
from scripts.models.repair import Repair
from scripts.models.retention import Pruning
from scripts.models.rollback import Rollback
from scripts.models.statements import Trusted
from scripts.plan import Plan
from scripts.service import cache, follow, target
from scripts.service.steps import Steps, Talk
from scripts.service.target import Target
from scripts.settings.model import Settings
from scripts.units import size

KEPT = ("kept", "because")


@dataclass(frozen=True)
class Done:
    """What a command says at its end; fields: names and values for people, result: the document of --json."""

    title: str
    fields: tuple[tuple[str, str], ...]
    result: dict[str, Any]

    def rows(self) -> list[tuple[str, str]]:
        """Names and values of the summary."""
        return list(self.fields)

    def as_json(self) -> dict[str, Any]:
        """The document of --json."""
        return self.result


class Work(ABC):
    """A command of one environment: decided when its plan is first asked for."""

    def __init__(self, settings: Settings, service: str = target.DEFAULT_SERVICE) -> None:
        self._settings = settings
        self._service = service

    @cached_property
    def target(self) -> Target:
        return target.reach(self._settings, self._service)

    @property
    @abstractmethod
    def plan(self) -> Plan:
        """What is about to be done."""

    @property
    def asks_for(self) -> str:
        """What somebody has to type before it is carried out, where the environment asks for its name; else empty."""
        return self._settings.environment if self._settings.confirm == "name" else ""

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of a command that did what it planned."""
        return ExitCode.OK

    @abstractmethod
    def carry_out(self, talk: Talk) -> Done:
        """Do it, and say how it is then, also where nothing was to be done. Raises what the clients raise."""


class Rolling(Work):
    """Rolling the models back."""

    def __init__(self, settings: Settings, service: str, to: str, generation: int, reason: str) -> None:
        super().__init__(settings, service)
        self._wanted = (to, generation, reason)
        self.active: Trusted

    def _decide(self) -> Rollback:
        return cache.plan_rollback(self.target, *self._wanted)

    @cached_property
    def todo(self) -> Rollback:
        return self._decide()

    @property
    def plan(self) -> Plan:
        return self.todo.plan()

    def carry_out(self, talk: Talk) -> Done:
        """Bucket first, then the service, which may not have followed an earlier rollback yet.

        Raises what either raises; what was done in the bucket stays.
        """
        steps = Steps(talk)
        revision = self.carry_out_in(steps)
        active = self.active
        fields = (
            ("active version", f"{active.version}, serial {active.serial}"),
            ("hold", f"until: ./dev invoke cache.resume --env {self._settings.environment}"),
            ("revision", revision or "none"),
        )
        result = {
            "environment": self._settings.environment, "version": active.version, "serial": active.serial,
            "changed": not self.plan.empty, "revision": revision, "steps": steps.as_json(),
        }  # fmt: skip
        return Done(f"rolled back to {active.version}", fields, result)

    def carry_out_in(self, steps: Steps, origin: str = "") -> str:
        """The same as steps of a larger command; the revision that serves then. origin: whose template it has."""
        self.active = self.todo.to
        if not self.plan.empty:
            with steps.step("bucket") as step:
                self.active = cache.roll_back(self.target, self.todo, self._decide, steps.talk.progress)
                step.outcome = f"{self.active.version} is active as serial {self.active.serial}, and held"
        return follow.follow(self.target, self.active, steps, origin)

    def followed(self, origin: str) -> str:
        """The revision with that one's template that serves and is bound to the version already, or empty."""
        state = self.target.run.get_service(self.target.name)
        return follow.following(self.target, state, self.todo.to, origin) if state is not None else ""


class Pruner(Work):
    """Removing old versions."""

    def __init__(self, settings: Settings, keep: int) -> None:
        super().__init__(settings)
        self._keep = keep

    def _decide(self) -> Pruning:
        return cache.plan_prune(self.target, self._keep)

    @cached_property
    def todo(self) -> Pruning:
        return self._decide()

    @property
    def plan(self) -> Plan:
        return self.todo.plan()

    def kept(self) -> list[list[str]]:
        """Each version that stays, and why."""
        return [[version, ", ".join(why)] for version, why in self.todo.kept.items()]

    def carry_out(self, talk: Talk) -> Done:
        """Remove them."""
        freed_bytes = 0
        if not self.plan.empty:
            with Steps(talk).step("prune") as step:
                freed_bytes = cache.prune(self.target, self.todo, self._decide, talk.progress)
                step.outcome = f"freed {size(freed_bytes)}"
        gone = [item.version for item in self.todo.doomed]
        fields = (("removed", ", ".join(gone) or "none"), ("freed", size(freed_bytes)))
        result = {"removed": gone, "freed_bytes": freed_bytes, "kept": {k: list(v) for k, v in self.todo.kept.items()}}
        return Done(f"pruned {self._settings.cache.bucket}", fields, result)


class Mender(Work):
    """Bringing back what signatures vouch for."""

    @cached_property
    def todo(self) -> Repair:
        return cache.plan_repair(self.target)

    @property
    def plan(self) -> Plan:
        return self.todo.plan()

    @property
    def asks_for(self) -> str:
        """What somebody has to type before it is carried out, where the environment asks for its name; else empty."""
        return self._settings.environment if self._settings.confirm == "name" else ""

    @property
    def exit_code(self) -> ExitCode:
        """2 while something is lost that only a sync brings back."""
        return ExitCode.DIFFERENCE if self.todo.lost or self.todo.active is None else ExitCode.OK

    def lost(self) -> list[str]:
        """What no generation brings back, each with its remedy."""
        told = [f"{problem.line()}. {self.target.advice(problem.remedy)}" for problem in self.todo.lost]
        if self.todo.active is None:
            told.append(f"no version can be brought back. Run: ./dev invoke sync --env {self._settings.environment}")
        return told

    def carry_out(self, talk: Talk) -> Done:
        """Bring it back."""
        if not self.plan.empty:
            with Steps(talk).step("repair") as step:
                cache.carry_out_repair(self.target, self.todo, talk.progress)
                step.outcome = f"{len(self.todo.fixes)} objects"
        active = self.todo.active
        named = f"{active.version}, serial {active.serial}" if active else "none"
        fields = (("written", str(len(self.todo.fixes))), ("lost", str(len(self.todo.lost))), ("active version", named))
        result = {
            "fixed": [fix.name for fix in self.todo.fixes], "lost": [problem.object for problem in self.todo.lost],
            "version": active.version if active else "", "serial": active.serial if active else 0,
        }  # fmt: skip
        return Done(f"repaired {self._settings.cache.bucket}", fields, result)


def resume(settings: Settings, talk: Talk, dry_run: bool) -> Plan:
    """Lift the hold, or only say what that would change."""
    reached = target.reach(settings)
    if dry_run:
        return cache.plan_resume(reached)
    done = cache.change_holds(reached, "cache.resume", lambda: cache.plan_resume(reached), cache.lifted, talk.progress)
    if not done.empty:
        talk.note(f"the next sync publishes what is configured: ./dev invoke sync --env {settings.environment}")
    return done


def pin(version: str, *, keep: bool) -> Callable[[Settings, Talk, bool], Plan]:
    """Pin or unpin a version, or only say what that would change."""

    def change(settings: Settings, talk: Talk, dry_run: bool) -> Plan:
        reached = target.reach(settings)

        def decide() -> Plan:
            return cache.plan_pin(reached, version, keep=keep)

        if dry_run:
            return decide()
        name = "cache.pin" if keep else "cache.unpin"
        return cache.change_holds(reached, name, decide, cache.pinned(version, keep=keep), talk.progress)

    return change
