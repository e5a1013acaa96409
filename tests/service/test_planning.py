"""What is shown of a change, and why a sync runs first."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.plan import Action, Change
from scripts.service import planning


@pytest.mark.parametrize("name", ["API_TOKEN", "DB_PASSWORD", "slack_webhook_secret", "OPENAI_API_KEY"])
def test_secret_looking_variables_are_never_shown(name: str) -> None:
    path = f"spec.template.spec.containers[tabular].env[{name}]"
    changed = planning.veiled(Change(Action.UPDATE, "service x", path, "hunter1", "hunter2"))
    assert (changed.before, changed.after) == ("[redacted]", "[redacted]")
    added = planning.veiled(Change(Action.CREATE, "service x", path, None, "hunter2"))
    assert (added.before, added.after) == (None, "[redacted]")
    whole: Any = [{"name": name, "value": "hunter2"}, {"name": "MODEL_TRUSTED_KEYS", "value": "public"}]
    listed = planning.veiled(Change(Action.CREATE, "service x", "spec.env", None, whole))
    assert listed.after == [{"name": name, "value": "[redacted]"}, {"name": "MODEL_TRUSTED_KEYS", "value": "public"}]


def test_other_changes_are_shown_as_they_are() -> None:
    change = Change(Action.UPDATE, "service x", "spec.template.spec.containerConcurrency", 80, 10)
    assert planning.veiled(change) == change


def test_an_attempt_changes_the_template_and_nothing_else() -> None:
    body: dict[str, Any] = {"metadata": {"name": "x"}, "spec": {"template": {"spec": {"a": 1}}, "traffic": [1]}}
    again = planning.next_attempt(body)
    assert again["spec"]["template"]["metadata"]["annotations"][planning.ATTEMPT]
    assert again["spec"]["template"]["spec"] == {"a": 1}
    assert again["spec"]["traffic"] == [1]
    assert "metadata" not in body["spec"]["template"]
