"""Cloud Scheduler through google-cloud-scheduler over REST: read a schedule, run it now, pause and resume it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scripts.cloud.rest import Access, for_status, translated
from scripts.cloud.retry import retrying
from scripts.errors import NotFound, OpsError

TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Schedule:
    """A schedule: state ENABLED, PAUSED, DISABLED or UPDATE_FAILED; times are RFC 3339, empty when there is none.

    last_status: empty when the last attempt went well or there was none, else its error.
    """

    name: str
    state: str
    cron: str
    time_zone: str
    next_run: str
    last_run: str
    last_status: str
    target: str


class Scheduler:
    """Schedules of one project and region. Raises NotFound, AccessDenied, Unreachable, OpsError."""

    def __init__(self, project: str, region: str, access: Access) -> None:
        from google.api_core.client_options import ClientOptions
        from google.cloud.scheduler_v1 import CloudSchedulerClient

        self._access = access
        self._parent = f"projects/{project}/locations/{region}"
        options = ClientOptions(api_endpoint=access.endpoint) if access.endpoint else None
        client = CloudSchedulerClient(transport="rest", credentials=access.credentials, client_options=options)
        self._client: Any = client
        if access.endpoint:
            # A proxy set for the internet must not see calls to loopback; the client has no option for it.
            transport: Any = self._client.transport
            transport._session.trust_env = False

    def get(self, name: str) -> Schedule | None:
        """A schedule, or None when it does not exist."""
        try:
            return self._call(self._client.get_job, name, f"read schedule {name}")
        except NotFound:
            return None

    def pause(self, name: str) -> Schedule:
        """Stop a schedule from running; one that is paused stays so."""
        return self._call(self._client.pause_job, name, f"pause schedule {name}")

    def resume(self, name: str) -> Schedule:
        """Let a schedule run again."""
        return self._call(self._client.resume_job, name, f"resume schedule {name}")

    def run(self, name: str) -> Schedule:
        """Run a schedule's target now; never repeated, since a lost answer may mean that it ran."""
        return self._call(self._client.run_job, name, f"run schedule {name}", idempotent=False)

    def apply(self, name: str, *, cron: str, time_zone: str, uri: str, paused: bool, account: str) -> Schedule:
        """Create a schedule that POSTs to a Google API with OAuth as the account; one that exists stays as it is."""
        existing = self.get(name)
        if existing is not None:
            return existing
        target: dict[str, Any] = {"uri": uri, "http_method": "POST"}
        if account:
            target["oauth_token"] = {"service_account_email": account}
        job = {"name": f"{self._parent}/jobs/{name}", "schedule": cron, "time_zone": time_zone, "http_target": target}
        what = f"create schedule {name}"
        made = schedule(self._sent(lambda: self._client.create_job(parent=self._parent, job=job, **_once()), what))
        return self.pause(name) if paused else made

    def _call(self, method: Callable[..., Any], name: str, what: str, *, idempotent: bool = True) -> Schedule:
        full_name = f"{self._parent}/jobs/{name}"

        def call() -> Any:
            return self._sent(lambda: method(name=full_name, **_once()), what)

        return schedule(retrying(call) if idempotent else call())

    def _sent(self, send: Callable[[], Any], what: str) -> Any:
        try:
            return send()
        except Exception as error:
            known = _translated(error, what, self._access.place)
            if known is None:
                raise
            raise known from error


def schedule(job: Any) -> Schedule:
    """A scheduler_v1.Job as a value."""
    status = job.status
    return Schedule(
        name=job.name.rsplit("/", 1)[-1],
        state=job.state.name,
        cron=job.schedule,
        time_zone=job.time_zone,
        next_run=_time(job.schedule_time),
        last_run=_time(job.last_attempt_time),
        last_status="" if not status or not status.code else f"{status.message or 'error'} (code {status.code})",
        target=job.http_target.uri,
    )


def _once() -> dict[str, Any]:
    # The library's own retries do not know which calls may be repeated; retry.py does.
    return {"retry": None, "timeout": TIMEOUT_S}


def _time(value: Any) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if value else ""


def _translated(error: Exception, what: str, place: str) -> OpsError | None:
    from google.api_core.exceptions import GoogleAPICallError

    if isinstance(error, GoogleAPICallError) and error.code is not None:
        return for_status(int(error.code), str(error.message), what, place)
    return translated(error, what, place)
