"""The next change keeps what somebody decided about a service: pinned traffic, tags, variables."""

from __future__ import annotations

from typing import Any

from scripts.cloud.run import ServiceState, service_state
from scripts.service import standing


def state(traffic: list[dict[str, Any]], **annotations: str) -> ServiceState:
    return service_state({"metadata": {"name": "s", "annotations": annotations}, "spec": {"traffic": traffic}})


def test_traffic_is_pinned_only_where_one_revision_has_all_of_it_by_name() -> None:
    assert standing.pinned(state([{"revisionName": "s-1", "percent": 100}])) == "s-1"
    assert standing.pinned(state([{"latestRevision": True, "percent": 100}])) == ""
    assert (
        standing.pinned(state([{"revisionName": "s-1", "percent": 90}, {"revisionName": "s-2", "percent": 10}])) == ""
    )
    tagged = [{"revisionName": "s-1", "percent": 100}, {"latestRevision": True, "percent": 0, "tag": "next"}]
    assert standing.pinned(state(tagged)) == "s-1"


def test_tags_stay_where_they_are() -> None:
    live = state(
        [{"latestRevision": True, "percent": 100, "tag": "now"}, {"revisionName": "s-1", "percent": 0, "tag": "old"}]
    )
    assert standing.pinned_traffic(live, "s-1") == [
        {"revisionName": "s-1", "percent": 100, "tag": "old"},
        {"latestRevision": True, "tag": "now"},
    ]


def test_a_rollback_stands_as_long_as_its_revision_has_the_traffic() -> None:
    notes = {standing.HELD: "s-1: rolled back from s-2"}
    assert standing.rolled_back(state([{"revisionName": "s-1", "percent": 100}], **notes)) == ("s-2", "s-1")
    assert standing.rolled_back(state([{"latestRevision": True, "percent": 100}], **notes)) is None
    assert standing.rolled_back(state([{"revisionName": "s-1", "percent": 100}])) is None


def test_one_variable_is_merged_and_the_others_stay() -> None:
    env = [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "x", "key": "1"}}}]
    body = {"spec": {"template": {"spec": {"containers": [{"env": env}]}}}}
    standing.merge_env(body, "A", "2")
    standing.merge_env(body, "C", "3")
    (container,) = body["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "A", "value": "2"}, env[1], {"name": "C", "value": "3"}]
