"""Lists over all regions and IAM policies of services and jobs, as gcloud asks for them."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest
from googleapiclient.errors import HttpError

from tests.contract.run_support import Cloud, api, job, service

pytestmark = pytest.mark.process
PLACE = "projects/demo/locations/europe-west1"
INVOKER = {"role": "roles/run.invoker", "members": ["allUsers"]}


@pytest.fixture
def cloud(shared_standin: Any) -> Cloud:
    return Cloud(shared_standin.url)


def test_services_of_all_regions_are_listed(cloud: Cloud) -> None:
    cloud.create(service("listed"))
    locations = api(cloud.url, "run", "v1").projects().locations()
    for place, expected in (("-", ["listed"]), ("europe-west1", ["listed"]), ("us-central1", [])):
        found = locations.services().list(parent=f"projects/demo/locations/{place}").execute()
        assert [each["metadata"]["name"] for each in found["items"]] == expected
    number = cloud.get("listed")["metadata"]["namespace"]
    found = locations.services().list(parent=f"projects/{number}/locations/-").execute()
    assert len(found["items"]) == 1, "a project's number is as good as its id"


def test_the_form_with_a_location_is_the_same_api(cloud: Cloud) -> None:
    locations = api(cloud.url, "run", "v1").projects().locations()
    locations.services().create(parent=PLACE, body=service("located")).execute()
    revision = cloud.settled("located")["status"]["latestReadyRevisionName"]
    assert locations.services().get(name=f"{PLACE}/services/located").execute() == cloud.get("located")
    assert locations.revisions().get(name=f"{PLACE}/revisions/{revision}").execute() == cloud.revision(revision)
    assert len(locations.routes().list(parent=PLACE).execute()["items"]) >= 1
    locations.services().delete(name=f"{PLACE}/services/located").execute()
    with pytest.raises(HttpError, match="404"):
        locations.services().get(name=f"{PLACE}/services/located").execute()


@pytest.mark.parametrize("host", ["us-central1-run.googleapis.com", "run.us-central1.rep.googleapis.com"])
def test_another_region_has_nothing(cloud: Cloud, host: str) -> None:
    name = host.replace(".", "-")[:40]
    cloud.create(service(name))
    address, _, port = cloud.url.removeprefix("http://").partition(":")

    def ask(method: str, path: str, body: Any = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(address, int(port), timeout=60)
        connection.request(method, f"http://{host}{path}", body=None if body is None else json.dumps(body))
        answer = connection.getresponse()
        found = json.loads(answer.read())
        connection.close()
        return answer.status, found

    services = "/apis/serving.knative.dev/v1/namespaces/demo/services"
    assert ask("GET", services)[1]["items"] == []
    status, told = ask("GET", f"{services}/{name}")
    assert status == 404 and "in region 'us-central1'" in told["error"]["message"]
    status, told = ask("POST", services, service("there"))
    assert status == 400 and "has the region europe-west1 only" in told["error"]["message"]


@pytest.mark.parametrize("kind", ["services", "jobs"])
def test_a_policy_is_kept_until_its_owner_goes(cloud: Cloud, kind: str) -> None:
    def make() -> None:
        if kind == "services":
            cloud.create(service("owner"))
        else:
            cloud.run.jobs().create(parent="namespaces/demo", body=job("owner")).execute()

    policies = getattr(api(cloud.url, "run", "v1").projects().locations(), kind)()
    owned = getattr(cloud.run, kind)()
    name = f"{PLACE}/{kind}/owner"
    with pytest.raises(HttpError, match="404"):
        policies.getIamPolicy(resource=name).execute()
    make()
    empty = policies.getIamPolicy(resource=name).execute()
    assert "bindings" not in empty
    policies.setIamPolicy(resource=name, body={"policy": {"bindings": [INVOKER], "etag": empty["etag"]}}).execute()
    assert policies.getIamPolicy(resource=name).execute()["bindings"] == [INVOKER]
    modern = getattr(api(cloud.url, "run", "v2").projects().locations(), kind)()
    assert modern.getIamPolicy(resource=name).execute()["bindings"] == [INVOKER]
    with pytest.raises(HttpError, match="409"):
        policies.setIamPolicy(resource=name, body={"policy": {"bindings": [], "etag": empty["etag"]}}).execute()
    asked = {"permissions": ["run.routes.invoke"]}
    assert policies.testIamPermissions(resource=name, body=asked).execute() == asked
    owned.delete(name=f"namespaces/demo/{kind}/owner").execute()
    make()
    assert "bindings" not in policies.getIamPolicy(resource=name).execute()
