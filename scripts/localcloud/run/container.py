"""What a revision's or task's specification means on this machine: program, variables, mounts, probes.

What the stand-in does not imitate is refused here, with a reason and a message for the object's condition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.localcloud.run import images, mount_options


class CannotRun(Exception):
    """A specification that is valid but cannot be started here: a CamelCase reason and a message with the remedy."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True)
class Probe:
    """A startup or liveness probe. path is None for TCP; grace is the whole time that startup may take."""

    path: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    initial_delay_s: float = 0.0
    period_s: float = 10.0
    timeout_s: float = 1.0
    failure_threshold: int = 3

    @property
    def grace_s(self) -> float:
        return self.initial_delay_s + self.period_s * self.failure_threshold


@dataclass(frozen=True)
class Mount:
    """A bucket that the container sees at an absolute path, as its mount options say."""

    bucket: str
    path: str
    options: mount_options.Options


@dataclass(frozen=True)
class Plan:
    """How to run one container: argv may hold $(NAME); env is what the container declares.

    fresh_env tells it anew for each instance, where secrets are in it; it raises CannotRun.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    mounts: tuple[Mount, ...]
    startup: Probe
    liveness: Probe | None
    concurrency: int
    timeout_s: float
    min_instances: int = 0
    max_instances: int = 100
    fresh_env: Callable[[], Mapping[str, str]] | None = None


# Cloud Run's own startup probe where none is declared: one TCP attempt that may last 240 s.
DEFAULT_STARTUP = Probe(period_s=240.0, timeout_s=240.0, failure_threshold=1)


def plan(pod: Mapping[str, Any], annotations: Mapping[str, str], project_root: Path) -> Plan:
    """The plan for a RevisionSpec or TaskSpec. Raises CannotRun."""
    found = pod["containers"]
    if len(found) != 1:
        raise CannotRun(
            "SidecarsUnsupported", f"{len(found)} containers: the stand-in runs one container, no sidecars."
        )
    container = found[0]
    image = container["image"]
    argv = images.argv(image, container.get("command") or (), container.get("args") or ())
    if argv is None:
        raise CannotRun("ContainerMissing", images.not_found(image))
    startup = container.get("startupProbe")
    liveness = container.get("livenessProbe")
    return Plan(
        argv=argv,
        env=_environment(container),
        mounts=_mounts(pod, container, project_root),
        startup=_probe(startup, container) if startup else DEFAULT_STARTUP,
        liveness=_probe(liveness, container) if liveness else None,
        concurrency=int(pod.get("containerConcurrency") or 80),
        timeout_s=float(pod.get("timeoutSeconds") or 300),
        min_instances=int(annotations.get("autoscaling.knative.dev/minScale", "0")),
        max_instances=int(annotations.get("autoscaling.knative.dev/maxScale", "100")),
    )


def _environment(container: Mapping[str, Any]) -> dict[str, str]:
    values: dict[str, str] = {}
    for variable in container.get("env") or ():
        if variable.get("valueFrom"):
            secret = (variable["valueFrom"].get("secretKeyRef") or {}).get("name", "?")
            raise CannotRun(
                "SecretsAccessCheckFailed",
                f"Variable {variable['name']} reads secret '{secret}', whose value was not looked up.",
            )
        values[variable["name"]] = str(variable.get("value") or "")
    return values


def _mounts(pod: Mapping[str, Any], container: Mapping[str, Any], project_root: Path) -> tuple[Mount, ...]:
    volumes = {volume["name"]: volume for volume in pod.get("volumes") or ()}
    for volume in volumes.values():
        _check_volume(volume)
    mounts = []
    for mount in container.get("volumeMounts") or ():
        path = mount["mountPath"]
        if mount.get("subPath"):
            raise CannotRun("VolumeUnsupported", f"subPath at mount {path} is not imitated by the stand-in.")
        if project_root.is_relative_to(path):
            raise CannotRun(
                "VolumeMountFailed", f"A mount at {path} would hide the program itself; choose another path."
            )
        mounts.append(_mount(volumes[mount["name"]]["csi"], path))
    nested = [a.path for a in mounts for b in mounts if a is not b and Path(a.path).is_relative_to(b.path)]
    if nested:
        raise CannotRun("VolumeMountFailed", f"The mount at {nested[0]} lies inside another mount.")
    return tuple(mounts)


def _mount(csi: Mapping[str, Any], path: str) -> Mount:
    bucket = csi["volumeAttributes"]["bucketName"]
    try:
        return Mount(bucket, path, mount_options.of_volume(csi))
    except mount_options.BadOption as error:
        raise CannotRun(
            "VolumeMountFailed",
            f"The mount of bucket '{bucket}' at {path} failed: {error}. Correct volumeAttributes.mountOptions"
            " (gcsfuse's flags without '--', separated by commas), then deploy again.",
        ) from None


def _check_volume(volume: Mapping[str, Any]) -> None:
    name, csi = volume["name"], volume.get("csi")
    if csi is None:
        kind = next(key for key in volume if key != "name")
        raise CannotRun(
            "VolumeUnsupported",
            f"Volume '{name}' is of kind {kind}: the stand-in imitates Cloud Storage volumes only"
            " (csi, driver gcsfuse.run.googleapis.com).",
        )


def _probe(found: Mapping[str, Any], container: Mapping[str, Any]) -> Probe:
    http = found.get("httpGet")
    if "grpc" in found:
        raise CannotRun("ProbeUnsupported", "gRPC probes are not imitated by the stand-in; use httpGet or tcpSocket.")
    wanted = (http or found.get("tcpSocket") or {}).get("port")
    for port in container.get("ports") or ():
        declared = port.get("containerPort") or 8080
        if wanted is not None and wanted != declared:
            raise CannotRun(
                "ProbeUnsupported",
                f"A probe of port {wanted}: instances share one machine here, and only the container's own port"
                f" {declared} is theirs. Leave the probe's port out, or make it {declared}.",
            )
    headers = tuple((each["name"], each.get("value", "")) for each in (http or {}).get("httpHeaders") or ())
    return Probe(
        path=(http.get("path") or "/") if http is not None else None,
        headers=headers,
        initial_delay_s=float(found.get("initialDelaySeconds") or 0),
        period_s=float(found.get("periodSeconds") or 10),
        timeout_s=float(found.get("timeoutSeconds") or 1),
        failure_threshold=int(found.get("failureThreshold") or 3),
    )
