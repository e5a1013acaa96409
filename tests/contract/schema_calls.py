"""A call of each of Google's methods that the stand-in has: what to ask, in an order in which it can be answered."""

# ruff: noqa: E501 - one case a line

from __future__ import annotations

import base64
import json
import re
from typing import Any

from scripts.localcloud.web import Route
from tests.contract import run_support

_DAY = "interval.startTime=2026-11-20T00:00:00Z&interval.endTime=2026-11-21T00:00:00Z"
_GRANT = {"policy": {"bindings": [{"role": "roles/viewer", "members": ["allUsers"]}]}}
_FILTER = 'metric.type="storage.googleapis.com/storage/total_bytes" AND resource.type="gcs_bucket"'
_CONDITION = {"filter": _FILTER, "comparison": "COMPARISON_GT", "thresholdValue": 5, "duration": "60s",
              "aggregations": [{"alignmentPeriod": "60s", "perSeriesAligner": "ALIGN_MEAN"}]}  # fmt: skip
_POLICY = {
    "displayName": "schema", "combiner": "OR", "conditions": [{"displayName": "x", "conditionThreshold": _CONDITION}],
}  # fmt: skip
_ENTRY = {"logName": "projects/demo/logs/schema", "resource": {"type": "global"}, "textPayload": "x"}
_JOB = {"schedule": "0 2 * * *", "timeZone": "UTC", "httpTarget": {"uri": "http://127.0.0.1:9/", "httpMethod": "GET"}}
_KEY = {"purpose": "ASYMMETRIC_SIGN", "versionTemplate": {"algorithm": "EC_SIGN_P256_SHA256"}}
_STORAGE_POLICY = {"bindings": [{"role": "roles/storage.objectViewer", "members": ["allUsers"]}]}

