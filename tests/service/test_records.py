"""History tells each record on a line: who, when, what, how it ended, how long it took, from which commit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from scripts import audit
from scripts.errors import BadInput
from scripts.plan import Action, Change, Plan
from scripts.service import records, target
from tests.service.conftest import Make


def test_what_was_done_is_told_by_its_first_changes() -> None:
    changes = [Change(Action.UPDATE, f"service {name}", "spec.x[y].value", 1, 2) for name in "abcde"]
    record = {"plan": Plan("deploy", tuple(changes)).as_json()}
    assert records.what(record) == "service a value: 2; service b value: 2; service c value: 2; and 2 more"
    assert records.what({"plan": {"title": "sync", "models": []}}) == "sync"
    assert records.what({"plan": None, "details": {"error": "it broke\nbadly"}}) == "it broke"
    assert records.what({}) == ""


@pytest.mark.process
def test_the_newest_come_first_and_no_more_than_asked_for(make: Make) -> None:
    settings = make()
    reached = target.reach(settings)
    reached.bucket.create("europe-west1", {})
    began = datetime.now(UTC) - timedelta(seconds=3)
    for command in ("deploy", "rollback"):
        audit.record(
            reached.bucket,
            command=command,
            environment="local",
            plan=Plan(command),
            outcome="changed",
            started_at=began,
        )
        began += timedelta(seconds=1)
    found = records.read(reached, 1)
    assert len(found) == 1
    (row,) = records.rows(found)
    assert len(row) == len(records.HEADERS)
    assert row[1:3] == [found[0]["command"], "changed"]
    assert row[4].endswith(" s") and len(row[5]) in (0, 10)
    assert {each["command"] for each in records.read(reached, 20)} == {"deploy", "rollback"}
    for limit in (0, 1001):
        with pytest.raises(BadInput, match="--limit"):
            records.read(reached, limit)
