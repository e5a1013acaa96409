"""Cloud Run v1: services, revisions, routes and configurations under /apis/serving.knative.dev/v1/namespaces/P/."""

from __future__ import annotations

import copy
from typing import Any

from scripts.localcloud import schema
from scripts.localcloud.context import Context
from scripts.localcloud.run import conditions, documents, limits, places, validation
from scripts.localcloud.run.conditions import UNKNOWN
from scripts.localcloud.run.controller import Controller
from scripts.localcloud.run.image_store import ImageStore
from scripts.localcloud.run.store import (
    SERVING,
    Document,
    Store,
    changed_metadata,
    check_version,
    dry_run,
    new_metadata,
    new_version,
    page,
    stamp,
)
from scripts.localcloud.web import ApiError, Request, Response, Route

_BASE = f"/apis/{SERVING}/namespaces/{{namespace}}"
_PLACE = "/v1/projects/{namespace}/locations/{location}"
_DEPLOYING = (UNKNOWN, "Deploying", "The service is being deployed.")


class Services:
    """The API's handlers; the controller does what they write down."""

    def __init__(self, context: Context, store: Store, controller: Controller, images: ImageStore) -> None:
        self._context = context
        self._store = store
        self._controller = controller
        self._images = images

    def routes(self) -> list[Route]:
        """Routes of this API, in both forms in which v1 names its resources."""
        return [*self._routes(_BASE, "run.namespaces"), *self._routes(_PLACE, "run.projects.locations")]

    def _routes(self, base: str, ids: str) -> list[Route]:
        return [
            Route("GET", f"{base}/services", self._list, f"{ids}.services.list"),
            Route("POST", f"{base}/services", self._create, f"{ids}.services.create"),
            Route("GET", f"{base}/services/{{name}}", self._get, f"{ids}.services.get"),
            Route("PUT", f"{base}/services/{{name}}", self._replace, f"{ids}.services.replaceService"),
            Route("DELETE", f"{base}/services/{{name}}", self._delete, f"{ids}.services.delete"),
            Route("GET", f"{base}/revisions", self._list_revisions, f"{ids}.revisions.list"),
            Route("GET", f"{base}/revisions/{{name}}", self._get_revision, f"{ids}.revisions.get"),
            Route("DELETE", f"{base}/revisions/{{name}}", self._delete_revision, f"{ids}.revisions.delete"),
            Route("GET", f"{base}/routes", self._list_routes, f"{ids}.routes.list"),
            Route("GET", f"{base}/routes/{{name}}", self._get_route, f"{ids}.routes.get"),
            Route("GET", f"{base}/configurations", self._list_configurations, f"{ids}.configurations.list"),
            Route("GET", f"{base}/configurations/{{name}}", self._get_configuration, f"{ids}.configurations.get"),
        ]

    async def _list(self, request: Request) -> Response:
        return Response.of_json(page("ServiceList", SERVING, places.listed(self._store, request, "service"), request))

    async def _get(self, request: Request) -> Response:
        return Response.of_json(places.need(self._store, request, "service"))

    async def _create(self, request: Request) -> Response:
        body = schema.without_nulls(await request.json_object())
        project = places.project(self._store, request, "service")
        name = validation.service(body, None)
        self._store.check_namespace(body["metadata"], project)
        if self._store.get("service", project, name) is not None:
            raise ApiError(409, f"Resource '{name}' already exists.")
        now = self._context.now()
        given = body["metadata"]
        path = f"{SERVING}/namespaces/{{namespace}}/services"
        service: Document = {
            "apiVersion": SERVING,
            "kind": "Service",
            "metadata": new_metadata(self._store, project, path, {**given, "name": name}, now),
            "spec": _with_defaults(body["spec"]),
            "status": {},
        }
        stamp(service["metadata"], {}, SERVING, now)
        return Response.of_json(self._apply(project, service, None, dry_run(request)))

    async def _replace(self, request: Request) -> Response:
        body = schema.without_nulls(await request.json_object())
        project, name = places.project(self._store, request, "service"), request.params["name"]
        old = self._store.need("service", project, name)
        validation.service(body, name)
        self._store.check_namespace(body["metadata"], project)
        check_version(body["metadata"], old)
        spec = _with_defaults(body["spec"])
        metadata = changed_metadata(old["metadata"], body["metadata"])
        same = spec == old["spec"] and all(metadata[key] == old["metadata"][key] for key in ("labels", "annotations"))
        if same and not conditions.failed(old, "Ready"):
            return Response.of_json(old)
        metadata["generation"] += 1
        metadata["resourceVersion"] = new_version()
        stamp(metadata, old["metadata"], SERVING, self._context.now())
        service = {**old, "metadata": metadata, "spec": spec, "status": copy.deepcopy(old["status"])}
        return Response.of_json(self._apply(project, service, old, dry_run(request)))

    def _apply(self, project: str, service: Document, old: Document | None, dry_run: bool) -> Document:
        """Give the service its revision and status, and (unless it is a dry run) store and start both."""
        name, now = service["metadata"]["name"], self._context.now()
        revision = self._revision_for(project, service, old, now)
        self._check_targets(project, service, revision["metadata"]["name"])
        slug = name if dry_run and old is None else self._store.slug(project, name)
        service["status"] = {
            **service["status"],
            "observedGeneration": service["metadata"]["generation"],
            "latestCreatedRevisionName": revision["metadata"]["name"],
            "conditions": documents.service_status(service, now, _DEPLOYING, _DEPLOYING),
        }
        documents.set_address(service, self._context.url, slug)
        if not dry_run:
            with self._context.db.transaction():
                self._store.put("service", project, name, service)
                self._store.put("revision", project, revision["metadata"]["name"], revision)
            self._controller.changed(project, name)
        return service

    def _revision_for(self, project: str, service: Document, old: Document | None, now: str) -> Document:
        """The present revision when the template did not change, else a new one. Raises ApiError 409."""
        if old is not None and service["spec"]["template"] == old["spec"]["template"]:
            current = self._store.get("revision", project, old["status"]["latestCreatedRevisionName"])
            if current is not None:
                return self._retried(current, now) if service["spec"] == old["spec"] else current
        made = self._store.labelled("revision", project, documents.SERVICE_LABEL, service["metadata"]["name"])
        number = 1 + max((documents.number(each) for each in made), default=0)
        revision = documents.new_revision(service, number, self._digests(service["spec"]["template"]["spec"]), now)
        name = revision["metadata"]["name"]
        if self._store.get("revision", project, name) is not None:
            raise ApiError(409, f"Revision named '{name}' with different configuration already exists.")
        return revision

    def _digests(self, pod: Document) -> list[str]:
        return [self._images.digest(each["image"]) for each in pod["containers"]]

    def _retried(self, revision: Document, now: str) -> Document:
        """A failed revision is tried again when the same template is applied again."""
        if conditions.failed(revision, "Ready"):
            documents.set_digests(revision, self._digests(revision["spec"]))
            old = revision["status"]["conditions"]
            again = (UNKNOWN, "Deploying", "The revision is being started again.")
            revision["status"]["conditions"] = documents.revision_conditions(old, *again, now)
        return revision

    def _check_targets(self, project: str, service: Document, created: str) -> None:
        name = service["metadata"]["name"]
        known = self._store.labelled("revision", project, documents.SERVICE_LABEL, name)
        names = {each["metadata"]["name"] for each in known} | {created}
        for index, target in enumerate(service["spec"]["traffic"]):
            revision = target.get("revisionName")
            if revision and revision not in names:
                raise ApiError(
                    400,
                    f"spec.traffic[{index}].revision_name: Revision '{revision}' of service '{name}' does not exist.",
                )

    async def _delete(self, request: Request) -> Response:
        project, name = places.project(self._store, request, "service"), request.params["name"]
        self._store.need("service", project, name)
        if dry_run(request):
            return places.deleted(request)
        self._controller.removed(project, name)
        with self._context.db.transaction():
            self._store.delete("service", project, name)
            for revision in self._store.labelled("revision", project, documents.SERVICE_LABEL, name):
                self._store.delete("revision", project, revision["metadata"]["name"])
            self._store.release_slug(project, name)
        return places.deleted(request)

    async def _list_revisions(self, request: Request) -> Response:
        newest_first = list(reversed(places.listed(self._store, request, "revision")))
        return Response.of_json(page("RevisionList", SERVING, newest_first, request))

    async def _get_revision(self, request: Request) -> Response:
        return Response.of_json(places.need(self._store, request, "revision"))

    async def _delete_revision(self, request: Request) -> Response:
        project, name = places.project(self._store, request, "revision"), request.params["name"]
        revision = self._store.need("revision", project, name)
        service = self._store.get("service", project, revision["metadata"]["labels"][documents.SERVICE_LABEL])
        if service is not None:
            used = {each["revisionName"] for each in service["status"].get("traffic", ())}
            used |= {each.get("revisionName") for each in service["spec"]["traffic"]}
            used.add(service["status"]["latestCreatedRevisionName"])
            if name in used:
                why = "it is the latest one or traffic names it"
                raise ApiError(400, f"Revision '{name}' cannot be deleted: {why}.", status="FAILED_PRECONDITION")
        if not dry_run(request):
            self._store.delete("revision", project, name)
            self._controller.forget_revision(project, name)
        return places.deleted(request)

    async def _list_routes(self, request: Request) -> Response:
        found = [documents.route_of(each) for each in places.listed(self._store, request, "service")]
        return Response.of_json(page("RouteList", SERVING, found, request))

    async def _get_route(self, request: Request) -> Response:
        service = places.need(self._store, request, "service")
        return Response.of_json(documents.route_of(service))

    async def _list_configurations(self, request: Request) -> Response:
        found = [documents.configuration_of(each) for each in places.listed(self._store, request, "service")]
        return Response.of_json(page("ConfigurationList", SERVING, found, request))

    async def _get_configuration(self, request: Request) -> Response:
        service = places.need(self._store, request, "service")
        return Response.of_json(documents.configuration_of(service))


