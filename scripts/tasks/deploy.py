"""invoke deploy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scripts.tasks._command import begin, command

if TYPE_CHECKING:
    from scripts.service.preflight import Options
    from scripts.settings.model import Settings
    from scripts.tasks._screen import Screen

WAIT_S = 900.0


@command(
    help={
        "sync": "run the sync job first: auto (when the configured models are not published yet), always, never "
        "(default: what the environment says)",
        "image": "deploy this image instead of the environment's; a tag is resolved to its digest",
        "canary": "percents of the traffic before all of it, like 10,50; 0 for none (default: what the environment "
        "says)",
        "wait": "wait for another deploy of the service that is under way; --no-wait refuses instead",
        "unpin": "move the traffic to the newest revision though a rollback holds it on an earlier one",
    },
    exits={1: "failed", 3: "refused", 4: "unreachable", 5: "a gate failed, and the traffic is where it was"},
    more="Syncs the models if needed, starts a new revision without traffic, verifies it at its own URL, and moves the "
    "traffic in watched steps; what fails gets none, or loses it. Typed again it finds nothing to change.",
)
def deploy(
    c: Any, env: str = "", service: str = "tabular", sync: str = "", image: str = "", canary: str = "",
    wait: bool = True, unpin: bool = False, dry_run: bool = False, yes: bool = False, json: bool = False,
) -> int:  # fmt: skip
    """Bring a service to what its environment says, and prove it."""
    from scripts.service.preflight import Options

    screen, settings = begin(env, json)
    options = Options(service, sync or None, image, canary or None, WAIT_S if wait else 0.0, unpin)
    return _carried_out(screen, settings, options, dry_run, yes)


def _carried_out(screen: Screen, settings: Settings, options: Options, dry_run: bool, yes: bool) -> int:
    from scripts.service import deploy as domain
    from scripts.tasks._screen import show_groups

    if dry_run:
        return show_groups(screen, domain.plan_deploy(settings, options, screen))
    asks = settings.environment if settings.confirm == "name" else ""
    report = domain.deploy(settings, options, screen, lambda plan: screen.confirm_name(plan, asks, yes))
    screen.rows(report.title, report.rows(), report.table())
    screen.result(report.as_json())
    return 0
