"""Bodies against Google's field names and types."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.localcloud import schema
from scripts.localcloud.web import ApiError


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
