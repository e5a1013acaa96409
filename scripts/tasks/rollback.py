"""invoke rollback."""

from __future__ import annotations

from typing import Any

from scripts.tasks._command import begin, command

_HELP = {
    "env": "environment (default: $MODELSHELF_ENV, else the one that this checkout deployed last)",
    "to": "revision to go back to (default: the one that served before; also: previous)",
    "models": "version of the models to go back to; alone: only the models, with --to: both",
}


@command(
    help=_HELP,
    exits={5: "the earlier revision does not start; traffic is where it was"},
    more="The revision gets all traffic by its name and keeps it until a deploy has something new to serve, or deploy "
    "--unpin; its plan says so. Models are held at their version until cache.resume.",
)
def rollback(
    c: Any, env: str = "", service: str = "tabular", to: str = "", models: str = "", dry_run: bool = False,
    yes: bool = False, json: bool = False,
) -> int:  # fmt: skip
    """Go back to the revision that served before, and stay there."""
    from scripts.service import memory
    from scripts.service import rollback as domain
    from scripts.tasks._screen import carry_out

    screen, settings = begin(env, json, memory.remembered())
    work = domain.Back(settings, service, to, models)
    for line in (work.about(), *work.remarks()):
        screen.note(line)
    return carry_out(screen, work, dry_run, yes)
