"""Log lines are shown without secrets: neither by their look, nor the values of variables with telling names."""

from __future__ import annotations

from scripts.service import veil


def test_values_of_secret_looking_variables_are_masked_wherever_they_stand() -> None:
    env = {"API_TOKEN": "hunter2-hunter2", "DB_PASSWORD": "hunter2", "COLOUR": "magenta", "PRIVATE_PIN": "123"}
    assert (
        veil.masked("logging in with hunter2-hunter2 and hunter2", env) == "logging in with [redacted] and [redacted]"
    )
    assert veil.masked("magenta 123", env) == "magenta 123"
    assert "ya29.abc" not in veil.masked("bearer ya29.abc", {})