# What a method's body must have; {} where it is not named.
BODIES: dict[str, Any] = {
    "storage.buckets.insert": {"name": "schema", "versioning": {"enabled": True}},
    "storage.buckets.update": {"versioning": {"enabled": True}},
    "storage.objects.insert": "media",
    "storage.objects.compose": {"sourceObjects": [{"name": "schema"}]},
    "storage.bucketAccessControls": {"entity": "user-a@example.com", "role": "READER"},
    "storage.defaultObjectAccessControls": {"entity": "user-a@example.com", "role": "READER"},
    "storage.objectAccessControls": {"entity": "user-a@example.com", "role": "READER"},
    "storage.managedFolders.insert": {"name": "folder/"},
    "storage.notifications.insert": {"topic": "//pubsub.googleapis.com/projects/demo/topics/t", "payload_format": "NONE"},
    "storage.projects.hmacKeys.update": {"state": "INACTIVE"},
    "logging.entries.write": {"entries": [_ENTRY]},
    "logging.entries.list": {"resourceNames": ["projects/demo"]},
    "logging.entries.tail": {"resourceNames": ["projects/demo"]},
    "logging.projects.metrics": {"name": "schema", "filter": "severity>=ERROR"},
    "monitoring.projects.alertPolicies": _POLICY,
    "monitoring.projects.notificationChannels": {"type": "email", "labels": {"email_address": "a@example.com"}},
    "cloudscheduler.projects.locations.jobs.create": {**_JOB, "name": "projects/demo/locations/europe-west1/jobs/schema"},
    "cloudscheduler.projects.locations.jobs.patch": {"description": "x"},
    "cloudkms.projects.locations.keyRings.cryptoKeys.create": _KEY,
    "cloudkms.projects.locations.keyRings.cryptoKeys.patch": {"labels": {"a": "b"}},
    "cloudkms.projects.locations.keyRings.cryptoKeys.cryptoKeyVersions.patch": {"state": "ENABLED"},
    "cloudkms.projects.locations.keyRings.cryptoKeys.cryptoKeyVersions.asymmetricSign": {"data": "eA=="},
    "cloudkms.projects.locations.keyRings.cryptoKeys.updatePrimaryVersion": {"cryptoKeyVersionId": "1"},
    "secretmanager.projects.secrets.create": {"replication": {"automatic": {}}},
    "secretmanager.projects.secrets.patch": {"labels": {"a": "b"}},
    "secretmanager.projects.secrets.addVersion": {"payload": {"data": base64.b64encode(b"x").decode()}},
    "iam.projects.serviceAccounts.create": {"accountId": "schema-account"},
    "iam.projects.serviceAccounts.patch": {"serviceAccount": {"description": "x"}, "updateMask": "description"},
    "iamcredentials.projects.serviceAccounts.signBlob": {"payload": "eA=="},
    "iamcredentials.projects.serviceAccounts.signJwt": {"payload": "{}"},
    "iamcredentials.projects.serviceAccounts.generateAccessToken": {"scope": ["https://www.googleapis.com/auth/cloud-platform"]},
    "iamcredentials.projects.serviceAccounts.generateIdToken": {"audience": "https://example.com"},
    "serviceusage.services.batchEnable": {"serviceIds": ["run.googleapis.com"]},
    "run.namespaces.services": run_support.service("schema"),
    "run.projects.locations.services.create": run_support.service("schema-two"),
    "run.namespaces.services.replaceService": run_support.service("schema", env={"A": "2"}),
    "run.projects.locations.services.replaceService": run_support.service("schema", env={"A": "3"}),
    "run.namespaces.jobs.create": run_support.job("schema"),
    "run.namespaces.jobs.replaceJob": run_support.job("schema"),
}  # fmt: skip
QUERIES = {
    "storage.buckets.insert": "project=demo", "storage.buckets.list": "project=demo",
    "storage.objects.insert": "uploadType=media&name=schema", "storage.buckets.lockRetentionPolicy": "ifMetagenerationMatch={metageneration}",
    "storage.objects.restore": "generation={generation}", "storage.buckets.testIamPermissions": "permissions=storage.objects.get",
    "storage.objects.testIamPermissions": "permissions=storage.objects.get",
    "storage.managedFolders.testIamPermissions": "permissions=storage.objects.get", "storage.projects.hmacKeys.create": "serviceAccountEmail=a@demo.iam.gserviceaccount.com",
    "monitoring.projects.timeSeries.list": f"{_DAY}&filter=" + _FILTER.replace(" ", "%20"),
    "monitoring.projects.alertPolicies.patch": "updateMask=displayName", "monitoring.projects.notificationChannels.patch": "updateMask=labels",
    "cloudscheduler.projects.locations.jobs.patch": "updateMask=description",
    "cloudkms.projects.locations.keyRings.create": "keyRingId=schema",
    "cloudkms.projects.locations.keyRings.cryptoKeys.create": "cryptoKeyId=schema",
    "cloudkms.projects.locations.keyRings.cryptoKeys.patch": "updateMask=labels",
    "cloudkms.projects.locations.keyRings.cryptoKeys.cryptoKeyVersions.patch": "updateMask=state",
    "secretmanager.projects.secrets.create": "secretId=schema", "secretmanager.projects.secrets.patch": "updateMask=labels",
    "serviceusage.services.batchGet": "names=projects/demo/services/run.googleapis.com",
}  # fmt: skip
# The name that a path has after a collection; other names are learnt from the answers.
NAMES = {
    "namespaces": "demo", "projects": "demo", "locations": "europe-west1", "b": "schema", "o": "schema",
    "copyTo": "schema", "rewriteTo": "schema", "moveTo": "schema", "acl": "user-a@example.com", "services": "schema",
    "defaultObjectAcl": "user-a@example.com", "serviceusage.services": "run.googleapis.com", "versions": "1",
    "logs": "schema", "buckets": "_Default", "views": "_AllLogs", "sinks": "_Default", "managedFolders": "folder%2F",
    "metricDescriptors": "storage.googleapis.com/storage/total_bytes", "monitoredResourceDescriptors": "gcs_bucket",
    "iamcredentials.serviceAccounts": "schema-account@demo.iam.gserviceaccount.com",
    "cryptoKeyVersions": "1", "cryptoKeys": "schema", "keyRings": "schema", "secrets": "schema",
}  # fmt: skip
_LAST = ("move", "pause", "disable", "destroy", "restore", "lockRetentionPolicy")
# Other names than a path would have: a bucket with uniform access, a copy to be moved.
INSTEAD = {
    "logging.projects.locations.": ("/europe-west1/", "/global/"),
    "storage.managedFolders.": ("/b/schema/", "/b/uniform/"),
    "storage.buckets.lockRetentionPolicy": ("/b/schema/", "/b/locked/"),
    "storage.buckets.delete": ("/b/schema", "/b/empty"),
    "storage.objects.restore": ("/b/schema/o/schema/", "/b/soft/o/gone/"),
    "storage.objects.copy": ("To/b/schema/o/schema", "To/b/schema/o/copy"),
    "storage.objects.rewrite": ("To/b/schema/o/schema", "To/b/schema/o/copy"),
    "storage.objects.move": ("/o/schema/moveTo/o/schema", "/o/copy/moveTo/o/moved"),
    "run.projects.locations.services.delete": ("/services/schema", "/services/schema-two"),
    "cloudkms.projects.locations.keyRings.cryptoKeys.updatePrimaryVersion": ("Keys/schema:", "Keys/symmetric:"),
}
BUCKETS: list[dict[str, Any]] = [
    {"name": "uniform", "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}}},
    {"name": "locked", "retentionPolicy": {"retentionPeriod": "1"}},
    {"name": "empty"},
    {"name": "soft", "softDeletePolicy": {"retentionDurationSeconds": "604800"}},
]
# There to say that it cannot be done here; docs/local-cloud.md tells.
DECLINED = frozenset({
    "logging.projects.sinks.create", "logging.projects.locations.buckets.create", "logging.entries.tail",
})  # fmt: skip
# These need an execution that is still under way: test_run_jobs.py and test_run_v2.py call them, and are judged as well.
ELSEWHERE = frozenset({"run.namespaces.executions.cancel", "run.projects.locations.jobs.executions.cancel"})
_FIRST = ("create", "insert", "write", "addVersion")


def order(route: Route) -> tuple[int, int]:
    """Make first, then run, read, change, end, delete; what lies deeper is made later and deleted earlier."""
    verb = route.operation.rpartition(".")[2]
    depth = route.pattern.count("/")
    if route.method == "DELETE":
        return (7 if route.operation.endswith(("services.delete", "jobs.delete")) else 6), -depth
    if verb == "undelete":
        return 8, depth
    if verb in _FIRST:
        return 0, depth
    if verb == "run":
        return 1, depth
    if route.method == "GET":
        return 2, depth
    return (4 if verb in _LAST else 3), depth


def looked_up(table: dict[str, Any], operation: str) -> Any:
    """The entry of a method, or of the resource that it belongs to."""
    return table.get(operation, table.get(operation.rpartition(".")[0]))


def path(route: Route, learnt: dict[str, str]) -> str:
    """A route's path with names that there are."""
    api = route.operation.partition(".")[0]

    def named(found: re.Match[str]) -> str:
        collection = found[1]
        known = {**NAMES, **learnt}
        if route.operation.endswith("undelete"):
            return f"{collection}/{learnt['uniqueId']}"
        return f"{collection}/{known.get(f'{api}.{collection}', known.get(collection, 'schema'))}"

    made = re.sub(r"([\w.]+)/\{\w+[+*]?\}", named, route.pattern)
    for start, (one, other) in INSTEAD.items():
        if route.operation.startswith(start):
            made = made.replace(one, other)
    return made


def learn(route: Route, answer: Any, learnt: dict[str, str]) -> None:
    """Keep the names that an answer tells: of what was made, of the first of a list, of an operation."""
    if not isinstance(answer, dict):
        return
    api, collection = route.operation.partition(".")[0], route.pattern.rpartition("/")[2].partition(":")[0]
    listed = next(
        (each for each in answer.values() if isinstance(each, list) and each and isinstance(each[0], dict)), None
    )
    ours = [each for each in listed or [] if not _name(each).rpartition("/")[2].startswith("schema-two")]
    one = ours[-1] if ours and route.method == "GET" else answer
    name = _name(one)
    if "uniqueId" in one:
        learnt["uniqueId"] = one["uniqueId"]
    if "/operations/" in name or name.startswith("operations/"):
        learnt[f"{api}.operations"] = name.rpartition("/")[2]
    elif name and "{" not in collection and collection not in NAMES and order(route)[0] in (0, 2):
        key, made = f"{api}.{collection}", order(route)[0] == 0
        if made or f"made {key}" not in learnt:
            learnt[key] = name.rpartition("/")[2]
        if made:
            learnt[f"made {key}"] = name


def _name(one: dict[str, Any]) -> str:
    metadata = one.get("metadata") if isinstance(one.get("metadata"), dict) else {}
    found = (
        one.get("name") or one.get("entity") or metadata.get("name") or metadata.get("accessId") or one.get("id") or ""
    )
    return str(found)


def body(operation: str) -> tuple[bytes, str]:
    """A method's body and its content type."""
    value = looked_up(BODIES, operation)
    if value == "media":
        return b"x", "text/plain"
    if operation.endswith(("etIamPolicy", "testIamPermissions")):
        value = _STORAGE_POLICY if operation.startswith("storage.") else _GRANT if "set" in operation else {}
    return json.dumps(value if value is not None else {}).encode(), "application/json"
