"""Services, revisions, jobs, executions and tasks as Cloud Run's v2 API writes them, made from the v1 documents.

Source: the discovery document run.v2. 64-bit numbers are text, durations end in "s", names are full resource names, and
labels and annotations of Google's own namespaces are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scripts.localcloud.context import REGION

Document = dict[str, Any]
_SYSTEM = ("run.googleapis.com", "cloud.googleapis.com", "serving.knative.dev", "autoscaling.knative.dev")
_STATES = {"True": "CONDITION_SUCCEEDED", "False": "CONDITION_FAILED"}
_INGRESS = {
    "all": "INGRESS_TRAFFIC_ALL",
    "internal": "INGRESS_TRAFFIC_INTERNAL_ONLY",
    "internal-and-cloud-load-balancing": "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER",
}
_REASONS = {
    "ContainerMissing": ("reason", "CONTAINER_MISSING"),
    "RevisionFailed": ("reason", "REVISION_FAILED"),
    "RevisionMissing": ("reason", "REVISION_FAILED"),
    "SecretsAccessCheckFailed": ("reason", "SECRETS_ACCESS_CHECK_FAILED"),
    "Deploying": ("reason", "WAITING_FOR_OPERATION"),
    "HealthCheckContainerError": ("revisionReason", "HEALTH_CHECK_CONTAINER_ERROR"),
    "NoTraffic": ("revisionReason", "RETIRED"),
    "NonZeroExitCode": ("executionReason", "NON_ZERO_EXIT_CODE"),
    "Cancelled": ("executionReason", "CANCELLED"),
}
_COUNTS = ("runningCount", "succeededCount", "failedCount", "cancelledCount", "retriedCount")


def parent(project: str) -> str:
    """`projects/P/locations/R`."""
    return f"projects/{project}/locations/{REGION}"


def service(project: str, document: Document) -> Document:
    """A Service of v1 as one of v2."""
    status, spec, metadata = document["status"], document["spec"], document["metadata"]
    name = f"{parent(project)}/services/{metadata['name']}"
    annotations = metadata["annotations"]
    made = _common(name, document) | {
        "ingress": _INGRESS.get(annotations.get("run.googleapis.com/ingress", "all"), "INGRESS_TRAFFIC_ALL"),
        "launchStage": "GA",
        "template": _template(spec["template"]),
        "traffic": [_target(each) for each in spec.get("traffic") or ()],
        "trafficStatuses": [_target(each) for each in status.get("traffic") or ()],
        "scaling": {},
        "terminalCondition": _terminal(status, "Ready"),
        "conditions": _conditions(status, but="Ready"),
        "uri": status.get("url", ""),
        "urls": [status["url"]] if status.get("url") else [],
        "reconciling": _terminal(status, "Ready")["state"] == "CONDITION_RECONCILING",
    }
    for key in ("latestCreatedRevision", "latestReadyRevision"):
        if status.get(f"{key}Name"):
            made[key] = f"{name}/revisions/{status[f'{key}Name']}"
    return made


def revision(project: str, document: Document) -> Document:
    """A Revision of v1 as one of v2."""
    metadata, status = document["metadata"], document["status"]
    owner = f"{parent(project)}/services/{metadata['labels'].get('serving.knative.dev/service', '')}"
    template = _template({"metadata": metadata, "spec": document["spec"]})
    statuses = [each for each in status.get("containerStatuses") or () if each["imageDigest"]]
    return {
        **template,
        **_common(f"{owner}/revisions/{metadata['name']}", document),
        "service": owner.rpartition("/")[2],
        "launchStage": "GA",
        "containerStatuses": statuses,
        "conditions": _conditions(status),
        "reconciling": _terminal(status, "Ready")["state"] == "CONDITION_RECONCILING",
    }


def job(project: str, document: Document) -> Document:
    """A Job of v1 as one of v2."""
    status, execution = document["status"], document["spec"]["template"]
    name = f"{parent(project)}/jobs/{document['metadata']['name']}"
    template = _kept(execution.get("metadata") or {}) | {
        "parallelism": int(execution["spec"].get("parallelism") or 0),
        "taskCount": int(execution["spec"].get("taskCount") or 1),
        "template": _task_template(execution["spec"]["template"]["spec"], execution.get("metadata") or {}),
    }
    made = _common(name, document) | {
        "launchStage": "GA",
        "template": template,
        "executionCount": status.get("executionCount", 0),
        "terminalCondition": _terminal(status, "Ready"),
        "conditions": _conditions(status, but="Ready"),
        "reconciling": False,
    }
    latest = status.get("latestCreatedExecution")
    if latest:
        made["latestCreatedExecution"] = {
            "name": latest["name"],
            "createTime": latest["creationTimestamp"],
            "completionStatus": latest.get("completionStatus", "EXECUTION_RUNNING"),
        }
        if "completionTimestamp" in latest:
            made["latestCreatedExecution"]["completionTime"] = latest["completionTimestamp"]
    return made


def execution(project: str, document: Document) -> Document:
    """An Execution of v1 as one of v2."""
    metadata, status, spec = document["metadata"], document["status"], document["spec"]
    owner = metadata["labels"]["run.googleapis.com/job"]
    made = _common(f"{parent(project)}/jobs/{owner}/executions/{metadata['name']}", document) | {
        "job": owner,
        "launchStage": "GA",
        "parallelism": int(spec.get("parallelism") or 0),
        "taskCount": int(spec.get("taskCount") or 1),
        "template": _task_template(spec["template"]["spec"], metadata),
        "conditions": _conditions(status),
        "logUri": status.get("logUri", ""),
        "reconciling": "completionTime" not in status,
    }
    return made | _picked(status, ("startTime", "completionTime", *_COUNTS))


def task(project: str, document: Document) -> Document:
    """A Task of v1 as one of v2."""
    metadata, status = document["metadata"], document["status"]
    labels = metadata["labels"]
    owner, run = labels["run.googleapis.com/job"], labels["run.googleapis.com/execution"]
    name = f"{parent(project)}/jobs/{owner}/executions/{run}/tasks/{metadata['name']}"
    made = _task_template(document["spec"], metadata) | _common(name, document)
    made |= {"job": owner, "execution": run, "conditions": _conditions(status)}
    made["reconciling"] = "completionTime" not in status
    return made | _picked(status, ("index", "retried", "startTime", "completionTime", "lastAttemptResult"))


def _common(name: str, document: Document) -> Document:
    metadata, status = document["metadata"], document["status"]
    annotations = metadata.get("annotations") or {}
    made = {"name": name, "uid": metadata["uid"], "etag": f'"{metadata["resourceVersion"]}"'}
    made |= _kept(metadata)
    made |= {"generation": str(metadata["generation"]), "observedGeneration": str(status["observedGeneration"])}
    made |= {"createTime": metadata["creationTimestamp"], "updateTime": _updated(document)}
    for key, names in (
        ("creator", ("serving.knative.dev/creator", "run.googleapis.com/creator")),
        ("lastModifier", ("serving.knative.dev/lastModifier", "run.googleapis.com/lastModifier")),
        ("client", ("run.googleapis.com/client-name",)),
        ("clientVersion", ("run.googleapis.com/client-version",)),
    ):
        found = next((annotations[each] for each in names if annotations.get(each)), None)
        if found and not (key == "lastModifier" and document["kind"] not in ("Service", "Job")):
            made[key] = found
    if document["kind"] == "Task":
        for key in ("creator", "client", "clientVersion"):
            made.pop(key, None)
    return made


def _updated(document: Document) -> str:
    times = [each["lastTransitionTime"] for each in document["status"].get("conditions") or ()]
    return str(max([document["metadata"]["creationTimestamp"], *times]))


def _kept(metadata: Mapping[str, Any]) -> Document:
    """Labels and annotations but Google's own."""
    made: Document = {}
    for kind in ("labels", "annotations"):
        made[kind] = {
            key: value
            for key, value in (metadata.get(kind) or {}).items()
            if not key.partition("/")[0].endswith(_SYSTEM) or "/" not in key
        }
    return made


