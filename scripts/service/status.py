"""Status: what serves, from which models, and what is not as it should be. Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scripts.cloud.instances import Instance
from scripts.cloud.run import Execution, ServiceState
from scripts.errors import SYNC, AccessDenied, ExitCode
from scripts.service import instances, observe, planning, probe, promoted, routing, target
from scripts.service.observe import Live
from scripts.service.target import Target
from scripts.settings.model import Settings
from scripts.units import age


@dataclass(frozen=True)
class Status:
    """The truth about a service. down: why it does not serve; degraded: what is wrong though it serves."""

    environment: str
    cloud: str
    service: str
    url: str
    revision: str
    traffic: tuple[str, ...]
    instances: tuple[Instance, ...]
    manifest_version: str
    serial: int
    published_at: str
    decision: str
    hold: str
    sync: str
    differences: tuple[str, ...]
    down: tuple[str, ...]
    degraded: tuple[str, ...]
    remedies: tuple[str, ...]

    @property
    def exit_code(self) -> ExitCode:
        if self.down:
            return ExitCode.UNREACHABLE
        return ExitCode.DIFFERENCE if self.degraded else ExitCode.OK

    @property
    def verdict(self) -> str:
        return "down" if self.down else "degraded" if self.degraded else "healthy"

    def as_json(self) -> dict[str, Any]:
        """The document of `status --json`."""
        listed = [{"id": item.id, "cache_hit": item.cache_hit, "reason": item.reason, "manifest_version": item.version}
                  for item in self.instances]  # fmt: skip
        plain = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in vars(self).items()
            if key != "instances"
        }
        return {"status": self.verdict, **plain, "instances": listed}

    def rows(self) -> list[tuple[str, str]]:
        """Names and values for people."""
        version = "none"
        hits = sum(item.cache_hit for item in self.instances)
        if self.manifest_version:
            version = f"{self.manifest_version}, serial {self.serial}, signed {age(self.published_at)} ago"
        return [
            ("status", self.verdict),
            ("cloud", self.cloud),
            ("URL", self.url or "none"),
            ("revision", self.revision or "none"),
            *(("traffic", line) for line in self.traffic),
            ("instances", f"{hits} of {len(self.instances)} on a hit" if self.instances else "none seen"),
            ("active version", version),
            ("cache", self.decision),
            ("hold", self.hold or "none"),
            *([("lift it", f"./dev invoke cache.resume --env {self.environment}")] if self.hold else []),
            ("last sync", self.sync),
            ("live vs rendered", f"{len(self.differences)} differ" if self.differences else "equal"),
            *(("differs", line) for line in self.differences[:10]),
            *(("down", line) for line in self.down),
            *(("degraded", line) for line in self.degraded),
            *(("to do", line) for line in self.remedies),
        ]

    def table(self) -> tuple[Sequence[str], list[list[str]]]:
        """The table of instances."""
        return instances.table(self.instances)


def status(settings: Settings, service: str) -> Status:
    """Look at everything. Raises Unreachable when the cloud itself cannot be asked."""
    reached = target.reach(settings, service)
    live = observe.look(reached)
    state = live.service
    reached = promoted.applied(reached, state)
    serving = _serving(state)
    found = tuple(item for name in serving for item in instances.of_revision(reached, name))
    execution = next(iter(reached.run.list_executions(reached.job_name)), None) if live.job else None
    differences = _differences(reached, live)
    down = _down(reached, state)
    trusted = live.models.reading.trusted
    hold = live.models.hold
    return Status(
        environment=settings.environment,
        cloud=reached.cloud.name,
        service=reached.name,
        url=state.url if state else "",
        revision=next(iter(serving), ""),
        traffic=_traffic(state) if state else (),
        instances=found,
        manifest_version=live.version,
        serial=live.serial,
        published_at=trusted.statement.created_at if trusted else "",
        decision=f"{'hit' if live.models.decision.hit else 'miss'} ({live.models.decision.reason})",
        hold=f"{hold.version}: {hold.reason}" if hold else "",
        sync=_told(execution),
        differences=differences,
        down=down,
        degraded=() if down else _degraded(reached, live, found, execution, differences),
        remedies=_remedies(reached, live, bool(down), execution, differences),
    )


def _serving(state: ServiceState | None) -> list[str]:
    """The revisions that get traffic, that with the most first: after a rollback the newest one gets none."""
    shares = routing.serving(state) if state is not None else {}
    return sorted(shares, key=lambda name: -shares[name])


def _down(reached: Target, state: ServiceState | None) -> tuple[str, ...]:
    if state is None:
        return (f"service {reached.name} does not exist",)
    if not state.latest_ready_revision:
        return (state.reason or "no revision has become ready",)
    try:
        headers = reached.cloud.headers_for(state.url, reached.settings.access == "private")
    except AccessDenied as error:
        return (error.message,)
    asked = [(path, probe.ask(state.url + path, "GET", headers, timeout_s=10.0)) for path in ("/health", "/ready")]
    return tuple(
        f"{path} answers " + (f"HTTP {answer.status}: {answer.text.strip()[:120]}" if answer.status else "nothing")
        for path, answer in asked
        if not answer.ok
    )


def _degraded(
    reached: Target,
    live: Live,
    found: tuple[Instance, ...],
    execution: Execution | None,
    differences: tuple[str, ...],
) -> tuple[str, ...]:
    told: list[str] = []
    state = live.service
    if state is not None and state.ready is not True:
        told.append(f"revision {state.latest_created_revision} is not ready: {state.reason or 'still starting'}")
    if reached.settings.cache.enabled:
        if not live.models.decision.hit:
            told.append(f"new instances start on a miss: {planning.MISSES[live.models.decision.reason]}")
        told += [f"instance {item.id[:12]} started on a miss ({item.reason})" for item in found if not item.cache_hit]
    told += [problem.line() for problem in live.models.problems]
    wanted = reached.service.min_instances
    if reached.cloud.live_instances(reached.name) is not None and len(found) < wanted:
        told.append(f"{len(found)} of at least {wanted} instances run")
    if execution is not None and execution.succeeded is False:
        told.append(f"the last sync failed: {execution.reason or execution.name}")
    if differences:
        told.append("what is live differs from environments/ and templates/")
    return tuple(told)


def _remedies(
    reached: Target, live: Live, down: bool, execution: Execution | None, differences: tuple[str, ...]
) -> tuple[str, ...]:
    """What to type about it, each once: what is wrong in the bucket first."""
    told = [problem.remedy for problem in live.models.problems]
    if reached.settings.cache.enabled and not live.models.decision.hit and not told:
        told.append(SYNC)
    if execution is not None and execution.succeeded is False:
        told.append("Run: ./dev invoke logs --job --env ENVIRONMENT")
    if down or differences:
        told.append("Run: ./dev invoke deploy --env ENVIRONMENT")
    return tuple(dict.fromkeys(reached.advice(remedy) for remedy in told))


def _differences(reached: Target, live: Live) -> tuple[str, ...]:
    changes = (*planning.job_changes(reached, live), *planning.service_changes(reached, live))
    return tuple(change.line() for change in changes)


def _traffic(state: ServiceState) -> tuple[str, ...]:
    return tuple(
        f"{share.get('percent', 0)} % {share.get('revisionName', 'latest')}"
        + (f" (tag {share['tag']})" if share.get("tag") else "")
        for share in state.traffic
    )


def _told(execution: Execution | None) -> str:
    if execution is None:
        return "never ran"
    outcome = {True: "succeeded", False: "failed", None: "runs"}[execution.succeeded]
    when = execution.completed_at or execution.created_at
    return f"{outcome} {age(when)} ago ({execution.name})" if when else f"{outcome} ({execution.name})"
