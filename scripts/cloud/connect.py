"""The one place that knows a stand-in from Google: endpoints, credentials and who may be called with which token.

An environment is at a stand-in when MODELSHELF_ENDPOINT says so (a rehearsal), or when it provisions itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.cloud import standin
from scripts.cloud.credentials import default_credentials
from scripts.cloud.rest import Access
from scripts.errors import AccessDenied, Unreachable
from scripts.settings import project as places

if TYPE_CHECKING:
    from scripts.cloud.alerts import AlertsClient
    from scripts.cloud.logs import LogsClient
    from scripts.cloud.registry import Registry
    from scripts.cloud.run import RunClient
    from scripts.cloud.scheduler import Scheduler
    from scripts.cloud.storage import Bucket
    from scripts.settings.model import Settings


@dataclass(frozen=True)
class Upstreams:
    """Base URLs of the models' sources, without a trailing slash."""

    ollama: str
    huggingface: str


@dataclass(frozen=True)
class Cloud:
    """A project and region of Google Cloud, or of the stand-in at `endpoint`. Clients are made when asked for."""

    project: str
    region: str
    endpoint: str | None = None

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return f"stand-in at {self.endpoint}" if self.endpoint else f"Google Cloud, project {self.project}"

    @property
    def is_standin(self) -> bool:
        return self.endpoint is not None

    def bucket(self, name: str) -> Bucket:
        """A bucket by name; it need not exist."""
        from scripts.cloud.storage import open_bucket

        return open_bucket(self.project, self.endpoint, name)

    def run(self) -> RunClient:
        """Cloud Run in the region."""
        from scripts.cloud.run import RunClient

        return RunClient(self.project, self.region, self._access())

    def logs(self) -> LogsClient:
        """Cloud Logging of the project."""
        from scripts.cloud.logs import LogsClient

        return LogsClient(self.project, self._access())

    def alerts(self) -> AlertsClient:
        """Cloud Monitoring's alerts of the project."""
        from scripts.cloud.alerts import AlertsClient

        return AlertsClient(self.project, self._access())

    def scheduler(self) -> Scheduler:
        """Cloud Scheduler in the region."""
        from scripts.cloud.scheduler import Scheduler

        return Scheduler(self.project, self.region, self._access())

    def registry(self) -> Registry:
        """Where images come from."""
        from scripts.cloud.registry import Registry

        return Registry(self.endpoint)

    def upstreams(self) -> Upstreams:
        """Where models are pulled from: the real registries, or what the stand-in plays of them."""
        if self.endpoint is None:
            return Upstreams("https://registry.ollama.ai", "https://huggingface.co")
        return Upstreams(f"{self.endpoint}/upstream/ollama", f"{self.endpoint}/upstream/huggingface")

    def headers_for(self, url: str, private: bool) -> dict[str, str]:
        """Headers for calling a service's own URL: an ID token when the service is private.

        Raises AccessDenied when the credentials cannot make one.
        """
        if self.endpoint is not None or not private:
            return {}
        return {"Authorization": f"Bearer {_id_token(url)}"}

    def live_instances(self, service: str) -> frozenset[str] | None:
        """The ids of a service's running instances; None where the platform does not tell (Google Cloud)."""
        if self.endpoint is None:
            return None
        listed = standin.call(self.endpoint, f"/_local/instances?service={service}")["instances"]
        return frozenset(
            str(item["id"]) for item in listed if item["project"] == self.project and item["state"] == "ready"
        )

    def add_instances(self, service: str, count: int) -> bool:
        """Have so many further instances of a service started, and wait until they are ready.

        False where the platform alone decides how many there are (Google Cloud). Raises OpsError when one fails.
        """
        if self.endpoint is None:
            return False
        standin.add_instances(self.endpoint, service, count, self.project)
        return True

    def pulled_bytes(self) -> dict[str, int] | None:
        """What each client has ever pulled of model files, as the upstreams count; None where they do not tell.

        A client is an instance's id, or the name of an execution of the sync job.
        """
        if self.endpoint is None:
            return None
        clients = standin.call(self.endpoint, "/_local/upstreams")["by_client"]
        return {str(name): int(count["bytes"]) for name, count in clients.items()}

    def instances_by_revision(self, service: str) -> Mapping[str, tuple[str, ...]] | None:
        """The ids of a service's instances whose process runs, those that are ending too, by their revision; None where
        the platform does not tell (Google Cloud)."""
        if self.endpoint is None:
            return None
        found: dict[str, tuple[str, ...]] = {}
        for item in standin.call(self.endpoint, f"/_local/instances?service={service}")["instances"]:
            if item["project"] == self.project and item["state"] in ("ready", "draining"):
                found[str(item["revision"])] = (*found.get(str(item["revision"]), ()), str(item["id"]))
        return found

    def prepare_upstreams(self, say: Callable[[str], None]) -> None:
        """Make the upstreams ready to be pulled from: the stand-in's first fetch the one real model that they serve.

        Raises Unreachable when that model cannot be had. Google's upstreams need nothing.
        """
        if self.endpoint is not None:
            standin.fetch_corpus(self.endpoint, say)

    def provisioning(self, environment: str) -> str:
        """The remedy when what Terraform owns is missing."""
        if self.endpoint is not None:
            return f"Run: ./dev invoke local.provision --env {environment}"
        return (
            f"They are Terraform's: apply the configuration of {environment}, or have an administrator do it; "
            "then run the same command again."
        )

    def _access(self) -> Access:
        return Access(self.endpoint, _anonymous() if self.endpoint else default_credentials())


