"""Hooks of an environment: programs started at the moments of a deploy, with what happens as JSON on standard input.

The document is {hook, environment, service, command, plan, result}; result is {} before a deploy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from scripts import process
from scripts.errors import OpsError, Refused
from scripts.plan import Plan
from scripts.service.steps import Steps
from scripts.service.target import Target
from scripts.settings.project import ROOT

Moment = Literal["before_deploy", "after_deploy", "on_failure", "on_rollback"]


def run(
    target: Target, moment: Moment, steps: Steps, command: str, plan: Plan, result: Mapping[str, Any] | None = None
) -> None:
    """Start the hooks of a moment one after the other, in the checkout's folder; what they print is shown.

    Raises Refused when one of before_deploy fails. At the other moments a failure is told as a warning: what they
    follow has happened already. In a rehearsal hooks are named and not started: they are about the real environment.
    """
    commands = getattr(target.settings.hooks, moment)
    if not commands:
        return
    if target.settings.rehearsal:
        for argv in commands:
            steps.talk.note(f"{moment}: not started in a rehearsal: {' '.join(argv)}")
        return
    document = {
        "hook": moment, "environment": target.environment, "service": target.name, "command": command,
        "plan": plan.as_json(), "result": dict(result or {}),
    }  # fmt: skip
    text = json.dumps(document, default=str)
    if moment == "before_deploy":
        with steps.step(moment) as step:
            for argv in commands:
                _start(target, moment, argv, text, steps)
            step.outcome = f"{len(commands)} passed"
        return
    for argv in commands:
        try:
            _start(target, moment, argv, text, steps)
        except OpsError as error:
            steps.talk.note(error.message, warning=True)


def _start(target: Target, moment: Moment, argv: tuple[str, ...], text: str, steps: Steps) -> None:
    def show(line: str) -> None:
        steps.talk.note(f"{moment}: {line}")

    try:
        process.run(argv, cwd=ROOT, timeout_s=target.settings.hooks.timeout_s, stdin=text, on_line=show)
    except OpsError as error:
        place = f"hooks.{moment} in environments/{target.environment}.yaml"
        text = f"the hook {' '.join(argv)} failed ({place}): {error.message}"
        raise Refused(text, f"Nothing was changed. Correct the hook, or take it out of {place}.") from error
