"""Hooks of a rehearsal are named and not started; those of the real environment get JSON and show what they print."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scripts.cloud.connect import Cloud
from scripts.errors import Refused
from scripts.plan import Action, Change, Plan
from scripts.service import hooks
from scripts.service.steps import Steps
from scripts.service.target import Target
from scripts.settings.load import load
from scripts.settings.model import Hooks
from tests.service.conftest import Listener

PLAN = Plan("deploy", (Change(Action.CREATE, "bucket b"),))


def target(rehearsal: bool = False, **given: object) -> Target:
    settings = load("staging").model_copy(update={"hooks": Hooks(**given), "rehearsal": rehearsal})
    return Target(settings, "tabular", Cloud(settings.project, settings.region, "http://127.0.0.1:1"))


def test_a_rehearsal_starts_none(listener: Listener) -> None:
    reached = target(rehearsal=True, before_deploy=(("/bin/false", "loud"),))
    hooks.run(reached, "before_deploy", Steps(listener), "deploy", PLAN)
    assert listener.notes == ["before_deploy: not started in a rehearsal: /bin/false loud"]
    assert listener.titles == []


@pytest.mark.process
def test_a_hook_reads_what_happens_and_a_slow_one_is_ended(listener: Listener, tmp_path: Path) -> None:
    code = "import json, sys; d = json.load(sys.stdin); print(d['hook'], d['plan']['title'], d['result']['revision'])"
    reached = target(after_deploy=((sys.executable, "-c", code), ("/nonexistent/hook",)))
    hooks.run(reached, "after_deploy", Steps(listener), "deploy", PLAN, {"revision": "r-1"})
    assert listener.notes[0] == "after_deploy: after_deploy deploy r-1"
    assert "cannot start '/nonexistent/hook'" in listener.notes[1]
    slow = target(before_deploy=((sys.executable, "-c", "import time; time.sleep(60)"),), timeout_s=1)
    with pytest.raises(Refused, match="did not finish within 1 s") as refused:
        hooks.run(slow, "before_deploy", Steps(listener), "deploy", PLAN)
    assert "Nothing was changed" in refused.value.remedy
    assert listener.failures == ["before_deploy"]
