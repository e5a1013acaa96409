"""The request log: traces, entries as JSON, batches."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from scripts.localcloud.context import Context, Database
from scripts.localcloud.logging.store import Row
from scripts.localcloud.run.events import REQUEST, RequestServed
from scripts.localcloud.run.instance import Identity
from scripts.localcloud.run.requestlog import RequestLog, Served, trace_of

ID = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    ("traceparent", "cloud_trace", "sampled"),
    [
        (f"00-{ID}-b7ad6b7169203331-01", "", True),
        (f"00-{ID}-b7ad6b7169203331-00", "", False),
        ("", f"{ID}/42;o=1", True),
        ("", f"{ID.upper()}/42", False),
        ("", ID, False),
        ("00-" + "0" * 32 + "-b7ad6b7169203331-01", ID, False),
    ],
)
def test_a_client_s_trace_is_kept(traceparent: str, cloud_trace: str, sampled: bool) -> None:
    trace = trace_of(traceparent, cloud_trace)
    assert (trace.id, trace.sampled) == (ID, sampled) and trace.span != "b7ad6b7169203331"


@pytest.mark.parametrize("odd", ["", "x", f"00-{ID}", f"00-{ID}-{'0' * 16}-01", f"{ID}/1\r\nx: y"])
def test_a_trace_that_makes_no_sense_is_replaced(odd: str) -> None:
    trace = trace_of(odd, odd)
    assert trace.id != ID and len(trace.id) == 32 and b"x: y" not in trace.headers()


def test_entries_are_json_whatever_a_client_sends_and_come_in_batches(tmp_path: Path) -> None:
    context = Context(tmp_path, "http://127.0.0.1:1", tmp_path, Database(tmp_path / "state.db"))
    batches: list[Sequence[Row]] = []
    events: list[RequestServed] = []
    context.listen(REQUEST, events.append)
    odd = 'quote " back \\ line \n \x00 \x7f é \ud800'
    served = Served(
        Identity("p", "europe-west1", "s", "s-1"), "i" * 64, trace_of("", ""), 1e9, 0.5, "GET", f"http://h/{odd}", 10,
        503, 20, odd, odd, "127.0.0.1", "HTTP/1.1", odd,
    )  # fmt: skip

    async def ask() -> None:
        log = RequestLog(context, batches.append)
        for _ in range(3):
            log.add(served)
        assert batches == [] and len(events) == 3
        log.flush()
        log.add(served)
        while len(batches) < 2:  # by itself, a moment later  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    asyncio.run(ask())
    assert [len(batch) for batch in batches] == [3, 1]
    entries: list[dict[str, Any]] = [json.loads(row.entry) for batch in batches for row in batch]
    assert len({each["insertId"] for each in entries}) == 4
    assert entries[0]["httpRequest"]["userAgent"] == entries[0]["textPayload"] == odd
    assert entries[0]["timestamp"] == "2001-09-09T01:46:40.000000Z" and batches[0][0].at == 10**18
    assert entries[0]["severity"] == "ERROR" and entries[0]["httpRequest"]["latency"] == "0.500000000s"
    context.db.close()
