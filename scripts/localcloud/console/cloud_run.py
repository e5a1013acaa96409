"""The panels of Cloud Run as values: services, instances, jobs and their executions."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from scripts.localcloud.console.values import between, moment, pairs, variable

Document = dict[str, Any]
_EXECUTIONS = 8
_REVISIONS = 12
_DOCUMENTS = "SELECT project, document FROM run_objects WHERE kind = ? ORDER BY sequence"
# The newest of each service or job. What is shown of them is picked out by SQLite, beside Python's lock.
_NEWEST = """
WITH own AS (
    SELECT project, sequence, document, json_extract(document, ?) AS owner FROM run_objects WHERE kind = ?
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY project, owner ORDER BY sequence DESC) AS place,
        count(*) OVER (PARTITION BY project, owner) AS total
    FROM own
)
SELECT project, owner, total, json_extract(document, '$.metadata.name') AS name,
    json_extract(document, '$.metadata.creationTimestamp') AS created,
    json_extract(document, '$.spec.taskCount') AS tasks, json_extract(document, '$.status') AS status
FROM ranked WHERE place <= ? ORDER BY project, owner, place
"""
_RUNNING = """
SELECT count(*) FROM run_objects WHERE kind = 'execution' AND json_extract(document, '$.status.completionTime') IS NULL
"""
_SERVICE_LABEL = '$.metadata.labels."serving.knative.dev/service"'
_JOB_LABEL = '$.metadata.labels."run.googleapis.com/job"'
Owned = dict[tuple[str, str], list[sqlite3.Row]]


def services(db: sqlite3.Connection, now: float) -> dict[str, Any]:
    """{services: [{name, project, url, ready, traffic, revisions, limits, env, labels, …}]}."""
    revisions = _newest(db, "revision", _SERVICE_LABEL, _REVISIONS)
    return {"services": [_service(project, each, revisions, now) for project, each in _documents(db, "service")]}


def _documents(db: sqlite3.Connection, kind: str) -> list[tuple[str, Document]]:
    return [(row["project"], json.loads(row["document"])) for row in db.execute(_DOCUMENTS, (kind,))]


def _newest(db: sqlite3.Connection, kind: str, label: str, most: int) -> Owned:
    found: Owned = defaultdict(list)
    for row in db.execute(_NEWEST, (label, kind, most)):
        found[row["project"], row["owner"]].append(row)
    return found


def _service(project: str, service: Document, revisions: Owned, now: float) -> dict[str, Any]:
    metadata, status = service["metadata"], service.get("status") or {}
    template = service["spec"]["template"]
    pod = template.get("spec") or {}
    container = (pod.get("containers") or [{}])[0]
    annotations = {**(metadata.get("annotations") or {}), **((template.get("metadata") or {}).get("annotations") or {})}
    own = revisions.get((project, metadata["name"]), [])
    return {
        "name": metadata["name"],
        "project": project,
        "url": str(status.get("url") or ""),
        "ready": condition(status, "Ready"),
        "revision": str(status.get("latestReadyRevisionName") or ""),
        "created_revision": str(status.get("latestCreatedRevisionName") or ""),
        "model_version": str(annotations.get("modelshelf.dev/model-version") or ""),
        "traffic": [_target(each) for each in status.get("traffic") or ()],
        "revisions_total": own[0]["total"] if own else 0,
        "revisions": [_revision(each, now) for each in own],
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


def _revision(row: sqlite3.Row, now: float) -> dict[str, Any]:
    created = moment(row["created"])
    return {
        "name": row["name"],
        "ready": condition(json.loads(row["status"] or "{}"), "Ready"),
        "created_at": row["created"],
        "age_s": None if created is None else now - created,
    }


def condition(status: Document, kind: str) -> dict[str, str]:
    """{status: True|False|Unknown, reason, message} of one condition of a document's status."""
    for each in status.get("conditions") or ():
        if each.get("type") == kind:
            return {key: str(each.get(key) or "") for key in ("status", "reason", "message")}
    return {"status": "Unknown", "reason": "", "message": ""}


def instances(given: Sequence[dict[str, Any]], now: float) -> dict[str, Any]:
    """{instances: [{id, service, revision, state, hit, version, cold_start_ms, mount_mode, …}]}, oldest first."""
    return {"instances": sorted((_instance(each, now) for each in given), key=lambda each: str(each["started_at"]))}


def _instance(given: dict[str, Any], now: float) -> dict[str, Any]:
    began = moment(given.get("started_at"))
    texts = ("id", "project", "service", "revision", "state", "problem", "mount_mode", "started_at", "started_for")
    return {
        **{key: str(given.get(key) or "") for key in texts},
        **{key: int(given.get(key) or 0) for key in ("restarts", "in_flight", "pid")},
        "cold_start_ms": given.get("cold_start_ms"),
        **{key: given[key] for key in ("hit", "reason", "version", "source")},
        "age_s": None if began is None else now - began,
    }


def jobs(db: sqlite3.Connection, now: float) -> dict[str, Any]:
    """{running: executions, jobs: [{name, project, image, executions_total, executions: newest first}]}."""
    executions = _newest(db, "execution", _JOB_LABEL, _EXECUTIONS)
    running = db.execute(_RUNNING).fetchone()[0]
    return {
        "running": running,
        "jobs": [_job(project, each, executions, now) for project, each in _documents(db, "job")],
    }


def _job(project: str, job: Document, executions: Owned, now: float) -> dict[str, Any]:
    name = job["metadata"]["name"]
    own = executions.get((project, name), [])
    task = job["spec"]["template"]["spec"]["template"]["spec"]
    container = (task.get("containers") or [{}])[0]
    kept = own[0]["total"] if own else 0
    return {
        "name": name,
        "project": project,
        "image": str(container.get("image") or ""),
        "env": [variable(each) for each in container.get("env") or ()],
        "executions_total": int((job.get("status") or {}).get("executionCount") or kept),
        "executions": [_execution(each, now) for each in own],
    }


def _execution(row: sqlite3.Row, now: float) -> dict[str, Any]:
    status = json.loads(row["status"] or "{}")
    began, ended = status.get("startTime") or row["created"], status.get("completionTime")
    start = moment(began)
    running_s = None if start is None else now - start
    return {
        "name": row["name"],
        "state": _state(status),
        "message": condition(status, "Completed")["message"],
        "started_at": began,
        "ended_at": ended,
        "age_s": running_s,
        "duration_s": between(began, ended) if ended else running_s,
        "tasks": int(row["tasks"] or 1),
        **{key: int(status.get(f"{key}Count") or 0) for key in ("succeeded", "failed", "retried", "running")},
    }


def _state(status: Document) -> str:
    completed = condition(status, "Completed")
    if completed["status"] == "True":
        return "succeeded"
    if completed["status"] == "False":
        return "cancelled" if status.get("cancelledCount") or completed["reason"] == "Cancelled" else "failed"
    return "running"
