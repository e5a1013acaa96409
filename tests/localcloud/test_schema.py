"""Bodies against Google's field names and types."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.localcloud import schema
from scripts.localcloud.web import ApiError

HUGE, TEXT = {"thresholdValue": 10**400}, {"thresholdValue": "much"}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"spec": {"traffic": [{"percentage": 1}]}}, "Unknown name \"percentage\" at 'service.spec.traffic[0]'"),
        ({"spec": []}, "'service.spec' (an object)"),
        ({"spec": {"traffic": {}}}, "'service.spec.traffic' (a list)"),
        ({"spec": {"traffic": [{"percent": 1.5}]}}, "TYPE_INTEGER"),
        ({"spec": {"traffic": [{"latestRevision": "yes"}]}}, "TYPE_BOOLEAN"),
        ({"metadata": {"generation": True}}, "TYPE_INTEGER"),
        ({"metadata": {"labels": {"a": True}}}, "'service.metadata.labels.a' (TYPE_STRING), true"),
    ],
)
def test_foreign_fields_and_types_are_refused(value: dict[str, Any], words: str) -> None:
    with pytest.raises(ApiError) as caught:
        schema.check("run.v1", "Service", value, "service")
    assert caught.value.code == 400 and words in caught.value.message


def test_what_the_schema_knows_passes() -> None:
    schema.check("run.v1", "Service", {"spec": {"traffic": [{"percent": "50"}], "template": None}}, "service")
    schema.check("run.v1", "TaskSpec", {"timeoutSeconds": 600}, "task")
    schema.check("no.such", "Thing", {"anything": 1}, "thing")


@pytest.mark.parametrize(
    ("operation", "path", "value", "words"),
    [
        ("logging.entries.list", "/v2/entries:list", {"filter": 5}, "'filter' (TYPE_STRING), 5"),
        ("logging.entries.list", "/v2/entries:list", {"filters": ""}, 'Unknown name "filters": Cannot find field.'),
        ("run.namespaces.services.create", "/apis/serving.knative.dev/v1/x", {"a": 1}, "at 'service'"),
        ("cloudscheduler.projects.locations.jobs.create", "/v1/x", {"attemptDeadline": "soon"}, 'Duration), "soon"'),
        ("cloudscheduler.projects.locations.jobs.create", "/v1/x", {"state": "ON"}, "'job.state' (TYPE_ENUM)"),
        ("storage.buckets.patch", "/storage/v1/b/x", {"labels": []}, "'labels' (an object)"),
        (
            "storage.buckets.patch",
            "/storage/v1/b/x",
            {"softDeletePolicy": {"retentionDurationSeconds": 2**63}},
            "INT64",
        ),
        ("monitoring.projects.alertPolicies.create", "/v3/x", {"conditions": [{"conditionThreshold": HUGE}]}, "NUMBER"),
        ("monitoring.projects.alertPolicies.create", "/v3/x", {"conditions": [{"conditionThreshold": TEXT}]}, "NUMBER"),
        ("storage.buckets.patch", "/storage/v1/b/x", {"cors": [{}, None]}, "'cors[1]' (a value), null"),
        ("storage.objects.compose", "/storage/v1/b/x", {"sourceObjects": [None, {"name": "a"}]}, "'sourceObjects[0]'"),
        ("logging.entries.write", "/v2/entries:write", {"entries": [None]}, "'entries[0]' (a value), null"),
    ],
)
def test_a_method_takes_what_google_describes(operation: str, path: str, value: Any, words: str) -> None:
    with pytest.raises(ApiError) as caught:
        schema.accepted(operation, path, value)
    assert caught.value.code == 400 and words in caught.value.message


def test_storage_overlooks_what_it_does_not_know() -> None:
    given = {"labels": {"a": None}, "new": 1, "cors": [{"maxAgeSeconds": 5, "x": []}], "lifecycle": None}
    taken = schema.accepted("storage.buckets.patch", "/storage/v1/b/x", given)
    assert taken == {"labels": {"a": None}, "cors": [{"maxAgeSeconds": 5}], "lifecycle": None}


def test_what_is_not_googles_is_not_checked() -> None:
    assert schema.accepted("local.clock.advance", "/_local/clock", {"x": 1}) == {"x": 1}
    assert schema.accepted("", "/run/x", {"x": 1}) == {"x": 1}
    numbered = {"httpTarget": {"httpMethod": 1}}  # an enum by its number
    assert schema.accepted("cloudscheduler.projects.locations.jobs.create", "/v1/x", numbered) == numbered
