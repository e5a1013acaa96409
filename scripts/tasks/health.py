"""invoke health."""

from __future__ import annotations

from typing import Any

from scripts.tasks._command import begin, command


@command(exits={0: "healthy", 2: "degraded", 4: "down"})
def health(c: Any, env: str = "", service: str = "tabular", json: bool = False) -> int:
    """Say in one line whether a service is healthy."""
    from scripts.service import dashboard

    screen, settings = begin(env, json)
    found = dashboard.health(settings, service)
    screen.line(found.line())
    screen.result(found.as_json())
    return found.status.exit_code
