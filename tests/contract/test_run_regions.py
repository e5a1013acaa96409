"""Lists over all regions and IAM policies of services and jobs, as gcloud asks for them."""

from __future__ import annotations

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
    with pytest.raises(HttpError, match="409"):
        policies.setIamPolicy(resource=name, body={"policy": {"bindings": [], "etag": empty["etag"]}}).execute()
    asked = {"permissions": ["run.routes.invoke"]}
    assert policies.testIamPermissions(resource=name, body=asked).execute() == asked
    owned.delete(name=f"namespaces/demo/{kind}/owner").execute()
    make()
    assert "bindings" not in policies.getIamPolicy(resource=name).execute()
