"""invoke history."""

from __future__ import annotations

from typing import Any

from scripts.tasks._command import begin, command


@command(help={"limit": "how many records, the newest first (1 to 1000)"})
def history(c: Any, env: str = "", limit: int = 20, json: bool = False) -> None:
    """Tell who changed what, when, and how it ended.

    With duration and commit, from the immutable audit records in the environment's bucket.
    """
    from scripts.service import records, target

    screen, settings = begin(env, json)
    found = records.read(target.reach(settings), limit)
    screen.table(records.HEADERS, records.rows(found))
    if not found:
        screen.line("nothing was changed yet")
    screen.result({"records": found})
