"""Lines of output as log entries."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from scripts.localcloud.run.output import LONGEST_LINE_BYTES, Origin, Output, parse_line

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


def test_a_flood_is_handed_over_in_order_and_in_steps_that_let_others_run(tmp_path: Path) -> None:
    lines = [f"line {number}" for number in range(4000)]
    batches: list[list[str]] = []
    turns: list[int] = []

    async def read() -> None:
        output = Output(
            Origin("p", {}, {}), lambda each: batches.append([e["textPayload"] for e in each]), str, tmp_path
        )
        ends = [os.pipe(), os.pipe()]
        os.write(ends[0][1], "\n".join(lines).encode())  # it fits into the pipe; the last line has no end
        for _, end in ends:
            os.close(end)
        await output.attach(os.fdopen(ends[0][0], "rb", 0), os.fdopen(ends[1][0], "rb", 0))
        finished = asyncio.create_task(output.finish(30.0))
        while not finished.done():
            turns.append(len(batches))
            await asyncio.sleep(0)

    asyncio.run(read())
    assert [line for batch in batches for line in batch] == lines
    assert max(len(batch) for batch in batches) <= 200
    assert len(set(turns)) >= 10  # somebody else had a turn between the steps


def test_a_line_without_end_is_cut_and_what_follows_is_whole(tmp_path: Path) -> None:
    given: list[str] = []

    async def read() -> None:
        output = Output(Origin("p", {}, {}), lambda each: given.extend(e["textPayload"] for e in each), str, tmp_path)
        ends = [os.pipe(), os.pipe()]
        os.close(ends[1][1])
        await output.attach(os.fdopen(ends[0][0], "rb", 0), os.fdopen(ends[1][0], "rb", 0))
        await asyncio.to_thread(_pour, ends[0][1], b"x" * (3 * LONGEST_LINE_BYTES) + b"\nbad \xff byte\r\n\nlast")
        await output.finish(30.0)

    asyncio.run(read())
    assert [len(given[0]), *given[1:]] == [LONGEST_LINE_BYTES, "bad \N{REPLACEMENT CHARACTER} byte", "last"]


def _pour(end: int, data: bytes) -> None:
    with os.fdopen(end, "wb", 0) as pipe:
        while data:
            data = data[pipe.write(data) :]
