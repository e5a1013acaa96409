"""invoke toggle."""

from __future__ import annotations

from typing import Any

from scripts.tasks._command import begin, command


@command(
    help={"on": "instances serve from the shared models", "off": "instances pull their models by themselves"},
    more="Merges SHARED_MODEL_VOLUME_ENABLED into the live service; everything else stays as it is. Ends when no "
    "instance has the old value. The next deploy's plan says that it differs.",
)
def toggle(
    c: Any, env: str = "", service: str = "tabular", on: bool = False, off: bool = False, dry_run: bool = False,
    yes: bool = False, json: bool = False,
) -> int:  # fmt: skip
    """Switch the shared models of a live service off or on."""
    from scripts.service import toggle as domain
    from scripts.tasks._screen import carry_out

    screen, settings = begin(env, json)
    return carry_out(screen, domain.Toggle(settings, service, on=on, off=off), dry_run, yes)
