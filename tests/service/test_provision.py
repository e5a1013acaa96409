"""In a stand-in, what Terraform makes elsewhere; then the environment deploys as it would on Google Cloud."""

from __future__ import annotations

import pytest

from scripts.service import deploy, provision, schedule, target
from scripts.service.preflight import Options
from tests.service.conftest import Listener, Make

pytestmark = pytest.mark.process


def test_it_makes_what_is_missing_once(make: Make) -> None:
    settings = make("staging")
    planned = provision.provision(settings, "tabular", dry_run=True)
    assert [change.target.split(" ")[0] for change in planned.changes] == [
        "bucket", "signing", "job", "service", "schedule",
    ]  # fmt: skip
    assert not target.reach(settings).bucket.exists()
    assert provision.provision(settings, "tabular") == planned
    assert provision.provision(settings, "tabular").empty
    shell = target.reach(settings).run.get_service("tabular-service")
    assert shell is not None
    assert "hello" in shell.spec["template"]["spec"]["containers"][0]["image"]

    report = deploy.deploy(settings, Options(sync="never"), Listener())
    assert report.changed
    assert provision.provision(settings, "tabular").empty


def test_the_schedule_is_paused_resumed_and_run(make: Make) -> None:
    settings = make("staging")
    provision.provision(settings, "tabular")
    assert schedule.act(settings, "status").state == "PAUSED"
    assert schedule.plan(settings, "pause").empty
    assert not schedule.plan(settings, "resume").empty
    assert schedule.act(settings, "resume").state == "ENABLED"
    assert schedule.act(settings, "resume").state == "ENABLED"
    assert schedule.act(settings, "pause").state == "PAUSED"
    assert dict(schedule.rows(schedule.act(settings, "status")))["next run"] == "not while it is paused"
