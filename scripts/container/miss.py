"""What an instance does when its version is not there: start the sync job, publish itself, or only wait; all bounded.

Whatever is done, the instance watches the statements until one is a hit or the time is up (wait_timeout_s, below the
240 s that Cloud Run allows a start). Then the previous trusted version serves, with a WARNING, if there is one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Protocol

from scripts.cloud.connect import Cloud
from scripts.container import logs
from scripts.errors import SYNC, AccessDenied, NotFound, OpsError, Unreachable
from scripts.models.gate import Look
from scripts.settings.runtime import Runtime

POLL_S = 1.0
TELL_EVERY_S = 5.0
MAX_WAIT_S = 235.0  # below Cloud Run's limit of 240 s for a start, whatever the settings say


class Effort(Protocol):
    """Something under way that may bring the version."""

    def ended(self) -> OpsError | None:
        """None while it may still succeed; once it is over, why that did not lead to a hit."""
        ...


@dataclass(frozen=True)
class OnlyWait:
    """Somebody else publishes."""

    def ended(self) -> OpsError | None:
        return None


def resolve(
    runtime: Runtime, cloud: Cloud, environ: MutableMapping[str, str], look: Callable[[], Look], first: Look
) -> Look:
    """Follow on_miss (trigger, publish, wait, fail) and return a look whose reading has a version to serve.

    Raises OpsError when there is none in the end; its remedy says how to publish one.
    """
    if runtime.on_miss == "fail":
        raise _no_version(runtime, first, "on_miss is fail", None)
    if runtime.pinned_version:
        # no sync can bring a version whose name is already fixed
        return _previous(runtime, first, _no_version(runtime, first, f"pinned to {runtime.pinned_version}", None))
    try:
        effort = _begin(runtime, cloud, environ)
    except OpsError as problem:
        return _previous(runtime, first, _no_version(runtime, first, "the sync could not be started", problem))
    return _watch(runtime, look, first, effort)


def _watch(runtime: Runtime, look: Callable[[], Look], first: Look, effort: Effort) -> Look:
    began = time.monotonic()
    deadline = began + min(float(runtime.wait_timeout_s), MAX_WAIT_S)
    tell_at, last = began, first
    while True:
        over = effort.ended()  # before looking: what it published until now must be seen
        try:
            last = look()
        except Unreachable as problem:
            if isinstance(problem, AccessDenied):
                raise
            logs.warning("the bucket does not answer, asking again", **logs.failure(problem))
        waited_s = time.monotonic() - began
        if last.decision.hit:
            version, serial = last.decision.version, last.decision.serial
            logs.info("trusted version found", manifest_version=version, serial=serial, duration_s=waited_s)
            return last
        if over is not None:
            return _previous(runtime, last, _no_version(runtime, last, "the sync ended without one", over))
        if time.monotonic() >= deadline:
            waited = f"waited {waited_s:.0f} s"
            return _previous(runtime, last, _no_version(runtime, last, waited, None))
        if time.monotonic() >= tell_at:
            tell_at += TELL_EVERY_S
            logs.info(
                "waiting for a trusted version", reason=last.decision.reason, bucket=runtime.bucket,
                duration_s=waited_s, remaining_s=deadline - time.monotonic(),
            )  # fmt: skip
        time.sleep(min(POLL_S, max(0.0, deadline - time.monotonic())))


def _previous(runtime: Runtime, last: Look, problem: OpsError) -> Look:
    """The version that was active before, with a warning; the problem itself when there is none."""
    trusted = last.reading.trusted
    if trusted is None:
        raise problem
    logs.warning(
        "serving the previous version", reason=last.decision.reason, manifest_version=trusted.version,
        serial=trusted.serial, bucket=runtime.bucket, **logs.failure(problem),
    )  # fmt: skip
    return last


def _no_version(runtime: Runtime, last: Look, why: str, cause: OpsError | None) -> OpsError:
    wanted = ", ".join(spec.source for spec in runtime.models)
    if last.decision.reason == "models_differ":
        found = f"version {last.decision.version} in bucket {runtime.bucket} does not hold the models {wanted}"
    else:
        found = f"bucket {runtime.bucket} has no trusted version of {wanted} ({last.decision.reason})"
    message = f"{found}: {why}" + (f": {cause.message}" if cause else "")
    named = last.problems[0] if last.problems and cause is None else None
    remedy = (cause.remedy if cause else "") or (named.remedy if named and named.remedy != SYNC else "")
    publish = f"{SYNC}, and see: ./dev invoke logs --job --env ENVIRONMENT".replace("ENVIRONMENT", runtime.environment)
    kind = type(cause) if isinstance(cause, Unreachable | NotFound) else OpsError
    return kind(message + (f"; {named.line()}" if named else ""), f"{remedy} {publish}".strip())


def _begin(runtime: Runtime, cloud: Cloud, environ: MutableMapping[str, str]) -> Effort:
    if runtime.on_miss == "trigger":
        return Execution(runtime, cloud)
    if runtime.on_miss == "publish":
        return Publication(runtime, cloud, environ)
    logs.info("waiting for somebody else to publish", bucket=runtime.bucket)
    return OnlyWait()


class Execution:
    """An execution of the sync job: the one that runs already, or one started here."""

    def __init__(self, runtime: Runtime, cloud: Cloud) -> None:
        """Raises AccessDenied and NotFound when the job cannot be started; an answer that was lost is no failure."""
        self._job = runtime.sync_job
        self._run = cloud.run()
        self._environment = runtime.environment
        self._name = self._running()
        if self._name:
            logs.info("the sync job is running already", job=self._job, execution=self._name)
            return
        try:
            self._name = self._run.run_job(self._job).name
            logs.info("sync job started", job=self._job, execution=self._name)
        except AccessDenied as problem:
            remedy = f"Give the service's account roles/run.invoker on the job {self._job}."
            raise AccessDenied(problem.message, remedy) from problem
        except Unreachable as problem:  # it may well have started
            logs.warning("no answer to the start of the sync job", job=self._job, **logs.failure(problem))

    def _running(self) -> str:
        """The newest execution that has not ended. Starting jobs is allowed to more accounts than listing them is."""
        try:
            found = self._run.list_executions(self._job)
        except (Unreachable, NotFound) as problem:
            logs.warning("cannot see whether the sync job runs", job=self._job, **logs.failure(problem))
            return ""
        return next((execution.name for execution in found if execution.succeeded is None), "")

    def ended(self) -> OpsError | None:
        if not self._name:
            return None
        try:
            found = self._run.get_execution(self._name)
        except OpsError:  # not allowed to look, or no answer: the statements will tell
            return None
        if found is None or found.succeeded is None:
            return None
        outcome = "succeeded" if found.succeeded else "failed"
        message = f"execution {self._name} of {self._job} {outcome}" + (f" ({found.message})" if found.message else "")
        return OpsError(message, f"Run: invoke logs --job --env {self._environment}")


class Publication:
    """This instance publishes: under the lease, in a thread, so that the wait stays bounded.

    When the time is up and the previous version serves, it goes on in the background; when the process ends before it
    does, the lease lapses and what arrived stays in .tmp/.
    """

    def __init__(self, runtime: Runtime, cloud: Cloud, environ: MutableMapping[str, str]) -> None:
        from scripts.container import sync

        self._problem: OpsError | None = None
        self._over = threading.Event()

        def work() -> None:
            try:
                result = sync.publish(runtime, cloud, environ, wait_s=float(runtime.wait_timeout_s))
                logs.info("publication finished", **sync.facts(runtime, result), duration_s=result.seconds)
                changed = "published" if result.changed else "found nothing to publish"
                self._problem = OpsError(f"this instance {changed} (version {result.version})")
            except Exception as problem:  # a thread must not end in a loose traceback
                logs.error("publication failed", bucket=runtime.bucket, **logs.failure(problem))
                told = f"{type(problem).__name__}: {problem}"
                self._problem = problem if isinstance(problem, OpsError) else OpsError(told)
            finally:
                self._over.set()

        threading.Thread(target=work, name="publication", daemon=True).start()

    def ended(self) -> OpsError | None:
        return self._problem if self._over.is_set() else None
