"""What Cloud Run refuses in the containers of a revision or task: images, variables, volumes, mounts, ports, probes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from scripts.localcloud.run import images
from scripts.localcloud.run.limits import number, refuse

RESERVED = frozenset({"PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION"})
RESERVED_JOB = frozenset(
    {
        "CLOUD_RUN_JOB",
        "CLOUD_RUN_EXECUTION",
        "CLOUD_RUN_TASK_INDEX",
        "CLOUD_RUN_TASK_ATTEMPT",
        "CLOUD_RUN_TASK_COUNT",
    }
)
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_ENV_NAME = re.compile(r"[^=\0\s]+")
_SECRET = re.compile(r"[A-Za-z0-9_-]{1,255}", re.ASCII)
_DRIVER = "gcsfuse.run.googleapis.com"
_SOURCES = ("csi", "emptyDir", "secret", "nfs")
_UNSUPPORTED = ("envFrom", "imagePullPolicy", "securityContext", "terminationMessagePath", "terminationMessagePolicy")
_KERNEL = ("/dev", "/proc", "/sys")
_MOST_ENV = 1000
_LONGEST_ENV_BYTES = 32 << 10
_SCHEMES = ("HTTP", "HTTPS")


def containers(pod: Mapping[str, Any], place: str, reserved: frozenset[str]) -> None:
    """Check the containers and volumes of a RevisionSpec or TaskSpec at `place`. Raises ApiError 400."""
    found = pod.get("containers")
    if not isinstance(found, list) or not found:
        refuse(f"{place}.containers", "Required field is empty: at least one container.")
    volumes = _volumes(pod.get("volumes") or [], f"{place}.volumes")
    names: set[str] = set()
    for index, container in enumerate(found):
        at = f"{place}.containers[{index}]"
        _image(container.get("image") or "", f"{at}.image")
        name = container.get("name") or ""
        if name and (_NAME.fullmatch(name) is None or name in names):
            refuse(f"{at}.name", f"'{name}' must be unique, lower case letters, digits and hyphens, at most 63.")
        names |= {name} if name else set()
        for key in _UNSUPPORTED:
            if container.get(key):
                refuse(f"{at}.{key}", "not supported by Cloud Run.")
        environment(container.get("env") or [], f"{at}.env", reserved)
        _mounts(container.get("volumeMounts") or [], f"{at}.volumeMounts", set(volumes))
        _ports(container.get("ports") or [], f"{at}.ports")
        _probe(container.get("startupProbe"), f"{at}.startupProbe", 240)
        _probe(container.get("livenessProbe"), f"{at}.livenessProbe", 3600)
        _probe(container.get("readinessProbe"), f"{at}.readinessProbe", 3600)
    mounted = {each.get("name") for container in found for each in container.get("volumeMounts") or ()}
    for name, index in volumes.items():
        if name not in mounted and name != "cloudsql":
            refuse(f"{place}.volumes[{index}].name", f"volume with name '{name}' not mounted.")


def ingress(found: Sequence[Mapping[str, Any]], place: str) -> None:
    """Of several containers of a service exactly one has a port, and then each has a name. Raises ApiError 400."""
    if len(found) == 1:
        return
    if sum(1 for each in found if each.get("ports")) != 1:
        refuse(f"{place}.containers", "Revision template should contain exactly one container with an exposed port.")
    for index, each in enumerate(found):
        if not each.get("name"):
            refuse(f"{place}.containers[{index}].name", "Required field is empty where there are several containers.")


def environment(env: Sequence[Mapping[str, Any]], place: str, reserved: frozenset[str]) -> None:
    """Check variables: legal names, none twice, none of the platform's, one source each. Raises ApiError 400."""
    if len(env) > _MOST_ENV:
        refuse(place, f"at most {_MOST_ENV} environment variables, found {len(env)}.")
    seen: set[str] = set()
    for index, variable in enumerate(env):
        at, name = f"{place}[{index}]", variable.get("name") or ""
        if _ENV_NAME.fullmatch(name) is None:
            refuse(f"{at}.name", f"{name!r} is not a name for an environment variable.")
        if name in reserved:
            refuse(
                place,
                f"The following reserved env names were provided: {name}. These values are automatically set by the"
                " system.",
            )
        if name in seen:
            refuse(f"{at}.name", f"duplicate environment variable '{name}'.")
        if len(f"{name}={variable.get('value') or ''}".encode("utf-8", "surrogatepass")) > _LONGEST_ENV_BYTES:
            refuse(at, f"'{name}' is longer than {_LONGEST_ENV_BYTES} bytes.")
        if "\0" in (variable.get("value") or ""):
            refuse(f"{at}.value", f"'{name}' has a NUL character.")
        _source(variable, at)
        seen.add(name)


def _source(variable: Mapping[str, Any], place: str) -> None:
    source = variable.get("valueFrom")
    if not source:
        return
    if variable.get("value"):
        refuse(place, "value and value_from exclude each other.")
    wanted = source.get("secretKeyRef")
    if not wanted or source.get("configMapKeyRef"):
        refuse(f"{place}.valueFrom", "only secretKeyRef is supported by Cloud Run.")
    at = f"{place}.valueFrom.secretKeyRef"
    name = wanted.get("name") or (wanted.get("localObjectReference") or {}).get("name") or ""
    if _SECRET.fullmatch(name) is None:
        refuse(f"{at}.name", f"expected the name of a secret, found {name!r}.")
    if not wanted.get("key"):
        refuse(f"{at}.key", "Required field is empty: a version of the secret, or latest.")


