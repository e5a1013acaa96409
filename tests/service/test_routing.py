"""Traffic as values: who is protected, the lines of each step, what is pinned and why."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.cloud.run import ServiceState, service_state
from scripts.service import routing

OLD, NEW = "api-00001-abc", "api-00002-def"


def service(
    spec: list[dict[str, Any]], status: list[dict[str, Any]], notes: dict[str, str] | None = None
) -> ServiceState:
    return service_state(
        {
            "metadata": {"name": "api", "generation": 3, "resourceVersion": "x", "annotations": notes or {}},
            "spec": {"traffic": spec, "template": {}},
            "status": {"traffic": status, "latestCreatedRevisionName": NEW, "latestReadyRevisionName": NEW},
        }
    )


LATEST = [{"percent": 100, "latestRevision": True}]
ALL_OLD = [{"percent": 100, "revisionName": OLD}]
TAGGED = {"latestRevision": True, "tag": routing.CANDIDATE}


def test_what_serves_is_protected_as_it_is() -> None:
    assert routing.base(service(LATEST, [{"percent": 100, "revisionName": NEW, "latestRevision": True}])) == {NEW: 100}
    split = [{"percent": 30, "revisionName": OLD}, {"percent": 70, "revisionName": NEW}]
    assert routing.base(service(split, split)) == {OLD: 30, NEW: 70}
    assert routing.base(service(LATEST, [])) == {}


def test_of_an_unfinished_deploy_what_served_before_it_is_protected() -> None:
    spec = [{"percent": 90, "revisionName": OLD}, {**TAGGED, "percent": 10}]
    status = [
        {"percent": 90, "revisionName": OLD},
        {"percent": 10, "revisionName": NEW, "tag": "candidate", "url": "u"},
    ]
    state = service(spec, status)
    assert routing.unfinished(state)
    assert routing.base(state) == {OLD: 100}
    assert routing.tag_url(state) == "u"


def test_the_lines_of_each_step() -> None:
    assert routing.lines({OLD: 100}, 0) == [*ALL_OLD, TAGGED]
    assert routing.lines({OLD: 100}, 10) == [{"percent": 90, "revisionName": OLD}, {**TAGGED, "percent": 10}]
    assert routing.settled({OLD: 100}) == ALL_OLD
    assert routing.told({OLD: 60, NEW: 40}) == f"60 % {OLD}, 40 % {NEW}"


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 100), min_size=1), st.integers(0, 100))
def test_scaled_shares_sum_to_the_total(shares: dict[str, int], total: int) -> None:
    made = routing.scaled(shares, total)
    assert sum(made.values()) == total
    assert set(made) == set(shares) and min(made.values()) >= 0
    whole = sum(shares.values())
    assert all(abs(made[name] - share * total / whole) < 1 for name, share in shares.items())


@pytest.mark.parametrize(
    ("spec", "expected"),
    [(LATEST, ""), (ALL_OLD, OLD), ([{"percent": 100, "revisionName": NEW}], ""), ([*ALL_OLD, TAGGED], OLD)],
)
def test_a_pin_is_an_earlier_revision_alone(spec: list[dict[str, Any]], expected: str) -> None:
    assert routing.pinned(service(spec, [])) == expected


def test_a_hold_counts_for_the_revision_that_it_names() -> None:
    notes = routing.hold_note(OLD, "it answers wrongly: see 12")
    assert routing.held(service(ALL_OLD, [], notes)) == "it answers wrongly: see 12"
    assert routing.held(service(LATEST, [], notes)) == ""
    assert routing.held(service(ALL_OLD, [])) == ""
    assert routing.held(service(ALL_OLD, [], {routing.HELD: OLD})) == "no reason was given"


def test_what_is_sent_has_nothing_of_the_servers() -> None:
    state = service(ALL_OLD, ALL_OLD, {"serving.knative.dev/creator": "x", "mine": "1", "gone": "2"})
    sent = routing.with_traffic(state.body, LATEST, {"gone": None, "new": "3"})
    assert sent["metadata"] == {"name": "api", "annotations": {"mine": "1", "new": "3"}}
    assert sent["spec"]["traffic"] == LATEST and "status" not in sent
    assert state.body["spec"]["traffic"] == ALL_OLD
