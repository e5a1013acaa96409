"""Leases are told with their holder, and freed only as they were seen."""

from __future__ import annotations

import json
import os
import socket
from datetime import UTC, datetime, timedelta

import pytest

from scripts import audit, lease
from scripts.errors import BadInput, Conflict, NotFound
from scripts.service import locks, target
from scripts.settings.model import Settings
from tests.cloud.proxy import Trouble, troubled
from tests.conftest import StandIn
from tests.service.conftest import Checkout, Listener, Make

pytestmark = pytest.mark.process


@pytest.fixture
def settings(make: Make) -> Settings:
    made = make()
    target.reach(made).bucket.create("europe-west1", {})
    return made


def left_behind(settings: Settings, left_s: float) -> None:
    """A lease whose holder died without a word; so many seconds are left of it."""
    until = (datetime.now(UTC) + timedelta(seconds=left_s)).isoformat()
    holder = lease.Holder(f"{socket.gethostname()}:1:0a1b", "a deploy", until, 1)
    lease._write(target.reach(settings).bucket, "deploy-x", holder, 0)


def test_they_are_told_with_owner_host_purpose_and_end(settings: Settings) -> None:
    reached = target.reach(settings)
    assert locks.listed(reached) == []
    with lease.hold(reached.bucket, "publish", "sync of local"):
        left_behind(settings, -1.0)
        one, two = locks.listed(reached)
        assert (one.name, one.state, one.purpose) == ("deploy-x", "expired", "a deploy")
        assert (two.name, two.state, two.host) == ("publish", "held", socket.gethostname())
        assert two.owner.startswith(f"{os.getpid()}:")
    assert [lock.state for lock in locks.listed(reached)] == ["expired", "free"]
    assert json.dumps([lock.as_json() for lock in locks.listed(reached)])


def test_an_expired_one_is_freed_and_a_free_one_left_alone(settings: Settings, checkout: Checkout) -> None:
    left_behind(settings, -1.0)
    typed = ("lock.release", "--env", "local", "--name", "deploy-x")
    assert "- lease deploy-x" in checkout.typed(*typed, "--dry-run", code=2).stdout
    assert "deploy-x: released" in checkout.typed(*typed).stdout
    assert json.loads(checkout.typed(*typed, "--json").stdout)["changed"] is False
    (record,) = audit.recent(target.reach(settings).bucket, 0)
    assert (record["command"], record["outcome"], "a deploy" in record["details"]["holder"]) == (
        "lock.release", "changed", True,
    )  # fmt: skip
    assert "lock.release" in checkout.typed("history", "--env", "local").stdout
    assert "deploy-x" in checkout.typed("lock.status", "--env", "local").stdout


def test_a_held_one_needs_a_yes_after_its_owner_was_named(settings: Settings, checkout: Checkout) -> None:
    left_behind(settings, 3600.0)
    typed = ("lock.release", "--env", "local", "--name", "deploy-x")
    refused = checkout.typed(*typed, code=3)
    assert f"on {socket.gethostname()} (a deploy)" in refused.stderr
    assert "add --yes" in refused.stderr
    assert lease.holder_of(target.reach(settings).bucket, "deploy-x") is not None
    checkout.typed(*typed, "--yes")
    assert lease.holder_of(target.reach(settings).bucket, "deploy-x") is None


def test_what_changed_since_it_was_seen_is_not_freed(settings: Settings) -> None:
    bucket = target.reach(settings).bucket
    left_behind(settings, -1.0)
    work = locks.Release(settings, "deploy-x")
    assert not work.plan.empty
    with lease.hold(bucket, "deploy-x", "the next deploy") as held:
        with pytest.raises(Conflict, match="changed since it was looked at"):
            work.carry_out(Listener())
        held.check()
    with pytest.raises(NotFound, match="there are: deploy-x"):
        _ = locks.Release(settings, "deploy-y").plan
    with pytest.raises(BadInput, match="--name: found nothing"):
        locks.Release(settings, "")


@pytest.mark.parametrize("how", ["forbidden", "expired"])
def test_a_command_that_was_refused_leaves_none(
    make: Make, checkout: Checkout, shared_standin: StandIn, how: str
) -> None:
    words = ("deploy", "--env", "local", "--sync", "never")
    with troubled(shared_standin.url) as proxy:
        proxy.troubles = [Trouble("POST", "entries:list", how, 99)]
        checkout.typed(*words, code=4, MODELSHELF_ENDPOINT=proxy.url)
    (found,) = json.loads(checkout.typed("lock.status", "--env", "local", "--json").stdout)["leases"]
    assert (found["name"], found["state"]) == ("deploy-tabular-service", "free")
