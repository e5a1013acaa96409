"""Cloud Run's v2 API through Google's API client: every answer is what its discovery document says."""

from __future__ import annotations

from typing import Any

import pytest
from googleapiclient.errors import HttpError

from scripts.cloud import discovery
from tests.contract.run_support import PARENT, Cloud, api, job, service, until

pytestmark = pytest.mark.process
PLACE = "projects/demo/locations/europe-west1"


@pytest.fixture(scope="module")
def cloud(shared_standin: Any) -> Cloud:
    return Cloud(shared_standin.url)


@pytest.fixture(scope="module")
def locations(cloud: Cloud) -> Any:
    return api(cloud.url, "run", "v2").projects().locations()


def checked(kind: str, found: Any) -> Any:
    discovery.validate("run", "v2", kind, found)
    return found


def of(kind: str, found: Any) -> Any:
    return checked(f"GoogleCloudRunV2{kind}", found)


def test_a_service_and_its_revisions(cloud: Cloud, locations: Any) -> None:
    scale = {"autoscaling.knative.dev/minScale": "1", "autoscaling.knative.dev/maxScale": "3"}
    options = {"labels": {"team": "a"}, "annotations": scale, "revision": "modern-blue", "env": {"A": "1"}}
    old = cloud.create(service("modern", **options))
    found = of("Service", locations.services().get(name=f"{PLACE}/services/modern").execute())
    assert found["name"] == f"{PLACE}/services/modern" and found["uid"] == old["metadata"]["uid"]
    assert (found["generation"], found["observedGeneration"]) == ("1", "1")
    assert found["labels"] == {"team": "a"} and found["uri"] == old["status"]["url"]
    assert found["terminalCondition"]["state"] == "CONDITION_SUCCEEDED" and found["reconciling"] is False
    assert {each["type"] for each in found["conditions"]} == {"RoutesReady", "ConfigurationsReady"}
    template = found["template"]
    assert template["scaling"] == {"minInstanceCount": 1, "maxInstanceCount": 3} and template["timeout"] == "300s"
    assert template["containers"][0]["env"] == [{"name": "A", "value": "1"}]
    assert found["traffic"] == [{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}]
    name = f"{PLACE}/services/modern/revisions/modern-blue"
    assert found["latestReadyRevision"] == found["latestCreatedRevision"] == name
    revision = of("Revision", locations.services().revisions().get(name=name).execute())
    assert revision["service"] == "modern" and revision["containerStatuses"][0]["imageDigest"].count("@sha256:") == 1
    listed = of(
        "ListRevisionsResponse", locations.services().revisions().list(parent=f"{PLACE}/services/modern").execute()
    )
    assert [each["name"] for each in listed["revisions"]] == [name]


def test_a_failure_has_google_s_reason(cloud: Cloud, locations: Any) -> None:
    cloud.create(service("failing", container={"image": "gcr.io/p/none:v1"}))
    found = of("Service", locations.services().get(name=f"{PLACE}/services/failing").execute())
    assert found["terminalCondition"]["reason"] == "CONTAINER_MISSING"
    assert found["terminalCondition"]["state"] == "CONDITION_FAILED"


def test_a_mount_is_a_gcs_volume(cloud: Cloud, locations: Any) -> None:
    body = service("mounted", bucket="some-bucket")
    csi = body["spec"]["template"]["spec"]["volumes"][0]["csi"]
    csi["volumeAttributes"]["mountOptions"] = "implicit-dirs,metadata-cache-ttl-secs=0"
    cloud.create(body)
    found = of("Service", locations.services().get(name=f"{PLACE}/services/mounted").execute())
    options = ["implicit-dirs", "metadata-cache-ttl-secs=0"]
    gcs = {"bucket": "some-bucket", "readOnly": True, "mountOptions": options}
    assert found["template"]["volumes"] == [{"name": "models", "gcs": gcs}]


