"""What is shown while a sync runs: a bar over all its tasks, or its last words."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.cloud.logs import Entry, of_service
from scripts.service.publication import TAIL, last_lines, pace
from scripts.service.target import reach
from tests.conftest import StandIn
from tests.service.conftest import Make


def entry(message: str = "model sync under way", **fields: Any) -> Entry:
    return Entry("2026-11-30T02:00:00Z", "INFO", message, fields, {}, {}, "")


def under_way(done: int, task: int | None = None, left_s: float = 3.0) -> Entry:
    named = {} if task is None else {"task": task}
    return entry(done_bytes=done << 20, total_bytes=100 << 20, rate_bytes_per_s=10 << 20, left_s=left_s, **named)


def test_the_newest_pace_of_every_task_counts() -> None:
    line = pace([under_way(10, 0), under_way(20, 1, left_s=8.0), under_way(30, 0)])
    assert line.endswith(" 25%  50.0 MiB of 200.0 MiB  20.0 MiB/s  8 s left")
    assert pace([under_way(50)]).endswith(" 50%  50.0 MiB of 100.0 MiB  10.0 MiB/s  3 s left")


def test_a_transfer_that_is_over_or_has_not_begun_shows_no_bar() -> None:
    assert pace([]) == ""
    assert pace([under_way(100), entry("published 20261130T020000Z-3f9a1c2b as serial 1")]) == ""


@pytest.mark.process
def test_the_error_is_among_the_last_lines_however_much_was_said_after(make: Make, shared_standin: StandIn) -> None:
    """Fifty instances: one fails, then all are stopped, and each of them says so."""
    settings = make()
    resource = {"type": "cloud_run_revision", "labels": {"service_name": "tabular-service", "revision_name": "r"}}
    payloads = [
        {"jsonPayload": {"message": "start failed", "error": "port 1 is in use"}, "severity": "ERROR"},
        *({"jsonPayload": {"message": f"step {step} of many"}} for step in range(40)),
        *[{"jsonPayload": {"message": "service stopped"}}] * 250,
    ]
    shared_standin.post("/v2/entries:write", {"entries": [
        {"logName": f"projects/{settings.project}/logs/app", "resource": resource, "insertId": f"{at:03}",
         "timestamp": f"2026-11-30T02:{at // 60:02}:{at % 60:02}Z", **payload}
        for at, payload in enumerate(payloads)
    ]})  # fmt: skip
    lines = last_lines(reach(settings), of_service("tabular-service", "r"))
    assert len(lines) <= TAIL
    assert "ERROR" in lines[0] and "start failed" in lines[0] and "port 1 is in use" in lines[0]
    assert lines[-1].endswith("service stopped")
