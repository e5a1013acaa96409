"""Cloud Run v1: jobs, executions and tasks under /apis/run.googleapis.com/v1/namespaces/P/; and v2 jobs…:run."""

from __future__ import annotations

import copy
import secrets
import uuid
from typing import Any

from scripts.localcloud import schema
from scripts.localcloud.context import REGION, Context
from scripts.localcloud.run import validation
from scripts.localcloud.run.conditions import TRUE, UNKNOWN, Condition, merge, status_of
from scripts.localcloud.run.executions import EXECUTION_LABEL, Executions, execution_conditions
from scripts.localcloud.run.store import (
    LOCATION_LABEL,
    RUN,
    Document,
    Store,
    check_version,
    new_metadata,
    new_version,
    page,
)  # fmt: skip
from scripts.localcloud.web import ApiError, Request, Response, Route

_BASE = f"/apis/{RUN}/namespaces/{{namespace}}"
_V2 = "/v2/projects/{namespace}/locations/{location}"
JOB_LABEL = "run.googleapis.com/job"
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


class Jobs:
    """The API's handlers; Executions does the work."""

    def __init__(self, context: Context, store: Store, executions: Executions) -> None:
        self._context = context
        self._store = store
        self._executions = executions

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
            Route("POST", f"{_V2}/jobs/{{name}}:run", self._run_v2, "run.projects.locations.jobs.run"),
            Route("GET", f"{_V2}/operations/{{name}}", self._operation, "run.projects.locations.operations.get"),
        ]

    def _project(self, request: Request) -> str:
        return self._store.project(request.params["namespace"])

    def _of_kind(self, kind: str, request: Request) -> list[Document]:
        return [each for _, each in self._store.all(kind, self._project(request))]

    def _need(self, kind: str, request: Request) -> Document:
        return self._store.need(kind, self._project(request), request.params["name"])

    async def _list(self, request: Request) -> Response:
        return Response.of_json(page("JobList", RUN, self._of_kind("job", request), request))

    async def _get(self, request: Request) -> Response:
        return Response.of_json(self._need("job", request))

    async def _create(self, request: Request) -> Response:
        body, project = schema.without_nulls(await request.json_object()), self._project(request)
        name = validation.job(body, None)
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
                "conditions": merge([], [Condition("Ready", TRUE)], now),
            },
        }
        return self._save(request, project, job)

    async def _replace(self, request: Request) -> Response:
        body = schema.without_nulls(await request.json_object())
        project, name = self._project(request), request.params["name"]
        old = self._store.need("job", project, name)
        validation.job(body, name)
        check_version(body["metadata"], old)
        given, metadata = body["metadata"], dict(old["metadata"])
        metadata["labels"] = {**(given.get("labels") or {}), LOCATION_LABEL: REGION}
        metadata["annotations"] = dict(given.get("annotations") or {})
        spec = _with_defaults(body["spec"])
        if spec == old["spec"] and metadata == old["metadata"]:
            return Response.of_json(old)
        metadata["generation"] += 1
        metadata["resourceVersion"] = new_version()
        status = {**old["status"], "observedGeneration": metadata["generation"]}
        return self._save(request, project, {**old, "metadata": metadata, "spec": spec, "status": status})

    def _save(self, request: Request, project: str, job: Document) -> Response:
        if request.query.get("dryRun") != "all":
            self._store.put("job", project, job["metadata"]["name"], job)
        return Response.of_json(job)

    async def _delete(self, request: Request) -> Response:
        project, name = self._project(request), request.params["name"]
        self._store.need("job", project, name)
        for execution in self._store.labelled("execution", project, JOB_LABEL, name):
            await self._remove_execution(project, execution["metadata"]["name"])
        self._store.delete("job", project, name)
        return _success(name)

    async def _run(self, request: Request) -> Response:
        body = schema.without_nulls(await request.json_object())
        project, name = self._project(request), request.params["name"]
        for key in body:
            if key != "overrides":
                raise ApiError(400, f'Invalid JSON payload received. Unknown name "{key}": Cannot find field.')
        return Response.of_json(self._start(project, name, body.get("overrides") or {}))

    def _start(self, project: str, name: str, overrides: Document) -> Document:
        job = self._store.need("job", project, name)
        validation.overrides(overrides, job["spec"]["template"]["spec"]["template"]["spec"]["containers"])
        now = self._context.now()
        metadata, number = job["metadata"], job["status"]["executionCount"] + 1
        execution_name = f"{name}-{''.join(secrets.choice(_LETTERS) for _ in range(5))}"
        template = job["spec"]["template"]
        given = template.get("metadata") or {}
        execution: Document = {
            "apiVersion": RUN,
            "kind": "Execution",
            "metadata": {
                "name": execution_name,
                "namespace": metadata["namespace"],
                "selfLink": f"/apis/{RUN}/namespaces/{metadata['namespace']}/executions/{execution_name}",
                "uid": str(uuid.uuid4()),
                "generation": 1,
                "resourceVersion": new_version(),
                "creationTimestamp": now,
                "labels": {
                    **(given.get("labels") or {}),
                    JOB_LABEL: name,
                    "run.googleapis.com/jobGeneration": str(metadata["generation"]),
                    LOCATION_LABEL: REGION,
                },
                "annotations": {**(given.get("annotations") or {}), "run.googleapis.com/creator": "local"},
                "ownerReferences": [{"apiVersion": RUN, "kind": "Job", "name": name, "uid": metadata["uid"]}],
            },
            "spec": _overridden(template["spec"], overrides),
            "status": {"observedGeneration": 1, "logUri": f"{self._context.url}/_local/status"},
        }
        execution["status"]["conditions"] = execution_conditions(execution, UNKNOWN, "Running", "", now)
        job["status"]["executionCount"] = number
        job["status"]["latestCreatedExecution"] = {"name": execution_name, "creationTimestamp": now}
        with self._context.db.transaction():
            self._store.put("execution", project, execution_name, execution)
            self._store.put("job", project, name, job)
        self._executions.start(project, execution, name)
        return execution

    async def _list_executions(self, request: Request) -> Response:
        newest_first = list(reversed(self._of_kind("execution", request)))
        return Response.of_json(page("ExecutionList", RUN, newest_first, request))

    async def _get_execution(self, request: Request) -> Response:
        return Response.of_json(self._need("execution", request))

    async def _cancel(self, request: Request) -> Response:
        execution = self._need("execution", request)
        if execution["status"].get("completionTime"):
            name = execution["metadata"]["name"]
            raise ApiError(400, f"Execution '{name}' is already completed.", status="FAILED_PRECONDITION")
        await self._executions.cancel(self._project(request), request.params["name"])
        return Response.of_json(self._need("execution", request))

    async def _delete_execution(self, request: Request) -> Response:
        self._need("execution", request)
        await self._remove_execution(self._project(request), request.params["name"])
        return _success(request.params["name"])

    async def _remove_execution(self, project: str, name: str) -> None:
        await self._executions.cancel(project, name)
        for task in self._store.labelled("task", project, EXECUTION_LABEL, name):
            self._store.delete("task", project, task["metadata"]["name"])
        self._store.delete("execution", project, name)

    async def _list_tasks(self, request: Request) -> Response:
        return Response.of_json(page("TaskList", RUN, self._of_kind("task", request), request))

    async def _get_task(self, request: Request) -> Response:
        return Response.of_json(self._need("task", request))

    async def _run_v2(self, request: Request) -> Response:
        body = schema.without_nulls(await request.json_object())
        project, name = self._project(request), request.params["name"]
        unknown = set(body) - {"overrides", "validateOnly", "etag"}
        if unknown:
            field = sorted(unknown)[0]
            raise ApiError(400, f'Invalid JSON payload received. Unknown name "{field}": Cannot find field.')
        overrides = body.get("overrides") or {}
        if isinstance(overrides, dict) and "timeout" in overrides:
            others = {key: item for key, item in overrides.items() if key != "timeout"}
            overrides = {**others, "timeoutSeconds": _seconds(overrides["timeout"])}
        if body.get("validateOnly"):
            self._store.need("job", project, name)
            return Response.of_json({"name": "", "done": True})
        execution = self._start(project, name, overrides)
        return Response.of_json(self._as_operation(project, execution))

    async def _operation(self, request: Request) -> Response:
        project, uid = self._project(request), request.params["name"]
        for execution in self._of_kind("execution", request):
            if execution["metadata"]["uid"] == uid:
                return Response.of_json(self._as_operation(project, execution))
        raise ApiError(404, f"Operation '{uid}' does not exist.")

    def _as_operation(self, project: str, execution: Document) -> Document:
        """A google.longrunning.Operation whose metadata is the v2 Execution."""
        status, metadata = execution["status"], execution["metadata"]
        base = f"projects/{project}/locations/{REGION}"
        job = metadata["labels"][JOB_LABEL]
        shown: dict[str, Any] = {
            "@type": "type.googleapis.com/google.cloud.run.v2.Execution",
            "name": f"{base}/jobs/{job}/executions/{metadata['name']}",
            "uid": metadata["uid"],
            "generation": "1",
            "createTime": metadata["creationTimestamp"],
            "job": job,
            "taskCount": int(execution["spec"].get("taskCount") or 1),
        }
        for old, new in (("startTime", "startTime"), ("completionTime", "completionTime")):
            if old in status:
                shown[new] = status[old]
        for key in ("runningCount", "succeededCount", "failedCount", "cancelledCount", "retriedCount"):
            if status.get(key):
                shown[key] = status[key]
        done = "completionTime" in status
        operation: Document = {"name": f"{base}/operations/{metadata['uid']}", "metadata": shown, "done": done}
        if done and status_of(execution, "Completed") == TRUE:
            operation["response"] = shown
        elif done:
            operation["error"] = {"code": 2, "message": status["conditions"][0].get("message", "The execution failed.")}
        return operation


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


def _seconds(duration: str) -> int:
    number = str(duration).removesuffix("s")
    if not number.isdigit():
        raise ApiError(
            400, f"Invalid value at 'overrides.timeout' (type.googleapis.com/google.protobuf.Duration), {duration!r}"
        )
    return int(number)


def _success(name: str) -> Response:
    return Response.of_json({"status": "Success", "details": {"name": name}})
