"""invoke sync."""

from __future__ import annotations

from typing import Any

from scripts.tasks._command import begin, command


@command()
def sync(c: Any, env: str = "", service: str = "tabular", dry_run: bool = False, json: bool = False) -> int:
    """Run the sync job now: pull the models and publish them.

    Only what is not in the bucket yet is pulled, once; what is published is signed. A hold stays in force.
    """
    from scripts.service import sync as domain
    from scripts.tasks._screen import show_plan

    screen, settings = begin(env, json)
    if dry_run:
        return show_plan(screen, domain.plan_sync(settings, service))
    published = domain.sync(settings, service, screen)
    screen.rows(published.title, published.rows())
    screen.result(published.as_json())
    return 0
