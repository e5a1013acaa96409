"""What people ask of the logs is checked before anything is asked, and an entry is one line."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from scripts.cloud.logs import entry
from scripts.errors import BadInput
from scripts.service import journal


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90s", timedelta(seconds=90)), ("30m", timedelta(minutes=30)), ("7d", timedelta(days=7))],
)
def test_a_span_is_read(text: str, expected: timedelta) -> None:
    assert journal.span(text) == expected


@pytest.mark.parametrize("text", ["", "7", "d", "1 h", "-1h", "1w", "9999999d", "1h30m"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="expected a number and s, m, h or d"):
        journal.span(text)


def test_a_severity_is_one_of_the_known() -> None:
    assert journal.severity("error") == "ERROR"
    assert journal.severity("") == ""
    with pytest.raises(BadInput, match="expected one of DEBUG"):
        journal.severity('ERROR" OR "')


def test_an_entry_is_one_line_for_people_and_one_for_scripts() -> None:
    item = entry(
        {
            "timestamp": "2026-11-20T02:00:00.123456Z",
            "severity": "ERROR",
            "labels": {"instanceId": "0a1b2c3d4e5f6a7b"},
            "jsonPayload": {"message": "cache miss\nreally", "cache_hit": False, "reason": "models_differ", "x": 1},
        }
    )
    line = journal.line(item, as_json=False)
    assert line.startswith("2026-11-20T02:00:00.123 ERROR   0a1b2c3d4e5f cache miss\n    really")
    assert line.endswith("[cache_hit=False reason=models_differ]")
    assert json.loads(journal.line(item, as_json=True))["x"] == 1
