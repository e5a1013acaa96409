"""Brings services to what they specify: starts revisions, moves traffic once they are ready, stops the others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from scripts.localcloud.context import REGION, Context
from scripts.localcloud.run import conditions, documents, secret_values, traffic
from scripts.localcloud.run.conditions import FALSE, TRUE, UNKNOWN
from scripts.localcloud.run.container import CannotRun, Plan, plan
from scripts.localcloud.run.fleet import Fleet, Say
from scripts.localcloud.run.front import Backend
from scripts.localcloud.run.instance import FAILED, READY, Identity, Instance
from scripts.localcloud.run.sandbox import Sandboxes
from scripts.localcloud.run.secret_values import SecretValues
from scripts.localcloud.run.store import Document, Store
from scripts.localcloud.web import ApiError

log = logging.getLogger("localcloud")
_MISSING = "The named revision does not exist."
_SUPERSEDED = "Superseded"

State = tuple[str, str, str]  # status, reason, message of a condition
_DONE: State = (TRUE, "", "")


@dataclass
class Route:
    """Where requests to one service go now."""

    project: str
    service: str
    targets: tuple[traffic.Target, ...] = ()
    splitter: traffic.Splitter = field(default_factory=lambda: traffic.Splitter(()))

    def move(self, targets: tuple[traffic.Target, ...]) -> None:
        """Send requests to other targets from now on."""
        if targets != self.targets:
            self.targets, self.splitter = targets, traffic.Splitter(targets)


class Controller:
    """One reconciling task per service; a newer generation supersedes the one being worked on."""

    def __init__(self, context: Context, store: Store, sandboxes: Sandboxes, say: Say) -> None:
        self._context = context
        self._store = store
        self._secrets = SecretValues(context)
        self._sandboxes = sandboxes
        self._say = say
        self._work: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._closing = False
        self.fleets: dict[tuple[str, str], Fleet] = {}
        self.retiring: list[Fleet] = []  # no longer meant to serve, their last instances still run
        self.routes: dict[str, Route] = {}

    def resume(self) -> None:
        """After a start of the daemon: routes as they were, instances come back by themselves."""
        for project, service in list(self._store.all("service")):
            name = service["metadata"]["name"]
            documents.set_address(service, self._context.url, self._store.slug(project, name))  # the port may be new
            self._store.put("service", project, name, service)
            route = self._route(project, name)
            route.move(traffic.from_status(service["status"].get("traffic", ())))
            self._spawn(self._come_back(route))
            if conditions.status_of(service, "Ready") == UNKNOWN:
                self.changed(project, name)

    def changed(self, project: str, name: str) -> None:
        """A service has a new generation: work on it, in the background."""
        running = self._work.pop((project, name), None)
        if running is not None:
            running.cancel()
        self._route(project, name)
        task = asyncio.create_task(self._reconcile(project, name))
        self._work[project, name] = task
        task.add_done_callback(_report)

    def removed(self, project: str, name: str) -> None:
        """A service was deleted: no more requests, stop its instances."""
        running = self._work.pop((project, name), None)
        if running is not None:
            running.cancel()
        self.routes.pop(self._store.slug(project, name), None)
        for key in [key for key, fleet in self.fleets.items() if key[0] == project and fleet.identity.service == name]:
            self._retire(self.fleets.pop(key))

    def forget_revision(self, project: str, revision: str) -> None:
        """A revision was deleted: stop what it may have running."""
        fleet = self.fleets.pop((project, revision), None)
        if fleet is not None:
            self._retire(fleet)

    async def close(self) -> None:
        """Stop all work and all instances; requests in flight get a moment to finish."""
        for task in [*self._work.values(), *self._background]:
            task.cancel()
        self._closing = True
        fleets = list(self.fleets.values())
        await asyncio.gather(*(fleet.close(drain_s=10.0) for fleet in fleets))

    def find(self, name: str) -> Backend:
        """The backend of a name in URLs. Raises ApiError 404, 503."""
        tag, slug = self._parted(name)
        route = self.routes.get(slug)
        if self._closing:
            raise ApiError(503, "The stand-in is shutting down.")
        if route is None:
            raise ApiError(404, f"The requested URL was not found on this server: no service is named '{name}'.")
        if tag:
            revision = next((each.revision for each in route.targets if each.tag == tag), None)
            if revision is None:
                raise ApiError(404, f"Service '{route.service}' has no traffic tag '{tag}'.")
        else:
            revision = route.splitter.next()
        if revision is None:
            raise ApiError(503, f"Service '{route.service}' has no ready revision yet.")
        fleet = self.fleet(route.project, route.service, revision)
        return Backend(fleet, fleet.plan.timeout_s)

    def _parted(self, name: str) -> tuple[str, str]:
        """Tag ("" without one) and service of a name in URLs; both may contain what stands between them."""
        if name in self.routes:
            return "", name
        cuts = [at for at in range(1, len(name)) if name.startswith("---", at) and name[at + 3 :] in self.routes]
        found = [(name[:at], name[at + 3 :]) for at in cuts]
        there = (each for each in found if any(each[0] == target.tag for target in self.routes[each[1]].targets))
        return next(there, found[0] if found else ("", name))

    def fleet(self, project: str, service: str, revision: str) -> Fleet:
        """The fleet of a revision, made on first use. Raises ApiError 503 when it cannot run here."""
        known = self.fleets.get((project, revision))
        if known is not None:
            return known
        document = self._store.need("revision", project, revision)
        try:
            return self._new_fleet(project, service, document)
        except CannotRun as error:
            raise ApiError(503, error.message) from None

    def instances(self) -> list[Instance]:
        """All instances of all revisions."""
        return [instance for fleet in self.fleets.values() for instance in fleet.instances]

    def serving(self, project: str, service: str) -> str | None:
        """The revision with the most traffic."""
        route = self.routes.get(self._store.slug(project, service))
        weights = route.splitter.weights if route is not None else {}
        return max(weights, key=lambda each: weights[each]) if weights else None

    def _new_fleet(self, project: str, service: str, document: Document) -> Fleet:
        metadata, spec = document["metadata"], document["spec"]
        annotations = metadata.get("annotations") or {}

        def planned() -> Plan:
            return plan(self._secrets.filled(spec, annotations, project), annotations, self._context.project_root)

        how = planned()
        if secret_values.has_any(spec):
            how = replace(how, fresh_env=lambda: planned().env)
        identity = Identity(project, REGION, service, metadata["name"])
        fleet = Fleet(self._context, identity, how, self._sandboxes, self._say)
        self.fleets[project, metadata["name"]] = fleet
        return fleet

    def _route(self, project: str, name: str) -> Route:
        return self.routes.setdefault(self._store.slug(project, name), Route(project, name))

    async def _come_back(self, route: Route) -> None:
        for revision in route.splitter.weights:
            try:
                fleet = self.fleet(route.project, route.service, revision)
            except ApiError as error:
                log.warning("revision %s does not come back: %s", revision, error.message)
                continue
            await fleet.ensure(max(1, fleet.plan.min_instances))
            fleet.persist()

    async def _reconcile(self, project: str, name: str) -> None:
        service = self._store.need("service", project, name)
        generation = service["metadata"]["generation"]
        created = service["status"]["latestCreatedRevisionName"]
        configuration = await self._make_ready(project, name, created)
        self._save(project, name, generation, configuration, (UNKNOWN, "Deploying", "Traffic is being moved."), ())
        latest = self._latest_ready(project, name, created, configuration)
        wanted = traffic.resolve(service["spec"].get("traffic") or (), latest)
        routes = await self._start_targets(project, name, wanted)
        route = self._route(project, name)
        if routes == _DONE:
            route.move(wanted)
        self._save(project, name, generation, configuration, routes, route.targets, latest)
        self._stop_others(project, name, created, route.targets)

    async def _make_ready(self, project: str, name: str, revision: str) -> State:
        document = self._store.need("revision", project, revision)
        state = conditions.find(document, "Ready")
        if state["status"] == TRUE:
            return _DONE
        if state["status"] == FALSE and state.get("reason") != _SUPERSEDED:
            return FALSE, str(state.get("reason", "")), str(state.get("message", ""))
        outcome = await self._try_start(project, name, document)
        self._save_revision(project, revision, outcome)
        return outcome

    async def _try_start(self, project: str, name: str, document: Document) -> State:
        revision = document["metadata"]["name"]
        intro = f"Revision '{revision}' is not ready and cannot serve traffic."
        if missing := documents.missing_image(document):
            return FALSE, "ContainerMissing", f"{intro} {missing}"
        try:
            fleet = self.fleets.get((project, revision)) or self._new_fleet(project, name, document)
        except CannotRun as error:
            return FALSE, error.reason, f"{intro} {error.message}"
        started = await fleet.ensure(max(1, fleet.plan.min_instances))
        failed = _first_failure(started)
        if failed is None:
            return _DONE
        self.fleets.pop((project, revision), None)
        self._retire(fleet)
        return FALSE, failed.reason or "HealthCheckContainerError", f"{intro} {failed.problem}"

    async def _start_targets(self, project: str, name: str, wanted: Sequence[traffic.Target]) -> State:
        if not any(target.percent for target in wanted):
            return FALSE, "RevisionFailed", "No revision is ready to serve traffic."
        for target in wanted:
            document = self._store.get("revision", project, target.revision)
            if document is None:
                return FALSE, "RevisionMissing", f"Revision '{target.revision}': {_MISSING}"
            ready = conditions.find(document, "Ready")
            if ready.get("reason") == _SUPERSEDED:  # it never had the time to show whether it can run
                outcome = await self._try_start(project, name, document)
                self._save_revision(project, target.revision, outcome)
                ready = conditions.find(self._store.need("revision", project, target.revision), "Ready")
            if ready["status"] != TRUE:
                return (
                    FALSE,
                    "RevisionFailed",
                    str(ready.get("message") or f"Revision '{target.revision}' is not ready."),
                )
            if not target.percent:
                continue
            try:
                fleet = self.fleet(project, name, target.revision)
            except ApiError as error:  # it could run once: what it needs is gone
                return FALSE, "RevisionFailed", error.message
            failed = _first_failure(await fleet.ensure(max(1, fleet.plan.min_instances)))
            if failed is not None:
                return FALSE, failed.reason or "HealthCheckContainerError", failed.problem
        return _DONE

    def _latest_ready(self, project: str, name: str, created: str, configuration: State) -> str:
        if configuration == _DONE:
            return created
        service = self._store.need("service", project, name)
        return str(service["status"].get("latestReadyRevisionName") or "")

    def _stop_others(self, project: str, name: str, created: str, targets: Sequence[traffic.Target]) -> None:
        used = {target.revision for target in targets}
        active = {target.revision for target in targets if target.percent}
        now = self._context.now()
        for document in self._store.labelled("revision", project, documents.SERVICE_LABEL, name):
            revision = document["metadata"]["name"]
            changed = documents.with_activity(document, revision in active, now)
            if revision != created and conditions.status_of(changed, "Ready") == UNKNOWN:
                old = changed["status"]["conditions"]
                why = (FALSE, _SUPERSEDED, "A newer revision was deployed before this one was ready.")
                changed["status"]["conditions"] = documents.revision_conditions(old, *why, now)
            self._store.put("revision", project, revision, changed)
            if revision not in used:
                self.forget_revision(project, revision)

    def _save_revision(self, project: str, revision: str, outcome: State) -> None:
        document = self._store.need("revision", project, revision)
        old = document["status"]["conditions"]
        document["status"]["conditions"] = documents.revision_conditions(old, *outcome, self._context.now())
        self._store.put("revision", project, revision, document)

    def _save(
        self, project: str, name: str, generation: int, configuration: State, routes: State,
        targets: Sequence[traffic.Target], latest: str = "",
    ) -> None:  # fmt: skip
        service = self._store.get("service", project, name)
        if service is None or service["metadata"]["generation"] != generation:
            raise asyncio.CancelledError  # superseded or deleted
        status = service["status"]
        status["observedGeneration"] = generation
        status["conditions"] = documents.service_status(service, self._context.now(), configuration, routes)
        if latest:
            status["latestReadyRevisionName"] = latest
        if targets:
            base = self._context.url
            slug = self._store.slug(project, name)
            status["traffic"] = traffic.to_status(targets, lambda tag: documents.tag_url(base, tag, slug))
        self._store.put("service", project, name, service)

    def _retire(self, fleet: Fleet) -> None:
        async def close() -> None:
            try:
                await fleet.close(drain_s=fleet.plan.timeout_s)
            finally:
                self.retiring.remove(fleet)

        self.retiring.append(fleet)
        self._spawn(close())

    def _spawn(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)  # type: ignore[arg-type]
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        task.add_done_callback(_report)


def _first_failure(instances: Sequence[Instance]) -> Instance | None:
    for instance in instances:
        if instance.state == FAILED or (instance.state != READY and instance.problem):
            return instance
    return next((instance for instance in instances if instance.state != READY), None)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("the work on a service failed", exc_info=task.exception())
