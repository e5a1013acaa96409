"""A toggle merges one variable into the live service, and waits until no instance has the old value."""

from __future__ import annotations

import json
import time

import pytest

from scripts import audit
from scripts.errors import BadInput, NotFound, OpsError, Refused
from scripts.loadtest import run as loadtest
from scripts.service import apply, deploy, instances, probe, rollback, routing, shift, successor, target
from scripts.service.deploy import Options
from scripts.service.planning import TOGGLE
from scripts.service.toggle import Toggle
from scripts.settings.model import Settings
from tests.service.conftest import Checkout, Listener, Make

pytestmark = pytest.mark.process
NEVER = Options(sync="never")


def off(settings: Settings) -> Toggle:
    return Toggle(settings, "tabular", on=False, off=True)


def on(settings: Settings) -> Toggle:
    return Toggle(settings, "tabular", on=True, off=False)


def environ(settings: Settings) -> dict[str, str]:
    state = target.reach(settings).run.get_service("tabular-service")
    assert state is not None
    return state.container_env


def by_hand(settings: Settings, name: str, value: str) -> None:
    """A variable that no file names."""
    reached = target.reach(settings)
    before = reached.run.get_service(reached.name)
    assert before is not None
    body = successor.successor(reached, before)
    successor.merge_env(body, name, value)
    applied = apply.service(reached, body, before)
    assert reached.run.wait_service(reached.name, applied.generation, timeout_s=60).ready


def test_off_and_on_again_keeps_every_other_variable(
    make: Make, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instances, "SEEN_TIMEOUT_S", 15.0)
    settings = make(service={"image": "example/tabular:1", "env": {"COLOUR": "red"}})
    deploy.deploy(settings, Options(), Listener())
    by_hand(settings, "ADDED_BY_HAND", "yes")
    before = environ(settings)
    work = off(settings)
    assert [(change.path, change.before, change.after) for change in work.plan.changes] == [(TOGGLE, "true", "false")]
    done = work.carry_out(listener).as_json()
    assert listener.titles == ["service", "verify", "instances"]
    assert environ(settings) == {**before, TOGGLE: "false"}
    reached = target.reach(settings)
    running = reached.cloud.instances_by_revision(reached.name)
    assert running is not None and set(running) == {done["revision"]}
    (seen,) = instances.await_instances(reached, done["revision"], 1)
    assert (seen.cache_hit, seen.reason) == (False, "shared_volume_disabled")

    again = off(settings)
    assert again.plan.empty
    assert again.carry_out(Listener()).as_json()["changed"] is False
    told = Listener()
    assert any(TOGGLE in line for line in deploy.plan_deploy(settings, NEVER, told).lines())
    assert any(f"{TOGGLE} was toggled to false: a deploy sets it to true" in note for note in told.notes)

    back = on(settings).carry_out(Listener()).as_json()
    assert environ(settings) == before
    (seen,) = instances.await_instances(reached, back["revision"], 1)
    assert seen.cache_hit
    records = [item for item in audit.recent(reached.bucket, 0) if item["command"] == "toggle"]
    assert [(item["outcome"], item["details"]["value"]) for item in records] == [
        ("changed", "false"),
        ("changed", "true"),
    ]


def test_on_needs_a_verified_version_and_a_mount(make: Make) -> None:
    settings = make()
    with pytest.raises(NotFound, match="does not exist"):
        _ = off(settings).plan
    deploy.deploy(settings, NEVER, Listener())
    off(settings).carry_out(Listener())
    with pytest.raises(Refused, match="no trusted version is published") as refused:
        _ = on(settings).plan
    assert refused.value.remedy == "Run: ./dev invoke sync --env local"
    deploy.deploy(make(cache={"enabled": False}), NEVER, Listener())
    with pytest.raises(Refused, match="no mount of the bucket"):
        _ = on(make()).plan
    for both in (True, False):
        with pytest.raises(BadInput, match="expected one of them"):
            Toggle(settings, "tabular", on=both, off=both)


def test_what_a_rollback_pinned_stays_pinned(make: Make) -> None:
    first = deploy.deploy(make(service={"env": {"COLOUR": "red"}}), NEVER, Listener()).revision
    settings = make(service={"env": {"COLOUR": "blue"}})
    deploy.deploy(settings, NEVER, Listener())
    rollback.Back(settings, "tabular", "", "").carry_out(Listener())
    done = off(settings).carry_out(Listener()).as_json()
    reached = target.reach(settings)
    made = reached.run.get_revision(done["revision"])
    state = reached.run.get_service(reached.name)
    assert made is not None and state is not None
    assert (made.container_env["COLOUR"], made.container_env[TOGGLE]) == ("red", "false")
    assert successor.origin_of(made) == first
    assert routing.pinned(state) == made.name


def test_what_somebody_tagged_is_not_waited_for(make: Make, listener: Listener) -> None:
    first = deploy.deploy(make(service={"env": {"COLOUR": "red"}, "timeout_s": 1}), NEVER, Listener()).revision
    settings = make(service={"env": {"COLOUR": "blue"}})
    deploy.deploy(settings, NEVER, Listener())
    reached = target.reach(settings)
    state = reached.run.get_service(reached.name)
    assert state is not None
    lines = [{"latestRevision": True, "percent": 100}, {"revisionName": first, "tag": "blue"}]
    state = shift.move(reached, state, lines, lambda text: None)
    url = next(str(line["url"]) for line in state.traffic if line.get("tag") == "blue")
    assert probe.ask(url + "/health", "GET", {}).ok
    asked = loadtest.Options(instances=2, duration="1s")
    assert loadtest.prepare(settings, asked).missing == 1  # who is behind a tag serves no load
    began = time.monotonic()
    off(settings).carry_out(listener)
    assert time.monotonic() - began < 20
    running = reached.cloud.instances_by_revision(reached.name)
    assert running is not None and first in running
    assert any(f"of {first}, which has a tag, keeps what it started with" in note for note in listener.notes)


@pytest.mark.full
def test_a_toggle_that_failed_is_tried_anew(make: Make, monkeypatch: pytest.MonkeyPatch, checkout: Checkout) -> None:
    settings = make(service={"image": "example/tabular:1"})
    monkeypatch.setattr(instances, "SEEN_TIMEOUT_S", 15.0)
    deploy.deploy(settings, Options(), Listener())
    assert checkout.typed("local.upstreams", "--stop")
    before = environ(settings)
    with pytest.raises(OpsError, match="is not ready"):
        off(settings).carry_out(Listener())
    assert environ(settings) == {**before, TOGGLE: "false"}
    checkout.typed("local.upstreams", "--start")
    assert not off(settings).plan.empty  # what serves still has the old value
    done = json.loads(checkout.typed("toggle", "--env", "local", "--off", "--yes", "--json").stdout)
    assert done["changed"] is True
    assert off(settings).plan.empty
