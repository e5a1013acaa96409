"""`cache.verify`: what the bucket holds against what was signed, told for people and scripts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from scripts.errors import ExitCode
from scripts.models import layout
from scripts.models import verify as models
from scripts.models.statements import Problem
from scripts.models.verify import Verification
from scripts.service import observe, ownership, target
from scripts.service.steps import Steps, Talk
from scripts.settings.model import Settings
from scripts.units import size


@dataclass(frozen=True)
class Checkup:
    """A verification of one bucket."""

    bucket: str
    full: bool
    found: Verification
    seconds: float

    @property
    def exit_code(self) -> ExitCode:
        """2 when something is wrong, or nothing may serve."""
        return ExitCode.OK if self.found.trusted is not None and not self.found.problems else ExitCode.DIFFERENCE

    @property
    def title(self) -> str:
        """One line that says how it is."""
        return f"{self.bucket}: " + ("everything is as it was signed" if not self.exit_code else "not as it was signed")

    def rows(self) -> list[tuple[str, str]]:
        """Names and values of the summary."""
        trusted = self.found.trusted
        hashed = f", {size(self.found.hashed_bytes)} read and hashed" if self.full else ", by size and crc32c"
        return [
            ("version", f"{trusted.version}, serial {trusted.serial}" if trusted else "none may serve"),
            ("files", f"{self.found.files}{hashed}"),
            *(("problem", problem.line()) for problem in self.found.problems),
            *(("to do", remedy) for remedy in dict.fromkeys(problem.remedy for problem in self.found.problems)),
        ]

    def as_json(self) -> dict[str, Any]:
        """The document of `cache.verify --json`."""
        trusted = self.found.trusted
        return {
            "bucket": self.bucket, "version": trusted.version if trusted else "",
            "serial": trusted.serial if trusted else 0, "full": self.full, "files": self.found.files,
            "hashed_bytes": self.found.hashed_bytes, "problems": [vars(problem) for problem in self.found.problems],
        }  # fmt: skip


def verify(settings: Settings, version: str, full: bool, talk: Talk) -> Checkup:
    """Verify the active version or the one named. Raises BadInput for no version name, and what the bucket raises."""
    if version:
        layout.check_version(version, "--version")
    reached = target.reach(settings)
    steps = Steps(talk)
    with steps.step("verify") as step:
        floor = observe.floor(reached, reached.run.get_service(reached.name)) if not version else 0
        found = models.verify(
            reached.bucket, ownership.trusted_keys(reached), version=version, floor=floor, full=full,
            on_file=lambda name, size_bytes: talk.progress(f"reading {name}, {size(size_bytes)}"),
        )  # fmt: skip
        problems = len(found.problems)
        step.outcome = f"{found.files} files, {problems or 'no'} problem{'' if problems == 1 else 's'}"

    def remedy(problem: Problem) -> str:
        if version and problem.object == layout.STATEMENTS:
            return f"Run: ./dev invoke cache.list --env {settings.environment}"
        return reached.advice(problem.remedy)

    advised = tuple(replace(problem, remedy=remedy(problem)) for problem in found.problems)
    return Checkup(reached.bucket.name, full, replace(found, problems=advised), steps.taken[-1].seconds)
