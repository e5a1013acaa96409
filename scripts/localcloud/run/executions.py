"""Runs executions of jobs: tasks as child processes, in parallel up to the limit, with retries and time-outs."""

from __future__ import annotations

import asyncio
import logging
import secrets
import uuid
from dataclasses import dataclass, field
from typing import Any

from scripts.localcloud.context import REGION, Context
from scripts.localcloud.run.conditions import FALSE, TRUE, UNKNOWN, Condition, merge
from scripts.localcloud.run.container import CannotRun, Plan, plan
from scripts.localcloud.run.events import EXECUTION, ExecutionEnded
from scripts.localcloud.run.output import Origin
from scripts.localcloud.run.sandbox import Child, Sandboxes
from scripts.localcloud.run.secret_values import SecretValues
from scripts.localcloud.run.store import RUN, Document, Store, new_version

log = logging.getLogger("localcloud")
EXECUTION_LABEL = "run.googleapis.com/execution"
STATE_LABEL = "run.googleapis.com/runningState"
_STATES = {"Cancelled": "Cancelled"}
_MOST_PARALLEL = 8  # this is one machine


@dataclass
class _Run:
    """What is known of an execution under way."""

    project: str
    job: str
    name: str
    task: asyncio.Task[None] | None = None
    children: set[Child] = field(default_factory=set)
    cancelled: bool = False
    failure: str = ""
    plan: Plan | None = None
    missing: str = ""


