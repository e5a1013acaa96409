"""invoke sync, and cache.sync, which is the same."""

from __future__ import annotations

from typing import Any

from scripts.tasks._command import begin, command

ACCEPT = {"accept": "publish what tags and branches name upstream now, where models[].revision is empty"}


@command(help=ACCEPT)
def sync(
    c: Any, env: str = "", service: str = "tabular", accept: bool = False, dry_run: bool = False, json: bool = False
) -> int:
    """Run the sync job now: pull the models and publish them.

    Only what is not in the bucket yet is pulled, once; what is published is signed. A hold stays in force.
    """
    return carry_out(env, service, accept, dry_run, json)


def carry_out(env: str, service: str, accept: bool, dry_run: bool, json: bool) -> int:
    """Plan or run it, and print what came of it."""
    from scripts.service import sync as domain
    from scripts.tasks._screen import show_plan

    screen, settings = begin(env, json)
    if dry_run:
        return show_plan(screen, domain.plan_sync(settings, service, accept=accept, talk=screen))
    published = domain.sync(settings, service, screen, accept=accept)
    screen.rows(published.title, published.rows())
    screen.result(published.as_json())
    return 0
