"""The panels of Cloud Run as values: services, instances, jobs and their executions."""

from __future__ import annotations

from typing import Any

from scripts.localcloud.console.gate import Gate
from scripts.localcloud.console.values import between, moment, pairs, variable
from scripts.localcloud.run.room import RunRoom

Document = dict[str, Any]
_EXECUTIONS = 8
_REVISIONS = 12
_SERVICE_LABEL = "serving.knative.dev/service"
_JOB_LABEL = "run.googleapis.com/job"


def services(run: RunRoom, now: float) -> dict[str, Any]:
    """{services: [{name, project, url, ready, traffic, revisions, limits, env, labels, …}]}."""
    revisions = run.documents("revision")
    return {"services": [_service(project, each, revisions, now) for project, each in run.documents("service")]}


def _service(project: str, service: Document, revisions: list[tuple[str, Document]], now: float) -> dict[str, Any]:
    metadata, status = service["metadata"], service.get("status") or {}
    template = service["spec"]["template"]
    pod = template.get("spec") or {}
    container = (pod.get("containers") or [{}])[0]
    annotations = {**(metadata.get("annotations") or {}), **((template.get("metadata") or {}).get("annotations") or {})}
    own = [
        _revision(each, now)
        for owner, each in reversed(revisions)
        if owner == project and (each["metadata"].get("labels") or {}).get(_SERVICE_LABEL) == metadata["name"]
    ]
    return {
        "name": metadata["name"],
        "project": project,
        "url": str(status.get("url") or ""),
        "ready": condition(service, "Ready"),
        "revision": str(status.get("latestReadyRevisionName") or ""),
        "created_revision": str(status.get("latestCreatedRevisionName") or ""),
        "model_version": str(annotations.get("modelshelf.dev/model-version") or ""),
        "traffic": [_target(each) for each in status.get("traffic") or ()],
        "revisions": own[:_REVISIONS],
        "image": str(container.get("image") or ""),
        "limits": pairs((container.get("resources") or {}).get("limits")),
        "concurrency": pod.get("containerConcurrency"),
        "min_scale": str(annotations.get("autoscaling.knative.dev/minScale") or "0"),
        "max_scale": str(annotations.get("autoscaling.knative.dev/maxScale") or "100"),
        "env": [variable(each) for each in container.get("env") or ()],
        "labels": pairs(metadata.get("labels")),
    }


def _target(target: Document) -> dict[str, Any]:
    return {
        "revision": str(target.get("revisionName") or ""),
        "percent": int(target.get("percent") or 0),
        "tag": str(target.get("tag") or ""),
        "url": str(target.get("url") or ""),
    }


def _revision(revision: Document, now: float) -> dict[str, Any]:
    created = moment(revision["metadata"].get("creationTimestamp"))
    return {
        "name": revision["metadata"]["name"],
        "ready": condition(revision, "Ready"),
        "created_at": revision["metadata"].get("creationTimestamp"),
        "age_s": None if created is None else now - created,
    }


def condition(document: Document, kind: str) -> dict[str, str]:
    """{status: True|False|Unknown, reason, message} of one condition."""
    for each in (document.get("status") or {}).get("conditions") or ():
        if each.get("type") == kind:
            return {key: str(each.get(key) or "") for key in ("status", "reason", "message")}
    return {"status": "Unknown", "reason": "", "message": ""}


async def instances(run: RunRoom, gate: Gate, now: float) -> dict[str, Any]:
    """{instances: [{id, service, revision, state, hit, version, age_s, mount_mode, restarts, …}]}, oldest first."""
    found = [_instance(await gate.add_to(each, now), now) for each in run.status().get("instances") or ()]
    return {"instances": sorted(found, key=lambda each: str(each["started_at"]))}


def _instance(given: dict[str, Any], now: float) -> dict[str, Any]:
    began = moment(given.get("started_at"))
    texts = ("id", "project", "service", "revision", "state", "problem", "mount_mode", "started_at")
    return {
        **{key: str(given.get(key) or "") for key in texts},
        **{key: int(given.get(key) or 0) for key in ("restarts", "in_flight", "pid")},
        **{key: given[key] for key in ("hit", "reason", "version", "source")},
        "age_s": None if began is None else now - began,
    }


def jobs(run: RunRoom, now: float) -> dict[str, Any]:
    """{jobs: [{name, project, image, executions_total, executions: newest first}]}."""
    executions = run.documents("execution")
    return {"jobs": [_job(project, each, executions, now) for project, each in run.documents("job")]}


def _job(project: str, job: Document, executions: list[tuple[str, Document]], now: float) -> dict[str, Any]:
    name = job["metadata"]["name"]
    own = [
        _execution(each, now)
        for owner, each in reversed(executions)
        if owner == project and (each["metadata"].get("labels") or {}).get(_JOB_LABEL) == name
    ]
    task = job["spec"]["template"]["spec"]["template"]["spec"]
    container = (task.get("containers") or [{}])[0]
    return {
        "name": name,
        "project": project,
        "image": str(container.get("image") or ""),
        "env": [variable(each) for each in container.get("env") or ()],
        "executions_total": int((job.get("status") or {}).get("executionCount") or len(own)),
        "executions": own[:_EXECUTIONS],
    }


def _execution(execution: Document, now: float) -> dict[str, Any]:
    status = execution.get("status") or {}
    began = status.get("startTime") or execution["metadata"].get("creationTimestamp")
    ended = status.get("completionTime")
    start = moment(began)
    running_s = None if start is None else now - start
    return {
        "name": execution["metadata"]["name"],
        "state": _state(execution),
        "message": condition(execution, "Completed")["message"],
        "started_at": began,
        "age_s": running_s,
        "duration_s": between(began, ended) if ended else running_s,
        "tasks": int(execution["spec"].get("taskCount") or 1),
        "succeeded": int(status.get("succeededCount") or 0),
        "failed": int(status.get("failedCount") or 0),
        "retried": int(status.get("retriedCount") or 0),
    }


def _state(execution: Document) -> str:
    completed = condition(execution, "Completed")
    if completed["status"] == "True":
        return "succeeded"
    if completed["status"] == "False":
        cancelled = (execution.get("status") or {}).get("cancelledCount") or completed["reason"] == "Cancelled"
        return "cancelled" if cancelled else "failed"
    return "running"
