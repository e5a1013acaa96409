"""Conditions of Knative objects: {type, status True|False|Unknown, reason, message, lastTransitionTime}."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

TRUE, FALSE, UNKNOWN = "True", "False", "Unknown"


@dataclass(frozen=True)
class Condition:
    """One statement about an object; severity "Info" marks one that does not decide over readiness."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    severity: str = ""


def merge(old: Sequence[dict[str, Any]], new: Sequence[Condition], now: str) -> list[dict[str, Any]]:
    """The new conditions as JSON; one whose status did not change keeps its lastTransitionTime."""
    known = {each["type"]: each for each in old}
    merged = []
    for condition in new:
        before = known.get(condition.type)
        same = before is not None and before["status"] == condition.status
        entry: dict[str, Any] = {
            "type": condition.type,
            "status": condition.status,
            "lastTransitionTime": before["lastTransitionTime"] if same and before is not None else now,
        }
        for key in ("reason", "message", "severity"):
            if getattr(condition, key):
                entry[key] = getattr(condition, key)
        merged.append(entry)
    return merged


def status_of(document: dict[str, Any], kind: str) -> str:
    """The status of one condition of an object; Unknown when it has none."""
    return str(find(document, kind).get("status", UNKNOWN))


def find(document: dict[str, Any], kind: str) -> dict[str, Any]:
    """One condition of an object; {} when it has none."""
    for condition in document.get("status", {}).get("conditions", ()):
        if condition["type"] == kind:
            return dict(condition)
    return {}


def failed(document: dict[str, Any], kind: str) -> bool:
    """Whether a condition says False."""
    return status_of(document, kind) == FALSE
