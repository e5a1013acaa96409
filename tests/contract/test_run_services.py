"""Services, revisions and traffic through Google's API client."""

from __future__ import annotations

from typing import Any

import pytest
from googleapiclient.errors import HttpError

from tests.contract.run_support import PARENT, Cloud, condition, fetch, service, until

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def cloud(shared_standin: Any) -> Cloud:
    return Cloud(shared_standin.url)


def error_of(request: Any) -> tuple[int, str]:
    with pytest.raises(HttpError) as caught:
        request.execute()
    return caught.value.resp.status, caught.value.reason


def test_a_service_becomes_ready_and_answers_at_its_url(cloud: Cloud) -> None:
    made = cloud.run.services().create(parent=PARENT, body=service("first", labels={"team": "a"})).execute()
    assert condition(made, "Ready")["status"] == "Unknown"
    ready = cloud.settled("first")
    assert [each["status"] for each in ready["status"]["conditions"]] == ["True"] * 3
    metadata, status = ready["metadata"], ready["status"]
    assert metadata["generation"] == status["observedGeneration"] == 1
    assert metadata["labels"] == {"team": "a", "cloud.googleapis.com/location": "europe-west1"}
    assert metadata["uid"] and metadata["resourceVersion"] and metadata["creationTimestamp"]
    assert status["latestCreatedRevisionName"] == status["latestReadyRevisionName"]
    assert status["latestReadyRevisionName"].startswith("first-00001-")
    assert status["traffic"][0]["percent"] == 100 and status["address"]["url"] == status["url"]
    code, env = fetch(status["url"] + "/env")
    assert code == 200
    assert (env["K_SERVICE"], env["K_CONFIGURATION"]) == ("first", "first")
    assert env["K_REVISION"] == status["latestReadyRevisionName"]
    assert env["MODELSHELF_ENDPOINT"] == cloud.url
    assert env["MODELSHELF_INSTANCE_ID"] == cloud.instances("first")[0]["id"]
    revision = cloud.revision(status["latestReadyRevisionName"])
    assert revision["metadata"]["labels"]["serving.knative.dev/service"] == "first"
    assert condition(revision, "Ready")["status"] == "True"


def test_the_project_number_is_a_namespace_too(cloud: Cloud) -> None:
    number = cloud.create(service("numbered"))["metadata"]["namespace"]
    assert number.isdigit()
    found = cloud.run.services().get(name=f"namespaces/{number}/services/numbered").execute()
    assert found["metadata"]["name"] == "numbered"


def test_a_number_that_resource_manager_told_is_one_before_there_is_a_service(cloud: Cloud) -> None:
    number = fetch(f"{cloud.url}/v1/projects/quite-new")[1]["projectNumber"]
    cloud.run.services().create(parent=f"namespaces/{number}", body=service("first-here")).execute()
    found = cloud.run.services().list(parent="namespaces/quite-new").execute()["items"]
    assert [(each["metadata"]["name"], each["metadata"]["namespace"]) for each in found] == [("first-here", number)]


