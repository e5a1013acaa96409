"""Steps are named, timed and told, also the one that fails."""

from __future__ import annotations

import pytest

from scripts.service.steps import Silent, Steps
from tests.service.conftest import Listener


def test_steps_are_listed_in_order_with_their_seconds(listener: Listener) -> None:
    steps = Steps(listener)
    with steps.step("one") as step:
        step.outcome = "fine"
    with pytest.raises(ValueError, match="no"), steps.step("two"):
        raise ValueError("no")
    assert [item["name"] for item in steps.as_json()] == ["one", "two"]
    assert [step.done for step in steps.taken] == [True, False]
    assert listener.outcomes == {"one": "fine"}
    assert listener.failures == ["two"]


def test_nobody_has_to_listen() -> None:
    steps = Steps(Silent())
    with steps.step("one"):
        steps.talk.progress("x")
        steps.talk.note("y", warning=True)
    assert steps.taken[0].done
