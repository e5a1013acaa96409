"""Run the sync job and tell what it did: its progress from its logs, its result from its own audit record."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from scripts import audit
from scripts.cloud.logs import Entry, both, of_job, stamp
from scripts.cloud.run import Execution
from scripts.errors import OpsError, Unreachable
from scripts.models import publish
from scripts.service.target import Target
from scripts.settings.runtime import ACCEPT
from scripts.units import bar, size

TAIL = 6
LOOKED_THROUGH = 200  # entries, for a few that differ: many instances say the same
SHOWN_ENTRIES = 20
PROGRESS_EVERY_S = 1.0
SLACK_S = 300.0  # an execution also waits for capacity and for its image
CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True)
class Published:
    """What an execution of the sync job did; version and serial are the active ones afterwards.

    accepted: name, source, published (the revision until then) and upstream (the one since) of each tag that was taken
    as it is upstream. pruned: old versions that it removed.
    """

    execution: str
    changed: bool
    version: str
    serial: int
    upstream_bytes: int
    reused_bytes: int
    seconds: float
    accepted: tuple[Mapping[str, str], ...] = ()
    pruned: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """One line that says what happened."""
        return f"published {self.version}" if self.changed else "nothing to change: the models are published already"

    def rows(self) -> list[tuple[str, str]]:
        """Names and values of the summary."""
        return [
            ("execution", self.execution),
            ("manifest version", f"{self.version or 'unknown'}, serial {self.serial}"),
            ("pulled upstream", size(self.upstream_bytes)),
            ("reused", size(self.reused_bytes)),
            *((f"accepted {tag['name']}", f"{tag['published']} → {tag['upstream']}") for tag in self.accepted),
            *([("removed", ", ".join(self.pruned))] if self.pruned else []),
            ("seconds", f"{self.seconds:.1f}"),
        ]

    def as_json(self) -> dict[str, Any]:
        """The result of `invoke sync --json`."""
        told = {"accepted": [dict(tag) for tag in self.accepted], "pruned": list(self.pruned)}
        return {**vars(self), **told, "seconds": round(self.seconds, 3)}


def run_sync(target: Target, say: Callable[[str], None], floor: int = 0, *, accept: bool = False) -> Published:
    """Execute the sync job and wait for its end.

    floor: the lowest serial that the service accepts; the job is told where its own count would stay below, as in a
    bucket that was made anew. accept: it takes what tags name upstream now.

    Raises OpsError with the execution's last log lines when it fails, Unreachable when it does not end in time.
    """
    target.cloud.prepare_upstreams(say)
    began, started_at = time.monotonic(), datetime.now(UTC) - CLOCK_SKEW
    behind = 0 < publish.next_serial(target.bucket) < floor
    told = ({"MODEL_MIN_SERIAL": str(floor)} if behind else {}) | ({ACCEPT: "1"} if accept else {})
    execution = target.run.run_job(target.job_name, told)
    say(f"execution {execution.name} started")
    sync = target.settings.sync
    timeout_s = sync.timeout_s * (sync.max_retries + 1) + SLACK_S
    ended = target.run.wait_execution(execution.name, timeout_s=timeout_s, on_poll=_Progress(target, say))
    if ended.succeeded is None:
        raise Unreachable(f"execution {ended.name} did not end within {timeout_s:g} s", _logs_remedy(target, "job"))
    if not ended.succeeded:
        raise OpsError(_why(target, ended, started_at), _logs_remedy(target, "job"))
    record = _record(target, ended.name, started_at)
    return published(ended.name, record, time.monotonic() - began)


def published(execution: str, record: dict[str, Any] | None, seconds: float) -> Published:
    """The result from the audit record that the execution itself wrote; it writes none when it changed nothing."""
    details = (record or {}).get("details", {})
    return Published(
        execution=execution,
        changed=record is not None,
        version=str(details.get("version") or ""),
        serial=int(details.get("serial") or 0),
        upstream_bytes=int(details.get("upstream_bytes") or 0),
        reused_bytes=int(details.get("reused_bytes") or 0),
        seconds=seconds,
        accepted=tuple(details.get("accepted") or ()),
        pruned=tuple(details.get("pruned") or ()),
    )


def warnings(target: Target, execution: str) -> list[str]:
    """What an execution warned of, and the tags that moved upstream, as far as the logs have it already."""
    source = of_job(target.job_name, execution)
    warned = target.logs.entries(both(source, "severity>=WARNING"), limit=20)
    ended = target.logs.entries(both(source, "jsonPayload.moved:*"), limit=1, newest_first=True)
    tags = [tag for entry in ended for tag in entry.fields.get("moved") or ()]
    return [*(entry.text for entry in warned), *(_moved(target, tag) for tag in tags)]


def _moved(target: Target, tag: Mapping[str, str]) -> str:
    place = f"models[].revision in environments/{target.environment}.yaml"
    return (
        f"{tag['source']} names {tag['upstream'][:19]}… upstream by now; {tag['published'][:19]}… stays published. "
        f"To take the new one run ./dev invoke cache.sync --accept --env {target.environment}, "
        f"or set {place} to {tag['upstream']}"
    )


class _Progress:
    """Shows how far the execution's transfer is, else its newest log line; asks for it at most once a second."""

    def __init__(self, target: Target, say: Callable[[str], None]) -> None:
        self._target = target
        self._say = say
        self._next = time.monotonic() + PROGRESS_EVERY_S

    def __call__(self, execution: Execution) -> None:
        if time.monotonic() < self._next or execution.succeeded is not None:
            return
        self._next = time.monotonic() + PROGRESS_EVERY_S
        newest = self._target.logs.tail(of_job(self._target.job_name, execution.name), limit=SHOWN_ENTRIES)
        if newest:
            self._say(pace(newest) or newest[-1].message)


