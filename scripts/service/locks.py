"""Leases of an environment for people: who holds which, since what purpose, until when; and freeing one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from scripts import lease
from scripts.errors import BadInput, Conflict, NotFound
from scripts.lease import Seen
from scripts.plan import Action, Change, Plan
from scripts.service import changing
from scripts.service.steps import Talk
from scripts.service.target import Target
from scripts.service.upkeep import Done, Work
from scripts.settings.model import Settings

HEADERS = ("lease", "state", "owner", "host", "purpose", "until")


@dataclass(frozen=True)
class Lock:
    """A lease. state: held, expired (its holder died, or sleeps) or free; owner is PID:RANDOM on host."""

    name: str
    state: str
    owner: str
    host: str
    purpose: str
    expires_at: str
    seen: Seen

    def cells(self) -> list[str]:
        """The row of `lock.status`."""
        return [self.name, self.state, self.owner, self.host, self.purpose, self.expires_at[:19]]

    def as_json(self) -> dict[str, Any]:
        """The lease as `lock.status --json` shows it."""
        return {key: value for key, value in vars(self).items() if key != "seen"}

    @property
    def holder(self) -> str:
        """Who holds it, in words."""
        return f"{self.owner} on {self.host} ({self.purpose or 'no purpose told'}), until {self.expires_at}"


def listed(target: Target) -> list[Lock]:
    """Every lease of the environment's bucket. Raises NotFound when the bucket does not exist."""
    now = datetime.now(UTC)
    return [_lock(name, at, now) for name, at in lease.all_of(target.bucket).items()]


def _lock(name: str, at: Seen, now: datetime) -> Lock:
    holder = at.holder
    if holder is None or not holder.owner:
        return Lock(name, "free", "", "", "", "", at)
    host, _, owner = holder.owner.partition(":")
    state = "held" if holder.alive(now) else "expired"
    return Lock(name, state, owner, host, holder.purpose, holder.expires_at, at)


class Release(Work):
    """`lock.release`: one lease, as it was seen when this was decided."""

    def __init__(self, settings: Settings, name: str) -> None:
        super().__init__(settings)
        if not name:
            known = f"Run: ./dev invoke lock.status --env {settings.environment}"
            raise BadInput("--name: found nothing, expected the name of a lease", known)
        self._name = name

    @cached_property
    def lock(self) -> Lock:
        """The lease. Raises NotFound listing those that there are."""
        there = listed(self.target)
        found = next((each for each in there if each.name == self._name), None)
        if found is None:
            known = ", ".join(each.name for each in there) or "none"
            text = f"there is no lease {self._name!r} in {self._settings.environment}; there are: {known}"
            raise NotFound(text, f"Run: ./dev invoke lock.status --env {self._settings.environment}")
        return found

    @property
    def asks(self) -> bool:
        """Whether somebody must agree: its holder may be at work."""
        return self.lock.state == "held"

    @property
    def plan(self) -> Plan:
        """The change; none where it is free."""
        found = (
            () if self.lock.state == "free" else (Change(Action.DELETE, f"lease {self._name}", "", self.lock.holder),)
        )
        return Plan(f"release {self._name} of {self._settings.environment}", found)

    def carry_out(self, talk: Talk) -> Done:
        """Free it. Raises Conflict when its holder renewed it, or it changed hands, since it was looked at."""
        if not self.plan.empty:
            self._release(talk)
        fields = (("lease", self._name), ("was", self.lock.holder if self.lock.owner else "free"))
        result = {**self.lock.as_json(), "changed": not self.plan.empty}
        return Done(f"{self._name}: " + ("released" if result["changed"] else "is free"), fields, result)

    def _release(self, talk: Talk) -> None:
        details = {"lease": self._name, "holder": self.lock.holder}
        with changing.recorded(self.target, "lock.release", self.plan, details, talk):
            try:
                lease.give_back(self.target.bucket, self._name, self.lock.seen)
            except Conflict as error:
                why = "its holder lives, or another command took it"
                text = f"lease {self._name} changed since it was looked at: {why}"
                look = f"Look again: ./dev invoke lock.status --env {self._settings.environment}"
                raise Conflict(text, look) from error
