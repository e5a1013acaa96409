"""Open alerts are read through Google's client, page by page, the newest first."""

from __future__ import annotations

import secrets

import pytest

from scripts.cloud import alerts, discovery
from scripts.cloud.alerts import AlertsClient
from scripts.cloud.connect import Cloud
from tests.conftest import StandIn

pytestmark = pytest.mark.process


def fire(standin: StandIn, project: str, *policies: str) -> None:
    """Policies that are violated by an entry of the log, evaluated by the stand-in's clock."""
    for name in policies:
        condition = {"displayName": "seen", "conditionMatchedLog": {"filter": 'jsonPayload.boom="yes"'}}
        limit = {"notificationRateLimit": {"period": "300s"}}
        policy = {
            "displayName": name, "combiner": "OR", "severity": "CRITICAL", "conditions": [condition],
            "alertStrategy": limit,
        }  # fmt: skip
        standin.post(f"/v3/projects/{project}/alertPolicies", policy)
    resource = {"type": "cloud_run_revision", "labels": {"service_name": "tabular-service"}}
    entry = {"logName": f"projects/{project}/logs/app", "resource": resource, "jsonPayload": {"boom": "yes"}}
    standin.post("/v2/entries:write", {"entries": [entry]})
    standin.post("/_local/clock", {"advance_s": 90})


def test_open_ones_are_listed_and_closed_ones_are_not(shared_standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    project = f"alerts-{secrets.token_hex(4)}"
    client = Cloud(project, "europe-west1", shared_standin.url).alerts()
    assert client.open() == []
    fire(shared_standin, project, "Cache hit rate", "Sync failures", "Bucket")
    monkeypatch.setattr(alerts, "PAGE_SIZE", 2)
    found = client.open()
    assert {(each.policy, each.severity) for each in found} == {
        ("Cache hit rate", "CRITICAL"), ("Sync failures", "CRITICAL"), ("Bucket", "CRITICAL"),
    }  # fmt: skip
    assert all(each.opened_at and each.id for each in found)
    listed = shared_standin.get(f"/v3/projects/{project}/alerts?filter=state%3D%22OPEN%22")
    discovery.validate("monitoring", "v3", "ListAlertsResponse", listed)
    names = {each["displayName"]: each["name"] for each in _policies(shared_standin, project)}
    assert {each["policy"]["name"] for each in listed["alerts"]} == set(names.values())
    assert shared_standin.get(f"/v3/projects/{project}/alerts?filter=state%3D%22CLOSED%22") == {"alerts": []}
    assert isinstance(client, AlertsClient)


def _policies(standin: StandIn, project: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = standin.get(f"/v3/projects/{project}/alertPolicies")["alertPolicies"]
    return found
