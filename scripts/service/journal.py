"""The logs of a service or of its job: what is asked for becomes one safely quoted filter."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from scripts.cloud.logs import Entry, both, of_job, of_service, quoted
from scripts.errors import BadInput, ExitCode, NotFound
from scripts.service import target
from scripts.service.target import Target
from scripts.settings.model import Settings

SEVERITIES = ("DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL")
UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
MAX_LIMIT = 100_000
NAMED = 8
# What counts in a filter's structure: strings as a whole, and parentheses outside of them.
_MARKS = re.compile(r"""\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[()]""")


@dataclass(frozen=True)
class Wanted:
    """What somebody wants to read; since is a span like 30m, source a revision or (of the job) an execution.

    instance: how its id begins. grep: a regular expression (RE2) that the text matches somewhere. expression: a
    condition in Logging's own query language.
    """

    service: str
    since: str
    limit: int
    job: bool
    source: str
    severity: str
    instance: str = ""
    grep: str = ""
    expression: str = ""

    def condition(self, target: Target) -> str:
        """All of it as one filter. Raises BadInput for a severity, instance or pattern that is none."""
        of = of_job(target.job_name, self.source) if self.job else of_service(target.name, self.source)
        level = severity(self.severity)
        own = _alone(self.expression)
        return both(of, f"severity>={level}" if level else "", _of_instance(self.instance), _like(self.grep), own)


def _alone(expression: str) -> str:
    """A condition of the user's that cannot end the parentheses around it. Raises BadInput."""
    depth = 0
    for found in _MARKS.finditer(expression):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if depth < 0:
            break
    if depth:
        text = f"--filter: found {expression!r}, whose parentheses do not match"
        raise BadInput(text, "For example: --filter 'severity>=ERROR AND (jsonPayload.n>1 OR \"time-out\")'")
    return f"({expression})" if expression.strip() else ""


def entries(
    settings: Settings, wanted: Wanted, follow: bool = False, go_on: Callable[[], bool] = lambda: True
) -> Iterator[Entry]:
    """The youngest entries, oldest first; with follow also those that arrive until go_on() is False.

    Raises BadInput for a span, limit or severity that is none, and what reach and the client raise.
    """
    floor = datetime.now(UTC) - span(wanted.since)
    if not 1 <= wanted.limit <= MAX_LIMIT:
        raise BadInput(f"--limit: found {wanted.limit}, expected 1 to {MAX_LIMIT}", "For example: --limit 100")
    severity(wanted.severity)  # told before anything is asked
    reached = target.reach(settings, wanted.service)
    condition = wanted.condition(reached)
    if follow:
        yield from reached.logs.follow(condition, since=floor, limit=wanted.limit, go_on=go_on)
    else:
        yield from reached.logs.tail(condition, since=floor, limit=wanted.limit)


class Page(Protocol):
    """Where entries are written; gone: nobody reads it any more."""

    gone: bool

    def text(self, text: str) -> None: ...


def show(settings: Settings, wanted: Wanted, page: Page, *, as_json: bool) -> int:
    """Write the entries that there are, and return how many. Raises as entries does, and NotFound when there is none
    and no revision or execution of that name either."""
    count = 0
    for count, entry in enumerate(entries(settings, wanted, go_on=lambda: not page.gone), 1):  # noqa: B007
        page.text(line(entry, as_json=as_json) + "\n")
    if not count and wanted.source:
        _check_source(target.reach(settings, wanted.service), wanted)
    return count


def _check_source(reached: Target, wanted: Wanted) -> None:
    run = reached.run
    listed = run.list_executions(reached.job_name) if wanted.job else run.list_revisions(reached.name)
    names = [item.name for item in listed]
    if wanted.source not in names:
        kind, of = ("execution", reached.job_name) if wanted.job else ("revision", reached.name)
        known = ", ".join(names[:NAMED]) or "none"
        text = f"{kind} {wanted.source!r} not found in {of} ({reached.environment}), nor entries of it; newest: {known}"
        raise NotFound(text, f"Run: ./dev invoke status --env {reached.environment}")


def follow(settings: Settings, wanted: Wanted, page: Page, *, as_json: bool) -> int:
    """Write entries until the reader leaves, or by Ctrl-C, which is no error here; the exit code. Raises as entries."""
    with contextlib.suppress(KeyboardInterrupt):
        for entry in entries(settings, wanted, True, lambda: not page.gone):
            page.text(line(entry, as_json=as_json) + "\n")
        return int(ExitCode.OK)
    return int(ExitCode.INTERRUPTED)


def span(text: str, option: str = "--since") -> timedelta:
    """A span like 90s, 30m, 2h or 7d. Raises BadInput for anything else."""
    match = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    if match is None:
        raise BadInput(f"{option}: found {text!r}, expected a number and s, m, h or d", f"For example: {option} 2h")
    return timedelta(seconds=int(match[1]) * UNITS_S[match[2]])


def severity(text: str) -> str:
    """A severity of Cloud Logging, or empty for all. Raises BadInput for an unknown one."""
    if text and text.upper() not in SEVERITIES:
        raise BadInput(f"--severity: found {text!r}, expected one of {', '.join(SEVERITIES)}", "Add --severity ERROR")
    return text.upper()


def _of_instance(text: str) -> str:
    """Instances whose id begins so, as tables show it. Raises BadInput."""
    if text and not re.fullmatch(r"[A-Za-z0-9_-]+", text):
        remedy = "See them: ./dev invoke status --env ENVIRONMENT"
        raise BadInput(f"--instance: found {text!r}, expected the beginning of an instance's id", remedy)
    return f"labels.instanceId=~{quoted('^' + text)}" if text else ""


def _like(pattern: str) -> str:
    """Entries whose text matches. Raises BadInput for what is no regular expression."""
    try:
        re.compile(pattern)
    except re.error as error:
        text = f"--grep: found {pattern!r}, expected a regular expression ({error})"
        raise BadInput(text, "For example: --grep 'cache (hit|miss)'") from None
    fields = ("textPayload", "jsonPayload.message", "jsonPayload.error", "jsonPayload.reason")
    return f"({' OR '.join(f'{field}=~{quoted(pattern)}' for field in fields)})" if pattern else ""


def line(entry: Entry, *, as_json: bool) -> str:
    """An entry on one line: for scripts as JSON, for people with the fields that matter."""
    if as_json:
        return json.dumps(entry.as_json(), ensure_ascii=False)
    shown = {key: value for key, value in entry.fields.items() if key in SHOWN and value is not None}
    extras = " ".join(f"{key}={value}" for key, value in shown.items())
    who = entry.instance[:12] or entry.source
    text = entry.text.replace("\n", "\n    ")
    return f"{entry.timestamp[:23]} {entry.severity:<7} {who} {text}" + (f"  [{extras}]" if extras else "")


SHOWN = ("cache_hit", "reason", "manifest_version", "serial", "source", "duration_s", "upstream_bytes")
