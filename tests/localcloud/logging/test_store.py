"""Retention and times."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from scripts.localcloud.context import Context, Database
from scripts.localcloud.logging import severity
from scripts.localcloud.logging.filters import parse
from scripts.localcloud.logging.store import LogStore
from scripts.localcloud.logging.times import to_nanoseconds


def test_the_oldest_entries_go_first(tmp_path: Path) -> None:
    context = Context(tmp_path, "http://127.0.0.1:1", tmp_path, Database(tmp_path / "state.db"))
    store = LogStore(context, most_entries=100)
    for start in range(0, 6000, 1000):
        entries = [
            {
                "logName": "projects/p/logs/l",
                "timestamp": "2026-11-20T00:00:00Z",
                "insertId": str(number),
                "severity": "INFO",
                "resource": {"type": "global"},
                "textPayload": str(number),
            }
            for number in range(start, start + 1000)
        ]
        store.write(entries)
    assert store.count() <= 100 + 2000
    newest = asyncio.run(store.page(["projects/p"], parse(""), True, 1, None))
    assert newest.entries[0]["textPayload"] == "5999"
    context.db.close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000_000),
        ("1970-01-01T01:00:01+01:00", 1_000_000_000),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("1970-01-02", 86_400_000_000_000),
        ("1970-13-01", None),
        ("yesterday", None),
    ],
)
def test_times(text: str, expected: int | None) -> None:
    assert to_nanoseconds(text) == expected


def test_severities() -> None:
    assert (severity.number("warning"), severity.number(400), severity.number("400")) == (400, 400, 400)
    assert (severity.name(450), severity.name("ERROR"), severity.name("LOUD")) == ("WARNING", "ERROR", None)
    assert severity.number(True) is None
