"""What instances say of themselves: the decision that each one logged at its start, and what it loaded."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scripts.cloud.logs import Entry, LogsClient, both, of_service
from scripts.cloud.retry import delays
from scripts.errors import OpsError
from scripts.service.target import Target
from scripts.units import size

SEEN_TIMEOUT_S = 15.0
LIMIT = 10_000
HEADERS = ("instance", "cache", "reason", "version", "serial", "loaded", "pulled")
SHOWN = 10


@dataclass(frozen=True)
class Instance:
    """One instance: its decision (hit or miss and why), the version it serves, and the bytes it read of it.

    served_bytes: what it loaded from where its models are; upstream_bytes: what it pulled by itself (0 on a hit).
    loaded: it has told what it loaded, be it nothing.
    """

    id: str
    cache_hit: bool
    reason: str
    version: str
    serial: int
    served_bytes: int
    upstream_bytes: int
    started_at: str
    loaded: bool = True

    def cells(self) -> list[str]:
        """The instance as a row of the table of instances."""
        verdict = "hit" if self.cache_hit else "miss"
        serial = str(self.serial) if self.version else ""
        sizes = (size(self.served_bytes), size(self.upstream_bytes))
        return [self.id[:12], verdict, self.reason, self.version or "none", serial, *sizes]


def of_revision(target: Target, revision: str) -> list[Instance]:
    """The instances of a revision that told their decision, youngest first.

    Where the platform can tell which instances are alive, only those.
    """
    known = target.run.get_revision(revision) if revision else None
    if known is None:
        return []
    found = read(target.logs, target.name, revision, known.created_at)
    alive = target.cloud.live_instances(target.name)
    return [instance for instance in found if alive is None or instance.id in alive]


def await_instances(target: Target, revision: str, count: int) -> list[Instance]:
    """Like of_revision, waiting until as many as `count` have told their decision and what they loaded, or time is up.

    Entries reach Cloud Logging some seconds after they were written.
    """
    deadline = time.monotonic() + SEEN_TIMEOUT_S
    for delay_s in delays(0.1, 2.0):
        found = of_revision(target, revision)
        loaded = [instance for instance in found if instance.loaded or not instance.cache_hit]
        if len(loaded) >= count or time.monotonic() + delay_s > deadline:
            return found
        time.sleep(delay_s)
    raise AssertionError("delays() is endless")


def check_hits(target: Target, revision: str, found: Sequence[Instance]) -> None:
    """Raise OpsError unless instances of a revision told their decision, and all of them were on a hit."""
    misses = [item for item in found if not item.cache_hit]
    if found and not misses:
        return
    names = ", ".join(f"{item.id[:12]} ({item.reason})" for item in misses) or "none told its decision"
    text = f"revision {revision} does not start from the cache: {names}"
    raise OpsError(text, f"Run: ./dev invoke logs --env {target.environment}")


def read(logs: LogsClient, service: str, revision: str, since: str) -> list[Instance]:
    """The instances of a revision that wrote their decision to the logs since a moment (RFC 3339), youngest first."""

    def having(field: str) -> list[Entry]:
        condition = both(of_service(service, revision), f"jsonPayload.{field}:*")
        return logs.entries(condition, since=since, limit=LIMIT, newest_first=True)

    served, pulled = (_sums(having(field), field) for field in ("served_bytes", "upstream_bytes"))
    return summarize(having("cache_hit"), served, pulled)


def summarize(decided: Iterable[Entry], served: dict[str, int], pulled: dict[str, int]) -> list[Instance]:
    """Instances from their decisions (the last one of each counts) and the bytes by instance id."""
    last: dict[str, Entry] = {}
    for entry in sorted(decided, key=lambda item: item.timestamp):
        if entry.instance:
            last[entry.instance] = entry
    instances = [
        Instance(
            id=name,
            cache_hit=entry.fields.get("cache_hit") is True,
            reason=str(entry.fields.get("reason") or ""),
            version=str(entry.fields.get("manifest_version") or ""),
            serial=int(entry.fields.get("serial") or 0),
            served_bytes=served.get(name, 0),
            upstream_bytes=pulled.get(name, 0),
            started_at=entry.timestamp,
            loaded=name in served,
        )
        for name, entry in last.items()
    ]
    return sorted(instances, key=lambda item: item.started_at, reverse=True)


def table(instances: Sequence[Instance]) -> tuple[Sequence[str], list[list[str]]]:
    """Headers and rows for people: the youngest instances, and how many more there are."""
    rows = [instance.cells() for instance in instances[:SHOWN]]
    rest = instances[SHOWN:]
    if rest:
        hits = f"{sum(instance.cache_hit for instance in rest)} hits"
        rows.append([f"{len(rest)} more", hits, "", "", "", size(sum(item.served_bytes for item in rest)), ""])
    return HEADERS, rows


def _sums(entries: Iterable[Entry], field: str) -> dict[str, int]:
    sums: dict[str, int] = {}
    for entry in entries:
        sums[entry.instance] = sums.get(entry.instance, 0) + int(entry.fields.get(field) or 0)
    return sums
