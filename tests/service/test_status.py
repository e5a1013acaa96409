"""Status tells what is, and its exit code what it means: 0 healthy, 2 degraded, 4 down."""

from __future__ import annotations

import json

import pytest

from scripts.errors import Unreachable
from scripts.service import deploy, instances, status
from scripts.service.preflight import Options
from tests.service.conftest import Checkout, Listener, Make

Patch = pytest.MonkeyPatch
pytestmark = pytest.mark.process
NEVER = Options(sync="never")


def test_nothing_deployed_is_down(make: Make) -> None:
    found = status.status(make(), "tabular")
    assert (found.verdict, found.exit_code) == ("down", 4)
    assert "does not exist" in found.down[0]
    assert ("status", "down") in found.rows()


def test_it_is_healthy_until_something_differs(make: Make, listener: Listener) -> None:
    settings = make(cache={"enabled": False})
    report = deploy.deploy(settings, NEVER, listener)
    found = status.status(settings, "tabular")
    assert found.revision == report.revision
    assert found.url == report.url
    assert found.traffic == (f"100 % {report.revision}",)
    assert found.differences == ()
    # The hello image tells no decision, so its instance is not counted: that alone degrades it.
    assert [line for line in found.degraded if "instances run" not in line] == []

    drifted = status.status(make(service={"env": {"COLOUR": "red"}}), "tabular")
    assert drifted.exit_code == 2
    assert any("COLOUR" in line for line in drifted.differences)
    assert drifted.as_json()["status"] == "degraded"


def test_without_a_published_version_new_instances_would_miss(make: Make, listener: Listener) -> None:
    settings = make()
    deploy.deploy(settings, NEVER, listener)
    found = status.status(settings, "tabular")
    assert found.exit_code == 2
    assert any("start on a miss: no trusted version" in line for line in found.degraded)


def test_after_a_rollback_it_tells_of_who_serves(make: Make, checkout: Checkout, monkeypatch: Patch) -> None:
    """The newest revision is ready and has no traffic: neither it nor its instances are what the service is."""
    monkeypatch.setattr(instances, "SEEN_TIMEOUT_S", 15.0)
    tabular = {"image": "example/tabular:1"}
    first = deploy.deploy(make(service=tabular), Options(), Listener()).revision
    make(service={**tabular, "env": {"COLOUR": "blue"}})
    checkout.typed("deploy", "--env", "local")
    checkout.typed("rollback", "--env", "local", "--yes")
    found = json.loads(checkout.typed("status", "--env", "local", "--json").stdout)
    assert (found["status"], found["revision"], found["causes"]) == ("healthy", first, [])
    assert [item["cache_hit"] for item in found["instances"]] == [True]
    assert "healthy" in checkout.typed("health", "--env", "local").stdout


def test_a_failed_revision_that_never_served_is_down(make: Make, listener: Listener) -> None:
    settings = make(service={"secret_env": {"TOKEN": "nosuch:1"}})
    with pytest.raises(Exception, match="nosuch"):
        deploy.deploy(settings, NEVER, listener)
    found = status.status(settings, "tabular")
    assert found.exit_code == 4
    assert "nosuch" in found.down[0]


def test_no_cloud_is_an_error(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSHELF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Unreachable):
        status.status(make(), "tabular")
