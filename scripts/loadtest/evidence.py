"""What the cloud itself says about a load test: who served, how each instance started, and what was pulled upstream.

Three witnesses: Cloud Run's request log names the instance of every answer; each instance's own log tells its decision
(hit or miss) and what it pulled; and where the upstreams count (the stand-in's do), what they handed out, and to whom.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from scripts.cloud import instances
from scripts.cloud.instances import Instance
from scripts.cloud.logs import LogsClient, both, equal, of_service, stamp
from scripts.cloud.retry import delays
from scripts.units import size

if TYPE_CHECKING:
    from scripts.cloud.connect import Cloud
    from scripts.cloud.run import RunClient

PATIENCE_S = 15.0  # entries reach Cloud Logging some seconds after they were written
REQUEST_LIMIT = 10_000
MISSES = (
    "See why: ./dev invoke status --env ENVIRONMENT; then publish the models (sync), or let instances share them "
    "(cache.enabled in environments/ENVIRONMENT.yaml), and deploy"
)
FEW = "Raise min_instances of the service in environments/ENVIRONMENT.yaml and deploy, or ask for fewer: --instances N"


@dataclass(frozen=True)
class Before:
    """The cloud as it was before the test; pulled is None where the upstreams do not count."""

    at: datetime
    pulled: Mapping[str, int] | None


@dataclass(frozen=True)
class Witness:
    """One instance: the requests of this test that the request log names it for, and how it started.

    cache_hit is None when its decision is not in the logs. upstream_bytes: what it pulled since it started, by its own
    log or the upstreams' count, whichever is more. cold: it started during the test.
    """

    instance: str
    requests: int
    cache_hit: bool | None
    reason: str
    version: str
    cold: bool
    upstream_bytes: int

    @property
    def verdict(self) -> str:
        return "unknown" if self.cache_hit is None else "hit" if self.cache_hit else "miss"


@dataclass(frozen=True)
class Evidence:
    """expected: how many instances had to serve; 0 asks for no proof. pulled: bytes handed out during the test."""

    expected: int
    witnesses: tuple[Witness, ...]
    logged_requests: int
    pulled: Mapping[str, int] | None

    @property
    def serving(self) -> int:
        return sum(each.requests > 0 for each in self.witnesses)

    @property
    def hits(self) -> int:
        return sum(each.cache_hit is True for each in self.witnesses)

    @property
    def misses(self) -> int:
        return sum(each.cache_hit is False for each in self.witnesses)

    @property
    def cold_starts(self) -> int:
        return sum(each.cold for each in self.witnesses)

    @property
    def copies(self) -> int:
        """How many instances pulled models by themselves."""
        return sum(each.upstream_bytes > 0 for each in self.witnesses)

    @property
    def upstream_bytes(self) -> int:
        """Everything that was pulled: by these instances since they started, by anybody else during the test."""
        own = {each.instance for each in self.witnesses}
        others = sum(count for name, count in (self.pulled or {}).items() if name not in own)
        return sum(each.upstream_bytes for each in self.witnesses) + others

    def problems(self) -> list[tuple[str, str]]:
        """Why zero duplicate downloads are not proven, each with its remedy; empty when they are."""
        if not self.expected:
            return []
        found: list[tuple[str, str]] = []
        if self.serving < self.expected:
            found.append((f"{self.serving} instances served, expected at least {self.expected}", FEW))
        silent = [each.instance[:12] for each in self.witnesses if each.cache_hit is None]
        if silent:
            found.append(
                (f"no start entry tells whether these instances started on a hit: {', '.join(silent)}", MISSES)
            )
        if self.misses:
            reasons = ", ".join(
                sorted({each.reason or "no reason" for each in self.witnesses if each.cache_hit is False})
            )
            found.append((f"{self.misses} of {len(self.witnesses)} instances started on a miss ({reasons})", MISSES))
        if self.upstream_bytes:
            found.append((self._pulled(), MISSES))
        return found

    def _pulled(self) -> str:
        whole = size(self.upstream_bytes)
        if self.copies:
            pulled = "1 instance pulled a copy" if self.copies == 1 else f"{self.copies} instances pulled a copy each"
            return f"duplicate downloads: {pulled} of the models, {whole} in all"
        names = ", ".join(sorted(name for name, count in (self.pulled or {}).items() if count))
        return f"{whole} were pulled from the upstreams during the test, by {names}"


def begin(cloud: Cloud) -> Before:
    """Note how things are before the first instance is started and the first request is sent."""
    return Before(datetime.now(UTC), cloud.pulled_bytes())


def gather(cloud: Cloud, service: str, revisions: Sequence[str], agent: str, expected: int, before: Before) -> Evidence:
    """Hear all witnesses; those that need time to arrive are waited for. agent: the user agent of the test."""
    deadline = time.monotonic() + PATIENCE_S
    logs, run = cloud.logs(), cloud.run()
    for delay_s in delays(0.2, 2.0):
        found = _look(cloud, logs, run, service, revisions, agent, expected, before)
        silent = any(each.cache_hit is None for each in found.witnesses)
        if (found.serving >= expected and not silent) or time.monotonic() + delay_s > deadline:
            return found
        time.sleep(delay_s)
    raise AssertionError("delays() is endless")


def _look(
    cloud: Cloud, logs: LogsClient, run: RunClient, service: str, revisions: Sequence[str], agent: str, expected: int,
    before: Before,
) -> Evidence:  # fmt: skip
    requests = _served(cloud, logs, service, agent, before)
    told = [each for revision in revisions for each in _told(logs, run, service, revision)]
    alive = cloud.live_instances(service) or frozenset[str]()
    since = stamp(before.at)
    concerned = {each.id for each in told if each.started_at >= since} | alive | set(requests)
    after = cloud.pulled_bytes()
    known = {each.id: each for each in told}
    witnesses = [
        _witness(name, requests[name], known.get(name), since, (after or {}).get(name, 0)) for name in sorted(concerned)
    ]
    pulled = None
    if after is not None:
        was = before.pulled or {}
        pulled = {name: count - was.get(name, 0) for name, count in after.items() if count > was.get(name, 0)}
    return Evidence(expected, tuple(witnesses), requests.total(), pulled)


def _served(cloud: Cloud, logs: LogsClient, service: str, agent: str, before: Before) -> Counter[str]:
    """How many of the youngest REQUEST_LIMIT requests of this test each instance answered."""
    condition = both(
        equal("logName", f"projects/{cloud.project}/logs/run.googleapis.com%2Frequests"),
        of_service(service),
        equal("httpRequest.userAgent", agent),
    )
    entries = logs.entries(condition, since=before.at, limit=REQUEST_LIMIT, newest_first=True)
    return Counter(entry.instance for entry in entries if entry.instance)


def _told(logs: LogsClient, run: RunClient, service: str, revision: str) -> list[Instance]:
    known = run.get_revision(revision)
    return instances.read(logs, service, revision, known.created_at) if known is not None else []


def _witness(name: str, requests: int, told: Instance | None, since: str, counted_bytes: int) -> Witness:
    if told is None:
        return Witness(name, requests, None, "", "", False, counted_bytes)
    pulled_bytes = max(told.upstream_bytes, counted_bytes)
    cold = told.started_at >= since
    return Witness(name, requests, told.cache_hit, told.reason, told.version, cold, pulled_bytes)
