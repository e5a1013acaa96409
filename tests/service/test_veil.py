"""Log lines are shown without secrets: neither by their look, nor the values of variables with telling names."""

from __future__ import annotations

import pytest

from scripts.plan import Action, Change
from scripts.service import veil


def test_values_of_secret_looking_variables_are_masked_wherever_they_stand() -> None:
    env = {"API_TOKEN": "hunter2-hunter2", "DB_PASSWORD": "hunter2", "COLOUR": "magenta", "PRIVATE_PIN": "123"}
    assert (
        veil.masked("logging in with hunter2-hunter2 and hunter2", env) == "logging in with [redacted] and [redacted]"
    )
    assert veil.masked("magenta 123", env) == "magenta 123"
    assert "ya29.abc" not in veil.masked("bearer ya29.abc", {})


@pytest.mark.parametrize(
    "name",
    ["DB_PWD", "PGPASSWORD", "SIGNING_KEY", "AUTH_HEADER", "ACCESS_KEY", "APIKEY", "SENTRY_DSN", "SLACK_WEBHOOK"],
)
def test_names_that_speak_of_secrets(name: str) -> None:
    assert veil.masked("cannot log in with s3cr3t-value", {name: "s3cr3t-value"}) == "cannot log in with [redacted]"
    change = veil.veiled(
        Change(Action.UPDATE, "service x", f"spec.containers[x].env[{name}]", "old-value", "new-value")
    )
    assert "value" not in change.line()


def test_names_that_do_not() -> None:
    for name in (
        "MODEL_SIGNING_KEY",
        "MODEL_TRUSTED_KEYS",
        "KEYBOARD",
        "AUTHOR",
        "MONKEY",
        "SHARED_MODEL_VOLUME_ENABLED",
    ):
        assert not veil.is_secret(name)


def test_what_looks_like_a_secret_is_hidden_whatever_its_name_is() -> None:
    added = [{"name": "DATABASE_URL", "value": "postgres://me:pw12345@db/x"}, {"name": "COLOUR", "value": "red"}]
    change = veil.veiled(Change(Action.CREATE, "service x", "spec.containers[x].env", None, added))
    assert change.after == [{"name": "DATABASE_URL", "value": "postgres://me:[redacted]@db/x"}, added[1]]
