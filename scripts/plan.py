"""What a command would do, as a value: shown by --dry-run, confirmed, carried out, read back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Action(StrEnum):
    """What happens to a target; the sign is the one that diffs use."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    RUN = "run"

    @property
    def sign(self) -> str:
        return {"create": "+", "update": "~", "delete": "-", "run": "»"}[self.value]


@dataclass(frozen=True)
class Change:
    """One change: target is a human name ("service tabular-service"), path the field inside it ("spec.traffic")."""

    action: Action
    target: str
    path: str = ""
    before: Any = None
    after: Any = None

    def line(self) -> str:
        """The change on one line of plain text."""
        where = f"{self.target} {self.path}".strip()
        if self.action is Action.UPDATE:
            return f"{self.action.sign} {where}: {' → '.join(_apart(_text(self.before), _text(self.after)))}"
        value = self.after if self.action is not Action.DELETE else self.before
        return f"{self.action.sign} {where}" + (f": {_short(value)}" if value is not None else "")

    def as_json(self) -> dict[str, Any]:
        """The change as a JSON object, empty fields left out."""
        pairs = {
            "action": self.action.value,
            "target": self.target,
            "path": self.path,
            "before": self.before,
            "after": self.after,
        }
        return {key: value for key, value in pairs.items() if value not in (None, "")}


@dataclass(frozen=True)
class Plan:
    """An ordered list of changes; an empty one means nothing to change."""

    title: str
    changes: tuple[Change, ...] = field(default=())

    @property
    def empty(self) -> bool:
        return not self.changes

    @property
    def count(self) -> str:
        """How many changes, in words."""
        return f"{len(self.changes) or 'no'} change{'' if len(self.changes) == 1 else 's'}"

    def extended(self, changes: Iterable[Change]) -> Plan:
        """A copy of this plan with more changes at its end."""
        return Plan(self.title, (*self.changes, *changes))

    def lines(self) -> list[str]:
        """The plan as plain text, one change a line."""
        return [change.line() for change in self.changes] or ["nothing to change"]

    def as_json(self) -> dict[str, Any]:
        """The plan as a JSON object."""
        return {"title": self.title, "changes": [change.as_json() for change in self.changes]}


def _text(value: Any) -> str:
    if value in (None, ""):
        return "nothing"
    return value if isinstance(value, str) else repr(value)


def _short(value: Any, limit: int = 100) -> str:
    text = _text(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _apart(before: str, after: str, limit: int = 100) -> tuple[str, str]:
    """Two texts on one line: of long ones the parts around their first difference."""
    if max(len(before), len(after)) <= limit:
        return before, after
    same = next((place for place, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), 0)
    start = max(0, same - limit // 4)
    lead = "…" if start else ""
    return lead + _short(before[start:], limit), lead + _short(after[start:], limit)
