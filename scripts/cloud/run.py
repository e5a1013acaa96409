"""Cloud Run, v1 (Knative): services, revisions, jobs, executions as typed values, and waiting for them.

Ready and Completed are read as https://cloud.google.com/run/docs/reference/rest/v1 defines them: a condition counts
only when status.observedGeneration has reached metadata.generation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from scripts.cloud.rest import Access, Api
from scripts.cloud.retry import delays
from scripts.errors import STATUS, SYNC, Conflict, NotFound, OpsError

T = TypeVar("T")


@dataclass(frozen=True)
class ServiceState:
    """A service as the API reports it; ready is None while it still moves. body is the whole document."""

    name: str
    url: str
    generation: int
    observed_generation: int
    resource_version: str
    ready: bool | None
    message: str
    latest_created_revision: str
    latest_ready_revision: str
    traffic: tuple[Mapping[str, Any], ...]
    body: Mapping[str, Any]

    @property
    def reason(self) -> str:
        """The message in one line."""
        return _headline(self.message)

    @property
    def routed(self) -> bool | None:
        """Whether the traffic is as it was asked for; None while it still moves."""
        return _condition(self.body, "RoutesReady")[0]

    @property
    def spec(self) -> Mapping[str, Any]:
        spec: Mapping[str, Any] = self.body.get("spec", {})
        return spec

    @property
    def annotations(self) -> Mapping[str, str]:
        return _annotations(self.body)

    @property
    def container_env(self) -> dict[str, str]:
        """The plain variables of its template."""
        return _plain_env(self.spec.get("template", {}).get("spec", {}))

    @property
    def min_serial(self) -> int:
        """MODEL_MIN_SERIAL of its template; 0 when that is missing or no number."""
        text = self.container_env.get("MODEL_MIN_SERIAL", "")
        return int(text) if text.isascii() and text.isdigit() else 0

    def percent(self, revision: str) -> int:
        """The share of the traffic that a revision gets, in percent."""
        return sum(int(share.get("percent", 0)) for share in self.traffic if share.get("revisionName") == revision)


@dataclass(frozen=True)
class Revision:
    """An immutable revision of a service; created_at is RFC 3339. container_env has the plain values only."""

    name: str
    service: str
    created_at: str
    ready: bool | None
    message: str
    body: Mapping[str, Any]

    @property
    def annotations(self) -> Mapping[str, str]:
        return _annotations(self.body)

    @property
    def container_env(self) -> dict[str, str]:
        return _plain_env(self.body.get("spec", {}))


@dataclass(frozen=True)
class Job:
    """A job's definition."""

    name: str
    generation: int
    resource_version: str
    ready: bool | None
    message: str
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Execution:
    """One run of a job; succeeded is None while it runs. Times are RFC 3339, empty while unknown."""

    name: str
    job: str
    succeeded: bool | None
    message: str
    created_at: str
    started_at: str
    completed_at: str
    body: Mapping[str, Any]

    @property
    def reason(self) -> str:
        """The message in one line."""
        return _headline(self.message)