def test_a_job_its_executions_and_tasks(cloud: Cloud, locations: Any) -> None:
    cloud.run.jobs().create(parent=PARENT, body=job("modern", tasks=2, retries=1)).execute()
    jobs = locations.jobs()
    found = of("Job", jobs.get(name=f"{PLACE}/jobs/modern").execute())
    assert (found["executionCount"], found["template"]["taskCount"]) == (0, 2)
    assert found["template"]["template"]["timeout"] == "60s"
    validated = jobs.run(name=f"{PLACE}/jobs/modern", body={"validateOnly": True}).execute()
    assert validated["done"] is True and "executions" not in jobs.executions().list(parent=found["name"]).execute()
    override = {"overrides": {"taskCount": 3, "timeout": "90s"}, "etag": found["etag"]}
    operation = checked("GoogleLongrunningOperation", jobs.run(name=f"{PLACE}/jobs/modern", body=override).execute())
    assert operation["done"] is False
    done = locations.operations().wait(name=operation["name"], body={"timeout": "30s"}).execute()
    assert done["done"] is True and done["response"]["succeededCount"] == 3
    assert locations.operations().get(name=operation["name"]).execute() == done
    listed = checked("GoogleLongrunningListOperationsResponse", locations.operations().list(name=PLACE).execute())
    assert operation["name"] in {each["name"] for each in listed["operations"]}
    name = done["response"]["name"]
    execution = of("Execution", jobs.executions().get(name=name).execute())
    assert execution["template"]["timeout"] == "90s" and execution["job"] == "modern"
    first = of("ListTasksResponse", jobs.executions().tasks().list(parent=name, pageSize=2).execute())
    rest = jobs.executions().tasks().list(parent=name, pageSize=2, pageToken=first["nextPageToken"]).execute()
    assert [each["index"] for each in (*first["tasks"], *rest["tasks"])] == [0, 1, 2] and "nextPageToken" not in rest
    task = of("Task", jobs.executions().tasks().get(name=first["tasks"][0]["name"]).execute())
    assert task["lastAttemptResult"]["exitCode"] == 0
    of("ListExecutionsResponse", jobs.executions().list(parent=f"{PLACE}/jobs/-").execute())
    for parent in (f"{PLACE}/jobs/modern/executions/-", f"{PLACE}/jobs/-/executions/-"):
        every = of("ListTasksResponse", jobs.executions().tasks().list(parent=parent).execute())["tasks"]
        assert sum(each["name"].startswith(f"{name}/") for each in every) == 3
    of("ListJobsResponse", jobs.list(parent=PLACE).execute())


def test_an_execution_is_cancelled(cloud: Cloud, locations: Any) -> None:
    cloud.run.jobs().create(parent=PARENT, body=job("endless", env={"SLEEP_S": "60"})).execute()
    started = locations.jobs().run(name=f"{PLACE}/jobs/endless", body={}).execute()["metadata"]["name"]
    executions = locations.jobs().executions()
    until(lambda: executions.get(name=started).execute().get("runningCount"))
    ended = executions.cancel(name=started, body={}).execute()
    assert ended["done"] is True and ended["response"]["cancelledCount"] == 1
    assert checked("GoogleLongrunningOperation", locations.operations().get(name=ended["name"]).execute()) == ended
    assert executions.get(name=started).execute()["conditions"][0]["executionReason"] == "CANCELLED"


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"overrides": {"tasks": 1}}, 400, "Cannot find field"),
        ({"overrides": {"timeout": "soon"}}, 400, "google.protobuf.Duration"),
        ({"etag": '"other"'}, 409, "current etag is"),
        ({"overrides": {"taskCount": 0}}, 400, "taskCount"),
    ],
)
def test_a_wrong_run_is_refused(cloud: Cloud, locations: Any, body: dict[str, Any], status: int, words: str) -> None:
    listed = cloud.run.jobs().list(parent=PARENT, fieldSelector="metadata.name=refusing").execute()["items"]
    if not listed:
        cloud.run.jobs().create(parent=PARENT, body=job("refusing")).execute()
    with pytest.raises(HttpError) as caught:
        locations.jobs().run(name=f"{PLACE}/jobs/refusing", body=body).execute()
    assert caught.value.resp.status == status and words in str(caught.value)


def test_what_is_not_there_and_other_regions(cloud: Cloud, locations: Any) -> None:
    cloud.create(service("here"))
    for name in (f"{PLACE}/services/none", "projects/demo/locations/us-central1/services/here"):
        with pytest.raises(HttpError, match="404"):
            locations.services().get(name=name).execute()
    with pytest.raises(HttpError, match="404"):
        revision = cloud.get("here")["status"]["latestReadyRevisionName"]
        locations.services().revisions().get(name=f"{PLACE}/services/none/revisions/{revision}").execute()
    with pytest.raises(HttpError, match="404"):
        locations.operations().get(name=f"{PLACE}/operations/none").execute()
    assert locations.services().list(parent="projects/demo/locations/us-central1").execute() == {}
    everywhere = of("ListServicesResponse", locations.services().list(parent="projects/demo/locations/-").execute())
    assert f"{PLACE}/services/here" in {each["name"] for each in everywhere["services"]}