def test_only_a_changed_template_makes_a_revision(cloud: Cloud) -> None:
    first = cloud.create(service("steady"))
    same = cloud.replace(service("steady"))
    assert same["metadata"]["generation"] == 1
    assert same["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    labelled = cloud.replace(service("steady", labels={"x": "y"}))
    assert labelled["metadata"]["generation"] == 2
    assert labelled["status"]["latestCreatedRevisionName"] == first["status"]["latestCreatedRevisionName"]
    changed = cloud.replace(service("steady", labels={"x": "y"}, env={"A": "1"}))
    names = {each["status"]["latestReadyRevisionName"] for each in (first, changed)}
    assert len(names) == 2
    selector = "serving.knative.dev/service=steady"
    listed = cloud.run.revisions().list(parent=PARENT, labelSelector=selector).execute()["items"]
    assert {each["metadata"]["name"] for each in listed} == names
    assert fetch(changed["status"]["url"] + "/env")[1]["A"] == "1"
    # the old revision has no traffic: its instance is stopped
    until(
        lambda: (
            {each["revision"] for each in cloud.instances("steady")} == {changed["status"]["latestReadyRevisionName"]}
        )
    )
    until(lambda: condition(cloud.revision(first["status"]["latestReadyRevisionName"]), "Active")["status"] == "False")


def test_an_old_resource_version_is_a_conflict(cloud: Cloud) -> None:
    old = cloud.create(service("raced"))["metadata"]["resourceVersion"]
    body = service("raced", env={"A": "1"})
    body["metadata"]["resourceVersion"] = old
    cloud.replace(body)
    body["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] = "2"
    code, message = error_of(cloud.run.services().replaceService(name=f"{PARENT}/services/raced", body=body))
    assert code == 409 and "version" in message


def test_creating_twice_and_reading_what_is_not_there(cloud: Cloud) -> None:
    cloud.create(service("luckless"))
    assert error_of(cloud.run.services().create(parent=PARENT, body=service("luckless")))[0] == 409
    code, message = error_of(cloud.run.services().get(name=f"{PARENT}/services/nothing"))
    assert (code, message) == (
        404,
        "Resource 'nothing' of kind 'SERVICE' in region 'europe-west1' in project 'demo' does not exist.",
    )
    body = service("nothing")
    assert error_of(cloud.run.services().replaceService(name=f"{PARENT}/services/nothing", body=body))[0] == 404


def test_a_dry_run_checks_and_keeps_nothing(cloud: Cloud) -> None:
    shown = cloud.run.services().create(parent=PARENT, body=service("dry"), dryRun="all").execute()
    assert shown["status"]["latestCreatedRevisionName"].startswith("dry-00001-")
    assert error_of(cloud.run.services().get(name=f"{PARENT}/services/dry"))[0] == 404
    before = cloud.create(service("dry2"))
    changed = service("dry2", env={"A": "1"})
    cloud.run.services().replaceService(name=f"{PARENT}/services/dry2", body=changed, dryRun="all").execute()
    assert cloud.get("dry2") == before
    bad = service("dry3", container={"image": ""})
    assert error_of(cloud.run.services().create(parent=PARENT, body=bad, dryRun="all"))[0] == 400


def test_traffic_moves_by_percent_by_tag_and_back(cloud: Cloud) -> None:
    cloud.create(service("split", revision="split-blue"))
    two = [
        {"revisionName": "split-blue", "percent": 75},
        {"revisionName": "split-green", "percent": 25, "tag": "candidate"},
    ]
    shared = cloud.replace(service("split", revision="split-green", env={"A": "1"}, traffic=two))
    assert [each["percent"] for each in shared["status"]["traffic"]] == [75, 25]
    seen = [fetch(shared["status"]["url"] + "/env")[1]["K_REVISION"] for _ in range(20)]
    assert (seen.count("split-blue"), seen.count("split-green")) == (15, 5)
    tagged = shared["status"]["traffic"][1]["url"]
    assert {fetch(tagged + "/env")[1]["K_REVISION"] for _ in range(5)} == {"split-green"}
    back = [{"revisionName": "split-blue", "percent": 100}]
    moved = cloud.replace(service("split", revision="split-green", env={"A": "1"}, traffic=back))
    assert {fetch(moved["status"]["url"] + "/env")[1]["K_REVISION"] for _ in range(8)} == {"split-blue"}
    until(lambda: {each["revision"] for each in cloud.instances("split")} == {"split-blue"})
    again = cloud.replace(service("split", revision="split-green", env={"A": "1"}))
    assert again["status"]["traffic"] == [{"revisionName": "split-green", "percent": 100, "latestRevision": True}]
    assert fetch(again["status"]["url"] + "/env")[1]["K_REVISION"] == "split-green"


def test_a_revision_name_is_used_once(cloud: Cloud) -> None:
    cloud.create(service("named", revision="named-one"))
    body = service("named", revision="named-one", env={"A": "1"})
    code, message = error_of(cloud.run.services().replaceService(name=f"{PARENT}/services/named", body=body))
    assert code == 409 and "different configuration already exists" in message
    body = service("named", revision="other-one")
    assert error_of(cloud.run.services().replaceService(name=f"{PARENT}/services/named", body=body))[0] == 400


def test_a_failing_revision_leaves_traffic_where_it_was(cloud: Cloud) -> None:
    good = cloud.create(service("careful"))
    bad = cloud.replace(service("careful", env={"EXIT_AT_START": "7"}))
    ready = condition(bad, "Ready")
    assert ready["status"] == "False" and ready["reason"] == "HealthCheckContainerError"
    assert "exited with code 7" in ready["message"] and "the reason is written here" in ready["message"]
    assert condition(bad, "RoutesReady")["status"] == "True"
    assert bad["status"]["latestReadyRevisionName"] == good["status"]["latestReadyRevisionName"]
    assert bad["status"]["latestCreatedRevisionName"] != good["status"]["latestReadyRevisionName"]
    assert bad["status"]["traffic"][0]["revisionName"] == good["status"]["latestReadyRevisionName"]
    assert fetch(bad["status"]["url"] + "/")[0] == 200
    assert (
        condition(cloud.revision(bad["status"]["latestCreatedRevisionName"]), "ContainerHealthy")["status"] == "False"
    )


def test_a_change_of_traffic_leaves_a_failed_revision_failed(cloud: Cloud) -> None:
    good = cloud.create(service("failed-for-good"))["status"]["latestReadyRevisionName"]
    bad = service("failed-for-good", env={"EXIT_AT_START": "7"})
    failed = cloud.replace(bad)["status"]["latestCreatedRevisionName"]
    starts = f'resource.labels.revision_name="{failed}" AND textPayload="the reason is written here"'
    assert len(cloud.entries(starts)) == 1
    pinned = cloud.replace({**bad, "spec": {**bad["spec"], "traffic": [{"percent": 100, "revisionName": good}]}})
    assert condition(pinned, "RoutesReady")["status"] == "True" and condition(pinned, "Ready")["status"] == "False"
    assert pinned["status"]["latestCreatedRevisionName"] == failed
    assert len(cloud.entries(starts)) == 1
    # the same service once more is a wish to try again
    cloud.replace({**bad, "spec": {**bad["spec"], "traffic": [{"percent": 100, "revisionName": good}]}})
    assert until(lambda: len(cloud.entries(starts)) == 2)


def test_traffic_can_go_to_a_revision_that_another_overtook(cloud: Cloud) -> None:
    cloud.create(service("hasty", revision="hasty-one"))
    services = cloud.run.services()
    slow = service("hasty", revision="hasty-two", env={"START_DELAY_S": "0.5"})
    services.replaceService(name=f"{PARENT}/services/hasty", body=slow).execute()
    cloud.replace(service("hasty", revision="hasty-three"))
    overtaken = condition(cloud.revision("hasty-two"), "Ready")
    assert (overtaken["status"], overtaken["reason"]) == ("False", "Superseded")
    back = cloud.replace(
        service("hasty", revision="hasty-three", traffic=[{"percent": 100, "revisionName": "hasty-two"}])
    )
    assert condition(back, "Ready")["status"] == condition(cloud.revision("hasty-two"), "Ready")["status"] == "True"
    assert fetch(back["status"]["url"] + "/env")[1]["K_REVISION"] == "hasty-two"


def test_a_container_that_never_listens_fails_its_startup_probe(cloud: Cloud) -> None:
    probe = {"tcpSocket": {"port": 8080}, "failureThreshold": 1, "periodSeconds": 1}
    body = service("deaf", env={"LISTEN": "0"}, container={"startupProbe": probe})
    failed = cloud.create(body)
    message = condition(failed, "Ready")["message"]
    assert "failed to start and listen on the port" in message and "waiting for nothing" in message
    assert fetch(failed["status"]["url"] + "/")[0] == 503
    # the same command again, with the cause removed, converges
    healthy = cloud.replace(service("deaf"))
    assert condition(healthy, "Ready")["status"] == "True"


def test_a_probe_is_answered_with_all_that_holds_for_it(cloud: Cloud) -> None:
    probes = {
        "startupProbe": {"httpGet": {"path": "/health"}, "failureThreshold": 9, "periodSeconds": 2},
        "livenessProbe": {"tcpSocket": {}},
    }
    body = service("probed", container={**probes, "ports": [{"containerPort": 9000}]})
    found = cloud.create(body)["spec"]["template"]["spec"]["containers"][0]
    assert found["startupProbe"] == {
        "httpGet": {"path": "/health", "port": 9000}, "failureThreshold": 9, "periodSeconds": 2, "timeoutSeconds": 1,
    }  # fmt: skip
    defaults = {"failureThreshold": 3, "periodSeconds": 10, "timeoutSeconds": 1}
    assert found["livenessProbe"] == {"tcpSocket": {"port": 9000}, **defaults}
    assert cloud.replace(body)["metadata"]["generation"] == 1, "nothing has changed"


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        ({"container": {"image": "europe-docker.pkg.dev/p/r/unknown:v1"}}, "ContainerMissing", "'europe-docker"),
        ({"bucket": "no-such-bucket"}, "VolumeMountFailed", "'no-such-bucket'"),
        (
            {
                "pod": {"volumes": [{"name": "m", "nfs": {"server": "h", "path": "/x"}}]},
                "container": {"volumeMounts": [{"name": "m", "mountPath": "/nfs"}]},
            },
            "VolumeUnsupported",
            "nfs",
        ),
        (
            {"container": {"env": [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "s", "key": "1"}}}]}},
            "SecretsAccessCheckFailed",
            "Secret projects/demo/secrets/s/versions/1 was not found",
        ),
        ({"container": {"livenessProbe": {"tcpSocket": {"port": 9999}}}}, "ProbeUnsupported", "probe of port 9999"),
    ],
)
def test_what_cannot_run_says_why_in_its_condition(
    cloud: Cloud, change: dict[str, Any], reason: str, words: str
) -> None:
    name = f"cannot-{reason.lower()}"[:40]
    ready = condition(cloud.create(service(name, **change)), "Ready")
    assert (ready["status"], ready["reason"]) == ("False", reason)
    assert words in ready["message"]


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("Upper", {}, "metadata.name"),
        ("a" * 50, {}, "metadata.name"),
        ("ok", {"container": {"image": ""}}, "containers[0].image"),
        ("ok", {"traffic": [{"percent": 90, "latestRevision": True}]}, "sum to 100"),
        ("ok", {"traffic": [{"percent": 100, "revisionName": "ok-none"}]}, "'ok-none'"),
        ("ok", {"env": {"PORT": "1"}}, "reserved env names"),
        ("ok", {"env": {f"V{number}": "" for number in range(1001)}}, "at most 1000 environment variables"),
        ("ok", {"pod": {"timeoutSeconds": 4000}}, "timeoutSeconds"),
        ("ok", {"pod": {"cloudStorage": {}}}, "Cannot find field"),
        ("ok", {"annotations": {"autoscaling.knative.dev/minScale": "x"}}, "minScale"),
        ("ok", {"container": {"volumeMounts": [{"name": "m", "mountPath": "/models"}]}}, "volumeMounts[0].name"),
    ],
)
def test_bad_services_are_refused_with_the_field(cloud: Cloud, name: str, change: dict[str, Any], words: str) -> None:
    code, message = error_of(cloud.run.services().create(parent=PARENT, body=service(name, **change)))
    assert code == 400 and words in message


