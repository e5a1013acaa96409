"""Cloud Run v1: jobs, executions and tasks under /apis/run.googleapis.com/v1/namespaces/P/."""

from __future__ import annotations

import copy
import secrets
import uuid

from scripts.localcloud import schema
from scripts.localcloud.context import REGION, Context
from scripts.localcloud.run import images, places, validation
from scripts.localcloud.run.conditions import FALSE, TRUE, UNKNOWN, Condition, merge
from scripts.localcloud.run.executions import EXECUTION_LABEL, Executions, execution_conditions
from scripts.localcloud.run.image_store import ImageStore
from scripts.localcloud.run.store import (
    CALLER,
    LOCATION_LABEL,
    RUN,
    Document,
    Store,
    changed_metadata,
    check_version,
    dry_run,
    new_metadata,
    new_version,
    page,
    stamp,
)  # fmt: skip
from scripts.localcloud.web import ApiError, Request, Response, Route

_BASE = f"/apis/{RUN}/namespaces/{{namespace}}"
JOB_LABEL = "run.googleapis.com/job"
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


class Jobs:
    """The API's handlers; Executions does the work."""

    def __init__(self, context: Context, store: Store, executions: Executions, image_store: ImageStore) -> None:
        self._context = context
        self._store = store
        self._executions = executions
        self._images = image_store

    def routes(self) -> list[Route]:
        """Routes of this API."""
        return [
            Route("GET", f"{_BASE}/jobs", self._list, "run.namespaces.jobs.list"),
            Route("POST", f"{_BASE}/jobs", self._create, "run.namespaces.jobs.create"),
            Route("GET", f"{_BASE}/jobs/{{name}}", self._get, "run.namespaces.jobs.get"),
            Route("PUT", f"{_BASE}/jobs/{{name}}", self._replace, "run.namespaces.jobs.replaceJob"),
            Route("DELETE", f"{_BASE}/jobs/{{name}}", self._delete, "run.namespaces.jobs.delete"),
            Route("POST", f"{_BASE}/jobs/{{name}}:run", self._run, "run.namespaces.jobs.run"),
            Route("GET", f"{_BASE}/executions", self._list_executions, "run.namespaces.executions.list"),
            Route("GET", f"{_BASE}/executions/{{name}}", self._get_execution, "run.namespaces.executions.get"),
            Route("DELETE", f"{_BASE}/executions/{{name}}", self._delete_execution, "run.namespaces.executions.delete"),
            Route("POST", f"{_BASE}/executions/{{name}}:cancel", self._cancel, "run.namespaces.executions.cancel"),
            Route("GET", f"{_BASE}/tasks", self._list_tasks, "run.namespaces.tasks.list"),
            Route("GET", f"{_BASE}/tasks/{{name}}", self._get_task, "run.namespaces.tasks.get"),
        ]

    async def _list(self, request: Request) -> Response:
        return Response.of_json(page("JobList", RUN, places.listed(self._store, request, "job"), request))

    async def _get(self, request: Request) -> Response:
        return Response.of_json(places.need(self._store, request, "job"))

    async def _create(self, request: Request) -> Response:
        body, project = schema.without_nulls(await request.json_object()), places.project(self._store, request, "job")
        name = validation.job(body, None)
        self._store.check_namespace(body["metadata"], project)
        if self._store.get("job", project, name) is not None:
            raise ApiError(409, f"Resource '{name}' already exists.")
        now = self._context.now()
        job: Document = {
            "apiVersion": RUN,
            "kind": "Job",
            "metadata": new_metadata(
                self._store, project, f"{RUN}/namespaces/{{namespace}}/jobs", body["metadata"], now
            ),
            "spec": _with_defaults(body["spec"]),
            "status": {
                "observedGeneration": 1,
                "executionCount": 0,
                "conditions": self._ready(body["spec"], [], now),
            },
        }
        stamp(job["metadata"], {}, RUN, now)
        return self._save(request, project, job)

    def _ready(self, spec: Document, old: list[Document], now: str) -> list[Document]:
        """Whether the job could be run: its images exist."""
        missing = self._missing(spec)
        state = Condition("Ready", FALSE, "ContainerMissing", missing) if missing else Condition("Ready", TRUE)
        return merge(old, [state], now)

    def _missing(self, spec: Document) -> str:
        """What to say of an image that does not exist; "" when all do."""
        for container in spec["template"]["spec"]["template"]["spec"]["containers"]:
            if not self._images.digest(container["image"]):
                return images.not_found(container["image"])
        return ""

    async def _replace(self, request: Request) -> Response:
        body = schema.without_nulls(await request.json_object())
        project, name = places.project(self._store, request, "job"), request.params["name"]
        old = self._store.need("job", project, name)
        validation.job(body, name)
        self._store.check_namespace(body["metadata"], project)
        check_version(body["metadata"], old)
        given, spec = body["metadata"], _with_defaults(body["spec"])
        metadata = changed_metadata(old["metadata"], given)
        now = self._context.now()
        conditions = self._ready(spec, old["status"]["conditions"], now)
        if spec == old["spec"] and metadata == old["metadata"] and conditions == old["status"]["conditions"]:
            return Response.of_json(old)
        metadata["generation"] += 1
        metadata["resourceVersion"] = new_version()
        stamp(metadata, old["metadata"], RUN, now)
        status = {**old["status"], "observedGeneration": metadata["generation"], "conditions": conditions}
        return self._save(request, project, {**old, "metadata": metadata, "spec": spec, "status": status})

    def _save(self, request: Request, project: str, job: Document) -> Response:
        if not dry_run(request):
            self._store.put("job", project, job["metadata"]["name"], job)
        return Response.of_json(job)

    async def _delete(self, request: Request) -> Response:
        project, name = places.project(self._store, request, "job"), request.params["name"]
        self._store.need("job", project, name)
        if dry_run(request):
            return places.deleted(request)
        for execution in self._store.labelled("execution", project, JOB_LABEL, name):
            await self._remove_execution(project, execution["metadata"]["name"])
        self._store.delete("job", project, name)
        return places.deleted(request)

    async def _run(self, request: Request) -> Response:
        body = schema.without_nulls(await request.json_object())
        schema.check("run.v1", "RunJobRequest", body, "run_job_request")
        project, name = places.project(self._store, request, "job"), request.params["name"]
        return Response.of_json(self.start(project, name, body.get("overrides") or {}))

    def start(self, project: str, name: str, overrides: Document, dry_run: bool = False) -> Document:
        """A new execution of a job, which runs in the background. Raises ApiError 400, 404."""
        job = self._store.need("job", project, name)
        validation.overrides(overrides, job["spec"]["template"]["spec"]["template"]["spec"]["containers"])
        now = self._context.now()
        execution = self._new_execution(job, overrides, now)
        if dry_run:
            return execution
        execution_name = execution["metadata"]["name"]
        job["status"]["executionCount"] += 1
        job["status"]["latestCreatedExecution"] = {"name": execution_name, "creationTimestamp": now}
        with self._context.db.transaction():
            self._store.put("execution", project, execution_name, execution)
            self._store.put("job", project, name, job)
        self._executions.start(project, execution, name, self._missing(job["spec"]))
        return execution

    def _new_execution(self, job: Document, overrides: Document, now: str) -> Document:
        metadata, template = job["metadata"], job["spec"]["template"]
        name = f"{metadata['name']}-{''.join(secrets.choice(_LETTERS) for _ in range(5))}"
        given = template.get("metadata") or {}
        owner = {"apiVersion": RUN, "kind": "Job", "name": metadata["name"], "uid": metadata["uid"]}
        execution: Document = {
            "apiVersion": RUN,
            "kind": "Execution",
            "metadata": {
                "name": name,
                "namespace": metadata["namespace"],
                "selfLink": f"/apis/{RUN}/namespaces/{metadata['namespace']}/executions/{name}",
                "uid": str(uuid.uuid4()),
                "generation": 1,
                "resourceVersion": new_version(),
                "creationTimestamp": now,
                "labels": {
                    **(given.get("labels") or {}),
                    JOB_LABEL: metadata["name"],
                    "run.googleapis.com/jobUid": metadata["uid"],
                    "run.googleapis.com/jobGeneration": str(metadata["generation"]),
                    LOCATION_LABEL: REGION,
                },
                "annotations": {**(given.get("annotations") or {}), "run.googleapis.com/creator": CALLER},
                "ownerReferences": [owner | {"controller": True, "blockOwnerDeletion": True}],
            },
            "spec": _overridden(template["spec"], overrides),
            "status": {"observedGeneration": 1, "logUri": f"{self._context.url}/_local/status"},
        }
        execution["status"]["conditions"] = execution_conditions(execution, UNKNOWN, "Running", "", now)
        return execution

    async def _list_executions(self, request: Request) -> Response:
        newest_first = list(reversed(places.listed(self._store, request, "execution")))
        return Response.of_json(page("ExecutionList", RUN, newest_first, request))

    async def _get_execution(self, request: Request) -> Response:
        return Response.of_json(places.need(self._store, request, "execution"))

    async def _cancel(self, request: Request) -> Response:
        body = schema.without_nulls(await request.json_object())
        schema.check("run.v1", "CancelExecutionRequest", body, "cancel_execution_request")
        await self.cancel(places.project(self._store, request, "job"), request.params["name"])
        return Response.of_json(places.need(self._store, request, "execution"))

    async def cancel(self, project: str, name: str) -> None:
        """Stop an execution; returns when it is marked as cancelled. Raises ApiError 400 for one that is over, 404."""
        execution = self._store.need("execution", project, name)
        if execution["status"].get("completionTime"):
            raise ApiError(400, f"Execution '{name}' is already completed.", status="FAILED_PRECONDITION")
        await self._executions.cancel(project, name)

    async def wait(self, project: str, name: str, limit_s: float) -> None:
        """Wait until an execution is over, or for so long."""
        await self._executions.wait(project, name, limit_s)

    async def _delete_execution(self, request: Request) -> Response:
        places.need(self._store, request, "execution")
        if dry_run(request):
            return places.deleted(request)
        await self._remove_execution(places.project(self._store, request, "job"), request.params["name"])
        return places.deleted(request)

    async def _remove_execution(self, project: str, name: str) -> None:
        await self._executions.cancel(project, name)
        for task in self._store.labelled("task", project, EXECUTION_LABEL, name):
            self._store.delete("task", project, task["metadata"]["name"])
        self._store.delete("execution", project, name)

    async def _list_tasks(self, request: Request) -> Response:
        return Response.of_json(page("TaskList", RUN, places.listed(self._store, request, "task"), request))

    async def _get_task(self, request: Request) -> Response:
        return Response.of_json(places.need(self._store, request, "task"))


