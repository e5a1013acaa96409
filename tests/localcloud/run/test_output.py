"""Lines of output as log entries."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.localcloud.run.output import parse_line

ENTRY: dict[str, Any] = {"logName": "l", "timestamp": "now"}


@pytest.mark.parametrize(
    ("line", "severity", "payload"),
    [
        ('{"severity": "WARNING", "message": "m", "n": 1}', "WARNING", {"message": "m", "n": 1}),
        ('{"severity": "warn", "message": "m"}', "WARNING", {"message": "m"}),
        ('{"severity": "strange", "message": "m"}', "DEFAULT", {"severity": "strange", "message": "m"}),
        ('{"message": "m"}', "DEFAULT", {"message": "m"}),
    ],
)
def test_a_json_object_is_structured(line: str, severity: str, payload: dict[str, Any]) -> None:
    assert parse_line(line, ENTRY) == {**ENTRY, "severity": severity, "jsonPayload": payload}


@pytest.mark.parametrize("line", ["plain", "{broken", "[1]", "12", '"text"', "{" * 100_000])
def test_anything_else_is_text(line: str) -> None:
    assert parse_line(line, ENTRY) == {**ENTRY, "severity": "DEFAULT", "textPayload": line}


def test_a_valid_time_of_its_own_is_used() -> None:
    line = '{"message": "m", "time": "2026-11-20T02:00:00Z"}'
    assert parse_line(line, ENTRY)["timestamp"] == "2026-11-20T02:00:00Z"
    assert parse_line('{"message": "m", "time": "noon"}', ENTRY)["jsonPayload"]["time"] == "noon"
