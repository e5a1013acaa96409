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
ALL_NEW = [{"percent": 100, "revisionName": NEW}]
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


def test_who_serves_and_who_most() -> None:
    status = [
        {"percent": 70, "revisionName": NEW},
        {"percent": 30, "revisionName": OLD},
        {**TAGGED, "revisionName": OLD},
    ]
    assert routing.serving(service(LATEST, status)) == {NEW: 70, OLD: 30}
    assert routing.most({OLD: 30, NEW: 70}) == NEW
    assert routing.serving(service(LATEST, LATEST)) == {}  # no revision was ever ready
    assert (routing.most({}), routing.told({})) == ("", "nobody")


@pytest.mark.parametrize(
    ("spec", "pinned", "overtaken"),
    [
        (LATEST, "", ""),
        (ALL_OLD, OLD, OLD),
        (ALL_NEW, NEW, ""),
        ([*ALL_OLD, TAGGED], OLD, OLD),
        ([*ALL_OLD, {**TAGGED, "percent": 0}], OLD, OLD),
        ([{"percent": 90, "revisionName": OLD}, {"percent": 10, "revisionName": NEW}], "", ""),
        ([{"percent": 90, "revisionName": OLD}, {"percent": 10, "latestRevision": True}], "", ""),
    ],
)
def test_a_pin_is_one_revision_by_its_name_alone(spec: list[dict[str, Any]], pinned: str, overtaken: str) -> None:
    state = service(spec, [])
    assert (routing.pinned(state), routing.overtaken(state)) == (pinned, overtaken)


def test_tags_stay_where_they_are_when_a_revision_gets_everything() -> None:
    live = service([{**LATEST[0], "tag": "now"}, {"revisionName": OLD, "percent": 0, "tag": "old"}], [])
    assert routing.pinned_lines(live, OLD) == [
        {"revisionName": OLD, "percent": 100, "tag": "old"},
        {"latestRevision": True, "tag": "now"},
    ]


def test_a_hold_counts_for_the_revision_that_it_names() -> None:
    notes = routing.hold_note(OLD, "it answers wrongly: see 12")
    assert routing.held(service(ALL_OLD, [], notes)) == "it answers wrongly: see 12"
    assert routing.held(service(LATEST, [], notes)) == ""
    assert routing.held(service(ALL_OLD, [])) == ""
    assert routing.held(service(ALL_OLD, [], {routing.HELD: OLD})) == "no reason was given"


def test_a_rollback_stands_as_long_as_its_revision_has_the_traffic() -> None:
    notes = routing.rollback_note(NEW, OLD)
    assert notes == {routing.HELD: f"{OLD}: rolled back from {NEW}"}
    assert routing.rolled_back(service(ALL_OLD, [], notes)) == (NEW, OLD)
    assert routing.rolled_back(service(LATEST, [], notes)) is None
    assert routing.rolled_back(service(ALL_OLD, [])) is None
    assert routing.rolled_back(service(ALL_OLD, [], routing.hold_note(OLD, "it is wrong"))) is None
    copied = service(ALL_NEW, [], routing.rollback_note("api-3", NEW))  # a rollback with other models makes a revision
    assert routing.rolled_back(copied) == ("api-3", NEW) and routing.held(copied) == ""


def test_what_is_sent_has_nothing_of_the_servers() -> None:
    state = service(ALL_OLD, ALL_OLD, {"serving.knative.dev/creator": "x", "mine": "1", "gone": "2"})
    sent = routing.with_traffic(state.body, LATEST, {"gone": None, "new": "3"})
    assert sent["metadata"] == {"name": "api", "annotations": {"mine": "1", "new": "3"}}
    assert sent["spec"]["traffic"] == LATEST and "status" not in sent
    assert state.body["spec"]["traffic"] == ALL_OLD
