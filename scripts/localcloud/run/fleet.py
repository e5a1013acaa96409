"""All instances of one revision: as many as wanted, replaced when they crash, lent to requests one slot at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import aiohttp

from scripts.localcloud.context import Context
from scripts.localcloud.run.container import Plan
from scripts.localcloud.run.instance import CRASHED, FAILED, READY, STARTING, Identity, Instance
from scripts.localcloud.run.sandbox import Sandboxes
from scripts.localcloud.web import ApiError

QUEUE_S = 10.0  # how long Cloud Run lets a request wait for an instance that exists
_BACK_OFF_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
_STABLE_S = 30.0
_PATIENCE = 3  # failed restarts in a row after which waiting requests are refused


class Fleet:
    """wanted is the number of instances kept alive; instances holds those that start, serve or drain."""

    def __init__(
        self, context: Context, identity: Identity, plan: Plan, sandboxes: Sandboxes, session: aiohttp.ClientSession
    ) -> None:
        self.identity = identity
        self.plan = plan
        self.wanted = 0
        self.instances: list[Instance] = []
        self._context = context
        self._sandboxes = sandboxes
        self._session = session
        self._turn = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._crashes = 0
        self._last_problem = ""

    @property
    def ready(self) -> list[Instance]:
        """Those that can take requests; one whose process was killed a moment ago cannot."""
        return [each for each in self.instances if each.state == READY and each.alive]

    async def ensure(self, count: int) -> list[Instance]:
        """Have at least count instances; those that were started now, each ready or failed."""
        self.wanted = max(self.wanted, count)
        alive = [each for each in self.instances if each.state in (STARTING, READY)]
        missing = self.wanted - len(alive)
        pending = [self._begin() for _ in range(missing)]
        await _all(pending)
        for instance in alive:
            while instance.state == STARTING:  # begun by somebody else
                await self._changed()
        return [instance for instance, _ in pending] + alive

    async def add(self, count: int) -> list[Instance]:
        """Start count further instances and keep them; each ready or failed."""
        pending = [self._begin() for _ in range(count)]
        self.wanted += count
        await _all(pending)
        failed = sum(1 for instance, _ in pending if instance.state == FAILED)
        self.wanted -= failed
        return [instance for instance, _ in pending]

    async def close(self, drain_s: float = 0.0) -> None:
        """Stop all instances and replace none."""
        self.wanted = 0
        for task in self._tasks:
            if task.get_name() == "replace":
                task.cancel()
        await asyncio.gather(*(each.stop(drain_s) for each in list(self.instances)))
        self._wake()

    def persist(self) -> None:
        """Keep trying, with growing pauses, until there are as many instances as wanted."""
        if not self._replacing():
            self._replace(0)

    def release(self, instance: Instance) -> None:
        """The request is answered."""
        instance.in_flight -= 1
        if instance.in_flight == 0:
            instance.idle.set()
        self._wake()

    async def acquire(self) -> Instance:
        """Lend an instance with room for one more request, started when there is none. Raises ApiError 429, 503.

        Give it back with release().
        """
        deadline: float | None = None
        loop = asyncio.get_running_loop()
        while True:
            ready = self.ready
            for offset in range(len(ready)):
                instance = ready[(self._turn + offset) % len(ready)]
                if instance.in_flight < self.plan.concurrency:
                    self._turn += offset + 1
                    instance.in_flight += 1
                    instance.idle.clear()
                    return instance
            if not ready:
                await self._from_zero()
                continue
            deadline = deadline or loop.time() + QUEUE_S
            try:
                async with asyncio.timeout_at(deadline):
                    await self._changed()
            except TimeoutError:
                raise ApiError(429, "Rate exceeded: no instance had room for one more request.") from None

    async def _from_zero(self) -> None:
        self.wanted = max(self.wanted, 1)
        if not self._starting() and not self._replacing():
            self._begin()
        limit_s = self.plan.startup.grace_s + QUEUE_S
        try:
            async with asyncio.timeout(limit_s):
                while not self.ready:
                    await self._changed()
                    hopeless = not self._starting() and (not self._replacing() or self._crashes > _PATIENCE)
                    if self.wanted == 0 or hopeless:
                        break
        except TimeoutError:
            pass
        if not self.ready:
            raise ApiError(503, f"The service has no ready instance. {self._last_problem}".strip())

    def _starting(self) -> bool:
        return any(each.state == STARTING for each in self.instances)

    def _replacing(self) -> bool:
        return any(task.get_name() == "replace" for task in self._tasks)

    def _begin(self, restarts: int = 0) -> tuple[Instance, asyncio.Task[bool]]:
        instance = Instance(self.identity, self.plan, self._context.now(), self._moved, restarts)
        self.instances.append(instance)
        task = asyncio.create_task(instance.start(self._sandboxes, self._session))
        self._keep(task)
        return instance, task

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _moved(self, instance: Instance) -> None:
        if instance.state == READY:
            self._last_problem = ""
        elif instance.state not in (STARTING, "draining"):
            if instance in self.instances:
                self.instances.remove(instance)
            if instance.state in (FAILED, CRASHED):
                self._last_problem = instance.problem
            if instance.state == CRASHED and self.wanted:
                self._replace(instance.restarts + 1)
        self._wake()

    def _replace(self, restarts: int) -> None:
        task = asyncio.create_task(self._replace_later(restarts), name="replace")
        self._keep(task)

    async def _replace_later(self, restarts: int) -> None:
        """Start a successor after a pause that grows with every failure in a row."""
        while self.wanted > len([each for each in self.instances if each.state in (STARTING, READY)]):
            pause_s = _BACK_OFF_S[min(self._crashes, len(_BACK_OFF_S) - 1)]
            self._crashes += 1
            await asyncio.sleep(pause_s)
            if self.wanted <= len([each for each in self.instances if each.state in (STARTING, READY)]):
                return
            instance, task = self._begin(restarts)
            if await asyncio.shield(task):
                asyncio.get_running_loop().call_later(_STABLE_S, self._calm, instance)
                return
            restarts += 1

    def _calm(self, instance: Instance) -> None:
        if instance.state == READY:
            self._crashes = 0

    async def _changed(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)


async def _all(pending: list[tuple[Instance, asyncio.Task[bool]]]) -> None:
    """Wait for starts; a waiter that is cancelled does not cancel them (asyncio.gather would)."""
    if pending:
        await asyncio.wait([task for _, task in pending])
