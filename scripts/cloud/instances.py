"""What instances say of themselves in the logs: the decision that each one made at its start, and what it loaded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scripts.cloud.logs import Entry, LogsClient, both, of_service
from scripts.units import size

LIMIT = 10_000


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


def _sums(entries: Iterable[Entry], field: str) -> dict[str, int]:
    sums: dict[str, int] = {}
    for entry in entries:
        sums[entry.instance] = sums.get(entry.instance, 0) + int(entry.fields.get(field) or 0)
    return sums
