"""invoke status."""

from __future__ import annotations

from typing import Any

from scripts.tasks._command import begin, command


@command(exits={0: "healthy", 2: "degraded", 4: "down"})
def status(c: Any, env: str = "", service: str = "tabular", json: bool = False) -> int:
    """Tell what serves, from which models, and what is wrong."""
    from scripts.service import status as domain

    screen, settings = begin(env, json)
    found = domain.status(settings, service)
    screen.rows(f"{found.service} on {found.environment}", found.rows(), found.table())
    screen.result(found.as_json())
    return found.exit_code
