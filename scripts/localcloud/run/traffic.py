"""Traffic of a service: what the specification asks for, resolved to revisions, and who gets the next request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Target:
    """One line of traffic: a revision, its percent, its tag ("" = none) and whether it follows the latest ready one."""

    revision: str
    percent: int = 0
    tag: str = ""
    latest: bool = False


def resolve(spec: Sequence[Mapping[str, Any]], latest_ready: str) -> tuple[Target, ...]:
    """spec.traffic with latestRevision replaced by the latest ready revision ("" leaves such lines out)."""
    targets = []
    for line in spec or ({"percent": 100, "latestRevision": True},):
        latest = not line.get("revisionName")
        revision = latest_ready if latest else str(line["revisionName"])
        if revision:
            targets.append(Target(revision, int(line.get("percent") or 0), line.get("tag") or "", latest))
    return tuple(targets)


def to_status(targets: Sequence[Target], tag_url: Callable[[str], str]) -> list[dict[str, Any]]:
    """status.traffic as the API shows it."""
    lines = []
    for target in targets:
        line: dict[str, Any] = {"revisionName": target.revision}
        if target.percent:
            line["percent"] = target.percent
        if target.latest:
            line["latestRevision"] = True
        if target.tag:
            line["tag"] = target.tag
            line["url"] = tag_url(target.tag)
        lines.append(line)
    return lines


def from_status(lines: Sequence[Mapping[str, Any]]) -> tuple[Target, ...]:
    """The inverse of to_status."""
    return tuple(
        Target(line["revisionName"], int(line.get("percent", 0)), line.get("tag", ""), bool(line.get("latestRevision")))
        for line in lines
    )


class Splitter:
    """Smooth weighted round robin (as in nginx): in every 100 requests each revision gets exactly its percent."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self.weights: dict[str, int] = {}
        for target in targets:
            if target.percent:
                self.weights[target.revision] = self.weights.get(target.revision, 0) + target.percent
        self._credit = dict.fromkeys(self.weights, 0)
        self._total = sum(self.weights.values())

    def next(self) -> str | None:
        """The revision for the next request; None when no revision has traffic."""
        if not self.weights:
            return None
        if len(self.weights) == 1:
            return next(iter(self.weights))
        for revision, weight in self.weights.items():
            self._credit[revision] += weight
        chosen = max(self._credit, key=lambda each: self._credit[each])
        self._credit[chosen] -= self._total
        return chosen
