"""Google's own clients on a stand-in, and short ways to write services and jobs, for the Cloud Run contract tests."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.cloud import discovery

CONTAINERS = Path(__file__).parents[1] / "data" / "containers"
SERVER = ["python", str(CONTAINERS / "server.py")]
TASK = ["python", str(CONTAINERS / "task.py")]
PARENT = "namespaces/demo"
HELLO = "us-docker.pkg.dev/cloudrun/container/hello"
SEEN_AT_ONCE = "implicit-dirs=true,metadata-cache-ttl-secs=0"


def api(url: str, name: str, version: str) -> Any:
    """A client of one of Google's APIs on a stand-in."""
    from google.auth.credentials import AnonymousCredentials
    from googleapiclient.discovery import build

    return build(
        name, version, static_discovery=True, cache_discovery=False, credentials=AnonymousCredentials(),
        client_options={"api_endpoint": url},
    )  # fmt: skip


def service(name: str, *, env: dict[str, str] | None = None, bucket: str = "", **options: Any) -> dict[str, Any]:
    """A Service. options: container (merged), pod (merged), annotations, revision (a name), traffic, labels.

    With a bucket also read_only and mount (its mount options).
    """
    container: dict[str, Any] = {"image": HELLO, "command": SERVER}
    container["env"] = [{"name": key, "value": value} for key, value in (env or {}).items()]
    pod: dict[str, Any] = {"containers": [{**container, **options.get("container", {})}], **options.get("pod", {})}
    if bucket:
        pod["containers"][0]["volumeMounts"] = [{"name": "models", "mountPath": "/models"}]
        pod["volumes"] = [volume("models", bucket, options.get("read_only", True), options.get("mount", SEEN_AT_ONCE))]
    template: dict[str, Any] = {"metadata": {"annotations": options.get("annotations", {})}, "spec": pod}
    if "revision" in options:
        template["metadata"]["name"] = options["revision"]
    body: dict[str, Any] = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": options.get("labels", {})},
        "spec": {"template": template},
    }
    if "traffic" in options:
        body["spec"]["traffic"] = options["traffic"]
    return body


def volume(name: str, bucket: str, read_only: bool = True, mount: str = SEEN_AT_ONCE) -> dict[str, Any]:
    """A Cloud Storage volume."""
    attributes = {"bucketName": bucket, **({"mountOptions": mount} if mount else {})}
    csi = {"driver": "gcsfuse.run.googleapis.com", "readOnly": read_only, "volumeAttributes": attributes}
    return {"name": name, "csi": csi}


def job(name: str, *, env: dict[str, str] | None = None, bucket: str = "", **spec: Any) -> dict[str, Any]:
    """A Job. spec: tasks, parallelism, retries, timeout_s, container (merged)."""
    container: dict[str, Any] = {"image": HELLO, "command": TASK, **spec.get("container", {})}
    container["env"] = [{"name": key, "value": value} for key, value in (env or {}).items()]
    task = {"containers": [container], "maxRetries": spec.get("retries", 0)}
    task["timeoutSeconds"] = str(spec.get("timeout_s", 60))
    if bucket:
        container["volumeMounts"] = [{"name": "models", "mountPath": "/models"}]
        task["volumes"] = [volume("models", bucket)]
    execution = {
        "taskCount": spec.get("tasks", 1),
        "parallelism": spec.get("parallelism", 0),
        "template": {"spec": task},
    }
    return {
        "apiVersion": "run.googleapis.com/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"template": {"spec": execution}},
    }


class Cloud:
    """Cloud Run and Cloud Logging of one stand-in, every answer checked against Google's schema."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.run = api(url, "run", "v1").namespaces()
        self.logging = api(url, "logging", "v2")

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        """Create a service and wait until it is ready or failed."""
        self.run.services().create(parent=PARENT, body=body).execute()
        return self.settled(body["metadata"]["name"])

    def replace(self, body: dict[str, Any]) -> dict[str, Any]:
        """Replace a service and wait until it is ready or failed."""
        name = body["metadata"]["name"]
        self.run.services().replaceService(name=f"{PARENT}/services/{name}", body=body).execute()
        return self.settled(name)

    def get(self, name: str) -> dict[str, Any]:
        """A service as it is now."""
        found: dict[str, Any] = self.run.services().get(name=f"{PARENT}/services/{name}").execute()
        discovery.validate("run", "v1", "Service", found)
        return found

    def settled(self, name: str) -> dict[str, Any]:
        """A service once its Ready is True or False."""
        return until(lambda: (found := self.get(name)) and condition(found, "Ready")["status"] != "Unknown" and found)

    def revision(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.run.revisions().get(name=f"{PARENT}/revisions/{name}").execute()
        discovery.validate("run", "v1", "Revision", found)
        return found

    def execute(self, name: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run a job to its end: the execution."""
        started = self.run.jobs().run(name=f"{PARENT}/jobs/{name}", body=body or {}).execute()
        return self.completed(started["metadata"]["name"])

    def execution(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.run.executions().get(name=f"{PARENT}/executions/{name}").execute()
        discovery.validate("run", "v1", "Execution", found)
        return found

    def completed(self, name: str) -> dict[str, Any]:
        """An execution once it is over."""
        return until(lambda: (found := self.execution(name)) and "completionTime" in found["status"] and found)

    def newest(self, job_name: str) -> str:
        """The name of a job's newest execution."""
        found = self.run.jobs().get(name=f"{PARENT}/jobs/{job_name}").execute()
        discovery.validate("run", "v1", "Job", found)
        return str(found["status"]["latestCreatedExecution"]["name"])

    def tasks(self, execution: str, state: str = "") -> list[dict[str, Any]]:
        """The tasks of an execution by index; only those in a state (Running, Succeeded, …) when one is given."""
        chosen = f"run.googleapis.com/execution={execution}"
        chosen += f",run.googleapis.com/runningState in ({state})" if state else ""
        found = self.run.tasks().list(parent=PARENT, labelSelector=chosen).execute()["items"]
        for each in found:
            discovery.validate("run", "v1", "Task", each)
        return sorted(found, key=lambda each: int(each["status"]["index"]))

    def instances(self, service_name: str) -> list[dict[str, Any]]:
        """The ready instances of a service."""
        found = fetch(f"{self.url}/_local/instances?service={service_name}")[1]["instances"]
        return [each for each in found if each["state"] == "ready"]

    def entries(self, condition_text: str) -> list[dict[str, Any]]:
        """Log entries of the project, oldest first."""
        body = {"resourceNames": ["projects/demo"], "filter": condition_text, "orderBy": "timestamp asc"}
        found = self.logging.entries().list(body=body).execute()
        discovery.validate("logging", "v2", "ListLogEntriesResponse", found)
        entries: list[dict[str, Any]] = found.get("entries", [])
        return entries


def condition(document: dict[str, Any], kind: str) -> dict[str, Any]:
    """One condition of a document."""
    return next(each for each in document["status"]["conditions"] if each["type"] == kind)


def until(found: Callable[[], Any], within_s: float = 30.0) -> Any:
    """What found() gives as soon as it is true."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        value = found()
        if value:
            return value
        time.sleep(0.03)
    raise AssertionError("it did not come true in time")


def fetch(url: str, data: bytes | None = None, method: str = "", **headers: str) -> tuple[int, Any]:
    """Status and JSON (or text) of one request; errors too."""
    request = urllib.request.Request(url, data, {k.replace("_", "-"): v for k, v in headers.items()})
    if method:
        request.method = method
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            status, body = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, body = error.code, error.read()
    try:
        return status, json.loads(body)
    except ValueError:
        return status, body.decode()
