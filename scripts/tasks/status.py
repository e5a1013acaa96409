"""invoke status."""

from __future__ import annotations

from typing import Any

from scripts.tasks._command import begin, command


@command(
    help={
        "watch": "look again and again, until Ctrl-C (which ends it with 130)",
        "every": "seconds between two looks of --watch (1 to 3600)",
    },
    exits={0: "healthy", 2: "degraded", 4: "down", 130: "--watch: ended by Ctrl-C"},
)
def status(
    c: Any, env: str = "", service: str = "tabular", watch: bool = False, every: int = 5, json: bool = False
) -> int:
    """Tell what serves, from which models, and what is wrong."""
    from scripts.service import dashboard
    from scripts.tasks import _watch

    screen, settings = begin(env, json)
    if watch:
        return _watch.watch(screen, lambda: dashboard.look(settings, service), every)
    found = dashboard.look(settings, service)
    _watch.show(screen, found)
    return found.exit_code
