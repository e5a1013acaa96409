"""on_miss=trigger: of all instances that miss at once, one starts the sync job; the others follow its execution.

Who may write the one object leases/trigger.json (docs/container.md) is elected by it: whoever creates or replaces it
starts the job, and for CLAIM_S nobody else does. An account without that right waits for a random moment and looks
again. Whatever is started, the lease of the sync itself lets one execution download; any other finds nothing to do.
"""

from __future__ import annotations

import math
import random
import time

from scripts import lease
from scripts.cloud.connect import Cloud
from scripts.cloud.run import Execution
from scripts.container import logs
from scripts.errors import AccessDenied, NotFound, OpsError, Unreachable
from scripts.models.shelf import LEASE
from scripts.settings.runtime import Runtime

CLAIM = "trigger"
# An execution shows, or holds its own lease, well before; afterwards whoever still waits may start another one.
CLAIM_S = 60.0
# Without the right to claim: nobody waits longer than LATEST_S, and the first and the second of any number of instances
# are RARITY_S apart on average (the lower tail of an exponential distribution has no memory).
LATEST_S, RARITY_S = 20.0, 3.0


class Trigger:
    """An execution of the sync job: the one that runs already, or one that some instance starts."""

    def __init__(self, runtime: Runtime, cloud: Cloud) -> None:
        """Raises AccessDenied and NotFound when the job cannot be started; an answer that was lost is no failure."""
        self._runtime = runtime
        self._run = cloud.run()
        self._bucket = cloud.bucket(runtime.bucket)
        self._execution = ""
        self._quiet_until = 0.0
        self._may_claim = True
        self._said: set[str] = set()
        self._step()

    def ended(self) -> OpsError | None:
        """None while it may still succeed; once the execution is over, or cannot be started, why."""
        try:
            if not self._execution:
                self._step()
                return None
            found = self._run.get_execution(self._execution)
        except OpsError as problem:
            # While an execution is followed the statements will tell; so they will after no answer.
            gone = not self._execution and isinstance(problem, AccessDenied | NotFound)
            return problem if gone else None
        return self._outcome(found) if found is not None and found.succeeded is not None else None

    def _outcome(self, found: Execution) -> OpsError:
        outcome = "succeeded" if found.succeeded else "failed"
        message = f"execution {found.name} of {self._runtime.sync_job} {outcome}"
        message += f" ({found.message})" if found.message else ""
        return OpsError(message, f"Run: invoke logs --job --env {self._runtime.environment}")

    def _step(self) -> None:
        """Follow what is at work, else start the job if it is this instance's turn."""
        if self._at_work() or time.monotonic() < self._quiet_until:
            return
        if self._may_claim:
            self._claim_and_start()
        else:
            self._start()

    def _at_work(self) -> bool:
        """Whether a sync runs: an execution that has not ended, or somebody who holds the lease of publishers."""
        job = self._runtime.sync_job
        try:
            found = self._run.list_executions(job)
        except (Unreachable, NotFound) as problem:  # starting jobs is allowed to more accounts than listing them is
            self._say_once("cannot see whether the sync job runs", **logs.failure(problem))
            found = []
        self._execution = next((execution.name for execution in found if execution.succeeded is None), "")
        if self._execution:
            logs.info("the sync job is running already", job=job, execution=self._execution)
            return True
        holder = lease.holder_of(self._bucket, LEASE)
        if holder is not None:
            self._say_once("somebody publishes already", holder=holder.purpose)
        return holder is not None

    def _claim_and_start(self) -> None:
        who = self._runtime.instance_id or self._runtime.revision
        try:
            claimed = lease.claim(self._bucket, CLAIM, f"start of {self._runtime.sync_job} ({who})", ttl_s=CLAIM_S)
        except AccessDenied:
            self._may_claim = False
            self._quiet_until = time.monotonic() + lonely_s(random.random())
            return
        if not claimed:
            self._say_once("another instance starts the sync job")
            self._quiet_until = time.monotonic() + CLAIM_S / 10
            return
        if self._at_work():  # it was started since this instance looked
            return
        try:
            self._start()
        except OpsError:
            lease.unclaim(self._bucket, CLAIM, claimed)
            raise

    def _start(self) -> None:
        job = self._runtime.sync_job
        self._quiet_until = time.monotonic() + CLAIM_S
        try:
            self._execution = self._run.run_job(job).name
            logs.info("sync job started", job=job, execution=self._execution)
        except AccessDenied as problem:
            remedy = f"Give the service's account roles/run.invoker on the job {job}."
            raise AccessDenied(problem.message, remedy) from problem
        except Unreachable as problem:  # it may well have started
            logs.warning("no answer to the start of the sync job", job=job, **logs.failure(problem))

    def _say_once(self, message: str, **fields: str) -> None:
        if message not in self._said:
            self._said.add(message)
            logs.info(message, job=self._runtime.sync_job, **fields)


def lonely_s(drawn: float) -> float:
    """When to start the job without a claim, in seconds from now; drawn: evenly from 0 up to 1."""
    return max(0.0, LATEST_S + RARITY_S * math.log(1.0 - drawn))