def _with_defaults(spec: dict[str, Any]) -> Document:
    """The specification with Cloud Run's defaults written out."""
    filled = copy.deepcopy(spec)
    filled["traffic"] = filled.get("traffic") or [{"percent": 100, "latestRevision": True}]
    for line in filled["traffic"]:
        if not line.get("revisionName"):
            line["latestRevision"] = True
    pod = filled["template"]["spec"]
    container = pod["containers"][0]
    declared = (container.get("resources") or {}).get("limits") or {}
    pod["containerConcurrency"] = pod.get("containerConcurrency") or limits.default_concurrency(declared)
    pod.setdefault("timeoutSeconds", 300)
    container["ports"] = container.get("ports") or [{"name": "http1", "containerPort": 8080}]
    bounds = container.setdefault("resources", {}).setdefault("limits", {})
    bounds.setdefault("cpu", "1000m")
    bounds.setdefault("memory", "512Mi")
    port = container["ports"][0].get("containerPort", 8080)
    if not container.get("startupProbe"):
        container["startupProbe"] = {
            "timeoutSeconds": 240, "periodSeconds": 240, "failureThreshold": 1, "tcpSocket": {"port": port},
        }  # fmt: skip
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        if container.get(kind):
            _fill_probe(container[kind], port)
    return filled


def _fill_probe(probe: Document, port: int) -> None:
    for key, value in (("timeoutSeconds", 1), ("periodSeconds", 10), ("failureThreshold", 3)):
        probe[key] = probe.get(key) or value
    for kind in ("httpGet", "tcpSocket", "grpc"):
        if kind in probe:
            probe[kind] = {**(probe[kind] or {}), "port": (probe[kind] or {}).get("port") or port}
    if "httpGet" in probe:
        probe["httpGet"]["path"] = probe["httpGet"].get("path") or "/"
