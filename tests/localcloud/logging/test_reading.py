"""Searches in slices of time: what is found in several is what is found in one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from scripts.localcloud.context import Context, Database
from scripts.localcloud.logging.filters import parse
from scripts.localcloud.logging.reading import Position, Reader
from scripts.localcloud.logging.store import LogStore
from scripts.localcloud.web import ApiError


@pytest.fixture
def context(tmp_path: Path) -> Any:
    context = Context(tmp_path, "http://127.0.0.1:1", tmp_path, Database(tmp_path / "state.db"))
    store = LogStore(context)
    for number in range(20):
        stamp = f"2026-11-20T02:00:{number:02}Z"
        entry = {"logName": "projects/demo/logs/a", "insertId": str(number), "timestamp": stamp, "resource": {}}
        store.write([{**entry, "jsonPayload": {"n": number, "text": "a" * 300}}])
    yield context
    context.db.close()


def test_a_page_ends_where_the_time_is_over_and_goes_on_from_there(context: Context) -> None:
    async def scenario() -> None:
        reader, wanted = Reader(context.db, longest_s=0.0), parse("jsonPayload.n>=17")
        found: list[int] = []
        after: Position | None = None
        pages = 0
        while True:
            page = await reader.page(["projects/demo"], wanted, False, 10, after)
            found += [entry["jsonPayload"]["n"] for entry in page.entries]
            after, pages = page.next, pages + 1
            if after is None:
                break
        assert found == [17, 18, 19] and pages > 10

    asyncio.run(scenario())


def test_what_is_new_is_looked_at_once(context: Context) -> None:
    async def scenario() -> None:
        reader, wanted = Reader(context.db), parse("jsonPayload.n<5 OR jsonPayload.n>17")
        made: list[int] = []
        upto, more = 0, True
        while more:
            part = await reader.since("projects/demo", upto, wanted.matches, lambda at, each: each["insertId"], 0.0)
            made, upto, more = made + part.made, part.upto, part.more
        assert made == ["0", "1", "2", "3", "4", "18", "19"]
        assert await reader.since("projects/demo", upto, wanted.matches, lambda at, each: at, 1.0) == type(part)(
            [], upto, False
        )

    asyncio.run(scenario())


def test_an_expression_that_is_too_expensive_is_refused(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.localcloud.logging.automaton._MOST_WORK", 5)

    async def scenario() -> None:
        reader, wanted = Reader(context.db), parse('jsonPayload.text=~"(a+)+b"')
        with pytest.raises(ApiError, match="too much work") as caught:
            await reader.page([], wanted, True, 1, None)
        assert caught.value.code == 400

    asyncio.run(scenario())
