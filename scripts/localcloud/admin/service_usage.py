"""Service Usage: which APIs a project has enabled. Recorded, not enforced: every room answers anyway."""

from __future__ import annotations

import re
import zlib

from scripts.localcloud.admin.documents import Document, Documents, body, page
from scripts.localcloud.web import ApiError, Request, Response, Route

_API = "serviceusage.v1"
_SERVICES = "/v1/projects/{project}/services"
_NAME = re.compile(r"[a-z][a-z0-9-]*\.googleapis\.com", re.ASCII)
_MOST = 20
KNOWN = {
    "artifactregistry": "Artifact Registry API",
    "billingbudgets": "Cloud Billing Budget API",
    "cloudkms": "Cloud Key Management Service (KMS) API",
    "cloudresourcemanager": "Cloud Resource Manager API",
    "cloudscheduler": "Cloud Scheduler API",
    "compute": "Compute Engine API",
    "container": "Kubernetes Engine API",
    "firestore": "Cloud Firestore API",
    "iam": "Identity and Access Management (IAM) API",
    "iamcredentials": "IAM Service Account Credentials API",
    "logging": "Cloud Logging API",
    "monitoring": "Cloud Monitoring API",
    "pubsub": "Cloud Pub/Sub API",
    "run": "Cloud Run Admin API",
    "secretmanager": "Secret Manager API",
    "serviceusage": "Service Usage API",
    "storage": "Cloud Storage API",
    "sts": "Security Token Service API",
}


class ServiceUsage:
    """The routes of serviceusage.googleapis.com. Operations are done when they are answered."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def routes(self) -> list[Route]:
        return [
            Route("GET", _SERVICES, self._list, "serviceusage.services.list"),
            Route("POST", f"{_SERVICES}:batchEnable", self._batch_enable, "serviceusage.services.batchEnable"),
            Route("GET", f"{_SERVICES}:batchGet", self._batch_get, "serviceusage.services.batchGet"),
            Route("GET", f"{_SERVICES}/{{service}}", self._get, "serviceusage.services.get"),
            Route("POST", f"{_SERVICES}/{{service}}:enable", self._enable, "serviceusage.services.enable"),
            Route("POST", f"{_SERVICES}/{{service}}:disable", self._disable, "serviceusage.services.disable"),
            Route("GET", "/v1/operations/{operation+}", self._operation, "serviceusage.operations.get"),
        ]

    def _shown(self, project: str, service: str) -> Document:
        if _NAME.fullmatch(service) is None:
            text = f"Not found or permission denied for service(s): {service[:200]}."
            raise ApiError(403, text, "SERVICE_CONFIG_NOT_FOUND_OR_PERMISSION_DENIED")
        enabled = self._documents.read(f"projects/{project}/services/{service}") is not None
        title = KNOWN.get(service.partition(".")[0], service)
        number = 100_000_000_000 + zlib.crc32(project.encode())
        return {
            "name": f"projects/{number}/services/{service}",
            "parent": f"projects/{number}",
            "config": {"name": service, "title": title},
            "state": "ENABLED" if enabled else "DISABLED",
        }

    async def _list(self, request: Request) -> Response:
        project = request.params["project"]
        kept = {each["service"] for each in self._documents.children(f"projects/{project}/services")}
        wanted = request.query.get("filter", "").replace(" ", "").replace("=", ":")
        if wanted not in ("", "state:ENABLED", "state:DISABLED"):
            raise ApiError(400, f"filter: expected state:ENABLED or state:DISABLED, found {wanted[:100]!r}.")
        names = sorted({f"{name}.googleapis.com" for name in KNOWN} | kept)
        found = [self._shown(project, name) for name in names]
        if wanted:
            found = [each for each in found if each["state"] == wanted.partition(":")[2]]
        return Response.of_json(page(found, request, "services", most=50))

    async def _get(self, request: Request) -> Response:
        return Response.of_json(self._shown(request.params["project"], request.params["service"]))

    async def _batch_get(self, request: Request) -> Response:
        names = [name.rpartition("/")[2] for name in request.query_all.get("names", [])]
        return Response.of_json({"services": [self._shown(request.params["project"], name) for name in names]})

    async def _enable(self, request: Request) -> Response:
        await body(request, _API, "EnableServiceRequest", "request")
        project, service = request.params["project"], request.params["service"]
        self._record(project, [service])
        return _done("EnableServiceResponse", {"service": self._shown(project, service)})

    async def _disable(self, request: Request) -> Response:
        await body(request, _API, "DisableServiceRequest", "request")
        project, service = request.params["project"], request.params["service"]
        self._shown(project, service)
        self._documents.delete(f"projects/{project}/services/{service}")
        return _done("DisableServiceResponse", {"service": self._shown(project, service)})

    async def _batch_enable(self, request: Request) -> Response:
        given = await body(request, _API, "BatchEnableServicesRequest", "request")
        project, services = request.params["project"], given.get("serviceIds") or []
        if not 1 <= len(services) <= _MOST:
            raise ApiError(400, f"service_ids: expected 1 to {_MOST}, found {len(services)}.")
        self._record(project, services)
        return _done("BatchEnableServicesResponse", {"services": [self._shown(project, each) for each in services]})

    def _record(self, project: str, services: list[str]) -> None:
        for service in services:  # all or nothing
            self._shown(project, service)
        for service in services:
            self._documents.save(f"projects/{project}/services/{service}", {"service": service})

    async def _operation(self, request: Request) -> Response:
        return Response.of_json({"name": f"operations/{request.params['operation']}", "done": True, "response": {}})


def _done(kind: str, response: Document) -> Response:
    """An operation that has ended."""
    typed = {"@type": f"type.googleapis.com/google.api.serviceusage.v1.{kind}", **response}
    return Response.of_json({"name": "operations/noop.DONE_OPERATION", "done": True, "response": typed})
