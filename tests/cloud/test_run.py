"""Cloud Run through Google's own client against the stand-in: typed states, waiting, conflicts, jobs."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.cloud import run
from scripts.cloud.connect import Cloud
from scripts.cloud.run import RunClient, ServiceState
from scripts.errors import BadInput, Conflict, NotFound, OpsError, Unreachable
from tests.cloud.proxy import Trouble, troubled
from tests.conftest import StandIn

HELLO = "us-docker.pkg.dev/cloudrun/container/hello"


@pytest.fixture
def client(shared_standin: StandIn, project: str) -> RunClient:
    return Cloud(project, "europe-west1", shared_standin.url).run()


def service(project: str, name: str = "api", image: str = HELLO, **env: str) -> dict[str, Any]:
    container = {"image": image, "env": [{"name": key, "value": value} for key, value in env.items()]}
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": project},
        "spec": {
            "template": {"spec": {"containers": [container]}},
            "traffic": [{"percent": 100, "latestRevision": True}],
        },
    }


def job(project: str, image: str = HELLO, **fields: Any) -> dict[str, Any]:
    task = {"containers": [{"image": image, **fields}], "maxRetries": 0}
    return {
        "apiVersion": "run.googleapis.com/v1",
        "kind": "Job",
        "metadata": {"name": "nightly", "namespace": project},
        "spec": {"template": {"spec": {"taskCount": 1, "template": {"spec": task}}}},
    }


@pytest.mark.process
def test_a_service_is_created_changed_and_listed(client: RunClient, project: str) -> None:
    assert client.get_service("api") is None
    made = client.apply_service(service(project))
    seen: list[ServiceState] = []
    first = client.wait_service("api", made.generation, timeout_s=30, on_change=seen.append)
    assert first.ready is True
    assert first.url.startswith("http://127.0.0.1:")
    assert first.latest_created_revision == first.latest_ready_revision != ""
    assert first.percent(first.latest_ready_revision) == 100
    assert seen[-1].ready is True

    changed = client.apply_service(service(project, A="1"), first.resource_version)
    second = client.wait_service("api", changed.generation, timeout_s=30)
    assert second.generation == first.generation + 1
    newest, oldest = client.list_revisions("api")
    assert [newest.name, oldest.name] == [second.latest_ready_revision, first.latest_ready_revision]
    assert newest.container_env == {"A": "1"}
    found = client.get_revision(newest.name)
    assert found is not None
    assert found.service == "api"
    assert [state.name for state in client.list_services()] == ["api"]


@pytest.mark.process
def test_a_change_in_between_is_a_conflict_and_loses_nothing(client: RunClient, project: str) -> None:
    stale = client.apply_service(service(project)).resource_version
    current = client.get_service("api")
    assert current is not None
    client.apply_service(service(project, WHO="the other"), current.resource_version)
    with pytest.raises(Conflict, match="changed by somebody else"):
        client.apply_service(service(project, WHO="me"), stale if stale != current.resource_version else "0")
    kept = client.get_service("api")
    assert kept is not None
    assert kept.spec["template"]["spec"]["containers"][0]["env"] == [{"name": "WHO", "value": "the other"}]
    with pytest.raises(Conflict):
        client.apply_service(service(project))


@pytest.mark.process
def test_a_server_side_check_changes_nothing(client: RunClient, project: str) -> None:
    client.apply_service(service(project), validate_only=True)
    assert client.get_service("api") is None
    with pytest.raises(BadInput):
        client.apply_service(service(project, image=""), validate_only=True)


@pytest.mark.process
def test_an_image_that_does_not_exist_fails_with_a_message(client: RunClient, project: str) -> None:
    made = client.apply_service(service(project, image="example/nosuch:1"))
    failed = client.wait_service("api", made.generation, timeout_s=30)
    assert failed.ready is False
    assert "nosuch" in failed.message
    assert failed.latest_ready_revision == ""


@pytest.mark.process
def test_waiting_ends_with_the_state_as_it_then_is(client: RunClient, project: str) -> None:
    made = client.apply_service(service(project))
    late = client.wait_service("api", made.generation + 7, timeout_s=0.3)
    assert late.generation == made.generation
    with pytest.raises(NotFound, match="disappeared"):
        client.wait_service("gone", 1, timeout_s=1)


@pytest.mark.process
def test_a_job_runs_to_its_end(client: RunClient, project: str) -> None:
    assert client.get_job("nightly") is None
    made = client.apply_job(job(project))
    assert client.wait_job("nightly", made.generation, timeout_s=30).ready is True
    started = client.run_job("nightly")
    polled: list[str] = []
    ended = client.wait_execution(started.name, timeout_s=60, on_poll=lambda each: polled.append(each.name))
    assert ended.succeeded is True
    assert ended.job == "nightly"
    assert ended.completed_at >= ended.started_at > ""
    assert set(polled) == {started.name}
    assert [each.name for each in client.list_executions("nightly")] == [started.name]


@pytest.mark.process
def test_a_job_that_fails_says_so(client: RunClient, project: str) -> None:
    client.apply_job(job(project, command=["/bin/sh", "-c", "exit 7"]))
    ended = client.wait_execution(client.run_job("nightly").name, timeout_s=60)
    assert ended.succeeded is False
    assert "7" in ended.message


@pytest.mark.process
def test_what_does_not_exist_is_told(client: RunClient) -> None:
    assert client.get_execution("nothing") is None
    assert client.get_revision("nothing") is None
    assert client.list_revisions("nothing") == []
    with pytest.raises(NotFound, match="run job nothing"):
        client.run_job("nothing")


@pytest.mark.process
def test_nobody_at_the_address_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.cloud.retry.time.sleep", lambda seconds: None)
    with pytest.raises(Unreachable, match="does not answer") as told:
        Cloud("project-a", "europe-west1", "http://127.0.0.1:9").run().get_service("api")
    assert told.value.remedy == "Run: ./dev invoke local.up"


def document(generation: int, observed: int, **condition: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "api", "generation": generation},
        "status": {"observedGeneration": observed, "conditions": [{"type": "Ready", **condition}]},
    }


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (document(2, 2, status="True"), True),
        (document(2, 2, status="False"), False),
        (document(2, 2, status="Unknown"), None),
        (document(2, 1, status="True"), None),
        ({"metadata": {"name": "api", "generation": 1}}, None),
    ],
)
def test_a_condition_counts_only_for_the_generation_it_was_observed_for(body: dict[str, Any], expected: Any) -> None:
    assert run.service_state(body).ready is expected


def test_a_job_that_is_never_accepted_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    client = RunClient.__new__(RunClient)
    monkeypatch.setattr(client, "get_job", lambda name: run.job_state(document(1, 1, status="False", message="no")))
    with pytest.raises(OpsError, match="is not ready: no"):
        client.wait_job("nightly", 1, timeout_s=1)


@pytest.mark.process
def test_an_execution_is_given_variables_of_its_own(client: RunClient, project: str) -> None:
    client.wait_job("nightly", client.apply_job(job(project)).generation, timeout_s=30)
    started = client.run_job("nightly", {"MODEL_MIN_SERIAL": "7"})
    task = started.body["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "MODEL_MIN_SERIAL", "value": "7"} in task["env"]


@pytest.mark.process
def test_what_may_have_happened_is_not_sent_again(shared_standin: StandIn, client: RunClient, project: str) -> None:
    client.wait_job("nightly", client.apply_job(job(project)).generation, timeout_s=30)
    with troubled(shared_standin.url) as proxy:
        through = Cloud(project, "europe-west1", proxy.url).run()
        through.list_executions("nightly")  # a connection is open when the reply gets lost
        proxy.troubles = [Trouble("POST", ":run", "lost")]
        with pytest.raises(Unreachable, match="cannot run job nightly"):
            through.run_job("nightly")
        assert len([line for line in proxy.seen if ":run" in line]) == 1
        proxy.troubles = [Trouble("GET", "/executions", "lost")]
        assert len(through.list_executions("nightly")) == 1  # a question may be asked again


@pytest.mark.parametrize(("text", "expected"), [("12", 12), ("", 0), ("x", 0), ("-1", 0)])
def test_the_lowest_serial_of_a_service(text: str, expected: int) -> None:
    assert run.service_state(service("p", MODEL_MIN_SERIAL=text)).min_serial == expected
    assert run.service_state({}).min_serial == 0


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("", ""),
        ("It failed.", "It failed."),
        ("It exited with 1. Last log lines:\none\ntwo", "It exited with 1."),
        ("one\ntwo", "one"),
    ],
)
def test_a_reason_is_one_line(message: str, expected: str) -> None:
    conditions = [{"type": "Ready", "status": "False", "message": message}]
    state = run.service_state({"status": {"conditions": conditions}})
    assert (state.reason, state.message) == (expected, message)
