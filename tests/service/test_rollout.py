"""How a new revision comes to the traffic, from values alone."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.errors import BadInput
from scripts.plan import Action, Change
from scripts.service import planning, rollout, routing
from tests.service.test_routing import ALL_OLD, LATEST, NEW, OLD, TAGGED, service

BODY: dict[str, Any] = {
    "metadata": {"name": "api", "annotations": {"a": "b"}}, "spec": {"traffic": LATEST, "template": {"spec": {"x": 1}}},
}  # fmt: skip
ENV = Change(Action.UPDATE, "service api", "spec.template.spec.x", 0, 1)
MOVE = Change(Action.UPDATE, "service api", planning.TRAFFIC, "old", "new")
AGAIN = Change(Action.RUN, "service api", after="a new one is tried")
SERVES_NEW = [{"percent": 100, "revisionName": NEW}]


def test_nothing_to_change_is_no_way() -> None:
    assert rollout.decide(service(LATEST, SERVES_NEW), BODY, (), (10,)) is None


def test_without_anything_to_protect_the_rendered_service_is_sent() -> None:
    for state in (None, service(LATEST, [])):
        way = rollout.decide(state, BODY, (ENV,), (10,))
        assert way is not None
        assert (way.body, way.base, way.shares, way.previous) == (BODY, {}, (), "")


def test_a_new_revision_begins_without_traffic_and_a_hold_is_kept_until_it_has_all() -> None:
    held = routing.hold_note(OLD, "why")
    way = rollout.decide(service(ALL_OLD, ALL_OLD, held), BODY, (ENV, MOVE), (10, 50))
    assert way is not None
    assert way.body["spec"]["traffic"] == [*ALL_OLD, TAGGED]
    assert way.body["spec"]["template"] == BODY["spec"]["template"]
    assert way.body["metadata"]["annotations"] == {"a": "b", **held}
    assert (way.previous, way.steps(NEW), list(way.end)) == (OLD, (10, 50, 100), LATEST)
    assert way.steps(OLD) == (100,)


def test_traffic_alone_leaves_the_live_template_and_a_failed_revision_gets_a_new_one() -> None:
    state = service(ALL_OLD, ALL_OLD)
    way = rollout.decide(state, BODY, (MOVE,), ())
    assert way is not None and way.body["spec"]["template"] == {}
    again = rollout.decide(state, BODY, (MOVE, AGAIN), ())
    assert again is not None
    assert planning.ATTEMPT in again.body["spec"]["template"]["metadata"]["annotations"]
    assert again.body["spec"]["traffic"] == [*ALL_OLD, TAGGED]


def test_steps_are_a_part_of_the_plan_where_there_are_some() -> None:
    way = rollout.decide(service(LATEST, SERVES_NEW), BODY, (ENV,), (10, 50))
    (told,) = rollout.told(way, "api", 30)
    assert told.line() == "» service api: traffic in steps of 10 %, 50 %, 100 %, each watched for 30 s"
    assert rollout.told(rollout.decide(None, BODY, (ENV,), (10,)), "api", 30) == ()


def test_shares_are_read() -> None:
    assert rollout.parsed("10, 50") == (10, 50)
    assert rollout.parsed("0") == ()
    for text in ("", "50,10", "10,10", "100", "0,10", "10,x", "-5", "10%"):
        with pytest.raises(BadInput, match="--canary: found"):
            rollout.parsed(text)
