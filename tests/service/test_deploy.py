"""A deploy changes what differs and nothing else, tells how it ended, and is completed by the next one."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta

import pytest

from scripts import audit, lease
from scripts.cloud.run import RunClient
from scripts.errors import BadInput, NotFound, OpsError, Refused
from scripts.service import deploy, ownership, target
from scripts.service.preflight import Options
from scripts.settings.model import Settings
from tests.service.conftest import Listener, Make

pytestmark = pytest.mark.process
NEVER = Options(sync="never")
STEPS = ["cloud", "plan", "bucket", "keys", "job", "models", "service", "ready", "verify", "traffic"]


def records(settings: Settings) -> list[dict[str, object]]:
    bucket = target.reach(settings).bucket
    found = audit.recent(bucket, datetime.now(UTC) - timedelta(minutes=10))
    return [record for record in found if record["command"] == "deploy"]


def revisions(settings: Settings) -> list[str]:
    return [item.name for item in target.reach(settings).run.list_revisions("tabular-service")]


def test_the_first_makes_everything_and_the_second_nothing(
    make: Make, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make()
    first = deploy.deploy(settings, NEVER, listener)
    assert first.changed
    assert listener.titles == STEPS
    assert [step["name"] for step in first.as_json()["steps"]] == listener.titles
    assert first.url.endswith("/run/tabular-service") or "tabular-service" in first.url
    assert (first.environment, first.upstream_bytes, first.manifest_version) == ("local", 0, "")
    made = [record["outcome"] for record in records(settings)]
    assert made == ["changed"]

    def refused(self: RunClient, *arguments: object) -> None:
        raise AssertionError("an unchanged deploy sent something")

    monkeypatch.setattr(RunClient, "apply_service", refused)
    monkeypatch.setattr(RunClient, "apply_job", refused)
    second = deploy.deploy(settings, NEVER, Listener())
    assert not second.changed
    assert second.revision == first.revision
    assert revisions(settings) == [first.revision]
    assert [record["outcome"] for record in records(settings)] == ["changed"]
    assert deploy.plan_deploy(settings, NEVER).empty


def test_the_plan_is_what_happens_and_makes_nothing(make: Make, listener: Listener) -> None:
    settings = make()
    planned = [change.line() for change in deploy.plan_deploy(settings, Options(sync="auto")).changes]
    assert [line.split(" ")[1] for line in planned] == ["bucket", "signing", "schedule", "job", "job", "service"]
    assert any("no trusted version is published" in line for line in planned)
    reached = target.reach(settings)
    assert not reached.bucket.exists()
    assert not ownership.can_sign(reached)
    assert reached.run.get_service("tabular-service") is None

    deploy.deploy(settings, NEVER, listener)
    changed = make(service={"env": {"COLOUR": "red"}})
    lines = deploy.plan_deploy(changed, NEVER).lines()
    assert [line.split(" ")[1] for line in lines] == ["job", "service"]
    assert all("COLOUR" in line for line in lines)
    told = Listener()
    assert deploy.deploy(changed, NEVER, told).changed
    assert [note for note in told.notes if "COLOUR" in note] == lines
    assert len(revisions(settings)) == 2


def test_a_revision_that_fails_is_told_recorded_and_tried_anew(make: Make, listener: Listener) -> None:
    settings = make(service={"secret_env": {"TOKEN": "nosuch:1"}})
    with pytest.raises(OpsError, match="is not ready") as failed:
        deploy.deploy(settings, NEVER, listener)
    assert failed.value.exit_code == 1
    assert "nosuch" in failed.value.message
    assert listener.failures == ["ready"]
    (record,) = records(settings)
    assert record["outcome"] == "failed"
    assert record["details"]["failed_step"] == "ready"  # type: ignore[index]

    again = deploy.plan_deploy(settings, NEVER).lines()
    assert len(again) == 1
    assert "a new one is tried" in again[0]
    with pytest.raises(OpsError, match="is not ready"):
        deploy.deploy(settings, NEVER, Listener())
    assert len(revisions(settings)) == 2
    assert deploy.deploy(make(service={"secret_env": {}}), NEVER, Listener()).changed
    assert deploy.plan_deploy(make(), NEVER).empty


def test_another_deploy_at_work_is_named(make: Make, monkeypatch: pytest.MonkeyPatch, listener: Listener) -> None:
    monkeypatch.setattr(ownership, "LEASE_WAIT_S", 0.0)
    settings = make()
    deploy.deploy(settings, NEVER, listener)
    bucket = target.reach(settings).bucket
    with lease.hold(bucket, "deploy-tabular-service", "a long deploy"), pytest.raises(Refused) as refused:
        deploy.deploy(settings, NEVER, Listener())
    assert socket.gethostname() in refused.value.message
    assert "a long deploy" in refused.value.message
    assert not deploy.deploy(settings, NEVER, Listener()).changed


@pytest.mark.parametrize("moment", ["after keys", "after job", "after service", "after ready"])
def test_an_interrupted_deploy_lets_go_and_is_completed_by_the_next(make: Make, moment: str) -> None:
    settings = make()
    with pytest.raises(KeyboardInterrupt):
        deploy.deploy(settings, NEVER, Listener(interrupt=moment))
    assert lease.holder_of(target.reach(settings).bucket, "deploy-tabular-service") is None
    assert [record["outcome"] for record in records(settings)] == ["interrupted"]
    deploy.deploy(settings, NEVER, Listener())
    assert len(revisions(settings)) == 1
    assert deploy.plan_deploy(settings, NEVER).empty


def test_a_service_that_does_not_answer_its_checks_fails_with_its_last_words(
    make: Make, monkeypatch: pytest.MonkeyPatch, listener: Listener
) -> None:
    monkeypatch.setattr("scripts.service.probe.CHECKS", (("ready", "DELETE", "/ready"),))
    settings = make()
    with pytest.raises(OpsError, match="ready failed: DELETE") as failed:
        deploy.deploy(settings, NEVER, listener)
    assert len(failed.value.message.splitlines()) > 1
    assert listener.failures == ["verify"]
    assert "invoke logs" in failed.value.remedy


def test_terraforms_part_is_asked_for_and_never_made(make: Make, listener: Listener) -> None:
    settings = make("staging")
    assert settings.rehearsal
    for attempt in (lambda: deploy.deploy(settings, NEVER, listener), lambda: deploy.plan_deploy(settings, NEVER)):
        with pytest.raises(Refused) as refused:
            attempt()
        for missing in (settings.cache.bucket, "tabular-model-sync", "tabular-service", "signing key"):
            assert missing in refused.value.message
        assert "local.provision --env staging" in refused.value.remedy
    assert not target.reach(settings).bucket.exists()


def test_wrong_choices_are_refused_before_anything_happens(make: Make, listener: Listener) -> None:
    settings = make()
    with pytest.raises(BadInput, match="'sometimes', expected one of auto, always, never"):
        deploy.deploy(settings, Options(sync="sometimes"), listener)
    with pytest.raises(NotFound, match="available: tabular"):
        deploy.deploy(settings, Options(service="nosuch"), listener)
    assert not target.reach(settings).bucket.exists()
