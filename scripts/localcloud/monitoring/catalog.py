"""What metrics and monitored resources there are, as descriptors of the API.

Source: "Google Cloud metrics" (cloudrun, storage) and "Monitored resource types" of Cloud Monitoring.
"""

from __future__ import annotations

from typing import Any

from scripts.localcloud.monitoring import instances, requests

_CODE = (("response_code", "Response code of a request."), ("response_code_class", "Class of the response code."))
_REVISION, _JOB, _BUCKET = "cloud_run_revision", "cloud_run_job", "gcs_bucket"
_STORAGE = "storage.googleapis.com"

# type: (kind, value type, unit, display name, resource, labels)
_METRICS: dict[str, tuple[str, str, str, str, str, tuple[tuple[str, str], ...]]] = {
    requests.COUNT: ("DELTA", "INT64", "1", "Request Count", _REVISION, _CODE),
    requests.LATENCIES: ("DELTA", "DISTRIBUTION", "ms", "Request Latency", _REVISION, _CODE),
    instances.COUNT: ("GAUGE", "INT64", "1", "Instance Count", _REVISION, (("state", "active or idle."),)),
    instances.MEMORY: ("DELTA", "DISTRIBUTION", "10^2.%", "Container Memory Utilization", _REVISION, ()),
    instances.CPU: ("DELTA", "DISTRIBUTION", "10^2.%", "Container CPU Utilization", _REVISION, ()),
    instances.STARTUP: ("DELTA", "DISTRIBUTION", "ms", "Container Startup Latency", _REVISION, ()),
    instances.CONCURRENCY: ("DELTA", "DISTRIBUTION", "1", "Max Concurrent Requests", _REVISION, ()),
    instances.EXECUTIONS: (
        "DELTA", "INT64", "1", "Completed Executions", _JOB, (("result", "succeeded or failed."),),
    ),
    f"{_STORAGE}/storage/total_bytes": (
        "GAUGE", "DOUBLE", "By", "Total bytes", _BUCKET, (("storage_class", "Storage class of the data."),),
    ),
    f"{_STORAGE}/storage/object_count": (
        "GAUGE", "INT64", "1", "Object count", _BUCKET, (("storage_class", "Storage class of the objects."),),
    ),
}  # fmt: skip

_RESOURCES: dict[str, tuple[str, tuple[str, ...]]] = {
    _REVISION: (
        "Cloud Run Revision", ("project_id", "service_name", "revision_name", "location", "configuration_name"),
    ),
    _JOB: ("Cloud Run Job", ("project_id", "job_name", "location")),
    _BUCKET: ("GCS Bucket", ("project_id", "bucket_name", "location")),
    "cloud_scheduler_job": ("Cloud Scheduler Job", ("project_id", "job_id", "location")),
    "global": ("Global", ("project_id",)),
}  # fmt: skip


def unit(metric: str) -> str:
    """The unit of a metric's values; 1 for one that is not in the catalogue."""
    return _METRICS[metric][2] if metric in _METRICS else "1"


def types() -> list[str]:
    """The types of all metrics but those from logs."""
    return list(_METRICS)


def metric(project: str, metric_type: str) -> dict[str, Any] | None:
    """The MetricDescriptor of a type; None when there is no such metric."""
    if metric_type not in _METRICS:
        return None
    kind, value_type, of, title, resource, labels = _METRICS[metric_type]
    shown: dict[str, Any] = {"name": f"projects/{project}/metricDescriptors/{metric_type}", "type": metric_type}
    shown |= {"metricKind": kind, "valueType": value_type, "unit": of, "displayName": title, "launchStage": "GA"}
    shown |= {"description": f"{title}.", "monitoredResourceTypes": [resource]}
    shown["metadata"] = {"samplePeriod": "60s", "ingestDelay": "0s", "launchStage": "GA"}
    if labels:
        shown["labels"] = [{"key": key, "description": text} for key, text in labels]
    return shown


def resources() -> list[dict[str, Any]]:
    """Every MonitoredResourceDescriptor, without a name."""
    return [
        {
            "type": kind,
            "displayName": title,
            "description": f"{title}.",
            "labels": [{"key": key, "description": f"The {key} of the resource."} for key in labels],
            "launchStage": "GA",
        }
        for kind, (title, labels) in _RESOURCES.items()
    ]
