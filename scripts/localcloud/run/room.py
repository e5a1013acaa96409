"""The Cloud Run room: services and jobs through Google's API, their URLs, and what the stand-in tells of instances."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from scripts.localcloud.clock import Clock
from scripts.localcloud.context import Context
from scripts.localcloud.logging.store import Row
from scripts.localcloud.run.controller import Controller
from scripts.localcloud.run.executions import Executions
from scripts.localcloud.run.front import Front
from scripts.localcloud.run.idle import IdleTimer
from scripts.localcloud.run.image_store import ImageStore
from scripts.localcloud.run.jobs import Jobs
from scripts.localcloud.run.local_api import LocalApi
from scripts.localcloud.run.mount_api import MountApi
from scripts.localcloud.run.mounting import Buckets
from scripts.localcloud.run.regions import Regions
from scripts.localcloud.run.registry import Registry
from scripts.localcloud.run.requestlog import Platform, RequestLog
from scripts.localcloud.run.sandbox import Sandboxes
from scripts.localcloud.run.services import Services
from scripts.localcloud.run.store import Store
from scripts.localcloud.run.v2 import V2
from scripts.localcloud.web import Handler, Route


class Entries(Protocol):
    """What is needed of the logging room."""

    def write(self, entries: Sequence[dict[str, Any]]) -> None: ...

    def write_requests(self, rows: Sequence[Row]) -> None: ...

    def before_reading(self, flush: Callable[[], None]) -> None: ...


class RunRoom:
    """Wires the parts together; they are the modules beside this one."""

    def __init__(self, context: Context, storage: Buckets, logging: Entries, clock: Clock) -> None:
        self._store = Store(context)
        self._sandboxes = Sandboxes(context, storage, logging.write)
        self._requests = RequestLog(context, logging.write_requests)
        logging.before_reading(self._requests.flush)
        say = Platform(context, logging.write).say
        self._controller = Controller(context, self._store, self._sandboxes, say)
        clock.add(IdleTimer(self._controller.fleets.values))
        self._executions = Executions(context, self._store, self._sandboxes)
        self._front = Front(context, self._controller.find, self._requests)
        self._images = ImageStore(context)
        self._services = Services(context, self._store, self._controller, self._images)
        self._registry = Registry(self._images)
        self._jobs = Jobs(context, self._store, self._executions, self._images)
        self._v2 = V2(self._store, self._jobs)
        self._regions = Regions(context, self._store)
        self._local = LocalApi(self._store, self._controller)
        self._mounts = MountApi(self._sandboxes.mounting)

    def routes(self) -> list[Route]:
        front = [Route("*", "/run/{name}", self._front.by_path), Route("*", "/run/{name}/{rest*}", self._front.by_path)]
        parts = (self._services, self._jobs, self._regions, self._local, self._v2, self._registry, self._mounts)
        return [*front, *(route for part in parts for route in part.routes())]

    def by_host(self, host: str) -> Handler | None:
        """The front, for a service's own host name `NAME.localhost`."""
        name, _, domain = host.partition(".")
        return self._front.by_host if name and domain == "localhost" else None

    async def start(self) -> None:
        """End what an earlier life left, then bring the services back."""
        self._sandboxes.clean()
        self._executions.resume()
        self._controller.resume()

    async def stop(self) -> None:
        """Stop executions and instances (SIGTERM, then SIGKILL)."""
        await asyncio.gather(self._executions.close(), self._controller.close())
        self._requests.flush()
        await self._sandboxes.close()

    def documents(self, kind: str) -> list[tuple[str, dict[str, Any]]]:
        """(project, document) of every service, revision, job, execution or task, oldest first."""
        return list(self._store.all(kind))

    def instances(self) -> list[dict[str, Any]]:
        """Every instance there is, as GET /_local/instances shows it."""
        return [each.describe() for each in self._controller.instances()]

    def status(self) -> dict[str, Any]:
        return {
            "services": sum(1 for _ in self._store.all("service")),
            "jobs": sum(1 for _ in self._store.all("job")),
            "executions_running": self._executions.running(),
            "instances": self.instances(),
            "mounts": self._sandboxes.mounting.describe(),
        }
