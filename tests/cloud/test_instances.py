"""Instances are what their own log entries say: the last decision of each, and the bytes it read."""

from __future__ import annotations

from typing import Any

from scripts.cloud.instances import summarize
from scripts.cloud.logs import entry


def decided(instance: str, second: int, **fields: Any) -> Any:
    when = f"2026-11-20T02:00:{second:02d}.000000Z"
    return entry({"timestamp": when, "labels": {"instanceId": instance}, "jsonPayload": fields})


def test_the_last_decision_of_each_counts_and_the_youngest_comes_first() -> None:
    found = summarize(
        [
            decided("b", 5, cache_hit=True, reason="match", manifest_version="v2", serial=2),
            decided("a", 3, cache_hit=True, reason="match", manifest_version="v2", serial=2),
            decided("a", 1, cache_hit=False, reason="no_trusted_version"),
        ],
        {"a": 100},
        {"b": 7},
    )
    assert [(item.id, item.cache_hit, item.version) for item in found] == [("b", True, "v2"), ("a", True, "v2")]
    assert [(item.served_bytes, item.upstream_bytes) for item in found] == [(0, 7), (100, 0)]


def test_a_miss_says_why_and_strange_entries_do_no_harm() -> None:
    found = summarize(
        [
            decided("a", 1, cache_hit="yes", reason=None),
            decided("", 2, cache_hit=True),
            decided("c", 3, cache_hit=False),
        ],
        {},
        {},
    )
    assert [(item.id, item.cache_hit) for item in found] == [("c", False), ("a", False)]
    assert found[0].cells() == ["c", "miss", "", "none", "", "0 B", "0 B"]