def _template(template: Document) -> Document:
    metadata, pod = template.get("metadata") or {}, template["spec"]
    annotations = metadata.get("annotations") or {}
    made = _kept(metadata) | _pod(pod, annotations)
    made |= {
        "maxInstanceRequestConcurrency": int(pod.get("containerConcurrency") or 80),
        "timeout": f"{int(pod.get('timeoutSeconds') or 300)}s",
        "scaling": {},
    }
    for key, name in (("minScale", "minInstanceCount"), ("maxScale", "maxInstanceCount")):
        if f"autoscaling.knative.dev/{key}" in annotations:
            made["scaling"][name] = int(annotations[f"autoscaling.knative.dev/{key}"])
    if metadata.get("name") and "uid" not in metadata:
        made["revision"] = metadata["name"]
    if annotations.get("run.googleapis.com/sessionAffinity") == "true":
        made["sessionAffinity"] = True
    return made


def _task_template(pod: Document, metadata: Document) -> Document:
    made = _pod(pod, metadata.get("annotations") or {})
    return made | {
        "maxRetries": int(pod["maxRetries"]) if pod.get("maxRetries") is not None else 3,
        "timeout": f"{int(pod.get('timeoutSeconds') or 600)}s",
    }


def _pod(pod: Document, annotations: Mapping[str, str]) -> Document:
    throttled = annotations.get("run.googleapis.com/cpu-throttling", "true").lower() != "false"
    boost = annotations.get("run.googleapis.com/startup-cpu-boost", "").lower() == "true"
    made: Document = {"containers": [_container(each, throttled, boost) for each in pod["containers"]]}
    if pod.get("volumes"):
        made["volumes"] = [_volume(each) for each in pod["volumes"]]
    if pod.get("serviceAccountName"):
        made["serviceAccount"] = pod["serviceAccountName"]
    generation = annotations.get("run.googleapis.com/execution-environment")
    if generation:
        made["executionEnvironment"] = f"EXECUTION_ENVIRONMENT_{generation.upper()}"
    return made