def _image(image: str, place: str) -> None:
    if not image:
        refuse(place, "Required field is empty: the container's image.")
    if not images.is_reference(image):
        refuse(
            place,
            "Expected an image path like [host/]repo-path[:tag and/or @digest], where host is one of [region.]gcr.io,"
            f" [region-]docker.pkg.dev or docker.io but obtained {image}",
        )


def _volumes(volumes: Sequence[Mapping[str, Any]], place: str) -> dict[str, int]:
    """The index of each volume by name."""
    names: dict[str, int] = {}
    for index, volume in enumerate(volumes):
        at, name = f"{place}[{index}]", volume.get("name") or ""
        if not name or name in names:
            refuse(f"{at}.name", f"{name!r} must be present and unique.")
        if _NAME.fullmatch(name) is None:
            refuse(f"{at}.name", f"'{name}' must use only lowercase alphanumeric characters and dashes, at most 63.")
        sources = [key for key in volume if key != "name"]
        if len(sources) != 1:
            refuse(at, f"exactly one volume source must be set, found {', '.join(sources) or 'none'}.")
        if sources[0] not in _SOURCES:
            refuse(f"{at}.{sources[0]}", "not supported by Cloud Run.")
        if sources[0] == "csi":
            _bucket(volume["csi"], f"{at}.csi")
        if sources[0] == "secret" and not volume["secret"].get("secretName"):
            refuse(f"{at}.secret.secretName", "Required field is empty.")
        names[name] = index
    return names


def _bucket(csi: Mapping[str, Any], place: str) -> None:
    if csi.get("driver") != _DRIVER:
        refuse(f"{place}.driver", f"unknown driver {csi.get('driver')!r}, expected '{_DRIVER}'.")
    attributes = csi.get("volumeAttributes") or {}
    if not attributes.get("bucketName"):
        refuse(f"{place}.volumeAttributes", "Required field bucketName is empty.")
    for key in attributes:
        if key not in ("bucketName", "mountOptions"):
            refuse(f"{place}.volumeAttributes", f"expected bucketName and mountOptions, found '{key}'.")


def _mounts(mounts: Sequence[Mapping[str, Any]], place: str, volumes: set[str]) -> None:
    paths: set[str] = set()
    for index, mount in enumerate(mounts):
        at = f"{place}[{index}]"
        if mount.get("name") not in volumes:
            refuse(f"{at}.name", f"no volume is named {mount.get('name')!r}.")
        path = mount.get("mountPath") or ""
        parts = path.rstrip("/").split("/")
        plain = path.startswith("/") and len(parts) > 1 and "" not in parts[1:] and not {".", ".."} & set(parts)
        if not plain or ":" in path or "\0" in path:
            refuse(f"{at}.mountPath", f"expected an absolute path below /, found {path!r}.")
        path = "/".join(parts)
        if any(path == each or path.startswith(f"{each}/") for each in _KERNEL):
            refuse(f"{at}.mountPath", f"{path!r} is reserved: a volume cannot be mounted in {', '.join(_KERNEL)}.")
        if path in paths:
            refuse(f"{at}.mountPath", f"duplicate mount path {path!r}: must be unique.")
        paths.add(path)


def _ports(ports: Sequence[Mapping[str, Any]], place: str) -> None:
    if len(ports) > 1:
        refuse(place, f"only a single port can be specified, found {len(ports)}.")
    for port in ports:
        number(port, "containerPort", f"{place}[0]", 1, 65_535)
        if (port.get("name") or "http1") not in ("http1", "h2c"):
            refuse(f"{place}[0].name", f"expected http1 or h2c, found {port['name']!r}.")
        if (port.get("protocol") or "TCP") != "TCP":
            refuse(f"{place}[0].protocol", f"expected TCP, found {port['protocol']!r}.")


def _probe(probe: Mapping[str, Any] | None, place: str, longest_s: int) -> None:
    if not probe:
        return
    actions = [key for key in ("httpGet", "tcpSocket", "grpc", "exec") if key in probe]
    if len(actions) != 1 or actions[0] == "exec":
        refuse(place, f"exactly one of http_get, tcp_socket, grpc must be set, found {', '.join(actions) or 'none'}.")
    number(probe, "initialDelaySeconds", place, 0, longest_s)
    number(probe, "failureThreshold", place, 1, 10_000)
    number(probe, "successThreshold", place, 1, 1)
    number(probe, "periodSeconds", place, 1, longest_s)
    number(probe, "timeoutSeconds", place, 1, longest_s)
    period_s, timeout_s = int(probe.get("periodSeconds") or 10), int(probe.get("timeoutSeconds") or 1)
    if timeout_s > period_s:
        refuse(f"{place}.timeoutSeconds", f"{timeout_s} must not be larger than periodSeconds {period_s}.")
    threshold = int(probe.get("failureThreshold") or 3)
    if place.endswith("startupProbe") and threshold * period_s > longest_s:
        refuse(place, f"failureThreshold * periodSeconds must be at most {longest_s}, found {threshold * period_s}.")
    _action(probe[actions[0]] or {}, f"{place}.{actions[0]}")


def _action(action: Mapping[str, Any], place: str) -> None:
    number(action, "port", place, 1, 65_535)
    if action.get("host"):
        refuse(f"{place}.host", "not supported by Cloud Run.")
    path = action.get("path")
    if path and not path.startswith("/"):
        refuse(f"{place}.path", f"expected a path that starts with '/', found {path!r}.")
    if action.get("scheme") and action["scheme"] not in _SCHEMES:
        refuse(f"{place}.scheme", f"expected HTTP, found {action['scheme']!r}.")
