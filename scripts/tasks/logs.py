"""invoke logs."""

from __future__ import annotations

from typing import Any

from scripts.tasks._command import command, settings_for


@command(
    help={
        "since": "how far back: 30m, 2h, 7d",
        "limit": "at most so many entries, the youngest ones",
        "follow": "go on showing entries as they arrive, until Ctrl-C",
        "job": "the sync job's entries instead of the service's",
        "revision": "only of this revision (with --job: of this execution)",
        "severity": "this severity or higher: INFO, WARNING, ERROR",
        "instance": "only of the instance whose id begins so",
        "grep": "only entries whose text matches this regular expression",
        "filter": "a further condition in Logging's own query language, like 'jsonPayload.cache_hit=false'",
        "json": "one JSON object a line",
    }
)
def logs(
    c: Any, env: str = "", service: str = "tabular", since: str = "1h", limit: int = 100, follow: bool = False,
    job: bool = False, revision: str = "", severity: str = "", instance: str = "", grep: str = "", filter: str = "",
    json: bool = False,
) -> int:  # fmt: skip
    """Show the structured logs of a service or of its sync job."""
    from scripts.service import journal
    from scripts.tasks._screen import Screen

    screen, wanted = Screen(), journal.Wanted(service, since, limit, job, revision, severity, instance, grep, filter)
    if follow:
        return journal.follow(settings_for(env), wanted, screen, as_json=json)
    if not journal.show(settings_for(env), wanted, screen, as_json=json):
        screen.note(f"no entries in the last {since}")
    return 0
