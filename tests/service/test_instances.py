"""The table of instances: the youngest ones, and how many more there are."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from scripts.cloud.connect import Cloud
from scripts.cloud.instances import Instance, summarize
from scripts.cloud.logs import entry
from scripts.errors import OpsError
from scripts.service import instances
from scripts.service.instances import SHOWN, table
from scripts.service.target import Target
from scripts.settings.load import load


def decided(instance: str, second: int, **fields: Any) -> Any:
    when = f"2026-11-20T02:00:{second:02d}.000000Z"
    return entry({"timestamp": when, "labels": {"instanceId": instance}, "jsonPayload": fields})


def test_of_many_the_youngest_are_listed_and_the_rest_is_counted() -> None:
    entries = [decided(f"{number:02d}", number, cache_hit=number % 2 == 0) for number in range(SHOWN + 4)]
    headers, rows = table(summarize(entries, {"00": 1 << 20}, {}))
    assert len(rows) == SHOWN + 1
    assert rows[-1] == ["4 more", "2 hits", "", "", "", "1.0 MiB", ""]
    assert {len(row) for row in rows} == {len(headers)}


def test_a_new_revision_has_to_be_on_a_hit() -> None:
    settings = load("staging")
    reached = Target(settings, "tabular", Cloud(settings.project, settings.region, "http://127.0.0.1:1"))
    hit = Instance("a" * 20, True, "match", "v", 1, 1, 0, "t")
    miss = dataclasses.replace(hit, id="b" * 20, cache_hit=False, reason="files_missing")
    instances.check_hits(reached, "r-1", [hit, hit])
    with pytest.raises(OpsError, match=r"r-1 does not start from the cache: bbbbbbbbbbbb \(files_missing\)"):
        instances.check_hits(reached, "r-1", [hit, miss])
    with pytest.raises(OpsError, match="none told its decision"):
        instances.check_hits(reached, "r-1", [])
