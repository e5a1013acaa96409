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

from scripts import lease
from scripts.cloud.connect import Cloud
from scripts.container import logs, sync
from scripts.container.trigger import Trigger
from scripts.errors import SYNC, AccessDenied, NotFound, OpsError, Unreachable
from scripts.models.gate import Look
from scripts.models.shelf import LEASE
from scripts.settings.runtime import Runtime

POLL_S = 1.0
TELL_EVERY_S = 5.0
MAX_WAIT_S = 235.0  # since the process began: below Cloud Run's limit of 240 s for a start, whatever the settings say


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
    runtime: Runtime, cloud: Cloud, environ: MutableMapping[str, str], look: Callable[[], Look], first: Look,
    began: float,
) -> Look:  # fmt: skip
    """Follow on_miss (trigger, publish, wait, fail) and return a look whose reading has a version to serve.

    began: the start of the process, from which Cloud Run counts. Raises OpsError when there is none in the end; its
    remedy says how to publish one.
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
    return _watch(runtime, look, first, effort, began + MAX_WAIT_S)


def settle(runtime: Runtime, last: Look, why: str) -> Look:
    """Serve the version below, where there is no use in waiting. Raises OpsError when there is none."""
    return _previous(runtime, last, _no_version(runtime, last, why, None))


def _watch(runtime: Runtime, look: Callable[[], Look], first: Look, effort: Effort, latest: float) -> Look:
    began = time.monotonic()
    deadline = min(began + runtime.wait_timeout_s, latest)
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
        return Trigger(runtime, cloud)
    if runtime.on_miss == "publish":
        return Publication(runtime, cloud, environ)
    logs.info("waiting for somebody else to publish", bucket=runtime.bucket)
    return OnlyWait()


class Publication:
    """One instance publishes, elected by the lease `publish`; the others look whether it lapses, and watch.

    The elected one works in a thread, so that its wait stays bounded: when the time is up and the previous version
    serves, it goes on in the background. When it dies the lease lapses, another one is elected, and takes up what
    arrived in .tmp/.
    """

    def __init__(self, runtime: Runtime, cloud: Cloud, environ: MutableMapping[str, str]) -> None:
        self._runtime = runtime
        self._cloud = cloud
        self._environ = environ
        self._bucket = cloud.bucket(runtime.bucket)
        self._problem: OpsError | None = None
        self._working = threading.Event()
        self._told = ""
        self._stand()

    def ended(self) -> OpsError | None:
        if self._problem is None and not self._working.is_set():
            self._stand()
        return self._problem

    def _stand(self) -> None:
        """Publish, unless somebody is at work."""
        try:
            holder = lease.holder_of(self._bucket, LEASE)
        except AccessDenied:
            raise
        except Unreachable:
            return
        if holder is None:
            self._working.set()
            threading.Thread(target=self._work, name="publication", daemon=True).start()
        elif holder.owner != self._told:
            self._told = holder.owner
            logs.info("somebody else publishes", bucket=self._runtime.bucket, holder=holder.purpose)

    def _work(self) -> None:
        try:
            result = sync.publish(self._runtime, self._cloud, self._environ, wait_s=0.0)
            logs.info("publication finished", **sync.facts(self._runtime, result), duration_s=result.seconds)
            changed = "published" if result.changed else "found nothing to publish"
            self._problem = OpsError(f"this instance {changed} (version {result.version})")
        except lease.Held:
            pass  # somebody was elected in the same moment
        except Exception as problem:  # a thread must not end in a loose traceback
            logs.error("publication failed", bucket=self._runtime.bucket, **logs.failure(problem))
            told = f"{type(problem).__name__}: {problem}"
            self._problem = problem if isinstance(problem, OpsError) else OpsError(told)
        finally:
            self._working.clear()
