"""All instances of one revision: started for requests, stopped when idle, replaced after a crash, lent by the slot."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from scripts.localcloud.context import Context
from scripts.localcloud.run import scaling
from scripts.localcloud.run.container import Plan
from scripts.localcloud.run.instance import (
    AUTOSCALING,
    CRASHED,
    DEPLOYMENT,
    DRAINING,
    FAILED,
    MANUAL,
    READY,
    STARTING,
    Identity,
    Instance,
)
from scripts.localcloud.run.sandbox import Sandboxes
from scripts.localcloud.web import ApiError

_BACK_OFF_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
_STABLE_S = 30.0
_REFUSING_S = 2.0  # how long an instance that refuses connections is left alone
_PATIENCE = 3  # crashes in a row after which waiting requests are refused
_STARTUPS = 3.5  # a request waits as many times the average start before it is given up, or 10 s (scaling.PENDING_S)
_TICK_S = 0.001  # the loop's timers go by whole milliseconds: none may ring before its time
_NO_INSTANCE = "The request was aborted because there was no available instance."

Say = Callable[[Identity, str, str], None]


class Retired(Exception):
    """The revision's instances are being stopped: another one may have its traffic by now."""


class Fleet:
    """wanted is the number of instances kept alive; instances holds those that start, serve or drain.

    say(identity, severity, text) writes an entry of the platform about the revision.
    """

    def __init__(
        self, context: Context, identity: Identity, plan: Plan, sandboxes: Sandboxes, say: Say
    ) -> None:  # fmt: skip
        self.identity = identity
        self.plan = plan
        self.wanted = 0
        self.in_flight = 0
        self.cold_starts = 0
        self.closed = False
        self.instances: list[Instance] = []
        self._context = context
        self._sandboxes = sandboxes
        self._say = say
        self._loop = asyncio.get_running_loop()
        self._ready: list[Instance] = []
        self._turn = 0
        self._queue: deque[asyncio.Future[Instance]] = deque()
        self._watchers: list[asyncio.Future[None]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._rest: asyncio.TimerHandle | None = None
        self._restarts: deque[int] = deque()
        self._crashes = 0
        self._last_problem = ""
        self._start_s: list[float] = []
        self._load = scaling.Load(self._loop.time())
        self._peaks = scaling.Peaks()
        self._look: asyncio.TimerHandle | None = None
        self._next_look = 0.0
        self._told_cap = False

    @property
    def limit(self) -> int:
        """How many instances load may start."""
        return max(1, min(self.plan.max_instances, scaling.MOST_BY_LOAD))

    def describe(self) -> dict[str, Any]:
        """What GET /_local/instances shows of the revision."""
        return {
            "project": self.identity.project,
            "service": self.identity.service,
            "revision": self.identity.revision,
            "instances": len(self.instances),
            "min_instances": self.plan.min_instances,
            "max_instances": self.plan.max_instances,
            "concurrency": self.plan.concurrency,
            "in_flight": self.in_flight,
            "waiting": len(self._queue),
            "cold_starts": self.cold_starts,
        }

    # for the controller

    async def ensure(self, count: int) -> list[Instance]:
        """Have at least count instances; those that were started now, each ready or failed."""
        self.wanted = max(self.wanted, count)
        alive = self._live()
        pending = [self._begin(DEPLOYMENT) for _ in range(self.wanted - len(alive))]
        await _all(pending)
        for instance in alive:
            while instance.state == STARTING:  # begun by somebody else
                await self._changed()
        return [instance for instance, _ in pending] + alive

    async def add(self, count: int) -> list[Instance]:
        """Start count further instances, above the revision's own maximum too; each ready or failed."""
        pending = [self._begin(MANUAL) for _ in range(count)]
        self.wanted += count
        await _all(pending)
        self.wanted -= sum(1 for instance, _ in pending if instance.state == FAILED)
        return [instance for instance, _ in pending]

    def persist(self) -> None:
        """Keep trying, with growing pauses, until there are as many instances as wanted."""
        missing = self.wanted - len(self._live())
        if missing > 0:
            self._restarts.extend([1] * missing)
            self._take_a_rest()

    async def dismiss(self, instance: Instance) -> None:
        """Stop one instance after its requests; it is not replaced unless there would be too few."""
        self.wanted = max(self.plan.min_instances, len(self._live()) - 1)
        await instance.stop(self.plan.timeout_s)
        self._fill()

    async def close(self, drain_s: float = 0.0) -> None:
        """Stop all instances and replace none; requests that wait for one get Retired."""
        self.closed = True
        self.wanted = 0
        for timer in (self._rest, self._look):
            if timer is not None:
                timer.cancel()
        self._refuse(Retired)
        await asyncio.gather(*(each.stop(drain_s) for each in list(self.instances)))
        self._tell()

    # for the front

    def lend(self) -> Instance | None:
        """An instance with room for one more request, if there is one at once; give it back with release()."""
        return self._slot() if not self._queue else None

    def release(self, instance: Instance) -> None:
        """The request is answered."""
        instance.in_flight -= 1
        self.in_flight -= 1
        self._load.change(self.in_flight, self._loop.time())
        if instance.in_flight == 0:
            instance.idle_since = self._context.clock()
            instance.idle.set()
        if self._queue:
            self._serve()

    async def acquire(self) -> Instance:
        """Like lend(), but waits for its turn and starts what is missing. Raises ApiError 429, 500, 503, or Retired."""
        if self.closed:
            raise Retired
        instance = self.lend()
        if instance is not None:
            return instance
        live = len(self._live())
        if live >= self.limit and len(self._queue) >= scaling.longest_queue(self.plan.concurrency, live):
            raise _too_many()
        waiter: asyncio.Future[Instance] = self._loop.create_future()
        self._queue.append(waiter)
        self._scale_out()
        try:
            async with asyncio.timeout_at(time.monotonic() + self._pending_s() + _TICK_S):
                return await waiter
        except TimeoutError:
            if _has_slot(waiter):  # in the last moment
                return waiter.result()
            raise _too_many() if not self._starting() else ApiError(500, _NO_INSTANCE) from None
        except asyncio.CancelledError:
            if _has_slot(waiter):
                self.release(waiter.result())
            raise
        finally:
            if waiter in self._queue:
                self._queue.remove(waiter)

    def refused(self, instance: Instance) -> None:
        """An instance takes no connections, most likely because it is about to end: do without it, for now at least."""
        if not instance.refusing:
            instance.refusing = True
            self._ready = [each for each in self._ready if each is not instance]
            self._loop.call_later(_REFUSING_S, self._try_again, instance)

    # for the clock

    def next_at(self) -> float | None:
        """When, by the stand-in's clock, an instance may have become superfluous."""
        if len(self._ready) <= self.plan.min_instances or self.closed:
            return None
        due = [each.idle_since + scaling.IDLE_S for each in self._ready if each.in_flight == 0]
        if len(self._ready) > 1:
            due.append(self._next_look)
        return min(due, default=None)

    def scale_in(self) -> list[asyncio.Task[None]]:
        """Stop what has been idle for too long, or was not needed by any peak; the work that does it."""
        now = self._context.clock()
        self._next_look = (now // 60 + 1) * 60
        spare = len(self._ready) - self.plan.min_instances
        by_age = sorted(self._ready, key=lambda each: (each.in_flight > 0, each.idle_since))
        idle = [each for each in by_age if each.in_flight == 0 and each.idle_since + scaling.IDLE_S <= now]
        chosen = idle[: max(spare, 0)]
        needed = scaling.for_waiting(max(self._peaks.highest(now), self.in_flight), 0, self.plan.concurrency)
        kept = [each for each in by_age if each not in chosen]
        if all(each.ready_since + scaling.IDLE_S <= now for each in kept):
            least = max(needed, self.plan.min_instances, 1)
            chosen += [each for each in kept if each.in_flight == 0][: max(len(kept) - least, 0)]
        return [self._keep(asyncio.create_task(self.dismiss(each))) for each in chosen]

    # how it is done

    def _slot(self) -> Instance | None:
        ready, concurrency = self._ready, self.plan.concurrency
        count = len(ready)
        for offset in range(1, count + 1):
            instance = ready[(self._turn + offset) % count]
            if instance.in_flight < concurrency and instance.alive:
                self._turn = (self._turn + offset) % count
                if instance.in_flight == 0:
                    instance.idle.clear()
                instance.in_flight += 1
                self.in_flight += 1
                self._load.change(self.in_flight, self._loop.time())
                self._peaks.saw(self.in_flight, self._context.clock())
                if self._look is None:
                    self._look = self._loop.call_later(scaling.EVERY_S, self._look_at_load)
                return instance
        return None

    def _serve(self) -> None:
        """Give free slots to those that wait, in their order."""
        while self._queue:
            if self._queue[0].done():
                self._queue.popleft()
                continue
            instance = self._slot()
            if instance is None:
                return
            self._queue.popleft().set_result(instance)

    def _scale_out(self) -> None:
        """Start what those that wait need."""
        waiting = sum(1 for each in self._queue if not each.done())
        starting = sum(1 for each in self.instances if each.state == STARTING)
        self._grow(scaling.for_waiting(waiting, starting, self.plan.concurrency))

    def _look_at_load(self) -> None:
        self._look = None
        average = self._load.average(self._loop.time())
        self._grow(scaling.for_load(average, self.plan.concurrency) - len(self._live()))
        if average > 0 and not self.closed:
            self._look = self._loop.call_later(scaling.EVERY_S, self._look_at_load)

    def _grow(self, count: int) -> None:
        live = len(self._live())
        dying = any(not each.alive for each in self._ready)
        if count <= 0 or dying or self.closed:  # its end will be told, and what is missing then be started
            return
        if live + count > scaling.MOST_BY_LOAD < self.plan.max_instances and not self._told_cap:
            self._told_cap = True
            self._say(self.identity, "WARNING", scaling.capped(live + count, self.plan.max_instances))
        self.wanted = max(self.wanted, min(live + count, self.limit))
        self._fill()

    def _fill(self) -> None:
        """Start what is missing, unless a failure was too recent."""
        if self._rest is None and not self.closed:
            for _ in range(self.wanted - len(self._live())):
                self._begin(AUTOSCALING)
            self._restarts.clear()

    def _take_a_rest(self) -> None:
        """Fill up again after a pause that grows with every failure in a row."""
        if self._rest is None and not self.closed:
            pause_s = _BACK_OFF_S[min(self._crashes, len(_BACK_OFF_S) - 1)]
            self._rest = self._loop.call_later(pause_s, self._rested)
        self._crashes += 1

    def _rested(self) -> None:
        self._rest = None
        self._fill()
        self._scale_out()

    def _live(self) -> list[Instance]:
        return [each for each in self.instances if each.state == STARTING] + self._ready

    def _starting(self) -> bool:
        return self._rest is not None or any(each.state == STARTING for each in self.instances)

    def _pending_s(self) -> float:
        """How long a request may wait now."""
        if not self._starting():
            return scaling.PENDING_S
        if not self._start_s:  # nobody knows how long it takes
            return self.plan.startup.grace_s + scaling.PENDING_S
        return max(scaling.PENDING_S, _STARTUPS * sum(self._start_s) / len(self._start_s))

    def _begin(self, why: str) -> tuple[Instance, asyncio.Task[bool]]:
        restarts = self._restarts.popleft() if self._restarts else 0
        instance = Instance(self.identity, self.plan, self._context, self._moved, why, restarts)
        self.instances.append(instance)
        if why == AUTOSCALING and not restarts:
            self.cold_starts += 1
        return instance, self._keep(asyncio.create_task(instance.start(self._sandboxes)))

    def _keep(self, task: asyncio.Task[Any]) -> asyncio.Task[Any]:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _moved(self, instance: Instance) -> None:
        """An instance has come into another state."""
        self._ready = [each for each in self.instances if each.state == READY and not each.refusing]
        if instance.state == READY:
            self._last_problem = ""
            self._start_s.append(instance.start_s)
            self._loop.call_later(_STABLE_S, self._calm, instance)
            self._serve()
            self._scale_out()
        elif instance.state not in (STARTING, DRAINING):
            if instance in self.instances:
                self.instances.remove(instance)
            if instance.state in (FAILED, CRASHED):
                self._failed(instance)
        self._told_cap = self._told_cap and len(self._ready) >= scaling.MOST_BY_LOAD
        self._tell()

    def _failed(self, instance: Instance) -> None:
        self._last_problem = instance.problem
        by_itself = instance.why == AUTOSCALING
        if instance.state == FAILED and not by_itself:
            return  # whoever asked for it is told
        if instance.state == FAILED and not instance.restarts:
            self.wanted = max(self.plan.min_instances, len(self._live()))  # a request asked for it, and is told
        else:
            self._restarts.append(instance.restarts + 1)
        self._take_a_rest()
        hopeless = instance.state == FAILED or self._crashes > _PATIENCE
        if hopeless and not self._ready and not any(each.state == STARTING for each in self.instances):
            problem = f"The service has no ready instance. {self._last_problem}".strip()
            self._refuse(lambda: ApiError(503, problem))

    def _refuse(self, error: Callable[[], Exception]) -> None:
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                waiter.set_exception(error())

    def _try_again(self, instance: Instance) -> None:
        instance.refusing = False
        if instance.state == READY:
            self._ready.append(instance)
            self._serve()

    def _calm(self, instance: Instance) -> None:
        if instance.state == READY:
            self._crashes = 0

    async def _changed(self) -> None:
        watcher: asyncio.Future[None] = self._loop.create_future()
        self._watchers.append(watcher)
        await watcher

    def _tell(self) -> None:
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            if not watcher.done():
                watcher.set_result(None)


def _has_slot(waiter: asyncio.Future[Instance]) -> bool:
    return waiter.done() and not waiter.cancelled() and waiter.exception() is None


def _too_many() -> ApiError:
    return ApiError(429, f"Rate exceeded. {_NO_INSTANCE}")


async def _all(pending: Sequence[tuple[Instance, asyncio.Task[bool]]]) -> None:
    """Wait for starts; a waiter that is cancelled does not cancel them (asyncio.gather would)."""
    if pending:
        await asyncio.wait([task for _, task in pending])