def pace(entries: Sequence[Entry]) -> str:
    """A bar over all tasks of an execution, when the newest of its entries (oldest first) tells of a transfer."""
    told = {entry.fields.get("task", 0): entry.fields for entry in entries if "done_bytes" in entry.fields}
    if not told or "done_bytes" not in entries[-1].fields:
        return ""
    done, total, rate = (
        sum(int(fields[name]) for fields in told.values()) for name in ("done_bytes", "total_bytes", "rate_bytes_per_s")
    )
    left = max(float(fields.get("left_s", 0)) for fields in told.values())
    return bar(done, total, rate, left or None)


def last_lines(target: Target, condition: str, since: datetime | str = "", limit: int = TAIL) -> list[str]:
    """The last log lines that meet a condition, as people read them; what several instances said is told once.

    The last errors are among them however much was said after: when one of fifty instances fails, all of them stop.
    """
    floor = since if isinstance(since, str) else stamp(since)
    errors = target.logs.tail(both(condition, "severity>=ERROR"), since=floor, limit=LOOKED_THROUGH)
    kept = _newest(errors, limit // 2)
    others = [
        entry for entry in target.logs.tail(condition, since=floor, limit=LOOKED_THROUGH) if entry.text not in kept
    ]
    chosen = sorted([*kept.values(), *_newest(others, limit - len(kept)).values()], key=lambda entry: entry.timestamp)
    return [f"  {entry.timestamp[11:19]} {entry.severity:<7} {entry.text}" for entry in chosen]


def _newest(entries: Sequence[Entry], count: int) -> dict[str, Entry]:
    """The last `count` different texts, of entries whose oldest comes first."""
    last = {entry.text: entry for entry in entries}
    newest = sorted(last.values(), key=lambda entry: entry.timestamp)[-count:]
    return {entry.text: entry for entry in newest}


def _why(target: Target, execution: Execution, since: datetime) -> str:
    lines = last_lines(target, of_job(target.job_name, execution.name), since)
    reason = f": {execution.reason}" if execution.reason else ""  # the lines below say the rest
    return "\n".join([f"execution {execution.name} of {target.job_name} failed{reason}", *lines])


def _record(target: Target, execution: str, since: datetime) -> dict[str, Any] | None:
    for record in audit.recent(target.bucket, since):
        if record.get("details", {}).get("execution") == execution:
            return record
    return None


def _logs_remedy(target: Target, what: str) -> str:
    return f"Run: ./dev invoke logs --{what} --env {target.environment}"
