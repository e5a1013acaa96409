"""The Cloud Monitoring room: log-based metrics, time series, alert policies evaluated by the clock, incidents."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any

from scripts.localcloud.admin.documents import Document, Documents, page
from scripts.localcloud.clock import Clock
from scripts.localcloud.context import Context
from scripts.localcloud.logging.room import LoggingRoom
from scripts.localcloud.monitoring.descriptors import Descriptors
from scripts.localcloud.monitoring.gauges import EVERY_S, Gauges
from scripts.localcloud.monitoring.incidents import Incidents
from scripts.localcloud.monitoring.instances import Instances
from scripts.localcloud.monitoring.log_metrics import LogMetrics
from scripts.localcloud.monitoring.points import Points
from scripts.localcloud.monitoring.policies import Policies
from scripts.localcloud.monitoring.queries import Queries, Sources
from scripts.localcloud.monitoring.requests import SOURCE, Requests
from scripts.localcloud.run.events import REQUEST
from scripts.localcloud.run.room import RunRoom
from scripts.localcloud.storage.events import TOPIC
from scripts.localcloud.storage.room import StorageRoom
from scripts.localcloud.web import ApiError, Request, Response, Route

log = logging.getLogger("localcloud")
EVALUATED_EVERY_S = 60.0
_COUNTED_EVERY_S = 1.0


class MonitoringRoom:
    """A timer of the clock: policies and instances once a minute, bucket sizes every five minutes after a change."""

    def __init__(
        self, context: Context, clock: Clock, storage: StorageRoom, run: RunRoom, logging_room: LoggingRoom
    ) -> None:
        self._context = context
        self._clock = clock
        self._documents = Documents(context.db)
        self._points = Points(context.db)
        self._metrics = LogMetrics(context, self._documents, self._points, logging_room)
        self._gauges = Gauges(context, storage)
        self._requests = Requests(context, self._points)
        self._instances = Instances(context, self._points, run)
        self._queries = Queries(context, Sources(self._metrics, self._gauges, self._requests, self._instances))
        self._descriptors = Descriptors(self._metrics)
        self._incidents = Incidents(context, self._queries, logging_room)
        self._policies = Policies(context, self._documents, self._policy_changed)
        self._evaluate_at: float | None = None
        self._sample_at: float | None = None
        self._instances_at: float | None = None
        self._counting: asyncio.Task[None] | None = None
        self._evaluation: asyncio.Task[None] | None = None
        context.listen(TOPIC, self._bytes_changed)
        context.listen(REQUEST, lambda event: self._instances.served(event.instance))

    def routes(self) -> list[Route]:
        own = [
            Route("GET", "/_local/incidents", self._list, "local.incidents.list"),
            Route("GET", "/v3/projects/{project}/alerts", self._alerts, "monitoring.projects.alerts.list"),
        ]
        parts = (self._metrics, self._queries, self._policies, self._descriptors)
        return [*(route for part in parts for route in part.routes()), *own]

    async def start(self) -> None:
        """Evaluate from the next minute on, when there are policies."""
        self._plan()
        self._clock.add(self)
        self._counting = asyncio.create_task(self._count())

    async def stop(self) -> None:
        """Give an evaluation up, and keep what was counted."""
        for task in (self._evaluation, self._counting):
            if task is not None:
                task.cancel()
        self._requests.flush()

    def status(self) -> dict[str, Any]:
        return {"policies": len(self._enabled()), "open_incidents": len(self._incidents.listed("open"))}

    def incidents(self, state: str = "") -> list[Document]:
        """For other rooms: incidents, the newest first."""
        return self._incidents.listed(state)

    def next_at(self) -> float | None:
        """When policies are evaluated, or sizes or instances sampled next."""
        moments = (self._evaluate_at, self._sample_at, self._instances_at)
        return min((at for at in moments if at is not None), default=None)

    def ring(self) -> None:
        """Do what is due."""
        now = self._clock()
        if self._sample_at is not None and self._sample_at <= now:
            self._sample_at = None
            self._gauges.sample()
        if self._instances_at is not None and self._instances_at <= now:
            self._instances.sample()
            self._instances_at = self._instances.next_at(now) if self._instances.needed() else None
        if self._evaluate_at is not None and self._evaluate_at <= now:
            self._evaluate_at = _next_minute(now)
            if self._evaluation is None or self._evaluation.done():
                self._evaluation = asyncio.create_task(self._evaluate())

    async def settle(self) -> None:
        """Wait for the evaluation under way."""
        if self._evaluation is not None:
            await asyncio.wait([self._evaluation])

    async def _count(self) -> None:
        """Once a second: write what was counted, and see whether there are instances to sample."""
        while True:
            try:
                self._requests.flush()
                self._points.tidy(self._clock(), (SOURCE,))
                if self._instances_at is None and self._instances.needed():
                    self._instances_at = self._instances.next_at(self._clock())
                    self._clock.changed()
            except Exception:
                log.exception("metrics could not be written")
            await asyncio.sleep(_COUNTED_EVERY_S)

    async def _evaluate(self) -> None:
        for policy in self._enabled():
            try:
                await self._incidents.evaluate(policy)
            except Exception:
                log.exception("alert policy %s could not be evaluated", policy["name"])

    def _enabled(self) -> list[Document]:
        found = self._documents.matching("projects/*/alertPolicies/*")
        return [policy for policy in found if policy.get("enabled", True)]

    def _policy_changed(self, name: str, policy: Document | None) -> None:
        self._incidents.forget(name)
        if policy is not None:
            self._incidents.begin(policy)
        self._plan()

    def _plan(self) -> None:
        now = self._clock()
        if not self._enabled():
            self._evaluate_at = None
        elif self._evaluate_at is None:
            self._evaluate_at = _next_minute(now)
        self._clock.changed()

    def _bytes_changed(self, event: Any) -> None:
        self._gauges.changed(event.bucket)
        if self._sample_at is None:
            self._sample_at = self._clock() + EVERY_S
            self._clock.changed()

    async def _list(self, request: Request) -> Response:
        state = request.query.get("state", "")
        if state not in ("", "open", "closed"):
            raise ApiError(400, f"state: expected open or closed, found {state[:50]!r}.")
        return Response.of_json({"incidents": self._incidents.listed(state, request.query.get("project", ""))})

    async def _alerts(self, request: Request) -> Response:
        """Incidents as the API shows alerts, the newest first."""
        wanted = re.fullmatch(r'\s*(?:state\s*=\s*"(OPEN|CLOSED)")?\s*', request.query.get("filter", ""))
        if wanted is None or request.query.get("orderBy"):
            raise ApiError(400, 'The stand-in lists alerts by state="OPEN" or state="CLOSED" alone, the newest first.')
        found = self._incidents.listed((wanted[1] or "").lower(), request.params["project"])
        return Response.of_json(page([_alert(each) for each in found], request, "alerts"))


def _alert(incident: Document) -> Document:
    """An incident in the words of the API (Alert, Cloud Monitoring v3)."""
    policy, project = incident["policy"], incident["policy"].split("/")[1]
    shown: Document = {"displayName": incident["policyDisplayName"], "name": policy}
    shown |= {"severity": incident["severity"]} if incident["severity"] else {}
    shown |= {"userLabels": incident["policyUserLabels"]} if incident.get("policyUserLabels") else {}
    labels = {key: str(value) for key, value in incident["labels"].items() if isinstance(value, str)}
    times = {"openTime": incident["startedAt"]} | ({"closeTime": incident["endedAt"]} if "endedAt" in incident else {})
    name = f"projects/{project}/alerts/{incident['id']}"
    return {"name": name, "state": incident["state"].upper(), "policy": shown, "resource": {"labels": labels}, **times}


def _next_minute(now: float) -> float:
    return (now // EVALUATED_EVERY_S + 1) * EVALUATED_EVERY_S
