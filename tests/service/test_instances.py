"""The table of instances: the youngest ones, and how many more there are."""

from __future__ import annotations

from typing import Any

from scripts.cloud.instances import summarize
from scripts.cloud.logs import entry
from scripts.service.instances import SHOWN, table


def decided(instance: str, second: int, **fields: Any) -> Any:
    when = f"2026-11-20T02:00:{second:02d}.000000Z"
    return entry({"timestamp": when, "labels": {"instanceId": instance}, "jsonPayload": fields})


def test_of_many_the_youngest_are_listed_and_the_rest_is_counted() -> None:
    entries = [decided(f"{number:02d}", number, cache_hit=number % 2 == 0) for number in range(SHOWN + 4)]
    headers, rows = table(summarize(entries, {"00": 1 << 20}, {}))
    assert len(rows) == SHOWN + 1
    assert rows[-1] == ["4 more", "2 hits", "", "", "", "1.0 MiB", ""]
    assert {len(row) for row in rows} == {len(headers)}
