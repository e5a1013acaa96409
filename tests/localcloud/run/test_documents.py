"""Conditions and documents: what moves, what keeps its time, what decides readiness."""

from __future__ import annotations

from scripts.localcloud.run import documents
from scripts.localcloud.run.conditions import Condition, find, merge, status_of
from scripts.localcloud.run.store import Document

SERVICE: Document = {
    "metadata": {"name": "api", "namespace": "1", "uid": "u", "generation": 3, "selfLink": "/x/services/api"},
    "spec": {"template": {"spec": {"containers": [{"image": "x"}]}}},
    "status": {},
}


def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    first = merge([], [Condition("Ready", "Unknown", "Deploying")], "t1")
    second = merge(first, [Condition("Ready", "Unknown", "Still")], "t2")
    third = merge(second, [Condition("Ready", "True")], "t3")
    assert [each[0]["lastTransitionTime"] for each in (first, second, third)] == ["t1", "t1", "t3"]
    assert "reason" not in third[0]


def test_a_service_is_ready_when_both_parts_are() -> None:
    done, moving, broken = ("True", "", ""), ("Unknown", "Deploying", "…"), ("False", "Bad", "why")
    for configuration, routes, expected in (
        (done, done, "True"),
        (done, moving, "Unknown"),
        (broken, done, "False"),
        (moving, broken, "False"),
    ):
        status = {"status": {"conditions": documents.service_status(SERVICE, "t", configuration, routes)}}
        assert status_of(status, "Ready") == expected
    assert find(status, "Ready")["message"] == "why"


def test_a_revision_is_named_after_its_service_and_generation() -> None:
    revision = documents.new_revision(SERVICE, 3, ["r@d"], "t")
    assert revision["metadata"]["name"].startswith("api-00003-")
    assert (documents.number(revision), revision["status"]["imageDigest"]) == (3, "r@d")
    assert documents.missing_image(revision) == ""
    assert revision["metadata"]["labels"]["serving.knative.dev/service"] == "api"
    assert status_of(revision, "Ready") == "Unknown"
    idle = documents.with_activity(revision, False, "t2")
    assert find(idle, "Active")["severity"] == "Info" and status_of(idle, "Ready") == "Unknown"
    active = documents.with_activity(idle, True, "t3")
    assert [each["type"] for each in active["status"]["conditions"]].count("Active") == 1
    named = {
        **SERVICE,
        "spec": {
            "template": {"metadata": {"name": "api-blue"}, "spec": {"containers": [{"image": "gcr.io/p/hello:gone"}]}}
        },
    }
    missing = documents.new_revision(named, 4, [""], "t")
    assert missing["metadata"]["name"] == "api-blue"
    assert "Image 'gcr.io/p/hello:gone' not found" in documents.missing_image(missing)