def _with_defaults(spec: Document) -> Document:
    """The specification with Cloud Run's defaults written out."""
    filled = copy.deepcopy(spec)
    execution = filled["template"]["spec"]
    execution.setdefault("taskCount", 1)
    task = execution["template"]["spec"]
    task["timeoutSeconds"] = str(task.get("timeoutSeconds") or 600)
    if task.get("maxRetries") is None:
        task["maxRetries"] = 3
    limits = task["containers"][0].setdefault("resources", {}).setdefault("limits", {})
    limits.setdefault("cpu", "1000m")
    limits.setdefault("memory", "512Mi")
    return filled


def _overridden(spec: Document, overrides: Document) -> Document:
    """A copy of the ExecutionSpec with the overrides of one run: args, variables, number of tasks, time-out."""
    changed = copy.deepcopy(spec)
    if overrides.get("taskCount"):
        changed["taskCount"] = int(overrides["taskCount"])
    task = changed["template"]["spec"]
    if overrides.get("timeoutSeconds"):
        task["timeoutSeconds"] = str(overrides["timeoutSeconds"])
    for override in overrides.get("containerOverrides") or ():
        container = task["containers"][0]
        if override.get("args") or override.get("clearArgs"):
            container["args"] = list(override.get("args") or ())
        merged = {each["name"]: each for each in container.get("env") or ()}
        merged.update({each["name"]: each for each in override.get("env") or ()})
        container["env"] = list(merged.values())
    return changed
