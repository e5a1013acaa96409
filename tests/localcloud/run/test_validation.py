"""What a service and a job may not be, with the field's path in the message."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from scripts.localcloud.run import validation
from scripts.localcloud.web import ApiError

SERVICE: dict[str, Any] = {
    "apiVersion": "serving.knative.dev/v1",
    "kind": "Service",
    "metadata": {"name": "api"},
    "spec": {
        "template": {
            "metadata": {"annotations": {"autoscaling.knative.dev/minScale": "1"}},
            "spec": {
                "containers": [
                    {
                        "image": "europe-west1-docker.pkg.dev/p/r/tabular@sha256:" + "0" * 64,
                        "env": [{"name": "A", "value": "1"}],
                        "resources": {"limits": {"cpu": "2", "memory": "4Gi"}},
                        "startupProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 10},
                        "volumeMounts": [{"name": "models", "mountPath": "/models"}],
                    }
                ],
                "volumes": [
                    {
                        "name": "models",
                        "csi": {
                            "driver": "gcsfuse.run.googleapis.com",
                            "readOnly": True,
                            "volumeAttributes": {"bucketName": "b", "mountOptions": "implicit-dirs=true"},
                        },
                    }
                ],
            },
        },
        "traffic": [{"percent": 100, "latestRevision": True}],
    },
}
POD = "spec.template.spec"
CONTAINER = f"{POD}.containers.0"


def changed(path: str, value: Any) -> dict[str, Any]:
    body = copy.deepcopy(SERVICE)
    *parents, last = path.split(".")
    place: Any = body
    for part in parents:
        place = place[int(part)] if part.isdigit() else place[part]
    place[last] = value
    return body


def test_a_line_of_traffic_without_a_revision_follows_the_latest() -> None:
    assert validation.service(changed("spec.traffic", [{"percent": 100, "tag": "blue"}]), None) == "api"
    for line in ({"latestRevision": False}, {"latestRevision": True, "revisionName": "api-1"}):
        with pytest.raises(ApiError, match="exactly one of"):
            validation.service(changed("spec.traffic", [{"percent": 100, **line}]), None)


def test_a_good_service_passes() -> None:
    assert validation.service(SERVICE, None) == "api"
    assert validation.service(SERVICE, "api") == "api"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("kind", "Job", "kind: expected 'Service'"),
        ("apiVersion", "v1", "apiVersion"),
        ("metadata.name", "other", "as in the URL"),
        ("metadata.name", "api-", "metadata.name"),
        ("metadata.labels", {"a": 1}, "metadata.labels.a"),
        ("spec.template", {}, "spec.template: Required"),
        (f"{POD}.containers", [], "containers: Required"),
        (f"{POD}.containerConcurrency", 1001, "containerConcurrency"),
        (f"{POD}.timeoutSeconds", 0, "timeoutSeconds"),
        (f"{POD}.timeoutSeconds", "soon", "timeoutSeconds' (TYPE_INTEGER)"),
        (f"{POD}.cloudStorage", {"bucket": "b"}, "Unknown name \"cloudStorage\" at 'service.spec.template.spec'"),
        (f"{CONTAINER}.image", "NOT AN IMAGE", "containers[0].image"),
        (f"{CONTAINER}.env", [{"name": "A", "value": 1}], "env[0].value' (TYPE_STRING), 1"),
        (f"{CONTAINER}.env", [{"name": "A"}, {"name": "A"}], "duplicate environment variable 'A'"),
        (f"{CONTAINER}.env", [{"name": "A=B"}], "env[0].name"),
        (f"{CONTAINER}.env", [{"name": "K_SERVICE", "value": "x"}], "reserved env names were provided: K_SERVICE"),
        (f"{CONTAINER}.resources.limits.memory", "4 GB", "limits.memory"),
        (f"{CONTAINER}.startupProbe", {"tcpSocket": {}, "httpGet": {}}, "exactly one of"),
        (f"{CONTAINER}.startupProbe", {"tcpSocket": {}, "failureThreshold": 30}, "at most 240, found 300"),
        (f"{CONTAINER}.startupProbe", {"tcpSocket": {}, "timeoutSeconds": 11}, "periodSeconds 10"),
        (f"{CONTAINER}.livenessProbe", {"httpGet": {"path": "health"}}, "httpGet.path"),
        (f"{CONTAINER}.volumeMounts.0.mountPath", "models", "mountPath"),
        (f"{CONTAINER}.volumeMounts.0.mountPath", "/a/../b", "mountPath"),
        (f"{CONTAINER}.volumeMounts.0.mountPath", "/", "mountPath"),
        (f"{CONTAINER}.volumeMounts.0.mountPath", "/proc/x", "mountPath"),
        (f"{CONTAINER}.volumeMounts.0.name", "other", "'other'"),
        (f"{CONTAINER}.volumeMounts.0.mountPath", "/sys", "mountPath"),
        (f"{CONTAINER}.volumeMounts.0.mountPath", "/dev/shm", "mountPath"),
        (f"{CONTAINER}.volumeMounts", [{"name": "models", "mountPath": "/m"}] * 2, "duplicate mount path '/m'"),
        (f"{CONTAINER}.volumeMounts", [], "volumes[0].name: volume with name 'models' not mounted"),
        (f"{CONTAINER}.image", "ghcr.io/me/tabular:v1", "one of [region.]gcr.io"),
        (f"{CONTAINER}.image", "europe-docker.pkg.dev/p/r/tabular:", "[:tag and/or @digest]"),
        (f"{CONTAINER}.ports", [{"containerPort": 0}], "ports[0].containerPort"),
        (f"{CONTAINER}.ports", [{"containerPort": 80}, {"containerPort": 81}], "single port"),
        (f"{CONTAINER}.startupProbe", {"httpGet": {"port": 0}}, "startupProbe.httpGet.port"),
        (f"{CONTAINER}.startupProbe", {"httpGet": {}, "failureThreshold": 0}, "failureThreshold"),
        (f"{CONTAINER}.startupProbe", {"httpGet": {}, "periodSeconds": 241, "failureThreshold": 1}, "periodSeconds"),
        (f"{CONTAINER}.livenessProbe", {"httpGet": {}, "periodSeconds": 3601}, "periodSeconds"),
        (f"{CONTAINER}.env", [{"name": "S", "valueFrom": {"secretKeyRef": {"name": "s"}}}], "secretKeyRef.key"),
        (f"{CONTAINER}.env", [{"name": "S", "valueFrom": {"configMapKeyRef": {"name": "s"}}}], "only secretKeyRef"),
        (f"{CONTAINER}.resources.limits", {"cpu": "3"}, "Supported values are 1, 2, 4, 6, 8"),
        (f"{CONTAINER}.resources.limits", {"cpu": "1", "memory": "8Gi"}, "must be between 128Mi and 4Gi inclusive"),
        (f"{CONTAINER}.resources.limits", {"cpu": "4", "memory": "1Gi"}, "For 4.0 CPU, memory must be between 2Gi and"),
        (f"{CONTAINER}.resources.limits", {"cpu": "8", "memory": "33Gi"}, "between 4Gi and 32Gi"),
        (f"{CONTAINER}.resources.limits", {"disk": "1Gi"}, "'disk'"),
        ("metadata.annotations", {"run.googleapis.com/ingress": "none"}, "run.googleapis.com/ingress"),
        ("metadata.labels", {"a b": "c"}, "'a b' is no key"),
        ("spec.traffic", [{"percent": -10, "latestRevision": True}, {"percent": 110, "revisionName": "x"}], "-10"),
        ("spec.traffic", [{"percent": 99, "latestRevision": True}], "they sum to 99"),
        (
            "spec.traffic",
            [{"percent": 100, "latestRevision": True, "tag": "a"}, {"revisionName": "api-1", "tag": "a"}],
            "duplicate traffic tag 'a'",
        ),
        (f"{POD}.volumes.0.csi.driver", "nfs", "unknown driver"),
        (f"{POD}.volumes.0.csi.volumeAttributes", {}, "bucketName"),
        ("spec.template.metadata.name", "other-1", "prefixed by the service name"),
        ("spec.template.metadata.annotations", {"autoscaling.knative.dev/maxScale": "0"}, "at least 1"),
        (
            "spec.template.metadata.annotations",
            {"autoscaling.knative.dev/minScale": "3", "autoscaling.knative.dev/maxScale": "2"},
            "larger than maxScale",
        ),
    ],
)
def test_bad_fields_are_named(path: str, value: Any, words: str) -> None:
    with pytest.raises(ApiError) as caught:
        validation.service(changed(path, value), "api")
    assert caught.value.code == 400 and caught.value.status == "INVALID_ARGUMENT"
    assert words in caught.value.message


def test_cpu_and_memory_go_together() -> None:
    def limited(generation: str = "", concurrency: int = 80, **limits: str) -> dict[str, Any]:
        body = changed(f"{CONTAINER}.resources.limits", limits)
        body["spec"]["template"]["spec"]["containerConcurrency"] = concurrency
        if generation:
            body["spec"]["template"]["metadata"]["annotations"]["run.googleapis.com/execution-environment"] = generation
        return body

    for cpu, memory in (("1", "128Mi"), ("1000m", "4Gi"), ("2", "8Gi"), ("4", "16Gi"), ("6", "24Gi"), ("8", "32Gi")):
        assert validation.service(limited(cpu=cpu, memory=memory), None) == "api"
    assert validation.service(limited(concurrency=1, cpu="0.08", memory="128Mi"), None) == "api"
    for bad, words in (
        (
            limited("gen2", cpu="1", memory="256Mi"),
            "gen2 execution environment. For 1.0 CPU, memory must be between 512",
        ),
        (limited("gen2", 1, cpu="0.5", memory="512Mi"), "cpu < 1 is not supported with gen2"),
        (limited(concurrency=2, cpu="0.5", memory="256Mi"), "cpu < 1 is not supported with concurrency > 1"),
        (limited(concurrency=1, cpu="0.4", memory="1Gi"), "between 128Mi and 512Mi"),
        (limited("gen3", cpu="1", memory="1Gi"), "gen1, gen2"),
        (limited("gen1", cpu="1", memory="1Gi"), "Cloud Storage volumes are not supported with gen1"),
    ):
        with pytest.raises(ApiError) as caught:
            validation.service(bad, None)
        assert words in caught.value.message


def test_a_job_has_its_own_rules() -> None:
    task: dict[str, Any] = {"containers": [{"image": "x/tabular"}], "maxRetries": 0, "timeoutSeconds": "600"}
    body = {
        "apiVersion": "run.googleapis.com/v1",
        "kind": "Job",
        "metadata": {"name": "sync"},
        "spec": {"template": {"spec": {"taskCount": 1, "template": {"spec": task}}}},
    }
    assert validation.job(body, None) == "sync"
    task["timeoutSeconds"] = 600  # 64-bit numbers may be written as numbers
    assert validation.job(body, "sync") == "sync"
    for key, value in (
        ("maxRetries", 11),
        ("timeoutSeconds", "700000"),
        ("containers", [{"image": "x", "ports": [{}]}]),
    ):
        with pytest.raises(ApiError, match=key if key != "containers" else "ports"):
            validation.job({**body, "spec": _with(body["spec"], task, key, value)}, "sync")


def _with(spec: Any, task: dict[str, Any], key: str, value: Any) -> Any:
    copied = copy.deepcopy(spec)
    copied["template"]["spec"]["template"]["spec"] = {**task, key: value}
    return copied
