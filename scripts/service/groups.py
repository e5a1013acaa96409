"""A plan in groups, as people read one: what runs, with which variables, how many, who gets traffic, and the rest."""

from __future__ import annotations

import re
from collections.abc import Iterable

from scripts.plan import Change

IMAGE, VARIABLES, SCALING, TRAFFIC, OTHER = "image", "env", "scaling", "traffic", "other"
_ORDER = (IMAGE, VARIABLES, SCALING, TRAFFIC, OTHER)
_SCALING = re.compile(r"(minScale|maxScale)\]$|\.containerConcurrency$|\.resources(\.|$)|\.(parallelism|taskCount)$")


def group_of(change: Change) -> str:
    """The group that a change belongs to."""
    if change.path.endswith(".image"):
        return IMAGE
    if ".env[" in change.path or change.path.endswith(".env"):
        return VARIABLES
    if _SCALING.search(change.path):
        return SCALING
    if change.path == "spec.traffic" or str(change.after).startswith("traffic "):
        return TRAFFIC
    return OTHER


def grouped(changes: Iterable[Change]) -> list[tuple[str, list[Change]]]:
    """The groups that have changes, in a fixed order; within each in the plan's."""
    found: dict[str, list[Change]] = {}
    for change in changes:
        found.setdefault(group_of(change), []).append(change)
    return [(name, found[name]) for name in _ORDER if name in found]