def test_deleting_a_service_stops_it_and_frees_its_names(cloud: Cloud) -> None:
    made = cloud.create(service("gone", revision="gone-one"))
    error = error_of(cloud.run.revisions().delete(name=f"{PARENT}/revisions/gone-one"))
    assert error[0] == 400
    cloud.run.services().delete(name=f"{PARENT}/services/gone").execute()
    assert fetch(made["status"]["url"] + "/")[0] == 404
    until(lambda: not cloud.instances("gone"))
    again = cloud.create(service("gone", revision="gone-one"))
    assert condition(again, "Ready")["status"] == "True"


def test_lists_are_paged_and_selected(cloud: Cloud) -> None:
    for name in ("list-a", "list-b", "list-c"):
        cloud.run.services().create(parent=PARENT, body=service(name, labels={"kind": "listed"})).execute()
    services = cloud.run.services()
    first = services.list(parent=PARENT, labelSelector="kind=listed", limit=2).execute()
    rest = services.list(
        parent=PARENT, labelSelector="kind=listed", limit=2, **{"continue": first["metadata"]["continue"]}
    ).execute()
    names = [each["metadata"]["name"] for page in (first, rest) for each in page["items"]]
    assert names == ["list-a", "list-b", "list-c"] and "continue" not in rest["metadata"]
    for name in names:
        cloud.settled(name)
    route = cloud.run.routes().get(name=f"{PARENT}/routes/list-a").execute()
    assert route["kind"] == "Route" and route["status"]["traffic"][0]["percent"] == 100
    configuration = cloud.run.configurations().get(name=f"{PARENT}/configurations/list-a").execute()
    assert configuration["status"]["latestReadyRevisionName"].startswith("list-a-")


