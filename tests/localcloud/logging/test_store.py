"""Retention and times."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from scripts.localcloud.context import Context, Database
from scripts.localcloud.logging import severity
from scripts.localcloud.logging.filters import parse
from scripts.localcloud.logging.store import LogStore, Row
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


def test_the_request_log_has_a_quota_of_its_own(tmp_path: Path) -> None:
    context = Context(tmp_path, "http://127.0.0.1:1", tmp_path, Database(tmp_path / "state.db"))
    store = LogStore(context, most_entries=100)
    own = {
        "logName": "projects/p/logs/run.googleapis.com%2Fstdout",
        "timestamp": "2026-11-20T00:00:00Z",
        "insertId": "own",
        "resource": {"type": "cloud_run_revision"},
        "textPayload": "what an instance wrote",
    }
    store.write([own])
    log_name = "projects/p/logs/run.googleapis.com%2Frequests"
    for start in range(0, 6000, 1000):
        store.write_requests(
            [Row(n, "projects/p", log_name, str(n), 200, "cloud_run_revision", f'{{"insertId":"{n}"}}')
             for n in range(start, start + 1000)]
        )  # fmt: skip
    store.write([{**own, "logName": log_name, "insertId": "written by a client"}])
    kept = asyncio.run(store.page([], parse(""), True, 10_000, None)).entries
    assert [each for each in kept if each["insertId"] == "own"] == [own]
    assert len(kept) <= 100 + 1000 + 2
    assert {"5999", "written by a client"} <= {each["insertId"] for each in kept}
    context.db.close()


def test_the_log_of_an_earlier_version_is_taken_over(tmp_path: Path) -> None:
    database = Database(tmp_path / "state.db")
    database.script(
        "CREATE TABLE log_entries (id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, parent TEXT NOT NULL,"
        " log_name TEXT NOT NULL, insert_id TEXT NOT NULL, severity INTEGER NOT NULL, resource TEXT NOT NULL,"
        " entry TEXT NOT NULL, UNIQUE (log_name, at, insert_id));"
        "INSERT INTO log_entries VALUES (7, 1, 'projects/p', 'projects/p/logs/l', 'old', 0, 'global', '{}');"
    )
    context = Context(tmp_path, "http://127.0.0.1:1", tmp_path, database)
    for _ in range(2):
        assert LogStore(context).count() == 1
    database.close()
