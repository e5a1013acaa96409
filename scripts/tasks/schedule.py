"""invoke schedule.*: the schedule of the sync job."""

from __future__ import annotations

from typing import Any

from scripts.tasks._command import begin, command


def _show(env: str, json: bool, verb: str, dry_run: bool = False) -> int:
    from scripts.service import schedule
    from scripts.tasks._screen import show_plan

    screen, settings = begin(env, json)
    if dry_run:
        return show_plan(screen, schedule.plan(settings, verb))
    found = schedule.act(settings, verb)
    screen.rows(found.name, schedule.rows(found))
    screen.result(vars(found))
    return 0


@command()
def status(c: Any, env: str = "", json: bool = False) -> int:
    """Tell when the sync job runs next, and how it ended last."""
    return _show(env, json, "status")


@command()
def run(c: Any, env: str = "", json: bool = False, dry_run: bool = False) -> int:
    """Let the schedule run the sync job now, as it does at night."""
    return _show(env, json, "run", dry_run)


@command()
def pause(c: Any, env: str = "", json: bool = False, dry_run: bool = False) -> int:
    """Stop the schedule until it is resumed."""
    return _show(env, json, "pause", dry_run)


@command()
def resume(c: Any, env: str = "", json: bool = False, dry_run: bool = False) -> int:
    """Let a paused schedule run again."""
    return _show(env, json, "resume", dry_run)
