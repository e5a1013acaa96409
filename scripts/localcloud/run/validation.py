"""What Cloud Run refuses at once (400) in a service, a job and their containers, with the field's path first."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from scripts.localcloud import schema
from scripts.localcloud.run import images
from scripts.localcloud.web import ApiError

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_ENV_NAME = re.compile(r"[^=\0\s]+")
_TAG = re.compile(r"[a-z]([-a-z0-9]{0,44}[a-z0-9])?")
_RESERVED = {"PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION"}
_RESERVED_JOB = {"CLOUD_RUN_JOB", "CLOUD_RUN_EXECUTION", "CLOUD_RUN_TASK_INDEX", "CLOUD_RUN_TASK_ATTEMPT"}
_RESERVED_JOB |= {"CLOUD_RUN_TASK_COUNT"}
_QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|M|G|Ki|Mi|Gi)?")


def service(body: dict[str, Any], name: str | None) -> str:
    """Check a Service body; its name. name is the one in the URL (None on create). Raises ApiError 400."""
    schema.check("run.v1", "Service", body, "service")
    found = _header(body, "Service", "serving.knative.dev/v1", name, 49)
    spec = _object(body.get("spec"), "spec")
    template = _object(spec.get("template"), "spec.template")
    revision = (template.get("metadata") or {}).get("name") or ""
    if revision:
        if not revision.startswith(f"{found}-"):
            _refuse("spec.template.metadata.name", f"Revision name must be prefixed by the service name: '{found}-'.")
        _check_name(revision, "spec.template.metadata.name", 63)
    _scaling((template.get("metadata") or {}).get("annotations") or {})
    pod = _object(template.get("spec"), "spec.template.spec")
    _number(pod, "containerConcurrency", "spec.template.spec", 0, 1000)
    _number(pod, "timeoutSeconds", "spec.template.spec", 1, 3600)
    containers(pod, "spec.template.spec", _RESERVED)
    traffic(spec.get("traffic") or [])
    return found


def job(body: dict[str, Any], name: str | None) -> str:
    """Check a Job body; its name. Raises ApiError 400."""
    schema.check("run.v1", "Job", body, "job")
    found = _header(body, "Job", "run.googleapis.com/v1", name, 63)
    template = _object(_object(body.get("spec"), "spec").get("template"), "spec.template")
    execution = _object(template.get("spec"), "spec.template.spec")
    _number(execution, "taskCount", "spec.template.spec", 1, 10_000)
    _number(execution, "parallelism", "spec.template.spec", 0, 10_000)
    place = "spec.template.spec.template.spec"
    task = _object(_object(execution.get("template"), "spec.template.spec.template").get("spec"), place)
    _number(task, "maxRetries", place, 0, 10)
    _number(task, "timeoutSeconds", place, 1, 604_800)
    containers(task, place, _RESERVED_JOB)
    for each in task["containers"]:
        for key in ("ports", "livenessProbe"):
            if each.get(key):
                _refuse(f"{place}.containers[0].{key}", "not supported for jobs.")
    return found


def overrides(given: Any) -> None:
    """Check the overrides of one run of a job. Raises ApiError 400."""
    schema.check("run.v1", "Overrides", given, "overrides")
    _number(given, "taskCount", "overrides", 1, 10_000)
    _number(given, "timeoutSeconds", "overrides", 1, 604_800)
    for index, container in enumerate(given.get("containerOverrides") or ()):
        _environment(container.get("env") or [], f"overrides.container_overrides[{index}].env", _RESERVED_JOB)


def traffic(lines: Sequence[Mapping[str, Any]]) -> None:
    """Percents that sum to 100, one way to name a revision, tags once. Raises ApiError 400."""
    if not lines:
        return
    tags: set[str] = set()
    for index, line in enumerate(lines):
        place = f"spec.traffic[{index}]"
        named, latest = bool(line.get("revisionName")), bool(line.get("latestRevision"))
        if named == latest:
            _refuse(place, "exactly one of revision_name or latest_revision=true must be set.")
        percent = int(line.get("percent") or 0)
        if not 0 <= percent <= 100:
            _refuse(f"{place}.percent", f"expected 0 <= {percent} <= 100.")
        tag = line.get("tag") or ""
        if tag and (_TAG.fullmatch(tag) is None or tag in tags):
            _refuse(f"{place}.tag", f"'{tag}' must be unique, lower case letters, digits and hyphens, at most 46.")
        tags |= {tag} if tag else set()
    total = sum(int(line.get("percent") or 0) for line in lines)
    if total != 100:
        _refuse("spec.traffic", f"Traffic percentages must sum to 100, but they sum to {total}.")


def containers(pod: dict[str, Any], place: str, reserved: set[str]) -> None:
    """Containers, their environment, probes, resources, volumes and mounts. Raises ApiError 400."""
    found = pod.get("containers")
    if not isinstance(found, list) or not found:
        _refuse(f"{place}.containers", "Required field is empty: at least one container.")
    volumes = _volumes(pod.get("volumes") or [], f"{place}.volumes")
    for index, container in enumerate(found):
        at = f"{place}.containers[{index}]"
        image = container.get("image") or ""
        if not image:
            _refuse(f"{at}.image", "Required field is empty: the container's image.")
        if not images.is_reference(image):
            _refuse(f"{at}.image", f"expected a container image path like [domain/]repo/image, found {image!r}.")
        _environment(container.get("env") or [], f"{at}.env", reserved)
        _mounts(container.get("volumeMounts") or [], f"{at}.volumeMounts", volumes)
        _probe(container.get("startupProbe"), f"{at}.startupProbe", 240)
        _probe(container.get("livenessProbe"), f"{at}.livenessProbe", 3600)
        for name, value in ((container.get("resources") or {}).get("limits") or {}).items():
            if name in ("cpu", "memory") and _QUANTITY.fullmatch(str(value)) is None:
                _refuse(f"{at}.resources.limits.{name}", f"invalid quantity {value!r}, expected e.g. '2' or '512Mi'.")


def _header(body: dict[str, Any], kind: str, api: str, name: str | None, longest: int) -> str:
    for key, expected in (("apiVersion", api), ("kind", kind)):
        if body.get(key) != expected:
            _refuse(key, f"expected '{expected}', found {body.get(key)!r}.")
    metadata = _object(body.get("metadata"), "metadata")
    found = metadata.get("name") or ""
    if name is not None and found != name:
        _refuse("metadata.name", f"expected '{name}' as in the URL, found {found!r}.")
    _check_name(found, "metadata.name", longest)
    for kind_of in ("labels", "annotations"):
        for key, value in (metadata.get(kind_of) or {}).items():
            if not isinstance(value, str):
                _refuse(f"metadata.{kind_of}[{key}]", "expected a string.")
    return str(found)


def _check_name(name: str, place: str, longest: int) -> None:
    if _NAME.fullmatch(name) is None or len(name) > longest:
        _refuse(
            place,
            f"'{name}' must use only lowercase alphanumeric characters and dashes, begin with a letter, not end with"
            f" a dash, and be at most {longest} characters long.",
        )


def _scaling(annotations: Mapping[str, str]) -> None:
    bounds = []
    for key in ("minScale", "maxScale"):
        value = annotations.get(f"autoscaling.knative.dev/{key}")
        place = f"spec.template.metadata.annotations[autoscaling.knative.dev/{key}]"
        if value is not None and not (isinstance(value, str) and value.isdigit()):
            _refuse(place, f"expected an integer as text, found {value!r}.")
        bounds.append(int(value) if value is not None else None)
    least, most = bounds
    if most == 0:
        _refuse("spec.template.metadata.annotations[autoscaling.knative.dev/maxScale]", "expected at least 1.")
    if least is not None and most is not None and least > most:
        _refuse(
            "spec.template.metadata.annotations[autoscaling.knative.dev/minScale]",
            f"{least} is larger than maxScale {most}.",
        )


def _environment(env: Sequence[Mapping[str, Any]], place: str, reserved: set[str]) -> None:
    seen: set[str] = set()
    for index, variable in enumerate(env):
        name = variable.get("name") or ""
        if _ENV_NAME.fullmatch(name) is None:
            _refuse(f"{place}[{index}].name", f"{name!r} is not a name for an environment variable.")
        if name in reserved:
            _refuse(
                place,
                f"The following reserved env names were provided: {name}. These values are automatically set by the"
                " system.",
            )
        if name in seen:
            _refuse(f"{place}[{index}].name", f"duplicate environment variable '{name}'.")
        if variable.get("valueFrom") and variable.get("value"):
            _refuse(f"{place}[{index}]", "value and value_from exclude each other.")
        seen.add(name)


def _volumes(volumes: Sequence[Mapping[str, Any]], place: str) -> set[str]:
    names: set[str] = set()
    for index, volume in enumerate(volumes):
        name = volume.get("name") or ""
        if not name or name in names:
            _refuse(f"{place}[{index}].name", f"{name!r} must be present and unique.")
        sources = [key for key in volume if key != "name"]
        if len(sources) != 1:
            _refuse(f"{place}[{index}]", f"exactly one volume source must be set, found {sources or 'none'}.")
        csi = volume.get("csi")
        if csi is not None and not (csi.get("volumeAttributes") or {}).get("bucketName"):
            _refuse(f"{place}[{index}].csi.volumeAttributes", "Required field bucketName is empty.")
        if csi is not None and csi.get("driver") != "gcsfuse.run.googleapis.com":
            _refuse(f"{place}[{index}].csi.driver", f"unknown driver {csi.get('driver')!r}.")
        names.add(name)
    return names


def _mounts(mounts: Sequence[Mapping[str, Any]], place: str, volumes: set[str]) -> None:
    paths: set[str] = set()
    for index, mount in enumerate(mounts):
        if mount.get("name") not in volumes:
            _refuse(f"{place}[{index}].name", f"no volume is named {mount.get('name')!r}.")
        path = mount.get("mountPath") or ""
        parts = path.split("/")
        plain = path.startswith("/") and path != "/" and "" not in parts[1:] and not {".", ".."} & set(parts)
        if not plain or ":" in path:
            _refuse(f"{place}[{index}].mountPath", f"expected an absolute path below /, found {path!r}.")
        if path in paths or path.startswith(("/dev/", "/proc/", "/sys/")) or path in ("/dev", "/proc", "/sys"):
            _refuse(f"{place}[{index}].mountPath", f"{path!r} is reserved or used twice.")
        paths.add(path)


def _probe(probe: Mapping[str, Any] | None, place: str, longest_s: int) -> None:
    if not probe:
        return
    actions = [key for key in ("httpGet", "tcpSocket", "grpc", "exec") if key in probe]
    if len(actions) != 1 or actions[0] == "exec":
        _refuse(place, f"exactly one of http_get, tcp_socket, grpc must be set, found {actions or 'none'}.")
    _number(probe, "initialDelaySeconds", place, 0, 240)
    _number(probe, "failureThreshold", place, 1, 10_000)
    _number(probe, "periodSeconds", place, 1, longest_s)
    _number(probe, "timeoutSeconds", place, 1, longest_s)
    period_s, timeout_s = int(probe.get("periodSeconds") or 10), int(probe.get("timeoutSeconds") or 1)
    if timeout_s > period_s:
        _refuse(f"{place}.timeoutSeconds", f"{timeout_s} must not be larger than periodSeconds {period_s}.")
    threshold = int(probe.get("failureThreshold") or 3)
    if place.endswith("startupProbe") and threshold * period_s > longest_s:
        _refuse(place, f"failureThreshold * periodSeconds must be at most {longest_s}, found {threshold * period_s}.")
    path = (probe.get("httpGet") or {}).get("path")
    if path and not path.startswith("/"):
        _refuse(f"{place}.httpGet.path", f"expected a path that starts with '/', found {path!r}.")


def _number(owner: Mapping[str, Any], key: str, place: str, least: int, most: int) -> None:
    value = owner.get(key)
    if value is not None and not least <= int(value) <= most:
        _refuse(f"{place}.{key}", f"expected {least} <= {value} <= {most}.")


def _object(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        _refuse(place, "Required field is empty.")
    return value


def _refuse(place: str, message: str) -> NoReturn:
    raise ApiError(400, f"{place}: {message}")
