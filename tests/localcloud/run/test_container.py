"""From a specification to what runs here, and what is refused with a reason."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.localcloud.run import images
from scripts.localcloud.run.container import DEFAULT_STARTUP, CannotRun, Probe, plan

ROOT = Path("/somewhere/project")
VOLUME: dict[str, Any] = {
    "name": "m",
    "csi": {"driver": "gcsfuse.run.googleapis.com", "readOnly": True, "volumeAttributes": {"bucketName": "b"}},
}
BAD_ATTRIBUTES = {"bucketName": "b", "mountOptions": "implicit-dirs,no-such-flag=1"}
BAD_VOLUME = {"name": "m", "csi": {**VOLUME["csi"], "volumeAttributes": BAD_ATTRIBUTES}}


def pod(**container: Any) -> dict[str, Any]:
    return {"containers": [{"image": "host/repo/tabular:v1", **container}]}


def test_the_image_table_and_its_overrides() -> None:
    module = (sys.executable, "-m", "scripts.container")
    assert plan(pod(), {}, ROOT).argv == (*module, "start")
    assert plan(pod(args=["sync"]), {}, ROOT).argv == (*module, "sync")
    assert plan(pod(command=["python", "x.py"]), {}, ROOT).argv == (sys.executable, "x.py")
    assert plan(pod(command=["sh", "-c"], args=["true"]), {}, ROOT).argv == ("sh", "-c", "true")
    assert images.image_name("h:5000/a/tabular:v1@sha256:" + "0" * 64) == "tabular"
    assert images.expand(["$(PORT)", "--x=$(NONE)"], {"PORT": "8080"}) == ["8080", "--x=$(NONE)"]


def test_defaults_and_declared_values() -> None:
    plain = plan(pod(), {}, ROOT)
    assert (plain.concurrency, plain.timeout_s, plain.min_instances, plain.max_instances) == (80, 300.0, 0, 100)
    assert plain.startup == DEFAULT_STARTUP and plain.startup.grace_s == 240 and plain.liveness is None
    http = {"httpGet": {"path": "/ready", "httpHeaders": [{"name": "A", "value": "b"}]}, "periodSeconds": 2}
    given = plan({**pod(startupProbe=http), "containerConcurrency": 4}, {"autoscaling.knative.dev/minScale": "2"}, ROOT)
    assert given.startup == Probe("/ready", (("A", "b"),), 0.0, 2.0, 1.0, 3)
    assert (given.concurrency, given.min_instances) == (4, 2)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"containers": [{"image": "a/tabular"}, {"image": "a/hello"}]}, "SidecarsUnsupported"),
        ({"containers": [{"image": "a/unknown"}]}, "ContainerMissing"),
        (pod(env=[{"name": "S", "valueFrom": {"secretKeyRef": {"name": "s"}}}]), "SecretsAccessCheckFailed"),
        (pod(startupProbe={"grpc": {}}), "ProbeUnsupported"),
        ({**pod(), "volumes": [{"name": "m", "secret": {"secretName": "s"}}]}, "VolumeUnsupported"),
        ({**pod(volumeMounts=[{"name": "m", "mountPath": "/m"}]), "volumes": [BAD_VOLUME]}, "VolumeMountFailed"),
        ({**pod(volumeMounts=[{"name": "m", "mountPath": "/somewhere"}]), "volumes": [VOLUME]}, "VolumeMountFailed"),
        (
            {
                **pod(volumeMounts=[{"name": "m", "mountPath": "/a"}, {"name": "m", "mountPath": "/a/b"}]),
                "volumes": [VOLUME],
            },
            "VolumeMountFailed",
        ),
    ],
)
def test_what_cannot_run_here_has_a_reason(spec: dict[str, Any], reason: str) -> None:
    with pytest.raises(CannotRun) as caught:
        plan(spec, {}, ROOT)
    assert caught.value.reason == reason and len(caught.value.message) > 30