class Executions:
    """Starts, follows and cancels executions; every change is written to the documents."""

    def __init__(self, context: Context, store: Store, sandboxes: Sandboxes) -> None:
        self._context = context
        self._store = store
        self._secrets = SecretValues(context)
        self._sandboxes = sandboxes
        self._runs: dict[tuple[str, str], _Run] = {}

    def resume(self) -> None:
        """After a start of the daemon: what was running then died with it."""
        for project, execution in list(self._store.all("execution")):
            if execution["status"].get("completionTime"):
                continue
            message = "The stand-in was stopped while the execution ran; its tasks were ended. Run the job again."
            for task in self._store.labelled("task", project, EXECUTION_LABEL, execution["metadata"]["name"]):
                if not task["status"].get("completionTime"):
                    self._end_task(project, task, FALSE, "Interrupted", message)
            self._finish(project, execution, FALSE, "Interrupted", message)

    def start(self, project: str, execution: Document, job: str, missing: str = "") -> None:
        """Begin to run a stored execution, in the background; missing says which image does not exist."""
        run = _Run(project, job, execution["metadata"]["name"], missing=missing)
        self._runs[project, run.name] = run
        run.task = asyncio.create_task(self._execute(run))
        run.task.add_done_callback(lambda task: self._ended(run, task))

    async def cancel(self, project: str, name: str) -> None:
        """Stop an execution's tasks; returns when it is marked as cancelled."""
        run = self._runs.get((project, name))
        if run is None or run.task is None:
            return
        run.cancelled = True
        await asyncio.gather(*(child.stop() for child in list(run.children)))
        await asyncio.wait([run.task])

    async def wait(self, project: str, name: str, limit_s: float) -> None:
        """Wait until an execution is over, or for so long."""
        run = self._runs.get((project, name))
        if run is not None and run.task is not None:
            await asyncio.wait([run.task], timeout=limit_s)

    async def close(self) -> None:
        """Cancel everything (the daemon stops)."""
        runs = list(self._runs.values())
        await asyncio.gather(*(self.cancel(run.project, run.name) for run in runs))

    def running(self) -> int:
        """How many executions are under way."""
        return len(self._runs)

    def _ended(self, run: _Run, task: asyncio.Task[None]) -> None:
        self._runs.pop((run.project, run.name), None)
        if not task.cancelled() and task.exception() is not None:
            log.error("execution %s failed unexpectedly", run.name, exc_info=task.exception())

    async def _execute(self, run: _Run) -> None:
        execution = self._store.need("execution", run.project, run.name)
        spec = execution["spec"]
        count, limit = int(spec.get("taskCount") or 1), int(spec.get("parallelism") or 0)
        self._begin(run)
        try:
            if run.missing:
                raise CannotRun("ContainerMissing", run.missing)
            annotations = execution["metadata"].get("annotations") or {}
            pod = self._secrets.filled(spec["template"]["spec"], annotations, run.project)
            run.plan = plan(pod, {}, self._context.project_root)
        except CannotRun as error:
            self._fail_all(run, spec, count, error)
            return
        gate = asyncio.Semaphore(min(limit or count, _MOST_PARALLEL))
        await asyncio.gather(*(self._task(run, spec, index, count, gate) for index in range(count)))
        self._conclude(run, count)

    def _begin(self, run: _Run) -> None:
        now = self._context.now()
        self._set(run.project, run.name, startTime=now, runningCount=0)
        execution = self._store.need("execution", run.project, run.name)
        conditions = execution_conditions(execution, UNKNOWN, "Running", "", now)
        self._set(run.project, run.name, conditions=conditions)

    def _fail_all(self, run: _Run, spec: Document, count: int, error: CannotRun) -> None:
        for index in range(count):
            task = self._new_task(run, spec, index)
            self._end_task(run.project, task, FALSE, error.reason, error.message)
        execution = self._store.need("execution", run.project, run.name)
        execution["status"]["failedCount"] = count
        self._finish(run.project, execution, FALSE, error.reason, error.message)

    def _conclude(self, run: _Run, count: int) -> None:
        execution = self._store.get("execution", run.project, run.name)
        if execution is None:
            return
        failed = execution["status"].get("failedCount", 0)
        if run.cancelled:
            self._finish(run.project, execution, FALSE, "Cancelled", "Execution was cancelled.")
        elif failed:
            message = f"Task {run.name}-task{run.failure}" if run.failure else f"{failed} of {count} tasks failed."
            self._finish(run.project, execution, FALSE, "NonZeroExitCode", message)
        else:
            self._finish(run.project, execution, TRUE, "", f"Execution completed successfully: {count} tasks.")

    async def _task(self, run: _Run, spec: Document, index: int, count: int, gate: asyncio.Semaphore) -> None:
        retries = spec["template"]["spec"].get("maxRetries")
        retries = 3 if retries is None else int(retries)
        async with gate:
            if self._never_starts(run):
                return
            document = self._new_task(run, spec, index)
            self._count(run, "runningCount", 1)
            problem = "cancelled"
            for attempt in range(retries + 1):
                if run.cancelled:
                    break
                document["status"]["retried"] = attempt
                problem = await self._attempt(run, spec, document, index, attempt, count)
                if not problem or attempt == retries or run.cancelled:
                    break
                if attempt == 0:
                    self._count(run, "retriedCount", 1)
            self._count(run, "runningCount", -1)
            self._settle(run, document, problem, index)

    def _never_starts(self, run: _Run) -> bool:
        """Whether the execution was cancelled before a task's turn came; it is counted and has no document."""
        if run.cancelled:
            self._count(run, "cancelledCount", 1)
        return run.cancelled

    def _settle(self, run: _Run, document: Document, problem: str, index: int) -> None:
        if run.cancelled:
            self._count(run, "cancelledCount", 1)
            self._end_task(run.project, document, FALSE, "Cancelled", "The execution was cancelled.")
        elif problem:
            run.failure = run.failure or f"{index} failed with message: {problem}"
            self._count(run, "failedCount", 1)
            self._end_task(run.project, document, FALSE, "NonZeroExitCode", problem)
        else:
            self._count(run, "succeededCount", 1)
            self._end_task(run.project, document, TRUE, "", "")

    async def _attempt(
        self, run: _Run, spec: Document, document: Document, index: int, attempt: int, count: int
    ) -> str:
        """Run one attempt of one task: "" or what went wrong."""
        assert run.plan is not None
        identity = secrets.token_hex(32)
        names = {
            "CLOUD_RUN_JOB": run.job,
            "CLOUD_RUN_EXECUTION": run.name,
            "CLOUD_RUN_TASK_INDEX": str(index),
            "CLOUD_RUN_TASK_COUNT": str(count),
            "CLOUD_RUN_TASK_ATTEMPT": str(attempt),
        }
        timeout_s = float(spec["template"]["spec"].get("timeoutSeconds") or 600)
        try:
            child = await self._sandboxes.open(identity, run.plan, names, self._origin(run, index, attempt))
        except CannotRun as error:
            return error.message
        run.children.add(child)
        if run.cancelled:
            child.kill()
        try:
            done, _ = await asyncio.wait([child.exited], timeout=timeout_s)
            late = not done
            code = await child.stop()
        finally:
            run.children.discard(child)
        document["status"]["lastAttemptResult"] = _attempt_result(code)
        if late:
            return f"The configured timeout of {timeout_s:g} s was reached."
        if code == 0:
            return ""
        how = f"exit({code})" if code > 0 else f"signal {-code}"
        child.output.say("ERROR", f"Container called {how}." if code > 0 else f"Container was killed by {how}.")
        await child.output.finish()
        tail = child.output.last_lines()
        return f"The container ended with {how}." + (f" Last log lines:\n{tail}" if tail else "")

    def _origin(self, run: _Run, index: int, attempt: int) -> Origin:
        labels = {"project_id": run.project, "location": REGION, "job_name": run.job}
        marks = {
            "run.googleapis.com/execution_name": run.name,
            "run.googleapis.com/task_index": str(index),
            "run.googleapis.com/task_attempt": str(attempt),
        }
        return Origin(run.project, {"type": "cloud_run_job", "labels": labels}, marks)

    def _new_task(self, run: _Run, spec: Document, index: int) -> Document:
        execution = self._store.need("execution", run.project, run.name)
        now = self._context.now()
        metadata = {key: execution["metadata"][key] for key in ("namespace", "labels")}
        name = f"{run.name}-task{index}"
        document: Document = {
            "apiVersion": RUN,
            "kind": "Task",
            "metadata": {
                **metadata,
                "labels": {**metadata["labels"], EXECUTION_LABEL: run.name, STATE_LABEL: "Running"},
                "annotations": dict(execution["metadata"].get("annotations") or {}),
                "name": name,
                "uid": str(uuid.uuid4()),
                "generation": 1,
                "resourceVersion": new_version(),
                "creationTimestamp": now,
            },
            "spec": spec["template"]["spec"],
            "status": {"observedGeneration": 1, "index": index, "retried": 0, "startTime": now},
        }
        document["status"]["conditions"] = task_conditions(document, UNKNOWN, "Running", "", now)
        self._store.put("task", run.project, name, document)
        return document

    def _end_task(self, project: str, document: Document, status: str, reason: str, message: str) -> None:
        now = self._context.now()
        document["status"]["completionTime"] = now
        document["metadata"]["labels"][STATE_LABEL] = _STATES.get(reason, "Succeeded" if status == TRUE else "Failed")
        document["status"]["conditions"] = task_conditions(document, status, reason, message, now)
        self._store.put("task", project, document["metadata"]["name"], document)

    def _count(self, run: _Run, key: str, change: int) -> None:
        execution = self._store.get("execution", run.project, run.name)
        if execution is not None:
            self._set(run.project, run.name, **{key: execution["status"].get(key, 0) + change})

    def _set(self, project: str, name: str, **status: Any) -> None:
        execution = self._store.get("execution", project, name)
        if execution is not None:
            execution["status"].update(status)
            self._store.put("execution", project, name, execution)

    def _finish(self, project: str, execution: Document, status: str, reason: str, message: str) -> None:
        now = self._context.now()
        execution["status"]["completionTime"] = now
        execution["status"]["runningCount"] = 0
        execution["status"]["conditions"] = execution_conditions(execution, status, reason, message, now)
        self._store.put("execution", project, execution["metadata"]["name"], execution)
        job = self._store.get("job", project, execution["metadata"]["labels"]["run.googleapis.com/job"])
        latest = (job or {}).get("status", {}).get("latestCreatedExecution", {})
        if job is not None and latest.get("name") == execution["metadata"]["name"]:
            outcome = {TRUE: "EXECUTION_SUCCEEDED"}.get(status, "EXECUTION_FAILED")
            latest["completionTimestamp"] = now
            latest["completionStatus"] = "EXECUTION_CANCELLED" if reason == "Cancelled" else outcome
            self._store.put("job", project, job["metadata"]["name"], job)
        job_name = execution["metadata"]["labels"]["run.googleapis.com/job"]
        self._context.publish(EXECUTION, ExecutionEnded(project, job_name, status == TRUE, self._context.clock()))


def execution_conditions(execution: Document, status: str, reason: str, message: str, now: str) -> list[Document]:
    """Conditions of an execution; it is over when Completed is True or False."""
    started = TRUE if status != UNKNOWN or execution["status"].get("startTime") else UNKNOWN
    return merge(
        execution["status"].get("conditions", []),
        [
            Condition("Completed", status, reason, message),
            Condition("ResourcesAvailable", TRUE),
            Condition("Started", started),
        ],
        now,
    )


def task_conditions(task: Document, status: str, reason: str, message: str, now: str) -> list[Document]:
    """Conditions of a task, which is made when it starts."""
    old = task["status"].get("conditions", [])
    return merge(old, [Condition("Completed", status, reason, message), Condition("Started", TRUE)], now)


def _attempt_result(code: int) -> Document:
    if code < 0:
        return {"termSignal": -code, "status": {"code": 2, "message": f"The container was killed by signal {-code}."}}
    if code > 0:
        return {"exitCode": code, "status": {"code": 2, "message": "The container exited with an error."}}
    return {"exitCode": 0, "status": {}}
