"""The stand-in's own view of instances under /_local/: list them, start further ones, kill one."""

from __future__ import annotations

import asyncio

from scripts.localcloud.run.controller import Controller
from scripts.localcloud.run.instance import FAILED, READY, Instance
from scripts.localcloud.run.store import Store
from scripts.localcloud.web import ApiError, Request, Response, Route

_MOST_AT_ONCE = 50


class LocalApi:
    """What has no counterpart at Google."""

    def __init__(self, store: Store, controller: Controller) -> None:
        self._store = store
        self._controller = controller

    def routes(self) -> list[Route]:
        """GET /_local/instances[?service=], POST /_local/services/S/instances, POST /_local/instances/ID:kill."""
        return [
            Route("GET", "/_local/instances", self._list, "local.instances.list"),
            Route("POST", "/_local/services/{service}/instances", self._add, "local.instances.add"),
            Route("POST", "/_local/instances/{id}:kill", self._kill, "local.instances.kill"),
        ]

    async def _list(self, request: Request) -> Response:
        service = request.query.get("service")
        ending = [each for fleet in self._controller.retiring for each in fleet.instances]
        every = [*self._controller.instances(), *ending]
        found = [each for each in every if service in (None, each.identity.service)]
        fleets = [each for each in self._controller.fleets.values() if service in (None, each.identity.service)]
        revisions = [each.describe() for each in fleets]
        return Response.of_json({"instances": [each.describe() for each in found], "revisions": revisions})

    async def _add(self, request: Request) -> Response:
        """{"count": N}: N further instances of the serving revision; answers when each is ready or failed."""
        body = await request.json_object()
        count = body.get("count", 1)
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= _MOST_AT_ONCE:
            raise ApiError(400, f"count: expected 1 <= count <= {_MOST_AT_ONCE}, found {count!r}.")
        project, service = self._owner(request)
        revision = self._controller.serving(project, service)
        if revision is None:
            raise ApiError(400, f"Service '{service}' has no revision that serves.", status="FAILED_PRECONDITION")
        started = await self._controller.fleet(project, service, revision).add(count)
        failed = [each for each in started if each.state != READY]
        answer = {
            "revision": revision,
            "ready": count - len(failed),
            "instances": [each.describe() for each in started],
        }
        if failed:
            answer["problem"] = failed[0].problem
        return Response.of_json(answer)

    async def _kill(self, request: Request) -> Response:
        instance = self._instance(request.params["id"])
        if instance.child is None or instance.state == FAILED:
            raise ApiError(400, f"Instance '{instance.id}' has no process.", status="FAILED_PRECONDITION")
        instance.child.kill()
        await asyncio.wait([instance.child.exited], timeout=5)
        return Response.of_json(instance.describe())

    def _owner(self, request: Request) -> tuple[str, str]:
        name, project = request.params["service"], request.query.get("project")
        owner = self._store.owner(name)
        if project is not None:
            owner = (self._store.project(project), name)
        if owner is None or self._store.get("service", *owner) is None:
            raise ApiError(404, f"Service '{name}' does not exist in the stand-in.")
        return owner

    def _instance(self, identity: str) -> Instance:
        found = [each for each in self._controller.instances() if each.id.startswith(identity)]
        if len(found) != 1:
            raise ApiError(404, f"{len(found)} instances have an id that starts with '{identity}'.")
        return found[0]
