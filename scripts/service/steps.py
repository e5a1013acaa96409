"""A command as a row of named steps: each is timed, told while it runs, and listed in the result."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol


class Talk(Protocol):
    """Whom a command tells what it does: a terminal, a pipe, or nobody."""

    def begin(self, title: str) -> None:
        """A step starts."""

    def progress(self, text: str) -> None:
        """What the running step is at; may replace what was said before."""

    def end(self, title: str, outcome: str, seconds: float) -> None:
        """A step is done."""

    def failed(self, title: str, seconds: float) -> None:
        """A step failed; the error follows."""

    def note(self, text: str, *, warning: bool = False) -> None:
        """Something that stays on the screen."""


class Silent:
    """A Talk for callers that only want the result."""

    def begin(self, title: str) -> None:
        pass

    def progress(self, text: str) -> None:
        pass

    def end(self, title: str, outcome: str, seconds: float) -> None:
        pass

    def failed(self, title: str, seconds: float) -> None:
        pass

    def note(self, text: str, *, warning: bool = False) -> None:
        pass


SILENT = Silent()


@dataclass
class Step:
    """One step: outcome is said when it ends; seconds is known then."""

    name: str
    outcome: str = ""
    seconds: float = 0.0
    done: bool = False


class Steps:
    """The steps that were begun, in order; the last one may have failed."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self.taken: list[Step] = []

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Run one step; an error passes through after the step is marked as failed."""
        step = Step(name)
        self.taken.append(step)
        self.talk.begin(name)
        began = time.monotonic()
        try:
            yield step
        except BaseException:
            step.seconds = time.monotonic() - began
            self.talk.failed(name, step.seconds)
            raise
        step.seconds = time.monotonic() - began
        step.done = True
        self.talk.end(name, step.outcome, step.seconds)

    def as_json(self) -> list[dict[str, object]]:
        """[{"name", "seconds"}] of all steps."""
        return [{"name": step.name, "seconds": round(step.seconds, 3)} for step in self.taken]
