"""Cloud Run v2: reads of services, revisions, jobs, executions and tasks, `jobs…:run`, cancel, and operations.

What v2 would create or change is written through v1; the documents are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from scripts.localcloud import schema
from scripts.localcloud.context import REGION
from scripts.localcloud.run import selectors, v2_views
from scripts.localcloud.run.conditions import TRUE, status_of
from scripts.localcloud.run.documents import SERVICE_LABEL
from scripts.localcloud.run.executions import EXECUTION_LABEL
from scripts.localcloud.run.jobs import JOB_LABEL, Jobs
from scripts.localcloud.run.store import Document, Store
from scripts.localcloud.web import ApiError, Request, Response, Route

_PLACE = "/v2/projects/{namespace}/locations/{location}"
_SERVICE = f"{_PLACE}/services/{{service}}"
_EXECUTIONS = f"{_PLACE}/jobs/{{job}}/executions"
_TASKS = f"{_EXECUTIONS}/{{execution}}/tasks"
_IDS = "run.projects.locations"
_CANCEL = "-cancel"
_LONGEST_WAIT_S = 30.0
_PAGE = 100

View = Callable[[str, Document], Document]


class V2:
    """The handlers of the second API."""

    def __init__(self, store: Store, jobs: Jobs) -> None:
        self._store = store
        self._jobs = jobs

    def routes(self) -> list[Route]:
        """Routes of this API but those of policies, which regions.py has."""
        cancel = f"{_IDS}.jobs.executions.cancel"
        return [
            Route("GET", f"{_PLACE}/services", self._services, f"{_IDS}.services.list"),
            Route("GET", _SERVICE, self._service, f"{_IDS}.services.get"),
            Route("GET", f"{_SERVICE}/revisions", self._revisions, f"{_IDS}.services.revisions.list"),
            Route("GET", f"{_SERVICE}/revisions/{{name}}", self._revision, f"{_IDS}.services.revisions.get"),
            Route("GET", f"{_PLACE}/jobs", self._list_jobs, f"{_IDS}.jobs.list"),
            Route("GET", f"{_PLACE}/jobs/{{job}}", self._job, f"{_IDS}.jobs.get"),
            Route("POST", f"{_PLACE}/jobs/{{job}}:run", self._run, f"{_IDS}.jobs.run"),
            Route("GET", _EXECUTIONS, self._executions, f"{_IDS}.jobs.executions.list"),
            Route("GET", f"{_EXECUTIONS}/{{execution}}", self._execution, f"{_IDS}.jobs.executions.get"),
            Route("POST", f"{_EXECUTIONS}/{{execution}}:cancel", self._cancel, cancel),
            Route("GET", _TASKS, self._tasks, f"{_IDS}.jobs.executions.tasks.list"),
            Route("GET", f"{_TASKS}/{{name}}", self._task, f"{_IDS}.jobs.executions.tasks.get"),
            Route("GET", f"{_PLACE}/operations", self._operations, f"{_IDS}.operations.list"),
            Route("GET", f"{_PLACE}/operations/{{name}}", self._operation, f"{_IDS}.operations.get"),
            Route("POST", f"{_PLACE}/operations/{{name}}:wait", self._wait, f"{_IDS}.operations.wait"),
        ]

    def _project(self, request: Request) -> str:
        return self._store.project(request.params["namespace"])

    def _need(self, request: Request, kind: str, key: str) -> Document:
        """A document by the name in the path. Raises ApiError 404, for another region too."""
        name = request.params[key]
        if request.params["location"] != REGION:
            where = f"in region '{request.params['location']}' in project '{self._project(request)}'"
            raise ApiError(404, f"Resource '{name}' of kind '{kind.upper()}' {where} does not exist.")
        return self._store.need(kind, self._project(request), name)

    def _page(self, request: Request, key: str, found: Iterable[Document], view: View) -> Response:
        size, project = request.query.get("pageSize", "0"), self._project(request)
        if not (size.isascii() and size.isdigit()):
            raise ApiError(400, f"Invalid value at 'page_size' (TYPE_INT32), \"{size[:40]}\"")
        shown = list(found) if request.params["location"] in (REGION, "-") else []
        token = request.query.get("pageToken", "")
        window, following = selectors.cut(shown, token, int(size) or _PAGE, lambda each: each["metadata"]["name"])
        answer: Document = {key: [view(project, each) for each in window]} if window else {}
        return Response.of_json(answer | ({"nextPageToken": following} if following else {}))

    def _all(self, request: Request, kind: str) -> list[Document]:
        return [each for _, each in self._store.all(kind, self._project(request))]

    def _labelled(self, request: Request, kind: str, label: str, value: str) -> list[Document]:
        """Those of one owner, the newest first; of all owners when it is `-`."""
        if value == "-":
            return list(reversed(self._all(request, kind)))
        return list(reversed(self._store.labelled(kind, self._project(request), label, value)))

    async def _services(self, request: Request) -> Response:
        return self._page(request, "services", self._all(request, "service"), v2_views.service)

    async def _service(self, request: Request) -> Response:
        found = self._need(request, "service", "service")
        return Response.of_json(v2_views.service(self._project(request), found))

    async def _revisions(self, request: Request) -> Response:
        if request.params["service"] != "-":
            self._need(request, "service", "service")
        found = self._labelled(request, "revision", SERVICE_LABEL, request.params["service"])
        return self._page(request, "revisions", found, v2_views.revision)

    async def _revision(self, request: Request) -> Response:
        found = self._owned(request, "revision", "name", {SERVICE_LABEL: request.params["service"]})
        return Response.of_json(v2_views.revision(self._project(request), found))

    async def _list_jobs(self, request: Request) -> Response:
        return self._page(request, "jobs", self._all(request, "job"), v2_views.job)

    async def _job(self, request: Request) -> Response:
        return Response.of_json(v2_views.job(self._project(request), self._need(request, "job", "job")))

    async def _executions(self, request: Request) -> Response:
        if request.params["job"] != "-":
            self._need(request, "job", "job")
        found = self._labelled(request, "execution", JOB_LABEL, request.params["job"])
        return self._page(request, "executions", found, v2_views.execution)

    def _of_job(self, request: Request) -> Document:
        job = request.params["job"]
        return self._owned(request, "execution", "execution", {JOB_LABEL: job} if job != "-" else {})

    def _owned(self, request: Request, kind: str, key: str, labels: dict[str, str]) -> Document:
        found = self._need(request, kind, key)
        if any(found["metadata"]["labels"].get(label) != value for label, value in labels.items()):
            raise ApiError(404, f"Resource '{request.params[key]}' of kind '{kind.upper()}' does not exist there.")
        return found

    async def _execution(self, request: Request) -> Response:
        return Response.of_json(v2_views.execution(self._project(request), self._of_job(request)))

    async def _tasks(self, request: Request) -> Response:
        job, execution = request.params["job"], request.params["execution"]
        if execution != "-":
            self._of_job(request)
        elif job != "-":
            self._need(request, "job", "job")
        labelled = self._labelled(request, "task", EXECUTION_LABEL, execution)
        if job != "-":
            labelled = [each for each in labelled if each["metadata"]["labels"].get(JOB_LABEL) == job]
        return self._page(request, "tasks", sorted(labelled, key=lambda each: each["status"]["index"]), v2_views.task)

    async def _task(self, request: Request) -> Response:
        self._of_job(request)
        found = self._owned(request, "task", "name", {EXECUTION_LABEL: request.params["execution"]})
        return Response.of_json(v2_views.task(self._project(request), found))

    async def _run(self, request: Request) -> Response:
        body = schema.without_nulls(await request.json_object())
        schema.check("run.v2", "GoogleCloudRunV2RunJobRequest", body, "run_job_request")
        job = self._need(request, "job", "job")
        _check_etag(body, job)
        overrides = body.get("overrides") or {}
        if "timeout" in overrides:
            others = {key: item for key, item in overrides.items() if key != "timeout"}
            overrides = {**others, "timeoutSeconds": _seconds(overrides["timeout"])}
        project = self._project(request)
        validate = bool(body.get("validateOnly"))
        execution = self._jobs.start(project, request.params["job"], overrides, dry_run=validate)
        if validate:
            shown = _typed(v2_views.execution(project, execution))
            return Response.of_json({"name": "", "metadata": shown, "done": True, "response": shown})
        return Response.of_json(_as_operation(project, execution))

    async def _cancel(self, request: Request) -> Response:
        body = schema.without_nulls(await request.json_object())
        schema.check("run.v2", "GoogleCloudRunV2CancelExecutionRequest", body, "cancel_execution_request")
        _check_etag(body, self._of_job(request))
        project, name = self._project(request), request.params["execution"]
        if not body.get("validateOnly"):
            await self._jobs.cancel(project, name)
        return Response.of_json(_as_operation(project, self._of_job(request), cancelled=True))

    async def _operations(self, request: Request) -> Response:
        found = list(reversed(self._all(request, "execution")))
        return self._page(request, "operations", found, _as_operation)

    def _found(self, request: Request) -> Document:
        name = request.params["name"]
        for execution in self._all(request, "execution"):
            if execution["metadata"]["uid"] == name.removesuffix(_CANCEL):
                return _as_operation(self._project(request), execution, cancelled=name.endswith(_CANCEL))
        raise ApiError(404, f"Operation '{name}' does not exist.")

    async def _operation(self, request: Request) -> Response:
        return Response.of_json(self._found(request))

    async def _wait(self, request: Request) -> Response:
        """Answers when the operation is done, or after the time-out as it is then."""
        body = schema.without_nulls(await request.json_object())
        schema.check("run.v2", "GoogleLongrunningWaitOperationRequest", body, "wait_operation_request")
        limit_s = min(_LONGEST_WAIT_S, _seconds(body["timeout"]) if "timeout" in body else _LONGEST_WAIT_S)
        name = self._found(request)["metadata"]["name"].rpartition("/")[2]
        await self._jobs.wait(self._project(request), name, limit_s)
        return Response.of_json(self._found(request))


def _as_operation(project: str, execution: Document, cancelled: bool = False) -> Document:
    """A google.longrunning.Operation about an execution: that it runs to its end, or that it is cancelled."""
    status, uid = execution["status"], execution["metadata"]["uid"]
    shown = _typed(v2_views.execution(project, execution))
    done = "completionTime" in status
    name = f"{v2_views.parent(project)}/operations/{uid}{_CANCEL if cancelled else ''}"
    operation: dict[str, Any] = {"name": name, "metadata": shown, "done": done}
    if done and (cancelled or status_of(execution, "Completed") == TRUE):
        operation["response"] = shown
    elif done:
        operation["error"] = {"code": 2, "message": status["conditions"][0].get("message", "The execution failed.")}
    return operation


def _typed(execution: Document) -> Document:
    return {"@type": "type.googleapis.com/google.cloud.run.v2.Execution", **execution}


def _check_etag(body: Document, document: Document) -> None:
    current = f'"{document["metadata"]["resourceVersion"]}"'
    if body.get("etag") and body["etag"] != current:
        name = document["metadata"]["name"]
        text = f"Conflict for resource '{name}': etag '{body['etag']}' was specified but current etag is '{current}'."
        raise ApiError(409, text, status="ABORTED")


def _seconds(duration: Any) -> int:
    number = str(duration).removesuffix("s")
    if not (number.isascii() and number.isdigit() and str(duration).endswith("s")):
        kind = "type.googleapis.com/google.protobuf.Duration"
        raise ApiError(400, f"Invalid value at 'overrides.timeout' ({kind}), \"{str(duration)[:40]}\"")
    return int(number)
