"""The instances of a revision: who serves now, waiting for their decisions, and the table of them."""

from __future__ import annotations

import time
from collections.abc import Sequence

from scripts.cloud.instances import Instance, read
from scripts.cloud.retry import delays
from scripts.errors import OpsError
from scripts.service.target import Target
from scripts.units import size

SEEN_TIMEOUT_S = 15.0
HEADERS = ("instance", "cache", "reason", "version", "serial", "loaded", "pulled")
SHOWN = 10


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


def table(instances: Sequence[Instance]) -> tuple[Sequence[str], list[list[str]]]:
    """Headers and rows for people: the youngest instances, and how many more there are."""
    rows = [instance.cells() for instance in instances[:SHOWN]]
    rest = instances[SHOWN:]
    if rest:
        hits = f"{sum(instance.cache_hit for instance in rest)} hits"
        rows.append([f"{len(rest)} more", hits, "", "", "", size(sum(item.served_bytes for item in rest)), ""])
    return HEADERS, rows
