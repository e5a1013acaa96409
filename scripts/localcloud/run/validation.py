"""What Cloud Run refuses at once (400) in a service, a job and their overrides, with the field's path first."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from scripts.localcloud import schema
from scripts.localcloud.run import limits, pods
from scripts.localcloud.run.limits import number, refuse

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?", re.ASCII)
_TAG = re.compile(r"[a-z]([-a-z0-9]{0,44}[a-z0-9])?", re.ASCII)
_LABEL_KEY = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", re.ASCII)
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?", re.ASCII)
_GENERATION = "run.googleapis.com/execution-environment"
_INGRESS = "run.googleapis.com/ingress"
_INGRESSES = ("all", "internal", "internal-and-cloud-load-balancing")
_SYSTEM = ("run.googleapis.com/", "serving.knative.dev/", "cloud.googleapis.com/")
LONGEST_TASK_S = 168 * 3600


def service(body: dict[str, Any], name: str | None) -> str:
    """Check a Service body; its name. name is the one in the URL (None on create). Raises ApiError 400."""
    schema.check("run.v1", "Service", body, "service")
    found = _header(body, "Service", "serving.knative.dev/v1", name, 49)
    _one_of((body["metadata"].get("annotations") or {}).get(_INGRESS), _INGRESSES, f"metadata.annotations[{_INGRESS}]")
    spec = _object(body.get("spec"), "spec")
    template = _object(spec.get("template"), "spec.template")
    metadata = template.get("metadata") or {}
    revision = metadata.get("name") or ""
    if revision:
        if not revision.startswith(f"{found}-"):
            refuse("spec.template.metadata.name", f"Revision name must be prefixed by the service name: '{found}-'.")
        _check_name(revision, "spec.template.metadata.name", 63)
    _labels(metadata, "spec.template.metadata")
    annotations = metadata.get("annotations") or {}
    limits.scaling(annotations, "spec.template.metadata")
    _pod(_object(template.get("spec"), "spec.template.spec"), _generation(annotations))
    traffic(spec.get("traffic") or [])
    return found


def _pod(pod: dict[str, Any], generation: str) -> None:
    place = "spec.template.spec"
    number(pod, "containerConcurrency", place, 0, 1000)
    number(pod, "timeoutSeconds", place, 1, 3600)
    pods.containers(pod, place, pods.RESERVED)
    pods.ingress(pod["containers"], place)
    declared = int(pod.get("containerConcurrency") or 0)
    limits.resources(pod["containers"], place, generation, declared)
    if generation == "gen1" and any("csi" in each for each in pod.get("volumes") or ()):
        refuse(f"{place}.volumes", "Cloud Storage volumes are not supported with gen1 execution environment.")


def job(body: dict[str, Any], name: str | None) -> str:
    """Check a Job body; its name. Raises ApiError 400."""
    schema.check("run.v1", "Job", body, "job")
    found = _header(body, "Job", "run.googleapis.com/v1", name, 63)
    template = _object(_object(body.get("spec"), "spec").get("template"), "spec.template")
    _labels(template.get("metadata") or {}, "spec.template.metadata")
    execution = _object(template.get("spec"), "spec.template.spec")
    number(execution, "taskCount", "spec.template.spec", 1, 10_000)
    number(execution, "parallelism", "spec.template.spec", 0, 10_000)
    place = "spec.template.spec.template.spec"
    task = _object(_object(execution.get("template"), "spec.template.spec.template").get("spec"), place)
    number(task, "maxRetries", place, 0, 10)
    number(task, "timeoutSeconds", place, 1, LONGEST_TASK_S)
    pods.containers(task, place, pods.RESERVED_JOB)
    for index, each in enumerate(task["containers"]):
        for key in ("ports", "livenessProbe", "readinessProbe"):
            if each.get(key):
                refuse(f"{place}.containers[{index}].{key}", "not supported for jobs.")
    limits.resources(task["containers"], place, "gen2")
    return found


def overrides(given: Any, containers: Sequence[Mapping[str, Any]]) -> None:
    """Check the overrides of one run of a job with these containers. Raises ApiError 400."""
    schema.check("run.v1", "Overrides", given, "overrides")
    number(given, "taskCount", "overrides", 1, 10_000)
    number(given, "timeoutSeconds", "overrides", 1, LONGEST_TASK_S)
    known = {each.get("name") or "" for each in containers}
    for index, container in enumerate(given.get("containerOverrides") or ()):
        place = f"overrides.container_overrides[{index}]"
        name = container.get("name") or ""
        if name not in known and (name or len(containers) > 1):
            refuse(f"{place}.name", f"no container of the job is named '{name}'.")
        if container.get("clearArgs") and container.get("args"):
            refuse(f"{place}.args", "must be empty if clear_args is set to true.")
        pods.environment(container.get("env") or [], f"{place}.env", pods.RESERVED_JOB)


def traffic(lines: Sequence[Mapping[str, Any]]) -> None:
    """Percents that sum to 100, one way to name a revision, tags once. Raises ApiError 400."""
    if not lines:
        return
    tags: set[str] = set()
    for index, line in enumerate(lines):
        place = f"spec.traffic[{index}]"
        named = bool(line.get("revisionName"))
        if named == bool(line.get("latestRevision", not named)):  # a line that names no revision follows the latest
            refuse(place, "exactly one of revision_name or latest_revision=true must be set.")
        for key in ("configurationName", "url"):
            if line.get(key):
                refuse(f"{place}.{key}", "must be empty.")
        percent = int(line.get("percent") or 0)
        if not 0 <= percent <= 100:
            refuse(f"{place}.percent", f"expected 0 <= {percent} <= 100.")
        tag = line.get("tag") or ""
        if tag and _TAG.fullmatch(tag) is None:
            refuse(f"{place}.tag", f"'{tag}' must be of lower case letters, digits and hyphens, at most 46.")
        if tag in tags:
            refuse(f"{place}.tag", f"duplicate traffic tag '{tag}': must be unique.")
        tags |= {tag} if tag else set()
    total = sum(int(line.get("percent") or 0) for line in lines)
    if total != 100:
        refuse("spec.traffic", f"Traffic percentages must sum to 100, but they sum to {total}.")


def _generation(annotations: Mapping[str, str]) -> str:
    found = annotations.get(_GENERATION) or ""
    _one_of(found or None, ("gen1", "gen2"), f"spec.template.metadata.annotations[{_GENERATION}]")
    return found


def _header(body: dict[str, Any], kind: str, api: str, name: str | None, longest: int) -> str:
    for key, expected in (("apiVersion", api), ("kind", kind)):
        if body.get(key) != expected:
            refuse(key, f"expected '{expected}', found {body.get(key)!r}.")
    metadata = _object(body.get("metadata"), "metadata")
    found = metadata.get("name") or ""
    if name is not None and found != name:
        refuse("metadata.name", f"expected '{name}' as in the URL, found {found!r}.")
    _check_name(found, "metadata.name", longest)
    _labels(metadata, "metadata")
    return str(found)


def _labels(metadata: Mapping[str, Any], place: str) -> None:
    for key, value in (metadata.get("labels") or {}).items():
        if key.startswith(_SYSTEM):
            continue  # Google's own, which clients send back as they got them
        if _LABEL_KEY.fullmatch(key) is None:
            refuse(f"{place}.labels", f"'{key}' is no key of a label: letters, digits, '-', '_', '.', at most 63.")
        if _LABEL_VALUE.fullmatch(value or "") is None:
            refuse(f"{place}.labels[{key}]", f"{value!r} must be of letters, digits, '-', '_', '.', at most 63.")


def _check_name(name: str, place: str, longest: int) -> None:
    if _NAME.fullmatch(name) is None or len(name) > longest:
        refuse(
            place,
            f"'{name}' must use only lowercase alphanumeric characters and dashes, begin with a letter, not end with"
            f" a dash, and be at most {longest} characters long.",
        )


def _one_of(value: str | None, known: Sequence[str], place: str) -> None:
    if value is not None and value not in known:
        refuse(place, f"expected one of {', '.join(known)}, found {value!r}.")


def _object(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        refuse(place, "Required field is empty.")
    return value
