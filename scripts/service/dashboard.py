"""`status`: a service on one screen, what it stands on, and what to read about each cause of trouble.

Causes name their runbook by convention: runbooks/alerts/<alert policy>.md, a policy's display name as a file's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.cloud.alerts import Alert
from scripts.cloud.logs import both, of_service
from scripts.cloud.run import Revision, ServiceState
from scripts.errors import ExitCode, OpsError
from scripts.models.revisions import VERSION_NOTE
from scripts.service import locks, planning, routing, status, target
from scripts.service.locks import Lock
from scripts.service.status import Status
from scripts.service.target import Target
from scripts.settings import project
from scripts.settings.model import Settings
from scripts.units import age, size

STARTS = 100
REVISIONS = 5
FULL = 0.8  # of the capacity, as in the alert policy
LOWEST_HIT_RATE = 0.9
GB = 1_000_000_000
REVISION_HEADERS = ("revision", "traffic", "age", "state", "models", "image")
# The alert policies that watch what status itself finds.
DOWN, MISSES, SYNC, BUCKET = "service-down", "cache-hit-rate", "model-sync-failures", "bucket-capacity"


@dataclass(frozen=True)
class Cause:
    """Something that is wrong. runbook: what to read about it, empty where there is no policy for it."""

    text: str
    policy: str = ""

    @property
    def runbook(self) -> str:
        return runbook_of(self.policy) if self.policy else ""

    def line(self) -> str:
        """The cause with its runbook."""
        missing = "" if not self.runbook or (project.ROOT / self.runbook).is_file() else ", not written yet"
        return self.text + (f" ({self.runbook}{missing})" if self.runbook else "")


@dataclass(frozen=True)
class Board:
    """Everything that status tells. size_bytes: the bucket, noncurrent generations too; starts: (hits, all) of the last
    starts; unknown: what could not be asked, and why."""

    status: Status
    revisions: tuple[Revision, ...]
    shares: dict[str, int]
    size_bytes: int
    capacity_bytes: int
    starts: tuple[int, int]
    alerts: tuple[Alert, ...]
    leases: tuple[Lock, ...]
    notes: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def causes(self) -> tuple[Cause, ...]:
        """What is wrong, the worst first."""
        found = [Cause(text, DOWN) for text in self.status.down]
        found += [Cause(f"alert {each.policy} is open for {_age(each.opened_at)}", each.policy) for each in self.alerts]
        found += [Cause(text, _policy_of(text)) for text in self.status.degraded]
        if self.capacity_bytes and self.size_bytes > FULL * self.capacity_bytes:
            part = f"{100 * self.size_bytes / self.capacity_bytes:.0f} %"
            found.append(Cause(f"the bucket holds {part} of its capacity; see cache.prune", BUCKET))
        hits, starts = self.starts
        if starts and hits < LOWEST_HIT_RATE * starts:
            found.append(Cause(f"{hits} of the last {starts} starts were hits", MISSES))
        return tuple(found)

    @property
    def exit_code(self) -> ExitCode:
        """4 down, 2 when anything is wrong, else 0."""
        if self.status.down:
            return ExitCode.UNREACHABLE
        return ExitCode.DIFFERENCE if self.causes else ExitCode.OK

    @property
    def verdict(self) -> str:
        return {ExitCode.UNREACHABLE: "down", ExitCode.DIFFERENCE: "degraded"}.get(self.exit_code, "healthy")

    @property
    def title(self) -> str:
        return f"{self.status.service} on {self.status.environment}"

    def rows(self) -> list[tuple[str, str]]:
        """Names and values for people."""
        hits, starts = self.starts
        own = [
            row for row in self.status.rows()
            if row[0] not in ("status", "traffic", "revision", "down", "degraded", "to do")
        ]  # fmt: skip
        held = [lock for lock in self.leases if lock.state == "held"]
        capacity = f" of {size(self.capacity_bytes)}" if self.capacity_bytes else ""
        return [
            ("status", self.verdict),
            *own,
            ("bucket", f"{size(self.size_bytes)}{capacity}"),
            ("hit rate", f"{100 * hits / starts:.0f} % of the last {starts} starts" if starts else "no start seen"),
            *([] if self.alerts else [("alerts", "none open")]),
            *(("lease", f"{lock.name}: {lock.holder}") for lock in held),
            *([] if held else [("leases", "none held")]),
            *(("stands", note) for note in self.notes),
            *(("unknown", text) for text in self.unknown),
            *(("cause", cause.line()) for cause in self.causes),
            *(("to do", line) for line in self.status.remedies),
        ]

    def tables(self) -> list[tuple[Sequence[str], list[list[str]]]]:
        """The newest revisions, and the instances."""
        cells = [_cells(item, self.shares.get(item.name, 0)) for item in self.revisions]
        return [(REVISION_HEADERS, cells), self.status.table()]

    def as_json(self) -> dict[str, Any]:
        """The document of `status --json`."""
        return {
            **self.status.as_json(), "status": self.verdict,
            "revisions": [
                dict(zip(REVISION_HEADERS, _cells(item, self.shares.get(item.name, 0)), strict=True))
                for item in self.revisions
            ],
            "bucket_bytes": self.size_bytes, "capacity_bytes": self.capacity_bytes,
            "hits": self.starts[0], "starts": self.starts[1],
            "alerts": [{**vars(each), "labels": dict(each.labels)} for each in self.alerts],
            "leases": [lock.as_json() for lock in self.leases], "notes": list(self.notes),
            "unknown": list(self.unknown),
            "causes": [{"text": cause.text, "runbook": cause.runbook} for cause in self.causes],
        }  # fmt: skip

    def unseen(self, why: str) -> dict[str, Any]:
        """The document of a later look that failed."""
        head = {"environment": self.status.environment, "service": self.status.service}
        return {**head, "status": "unknown", "unknown": [why]}


def runbook_of(policy: str) -> str:
    """Where the runbook of an alert policy is."""
    slug = re.sub(r"[^a-z0-9]+", "-", policy.lower()).strip("-")
    return f"runbooks/alerts/{slug}.md"


def look(settings: Settings, service: str) -> Board:
    """Look at everything. Raises Unreachable when the cloud itself cannot be asked; of what hangs on further
    permissions (alerts) it only tells that it is unknown."""
    reached = target.reach(settings, service)
    found = status.status(settings, service)
    state = reached.run.get_service(reached.name)
    there = reached.bucket.exists()
    unknown: list[str] = []
    return Board(
        status=found,
        revisions=tuple(reached.run.list_revisions(reached.name)[:REVISIONS]) if state is not None else (),
        shares=routing.serving(state) if state is not None else {},
        size_bytes=sum(info.size_bytes for info in reached.bucket.list(versions=True)) if there else 0,
        capacity_bytes=int(settings.cache.capacity_gb * GB),
        starts=_starts(reached),
        alerts=tuple(_or_unknown(lambda: reached.cloud.alerts().open(), "alerts", unknown)),
        leases=tuple(locks.listed(reached)) if there else (),
        notes=tuple(_decided(reached, state)) if state is not None else (),
        unknown=tuple(unknown),
    )


def _or_unknown(ask: Callable[[], list[Alert]], what: str, unknown: list[str]) -> list[Alert]:
    try:
        return ask()
    except OpsError as error:
        unknown.append(f"{what}: {error.message}")
        return []


def _decided(reached: Target, state: ServiceState) -> list[str]:
    """What somebody decided that the files do not say, and until when it stands, one sentence each."""
    back = routing.rolled_back(state)
    until = "it stays until there is something new to deploy, or deploy --unpin"
    told = [f"rolled back from {back[0]} to {back[1]}: {until}"] if back is not None else []
    return told + planning.toggled(reached, state)


def _starts(reached: Target) -> tuple[int, int]:
    """Hits and all of the last starts, of whatever revision."""
    condition = both(of_service(reached.name), "jsonPayload.cache_hit:*")
    found = reached.logs.entries(condition, limit=STARTS, newest_first=True)
    return sum(entry.fields.get("cache_hit") is True for entry in found), len(found)


def _cells(item: Revision, share: int) -> list[str]:
    containers = item.body.get("spec", {}).get("containers") or [{}]
    digest = str(item.body.get("status", {}).get("imageDigest") or containers[0].get("image", ""))
    state = {True: "ready", False: "failed", None: "starting"}[item.ready]
    name, _, tail = digest.rpartition("/")[2].partition("@sha256:")
    image = f"{name}@{tail[:12]}" if tail else name
    models = str(item.annotations.get(VERSION_NOTE, ""))
    return [item.name, f"{share} %" if share else "", age(item.created_at), state, models, image]


def _policy_of(text: str) -> str:
    if "last sync failed" in text:
        return SYNC
    return MISSES if "miss" in text else ""


def _age(since: str) -> str:
    return age(since) if since else "an unknown time"


@dataclass(frozen=True)
class Health:
    """Yes or no, in one line."""

    status: Status

    def line(self) -> str:
        """The line: the verdict, and the first cause."""
        found = self.status
        causes = [*found.down, *found.degraded]
        why = f": {causes[0]}" + (f" (and {len(causes) - 1} more)" if len(causes) > 1 else "") if causes else ""
        return f"{found.service} on {found.environment} is {found.verdict}{why}"

    def as_json(self) -> dict[str, Any]:
        """The document of `health --json`."""
        found = self.status
        head = {"healthy": not self.status.exit_code, "status": found.verdict}
        place = {"environment": found.environment, "service": found.service, "url": found.url}
        return {**head, **place, "causes": [*found.down, *found.degraded]}


def health(settings: Settings, service: str) -> Health:
    """Whether a service is healthy. Raises Unreachable when the cloud itself cannot be asked."""
    return Health(status.status(settings, service))
