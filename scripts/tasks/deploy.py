"""invoke deploy."""

from __future__ import annotations

from typing import Any

from scripts.tasks._command import begin, command


@command(
    help={
        "sync": "run the sync job first: auto (when the configured models are not published yet), always, never "
        "(default: what the environment says)",
    },
    more="Syncs the models if needed, renders and applies the job and the service, waits until its instances are "
    "ready, asks them, and sums up. Typed again it finds nothing to change.",
)
def deploy(
    c: Any, env: str = "", service: str = "tabular", sync: str = "", dry_run: bool = False, json: bool = False
) -> int:
    """Bring a service to what its environment says, and prove it."""
    from scripts.service import deploy as domain
    from scripts.tasks._screen import show_plan

    screen, settings = begin(env, json)
    options = domain.Options(service, sync or None)
    if dry_run:
        return show_plan(screen, domain.plan_deploy(settings, options, screen))
    report = domain.deploy(settings, options, screen)
    screen.rows(report.title, report.rows(), report.table())
    screen.result(report.as_json())
    return 0