def test_two_projects_may_use_one_name(cloud: Cloud) -> None:
    mine = cloud.create(service("twin"))
    cloud.run.services().create(parent="namespaces/another", body=service("twin")).execute()
    theirs = until(
        lambda: (
            (found := cloud.run.services().get(name="namespaces/another/services/twin").execute())
            and condition(found, "Ready")["status"] == "True"
            and found
        )
    )
    assert mine["status"]["url"] != theirs["status"]["url"]
    assert fetch(mine["status"]["url"] + "/env")[1]["K_REVISION"] == mine["status"]["latestReadyRevisionName"]
    assert fetch(theirs["status"]["url"] + "/env")[1]["K_REVISION"] == theirs["status"]["latestReadyRevisionName"]


def test_numbers_given_as_text_are_answered_as_numbers(cloud: Cloud) -> None:
    given = service("texts", traffic=[{"percent": "100", "latestRevision": True}])
    given["spec"]["template"]["spec"] |= {"containerConcurrency": "7", "timeoutSeconds": 30.0}
    made = cloud.create(given)  # its answer is checked against the schema
    assert made["spec"]["traffic"][0]["percent"] == 100
    pod = cloud.revision(made["status"]["latestReadyRevisionName"])["spec"]
    assert (pod["containerConcurrency"], pod["timeoutSeconds"]) == (7, 30) and isinstance(pod["timeoutSeconds"], int)


def test_a_name_may_look_like_that_of_a_tag(cloud: Cloud) -> None:
    made = cloud.create(service("one---two", traffic=[{"percent": 100, "latestRevision": True, "tag": "new"}]))
    assert fetch(made["status"]["url"] + "/env")[1]["K_SERVICE"] == "one---two"
    assert fetch(made["status"]["traffic"][0]["url"] + "/env")[1]["K_SERVICE"] == "one---two"