def _container(container: Document, throttled: bool, boost: bool) -> Document:
    made = _picked(container, ("name", "image", "command", "args", "workingDir", "dependsOn"))
    limits = (container.get("resources") or {}).get("limits") or {}
    made["resources"] = {"limits": dict(limits), "cpuIdle": throttled} | ({"startupCpuBoost": True} if boost else {})
    if container.get("env"):
        made["env"] = [_variable(each) for each in container["env"]]
    if container.get("ports"):
        made["ports"] = [_picked(each, ("name", "containerPort")) for each in container["ports"]]
    if container.get("volumeMounts"):
        made["volumeMounts"] = [_picked(each, ("name", "mountPath", "subPath")) for each in container["volumeMounts"]]
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        if container.get(kind):
            made[kind] = _probe(container[kind])
    return made


def _probe(probe: Document) -> Document:
    made = _picked(probe, ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "failureThreshold"))
    for kind in ("httpGet", "tcpSocket", "grpc"):
        if kind in probe:
            made[kind] = _picked(probe[kind] or {}, ("path", "httpHeaders", "port", "service"))
    return made


def _variable(variable: Document) -> Document:
    source = (variable.get("valueFrom") or {}).get("secretKeyRef")
    if source:
        reference = {"secret": source.get("name", ""), "version": source.get("key", "")}
        return {"name": variable["name"], "valueSource": {"secretKeyRef": reference}}
    return {"name": variable["name"], "value": variable.get("value") or ""}


def _volume(volume: Document) -> Document:
    made: Document = {"name": volume["name"]}
    if "csi" in volume:
        csi = volume["csi"]
        attributes = csi.get("volumeAttributes") or {}
        made["gcs"] = {"bucket": attributes.get("bucketName", ""), "readOnly": bool(csi.get("readOnly"))}
        if attributes.get("mountOptions"):
            made["gcs"]["mountOptions"] = attributes["mountOptions"].split(",")
    elif "emptyDir" in volume:
        medium = (volume["emptyDir"].get("medium") or "").upper()
        made["emptyDir"] = _picked(volume["emptyDir"], ("sizeLimit",)) | ({"medium": medium} if medium else {})
    elif "secret" in volume:
        secret = volume["secret"]
        items = [
            _picked(each, ("path", "mode")) | {"version": each.get("key", "")} for each in secret.get("items") or ()
        ]
        made["secret"] = {"secret": secret.get("secretName", ""), "items": items} | _picked(secret, ("defaultMode",))
    elif "nfs" in volume:
        made["nfs"] = _picked(volume["nfs"], ("server", "path", "readOnly"))
    return made


def _target(line: Document) -> Document:
    latest = line.get("latestRevision") or not line.get("revisionName")
    made = {"type": f"TRAFFIC_TARGET_ALLOCATION_TYPE_{'LATEST' if latest else 'REVISION'}"}
    if line.get("revisionName"):
        made["revision"] = line["revisionName"]
    return made | _picked(line, ("percent", "tag")) | ({"uri": line["url"]} if line.get("url") else {})


def _terminal(status: Document, kind: str) -> Document:
    found = [each for each in status.get("conditions") or () if each["type"] == kind]
    return _condition(found[0]) if found else {"type": kind, "state": "CONDITION_RECONCILING"}


def _conditions(status: Document, but: str = "") -> list[Document]:
    return [_condition(each) for each in status.get("conditions") or () if each["type"] != but]


def _condition(condition: Document) -> Document:
    made = {
        "type": condition["type"],
        "state": _STATES.get(condition["status"], "CONDITION_RECONCILING"),
        "lastTransitionTime": condition["lastTransitionTime"],
    }
    if condition.get("message"):
        made["message"] = condition["message"]
    if condition.get("severity"):
        made["severity"] = condition["severity"].upper()
    if condition.get("reason") and condition["status"] != "True":
        key, reason = _REASONS.get(condition["reason"], ("reason", "UNKNOWN"))
        made[key] = reason
    return made


def _picked(source: Mapping[str, Any], keys: Sequence[str]) -> Document:
    return {key: source[key] for key in keys if source.get(key) not in (None, "", [])}
