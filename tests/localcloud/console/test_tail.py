from __future__ import annotations

import asyncio
from typing import Any

import pytest

from scripts.localcloud.console import tail


class Log:
    """Answers each search with one entry, and remembers the filters."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def search(self, text: str, size: int, *, newest_first: bool = True) -> list[dict[str, Any]]:
        self.asked.append(text)
        return [{"insertId": "1", "textPayload": "hello", "timestamp": "2026-11-20T14:37:00Z"}]


def ask(log: Log, wanted: str, since: str = "") -> dict[str, Any]:
    return asyncio.run(tail.tail(log.search, wanted, since))


@pytest.mark.parametrize("wanted", ["severity>=", '"open', "(a", "a AND", "= 3"])
def test_a_filter_that_is_wrong_is_explained(wanted: str) -> None:
    log = Log()
    found = ask(log, wanted, "2026-11-20T14:37:00Z")
    assert found["problem"].startswith("This filter cannot be understood: ")
    assert "position" in found["problem"]
    assert (found["filter"], found["entries"], log.asked) == (wanted, [], [])


def test_a_filter_that_is_too_long_is_refused() -> None:
    assert "longer than 2000" in ask(Log(), "a" * 2001)["problem"]


def test_a_search_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(text: str, size: int, *, newest_first: bool = True) -> list[dict[str, Any]]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(tail, "_PATIENCE_S", 0.01)
    assert "Narrow it" in asyncio.run(tail.tail(never, "x"))["problem"]


def test_later_entries_only() -> None:
    log = Log()
    ask(log, "severity>=INFO OR a -- why", "2026-11-20T14:37:00Z")
    assert log.asked == ['timestamp>="2026-11-20T14:37:00Z"\n(\nseverity>=INFO OR a -- why\n)']
    ask(log, "", "2026-11-20T14:37:00Z")
    ask(log, "x", 'no time" OR a')
    assert log.asked[1:] == ['timestamp>="2026-11-20T14:37:00Z"', "x"]


def test_a_line_says_who_what_and_no_secret() -> None:
    entry = {
        "insertId": "7", "timestamp": "2026-11-20T14:37:00Z", "severity": "ERROR",
        "resource": {"type": "cloud_run_revision", "labels": {"service_name": "api"}},
        "labels": {"instanceId": "0123456789abcdef"},
        "jsonPayload": {"message": "failed with token=abc", "cache_hit": False, "url": "x?api_key=k", "message2": None},
    }  # fmt: skip
    found = tail.line(entry)
    assert (found["source"], found["instance"], found["text"]) == ("api", "01234567", "failed with token=[redacted]")
    assert found["fields"] == "cache_hit=false  url=x?api_key=[redacted]  message2=null"


def test_lines_of_requests_and_of_odd_entries() -> None:
    http = {"requestMethod": "GET", "status": 200, "requestUrl": "http://h/x", "latency": "0.012s"}
    assert tail.line({"httpRequest": http})["text"] == "GET 200 http://h/x 0.012s"
    assert tail.line({})["source"] == "global"
    assert tail.line({"jsonPayload": [1]})["text"] == "[1]"
    assert tail.line({"textPayload": "x" * 5000})["text"].endswith("x …")
