"""What a deploy leaves behind: the result for scripts and the summary for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scripts.cloud.instances import Instance
from scripts.service import instances
from scripts.service.steps import Step
from scripts.units import size


@dataclass(frozen=True)
class Report:
    """The result of a deploy; upstream_bytes is what was pulled from the models' upstreams, by whomever."""

    environment: str
    service: str
    url: str
    revision: str
    manifest_version: str
    changed: bool
    upstream_bytes: int
    instances: tuple[Instance, ...]
    steps: tuple[Step, ...]
    image: str = ""
    previous_revision: str = ""

    def as_json(self) -> dict[str, Any]:
        """The document of `deploy --json`."""
        return {
            "environment": self.environment,
            "service": self.service,
            "url": self.url,
            "revision": self.revision,
            "previous_revision": self.previous_revision,
            "image": self.image,
            "manifest_version": self.manifest_version,
            "changed": self.changed,
            "upstream_bytes": self.upstream_bytes,
            "instances": [{"id": item.id, "cache_hit": item.cache_hit} for item in self.instances],
            "steps": [{"name": step.name, "seconds": round(step.seconds, 3)} for step in self.steps],
        }

    @property
    def served_bytes(self) -> int:
        """What instances loaded from the cache."""
        return sum(item.served_bytes for item in self.instances if item.cache_hit)

    def rows(self) -> list[tuple[str, str]]:
        """Names and values of the summary."""
        hits = sum(item.cache_hit for item in self.instances)
        seconds = "  ".join(f"{step.name} {step.seconds:.1f}" for step in self.steps)
        return [
            ("URL", self.url),
            ("revision", self.revision),
            ("image", self.image),
            ("manifest version", self.manifest_version or "none"),
            (
                "instances",
                f"{hits} of {len(self.instances)} on a hit" if self.instances else "none told its decision yet",
            ),
            ("pulled upstream", size(self.upstream_bytes)),
            ("served from the cache", size(self.served_bytes)),
            ("seconds", f"{seconds}  total {sum(step.seconds for step in self.steps):.1f}"),
        ]

    def table(self) -> tuple[Sequence[str], list[list[str]]]:
        """The table of instances."""
        return instances.table(self.instances)

    @property
    def title(self) -> str:
        """One line that says what happened."""
        done = "deployed" if self.changed else "nothing to change"
        return f"{self.service} on {self.environment}: {done}"