def connect(settings: Settings) -> Cloud:
    """The cloud of an environment, reached and allowed.

    Raises Unreachable (the stand-in does not run), AccessDenied (no credentials for Google).
    """
    if settings.endpoint is not None:
        standin.check(settings.endpoint)
        return Cloud(settings.project, settings.region, settings.endpoint)
    if settings.provision == "self":
        found = standin.find(_state())
        if found is None:
            raise Unreachable(f"the stand-in cloud of environment {settings.environment!r} is not running", standin.UP)
        return Cloud(settings.project, settings.region, found.url)
    try:
        default_credentials()
    except AccessDenied as error:
        raise AccessDenied(error.message, f"{error.remedy}\n{_rehearsal(settings.environment)}") from error
    return Cloud(settings.project, settings.region)


def ensure(settings: Settings, say: Callable[[str], None]) -> Cloud:
    """Like connect, but where an environment provisions itself the stand-in is started first when it is not running."""
    if settings.provision == "self" and settings.endpoint is None:
        standin.start(_state(), places.port(), say)
    return connect(settings)


def caution(cloud: Cloud) -> str:
    """What deserves care about the cloud that was reached, with its remedy; mostly nothing."""
    return standin.outdated(cloud.endpoint) if cloud.endpoint is not None else ""


def connect_runtime(project: str, region: str, endpoint: str | None) -> Cloud:
    """The cloud as a container sees it: what the platform told it, checked by the first call only."""
    return Cloud(project, region, places.endpoint(endpoint))


def standin_url(endpoint: str | None) -> str:
    """The stand-in that local.* commands speak to: the endpoint of a rehearsal, else this checkout's own daemon.

    Raises Unreachable.
    """
    if endpoint is not None:
        standin.check(endpoint)
        return endpoint
    found = standin.find(_state())
    if found is None:
        raise Unreachable("the stand-in cloud is not running", standin.UP)
    return found.url


def _state() -> Path:
    return places.state_dir() / "cloud"


def _rehearsal(environment: str) -> str:
    at = f"MODELSHELF_ENDPOINT=http://127.0.0.1:{places.port()}"
    return (
        "Or rehearse without an account: ./dev invoke local.up\n"
        f"  {at} ./dev invoke local.provision --env {environment}\n"
        f"  {at} ./dev invoke deploy --env {environment}"
    )


def _anonymous() -> Any:
    from google.auth.credentials import AnonymousCredentials

    return AnonymousCredentials()  # type: ignore[no-untyped-call]


def _id_token(audience: str) -> str:
    from google.auth import exceptions, impersonated_credentials
    from google.auth.transport.requests import Request
    from google.oauth2 import id_token

    credentials = default_credentials()
    try:
        if isinstance(credentials, impersonated_credentials.Credentials):
            made: Any = impersonated_credentials.IDTokenCredentials
            caller = made(credentials, target_audience=audience, include_email=True)
            caller.refresh(Request())
            return str(caller.token)
        return str(id_token.fetch_id_token(Request(), audience))  # type: ignore[no-untyped-call]
    except (exceptions.GoogleAuthError, ValueError) as error:
        text = f"cannot call the private service {audience}: no ID token from these credentials ({error})"
        remedy = (
            "A person needs to act as a service account that may invoke it. Run: "
            "gcloud auth application-default login --impersonate-service-account=ACCOUNT"
        )
        raise AccessDenied(text, remedy) from error