class RunClient:
    """Calls of one project and region. Raises the errors of rest.Api.execute."""

    def __init__(self, project: str, region: str, access: Access) -> None:
        self._parent = f"namespaces/{project}"
        self._api = Api("run", "v1", access, f"https://{region}-run.googleapis.com")
        self._namespaces = self._api.methods.namespaces()

    def get_service(self, name: str) -> ServiceState | None:
        """A service, or None when it does not exist."""
        request = self._namespaces.services().get(name=f"{self._parent}/services/{name}")
        body = self._maybe(request, f"read service {name}")
        return service_state(body) if body is not None else None

    def apply_service(
        self, body: Mapping[str, Any], resource_version: str = "", *, validate_only: bool = False
    ) -> ServiceState:
        """Create (no resource_version) or replace a service; never repeated, since a lost answer may mean success.

        validate_only: the server checks and changes nothing, and may be asked again.
        Raises Conflict when it changed since it was read.
        """
        name = str(body["metadata"]["name"])
        options = {"dryRun": "all"} if validate_only else {}
        services = self._namespaces.services()
        if resource_version:
            document = _versioned(body, resource_version)
            request = services.replaceService(name=f"{self._parent}/services/{name}", body=document, **options)
        else:
            request = services.create(parent=self._parent, body=body, **options)
        what = f"check service {name}" if validate_only else f"change service {name}"
        return service_state(self._change(request, what, f"service {name}", idempotent=validate_only))

    def wait_service(
        self, name: str, generation: int, *, timeout_s: float, on_change: Callable[[ServiceState], None] | None = None,
        settled: Callable[[ServiceState], bool] = lambda state: state.ready is not None,
    ) -> ServiceState:  # fmt: skip
        """Wait until the generation is ready or failed, or else settled; after timeout_s the state as it then is."""

        def read() -> ServiceState:
            state = self.get_service(name)
            if state is None:
                raise NotFound(f"service {name} disappeared while waiting for it", STATUS)
            return state

        def ended(state: ServiceState) -> bool:
            return state.generation >= generation and settled(state)

        return _wait(read, ended, timeout_s, on_change, lambda state: (state.ready, state.message))

    def list_services(self) -> list[ServiceState]:
        """All services of the project in the region."""
        found = self._all(self._namespaces.services(), "list the services")
        return [service_state(item) for item in found]

    def list_revisions(self, service: str = "") -> list[Revision]:
        """A service's revisions, newest first; without one those of all services."""
        selector = f"serving.knative.dev/service={service}" if service else ""
        found = self._all(self._namespaces.revisions(), f"list the revisions of {service or 'all services'}", selector)
        revisions = [revision(item) for item in found]
        return sorted(revisions, key=lambda item: (item.created_at, item.name), reverse=True)

    def get_revision(self, name: str) -> Revision | None:
        """A revision, or None when it does not exist."""
        request = self._namespaces.revisions().get(name=f"{self._parent}/revisions/{name}")
        body = self._maybe(request, f"read revision {name}")
        return revision(body) if body is not None else None

    def get_job(self, name: str) -> Job | None:
        """A job, or None when it does not exist."""
        body = self._maybe(self._namespaces.jobs().get(name=f"{self._parent}/jobs/{name}"), f"read job {name}")
        return job_state(body) if body is not None else None

    def apply_job(self, body: Mapping[str, Any], resource_version: str = "") -> Job:
        """Create (no resource_version) or replace a job. Raises Conflict when somebody changed it since it was read."""
        name = str(body["metadata"]["name"])
        jobs = self._namespaces.jobs()
        if resource_version:
            document = _versioned(body, resource_version)
            request = jobs.replaceJob(name=f"{self._parent}/jobs/{name}", body=document)
        else:
            request = jobs.create(parent=self._parent, body=body)
        return job_state(self._change(request, f"change job {name}", f"job {name}"))

    def wait_job(self, name: str, generation: int, *, timeout_s: float) -> Job:
        """Wait until a job's definition is in force. Raises OpsError when it was not accepted in time."""

        def read() -> Job:
            found = self.get_job(name)
            if found is None:
                raise NotFound(f"job {name} disappeared while waiting for it", STATUS)
            return found

        def settled(found: Job) -> bool:
            return found.generation >= generation and found.ready is not None

        found = _wait(read, settled, timeout_s, None, lambda state: state.ready)
        if found.ready is not True:
            text = f"job {name} is not ready: {found.message or f'nothing was heard for {timeout_s:g} s'}"
            raise OpsError(text, "Correct the job's settings (image, memory, service account), then deploy again.")
        return found

    def run_job(self, name: str, env: Mapping[str, str] | None = None) -> Execution:
        """Start an execution; never repeated, since a lost answer may mean that it runs.

        env: variables of this execution alone; they ask for the permission run.jobs.runWithOverrides.
        """
        given = [{"name": variable, "value": value} for variable, value in (env or {}).items()]
        body = {"overrides": {"containerOverrides": [{"env": given}]}} if given else {}
        request = self._namespaces.jobs().run(name=f"{self._parent}/jobs/{name}", body=body)
        return execution(self._api.execute(request, f"run job {name}", idempotent=False))

    def get_execution(self, name: str) -> Execution | None:
        """An execution, or None when it does not exist."""
        request = self._namespaces.executions().get(name=f"{self._parent}/executions/{name}")
        body = self._maybe(request, f"read execution {name}")
        return execution(body) if body is not None else None

    def list_executions(self, job: str) -> list[Execution]:
        """A job's executions, newest first."""
        selector = f"run.googleapis.com/job={job}"
        found = self._all(self._namespaces.executions(), f"list the executions of {job}", selector)
        executions = [execution(item) for item in found]
        return sorted(executions, key=lambda item: (item.created_at, item.name), reverse=True)

    def wait_execution(
        self, name: str, *, timeout_s: float, on_poll: Callable[[Execution], None] | None = None
    ) -> Execution:
        """Wait until an execution ended; after timeout_s as it then is (succeeded None). on_poll sees every read."""

        def read() -> Execution:
            found = self.get_execution(name)
            if found is None:
                raise NotFound(f"execution {name} disappeared while waiting for it", SYNC)
            if on_poll is not None:
                on_poll(found)
            return found

        return _wait(read, lambda found: found.succeeded is not None, timeout_s, None, lambda found: found.name)

    def _all(self, resource: Any, what: str, selector: str = "") -> list[dict[str, Any]]:
        options = {"parent": self._parent} | ({"labelSelector": selector} if selector else {})
        found: list[dict[str, Any]] = []
        while True:
            page = self._api.execute(resource.list(**options), what)
            found += page.get("items", [])
            following = page.get("metadata", {}).get("continue", "")
            if not following:
                return found
            options["continue"] = following

    def _maybe(self, request: Any, what: str) -> dict[str, Any] | None:
        try:
            return self._api.execute(request, what)
        except NotFound:
            return None

    def _change(self, request: Any, what: str, target: str, *, idempotent: bool = False) -> dict[str, Any]:
        try:
            return self._api.execute(request, what, idempotent=idempotent)
        except Conflict as error:
            remedy = "Run the same command again: it reads the new state, shows what differs and applies it."
            raise Conflict(f"{target} was changed by somebody else in between ({error.message})", remedy) from error


