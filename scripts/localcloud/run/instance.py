"""One instance of a revision: starting → ready → draining → stopped; or failed, crashed."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scripts.localcloud.context import Context
from scripts.localcloud.run import probes
from scripts.localcloud.run.connections import Pool
from scripts.localcloud.run.container import CannotRun, Plan
from scripts.localcloud.run.output import Origin
from scripts.localcloud.run.sandbox import GRACE_S, Child, Sandboxes

STARTING, READY, DRAINING, STOPPED, FAILED, CRASHED = "starting", "ready", "draining", "stopped", "failed", "crashed"
ENDED = (STOPPED, FAILED, CRASHED)
# why an instance was started, in Cloud Run's words
DEPLOYMENT = (
    "DEPLOYMENT_ROLLOUT - Instance started due to traffic shifting between revisions due to deployment, traffic split"
    " adjustment, or deployment health check."
)
MANUAL = (
    "MANUAL_OR_CUSTOMER_MIN_INSTANCE - Instance started because of customer-configured min-instances or manual scaling."
)
AUTOSCALING = (
    "AUTOSCALING - Instance started due to configured scaling factors (e.g. CPU utilization, request throughput, etc.)"
    " or no existing capacity for current traffic."
)
_PORTS = range(20_000, 32_000)  # below the ports that the system gives to outgoing connections


@dataclass(frozen=True)
class Identity:
    """Which revision of which service an instance belongs to."""

    project: str
    location: str
    service: str
    revision: str

    def origin(self, instance_id: str) -> Origin:
        """How its log lines are marked (monitored resource cloud_run_revision)."""
        labels = {
            "project_id": self.project,
            "location": self.location,
            "service_name": self.service,
            "revision_name": self.revision,
            "configuration_name": self.service,
        }
        return Origin(self.project, {"type": "cloud_run_revision", "labels": labels}, {"instanceId": instance_id})


class Instance:
    """Starts, probes, watches and stops one container that serves. on_change is called at every change of state."""

    def __init__(
        self, identity: Identity, plan: Plan, context: Context, on_change: Callable[[Instance], None], why: str = "",
        restarts: int = 0,
    ) -> None:  # fmt: skip
        self.id = secrets.token_hex(32)
        self.identity = identity
        self.plan = plan
        self.why = why
        self.state = STARTING
        self.problem = ""
        self.reason = ""
        self.started_at = context.now()
        self.start_s = 0.0  # how long it took, on the machine's clock
        self.ready_since = self.idle_since = context.clock()
        self.restarts = restarts
        self.in_flight = 0
        self.refusing = False  # connections, when last asked
        self.port = 0
        self._claim: socket.socket | None = None
        self.pool = Pool(0)
        self.child: Child | None = None
        self.idle = asyncio.Event()
        self.idle.set()
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._asked_at = -1.0
        self._alive = False
        self._on_change = on_change
        self._watcher: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        """Whether its process runs; a killed one is known here before its end is told.

        The system is asked once in a turn of the event loop (uvloop's time stands still in it, to the millisecond).
        """
        now = self._loop.time()
        if now != self._asked_at:
            self._asked_at = now
            self._alive = self.child is not None and self.child.alive
        return self._alive

    def describe(self) -> dict[str, Any]:
        """What GET /_local/instances shows."""
        return {
            "id": self.id,
            "project": self.identity.project,
            "service": self.identity.service,
            "revision": self.identity.revision,
            "pid": self.child.pid if self.child else None,
            "state": self.state,
            "problem": self.problem,
            "mount_mode": self.child.mount_mode if self.child else None,
            "port": self.port,
            "started_at": self.started_at,
            "restarts": self.restarts,
            "in_flight": self.in_flight,
            "cold_start_ms": round(self.start_s * 1000) if self.start_s else None,
            "started_for": self.why.partition(" ")[0],
        }

    async def start(self, sandboxes: Sandboxes) -> bool:
        """Start the container and wait for its startup probe; False leaves reason and problem."""
        try:
            self.port, self._claim = claim_port()
            self.pool = Pool(self.port)
            names = {
                "PORT": str(self.port),
                "K_SERVICE": self.identity.service,
                "K_REVISION": self.identity.revision,
                "K_CONFIGURATION": self.identity.service,
            }
            child = self.child = await sandboxes.open(self.id, self.plan, names, self.identity.origin(self.id))
        except CannotRun as error:
            self._fail(error.reason, error.message)
            return False
        if self.state != STARTING:  # stopped while its mounts were made
            await child.stop(0.0)
            return False
        child.output.say("INFO", f"Starting new instance. Reason: {self.why}")
        problem = await self._started(child)
        if self.state != STARTING:  # stopped meanwhile
            return False
        if problem:
            code = await child.stop(1.0)
            tail = child.output.last_lines() or f"(none; exit code {code})"
            self._fail("HealthCheckContainerError", f"{problem} Last log lines of instance {self.id[:12]}:\n{tail}")
            return False
        self.start_s = self._loop.time() - self._began
        self.ready_since = self.idle_since = self._context.clock()
        took = f"{self.start_s * 1000:.0f} ms after the instance was started"
        child.output.say("INFO", f"{self._probe_name('STARTUP')} probe succeeded for port {self.port}, {took}.")
        self._move(READY)
        self._watcher = asyncio.create_task(self._watch(child))
        return True

    async def stop(self, drain_s: float = 0.0, grace_s: float = GRACE_S) -> None:
        """Take no more requests, let those in flight finish, then SIGTERM and after the grace time SIGKILL."""
        if self.state in ENDED:
            return
        self._move(DRAINING)
        if self.in_flight and drain_s:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.idle.wait(), drain_s)
        self.pool.close()
        if self.child is not None:
            await self.child.stop(grace_s)
        self._move(STOPPED)

    async def _started(self, child: Child) -> str:
        probing = asyncio.create_task(probes.wait_started(self.plan.startup, self.port))
        first: list[asyncio.Future[Any]] = [probing, child.exited]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if child.exited.done():
            probing.cancel()
            how = _how_ended(child.exited.result())
            return f"The user-provided container {how} before it listened on the port defined by PORT={self.port}."
        problem = probing.result()
        if not problem:
            return ""
        return (
            "The user-provided container failed to start and listen on the port defined by the"
            f" PORT={self.port} environment variable within the allocated timeout: the {self._probe_name('startup')}"
            f" probe failed for {self.plan.startup.grace_s:g} s ({problem})."
        )

    async def _watch(self, child: Child) -> None:
        if self.plan.liveness is not None:
            alive = asyncio.create_task(probes.watch_alive(self.plan.liveness, self.port))
            first: list[asyncio.Future[Any]] = [alive, child.gone]
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if not child.gone.done() and self.state == READY:
                child.output.say("ERROR", f"LIVENESS probe failed, the instance is replaced: {alive.result()}")
                self.problem = f"liveness probe failed: {alive.result()}"
                self._move(CRASHED)
                await child.stop()
            alive.cancel()
        code = await asyncio.shield(child.gone)
        if self.state == READY:
            child.output.say("ERROR", f"The container {_how_ended(code)} while it served.")
            self.problem = f"the container {_how_ended(code)}"
            self._move(CRASHED)

    def _probe_name(self, kind: str) -> str:
        return f"{kind} {'TCP' if self.plan.startup.path is None else 'HTTP'}"

    def _fail(self, reason: str, problem: str) -> None:
        self.reason, self.problem = reason, problem
        self._move(FAILED)

    def _move(self, state: str) -> None:
        if self.state != state and self.state not in (STOPPED, FAILED):
            self.state = state
            if state in ENDED and self._claim is not None:
                self._claim.close()
            self._on_change(self)


def _how_ended(code: int) -> str:
    return f"exited with code {code}" if code >= 0 else f"was killed by signal {-code}"


def claim_port() -> tuple[int, socket.socket]:
    """A free TCP port and what keeps it for its instance until that has ended.

    Seconds pass until a container listens, and no listener can be handed to it: many instances that start at once would
    draw the same port now and then. The claim is the UDP port of the same number: the system gives it once, to this
    stand-in or to another on the machine, and takes it back when its holder dies. Raises CannotRun when none is free.
    """
    for port in random.sample(_PORTS, 1000):
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with socket.socket() as probe:
            try:
                claim.bind(("127.0.0.1", port))
                probe.bind(("127.0.0.1", port))
            except OSError:
                claim.close()
                continue
            return port, claim
    raise CannotRun("ContainerStartFailed", "No free port on 127.0.0.1 was found for an instance.")
