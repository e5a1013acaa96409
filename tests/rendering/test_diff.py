"""Only what we manage counts as a change: what the API adds by itself never makes a deploy."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from scripts.plan import Action, Change
from scripts.rendering.diff import changes
from scripts.rendering.render import render_job, render_service
from scripts.settings.load import load

TARGET = "service tabular-service"


@pytest.fixture(scope="module")
def rendered() -> dict[str, Any]:
    return render_service(load("staging"))


@pytest.fixture
def live(rendered: dict[str, Any]) -> dict[str, Any]:
    """The service as the API answers: with defaults, annotations and status of its own."""
    answer = copy.deepcopy(rendered)
    answer["metadata"] |= {
        "namespace": "482910573",
        "generation": 4,
        "resourceVersion": "AAY",
        "uid": "u",
        "selfLink": "/",
    }
    answer["metadata"]["labels"]["cloud.googleapis.com/location"] = "europe-west1"
    answer["metadata"]["annotations"]["serving.knative.dev/creator"] = "ci@example.com"
    template = answer["spec"]["template"]
    template["metadata"]["annotations"]["run.googleapis.com/client-name"] = "modelshelf"
    template["metadata"]["name"] = "tabular-service-00004-abc"
    probe = container(answer)["startupProbe"]
    probe["successThreshold"] = 1
    del probe["initialDelaySeconds"]
    for variable in container(answer)["env"]:
        if variable.get("value") == "":
            del variable["value"]
    answer["status"] = {"observedGeneration": 4}
    return answer


def container(service: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = service["spec"]["template"]["spec"]["containers"][0]
    return found


def only(desired: dict[str, Any], live: dict[str, Any]) -> Change:
    found = changes(desired, live, TARGET)
    assert len(found) == 1, found
    return found[0]


def test_nothing_to_change(rendered: dict[str, Any], live: dict[str, Any]) -> None:
    assert changes(rendered, live, TARGET) == ()
    job = render_job(load("staging"))
    assert changes(job, copy.deepcopy(job), "job") == ()


def test_nothing_live_is_one_creation(rendered: dict[str, Any]) -> None:
    assert changes(rendered, None, TARGET) == (Change(Action.CREATE, TARGET),)


def test_env_is_compared_by_name_and_completely(rendered: dict[str, Any], live: dict[str, Any]) -> None:
    variables = container(live)["env"]
    toggled = next(each for each in variables if each["name"] == "SHARED_MODEL_VOLUME_ENABLED")
    toggled["value"] = "false"
    variables.append({"name": "BY_HAND", "value": "x"})
    gone = next(each for each in variables if each["name"] == "MODEL_ON_MISS")
    variables.remove(gone)
    variables.reverse()
    found = {change.path.rpartition("[")[2]: change for change in changes(rendered, live, TARGET)}
    assert set(found) == {"SHARED_MODEL_VOLUME_ENABLED]", "BY_HAND]", "MODEL_ON_MISS]"}
    place = "spec.template.spec.containers[tabular].env"
    expected = Change(Action.UPDATE, TARGET, f"{place}[SHARED_MODEL_VOLUME_ENABLED]", "false", "true")
    assert found["SHARED_MODEL_VOLUME_ENABLED]"] == expected
    assert found["BY_HAND]"] == Change(Action.DELETE, TARGET, f"{place}[BY_HAND]", "x")
    assert found["MODEL_ON_MISS]"] == Change(Action.CREATE, TARGET, f"{place}[MODEL_ON_MISS]", None, "trigger")


def test_a_variable_that_moves_into_a_secret(rendered: dict[str, Any], live: dict[str, Any]) -> None:
    desired = copy.deepcopy(rendered)
    reference = {"secretKeyRef": {"name": "hub-token", "key": "3"}}
    container(desired)["env"].append({"name": "HF_TOKEN", "valueFrom": reference})
    container(live)["env"].append({"name": "HF_TOKEN", "value": "abc"})
    change = only(desired, live)
    assert (change.before, change.after) == ("abc", "secret hub-token:3")
    container(live)["env"][-1] = {"name": "HF_TOKEN", "valueFrom": copy.deepcopy(reference)}
    assert changes(desired, live, TARGET) == ()


@pytest.mark.parametrize(
    ("desired", "found"),
    [
        ({"cpu": "1", "memory": "1Gi"}, {"cpu": "1000m", "memory": "1024Mi"}),
        ({"cpu": "2", "memory": "4Gi"}, {"cpu": 2, "memory": "4294967296"}),
    ],
)
def test_quantities_are_compared_by_what_they_mean(
    rendered: dict[str, Any], live: dict[str, Any], desired: Any, found: Any
) -> None:
    wanted = copy.deepcopy(rendered)
    container(wanted)["resources"]["limits"] = desired
    container(live)["resources"]["limits"] = found
    assert changes(wanted, live, TARGET) == ()
    container(live)["resources"]["limits"] = found | {"memory": "3Gi"}
    assert only(wanted, live).path == "spec.template.spec.containers[tabular].resources.limits.memory"


def test_numbers_and_their_texts_are_the_same(rendered: dict[str, Any], live: dict[str, Any]) -> None:
    live["spec"]["template"]["spec"]["timeoutSeconds"] = "300"
    live["spec"]["template"]["metadata"]["annotations"]["run.googleapis.com/startup-cpu-boost"] = True
    assert changes(rendered, live, TARGET) == ()
    live["spec"]["template"]["spec"]["timeoutSeconds"] = "301"
    change = only(rendered, live)
    assert (change.path, change.before, change.after) == ("spec.template.spec.timeoutSeconds", "301", 300)


@pytest.mark.parametrize("bad", [None, "", 0, False, [], {}, "a"])
def test_a_number_is_not_mistaken_for_nothing(bad: Any) -> None:
    change = only({"maxRetries": 3}, {"maxRetries": bad})
    assert change.path == "maxRetries"
    assert only({"maxRetries": 0}, {}).action is Action.CREATE


def test_traffic_is_compared_by_meaning(rendered: dict[str, Any], live: dict[str, Any]) -> None:
    live["spec"]["traffic"] = [{"latestRevision": True, "percent": 100, "url": "https://x"}]
    assert changes(rendered, live, TARGET) == ()
    live["spec"]["traffic"] = [
        {"revisionName": "tabular-service-00002-abc", "percent": 90},
        {"latestRevision": True, "percent": 10, "tag": "canary"},
    ]
    change = only(rendered, live)
    assert change.path == "spec.traffic"
    assert change.before == "90 % tabular-service-00002-abc, 10 % latest (tag canary)"
    assert change.after == "100 % latest"
    split = rendered | {"spec": rendered["spec"] | {"traffic": list(reversed(live["spec"]["traffic"]))}}
    assert changes(split, live, TARGET) == ()


def test_labels_of_ours_count_and_others_do_not(rendered: dict[str, Any], live: dict[str, Any]) -> None:
    live["metadata"]["labels"]["team"] = "other"
    del live["metadata"]["annotations"]["run.googleapis.com/ingress"]
    found = {change.path: change.action for change in changes(rendered, live, TARGET)}
    expected = {
        "metadata.labels.team": Action.UPDATE,
        "metadata.annotations[run.googleapis.com/ingress]": Action.CREATE,
    }
    assert found == expected


def test_what_only_we_write_is_removed(rendered: dict[str, Any], live: dict[str, Any]) -> None:
    desired = copy.deepcopy(rendered)
    del desired["spec"]["template"]["spec"]["volumes"]
    del container(desired)["volumeMounts"]
    live["spec"]["template"]["metadata"]["annotations"]["run.googleapis.com/vpc-access-egress"] = "all-traffic"
    found = changes(desired, live, TARGET)
    assert [change.action for change in found] == [Action.DELETE] * 3
    assert {change.path for change in found} == {
        "spec.template.metadata.annotations[run.googleapis.com/vpc-access-egress]",
        "spec.template.spec.volumes",
        "spec.template.spec.containers[tabular].volumeMounts",
    }


def test_a_second_container_and_unnamed_ones(rendered: dict[str, Any], live: dict[str, Any]) -> None:
    containers = live["spec"]["template"]["spec"]["containers"]
    containers.append({"name": "sidecar", "image": "x"})
    assert only(rendered, live).path == "spec.template.spec.containers[sidecar]"
    containers.pop()
    del containers[0]["name"]
    assert only(rendered, live).path == "spec.template.spec.containers[0].name"


def test_another_kind_of_value_is_a_change(rendered: dict[str, Any], live: dict[str, Any]) -> None:
    live["spec"]["template"]["spec"]["volumes"] = {"name": "models"}
    assert only(rendered, live).path == "spec.template.spec.volumes"


def test_changes_follow_the_rendered_file_and_read_well(rendered: dict[str, Any], live: dict[str, Any]) -> None:
    container(live)["image"] = "tabular:old"
    live["spec"]["template"]["metadata"]["annotations"]["autoscaling.knative.dev/maxScale"] = "9"
    assert [change.line() for change in changes(rendered, live, TARGET)] == [
        f"~ {TARGET} spec.template.metadata.annotations[autoscaling.knative.dev/maxScale]: 9 → 4",
        f"~ {TARGET} spec.template.spec.containers[tabular].image: tabular:old → {container(rendered)['image']}",
    ]
