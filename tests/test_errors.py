"""Errors carry a remedy and the documented exit code."""

from __future__ import annotations

import pytest

from scripts import errors


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.OpsError, 1),
        (errors.Refused, 3),
        (errors.BadInput, 3),
        (errors.NotFound, 3),
        (errors.Conflict, 3),
        (errors.Unreachable, 4),
        (errors.AccessDenied, 4),
        (errors.GateFailed, 5),
        (errors.Interrupted, 130),
    ],
)
def test_exit_codes_are_the_documented_ones(kind: type[errors.OpsError], code: int) -> None:
    error = kind("it broke", "Run: this")
    assert int(error.exit_code) == code
    assert str(error) == "it broke\n  Run: this"
    assert str(kind("it broke")) == "it broke"
