"""invoke promote."""

from __future__ import annotations

from typing import Any

from scripts.tasks._command import begin, command, settings_for


@command(
    help={
        "from_": "environment that validated them, like staging",
        "to": "environment that shall serve them, like prod",
        "min_age": "how long the version must have been active there: 10m, 1h, 2d",
    },
    exits={5: "the target did not become healthy and is as before"},
    more="Its last load test must have passed for exactly what is live there. Models are copied server-side and signed "
    "anew. Typed again after it died, it goes on.",
)
def promote(
    c: Any, from_: str = "", to: str = "", service: str = "tabular", min_age: str = "1h", dry_run: bool = False,
    yes: bool = False, json: bool = False,
) -> int:  # fmt: skip
    """Serve in one environment what another one validated."""
    from scripts.service import promote as domain
    from scripts.tasks._screen import carry_out

    domain.check_names(from_, to)
    source = settings_for(from_)
    screen, settings = begin(to, json)
    return carry_out(screen, domain.Promote(source, settings, service, min_age), dry_run, yes)