def _plain_env(spec: Mapping[str, Any]) -> dict[str, str]:
    """The variables of a RevisionSpec's container that have plain values."""
    containers = spec.get("containers") or [{}]
    return {item["name"]: item.get("value", "") for item in containers[0].get("env", [])}


def _annotations(body: Mapping[str, Any]) -> Mapping[str, str]:
    return body.get("metadata", {}).get("annotations") or {}


def service_state(body: Mapping[str, Any]) -> ServiceState:
    """A Knative Service document as a value."""
    meta, status = body.get("metadata", {}), body.get("status", {})
    ready, message = _condition(body, "Ready")
    return ServiceState(
        name=meta.get("name", ""),
        url=status.get("url", "") or status.get("address", {}).get("url", ""),
        generation=int(meta.get("generation", 0)),
        observed_generation=int(status.get("observedGeneration", 0)),
        resource_version=str(meta.get("resourceVersion", "")),
        ready=ready,
        message=message,
        latest_created_revision=status.get("latestCreatedRevisionName", ""),
        latest_ready_revision=status.get("latestReadyRevisionName", ""),
        traffic=tuple(status.get("traffic", ())),
        body=body,
    )


def revision(body: Mapping[str, Any]) -> Revision:
    """A Knative Revision document as a value."""
    meta = body.get("metadata", {})
    ready, message = _condition(body, "Ready")
    service = meta.get("labels", {}).get("serving.knative.dev/service", "")
    return Revision(meta.get("name", ""), service, meta.get("creationTimestamp", ""), ready, message, body)


def job_state(body: Mapping[str, Any]) -> Job:
    """A Job document as a value."""
    meta = body.get("metadata", {})
    ready, message = _condition(body, "Ready")
    version = str(meta.get("resourceVersion", ""))
    return Job(meta.get("name", ""), int(meta.get("generation", 0)), version, ready, message, body)


def execution(body: Mapping[str, Any]) -> Execution:
    """An Execution document as a value."""
    meta, status = body.get("metadata", {}), body.get("status", {})
    succeeded, message = _condition(body, "Completed")
    return Execution(
        name=meta.get("name", ""),
        job=meta.get("labels", {}).get("run.googleapis.com/job", ""),
        succeeded=succeeded,
        message=message,
        created_at=meta.get("creationTimestamp", ""),
        started_at=status.get("startTime", ""),
        completed_at=status.get("completionTime", ""),
        body=body,
    )


def _condition(body: Mapping[str, Any], kind: str) -> tuple[bool | None, str]:
    meta, status = body.get("metadata", {}), body.get("status", {})
    conditions: Sequence[Mapping[str, Any]] = status.get("conditions", ())
    condition = next((item for item in conditions if item.get("type") == kind), {})
    message = str(condition.get("message", ""))
    if int(status.get("observedGeneration", 0)) != int(meta.get("generation", 0)):
        return None, message
    return {"True": True, "False": False}.get(str(condition.get("status"))), message


def _headline(message: str) -> str:
    """The first line of a condition's message, without a last sentence that only introduces the lines below it."""
    first = next(iter(message.splitlines()), "")
    head, _, last = first.rpartition(". ")
    return f"{head}." if head and last.endswith(":") else first


def _versioned(body: Mapping[str, Any], resource_version: str) -> dict[str, Any]:
    return {**body, "metadata": {**body["metadata"], "resourceVersion": resource_version}}


def _wait(
    read: Callable[[], T],
    settled: Callable[[T], bool],
    timeout_s: float,
    on_change: Callable[[T], None] | None,
    summary: Callable[[T], object],
) -> T:
    deadline = time.monotonic() + timeout_s
    seen: object = None
    for delay_s in delays(0.1, 2.0, 1.3):
        state = read()
        if on_change is not None and summary(state) != seen:
            seen = summary(state)
            on_change(state)
        if settled(state) or time.monotonic() >= deadline:
            return state
        time.sleep(min(delay_s, max(0.0, deadline - time.monotonic())))
    raise AssertionError("delays() is endless")
