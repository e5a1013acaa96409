"""Measurements and witnesses made up from a few numbers, and a server that stalls when it is told to."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from scripts.loadtest import schedule, thresholds
from scripts.loadtest.evidence import Evidence, Witness
from scripts.loadtest.histogram import Histogram
from scripts.loadtest.measurement import Line, Measurement, gather
from scripts.loadtest.report import Report, Subject

ANSWER = b"HTTP/1.1 %s\r\ncontent-type: text/plain\r\nx-modelshelf-instance: one\r\ncontent-length: 2\r\n\r\nok"


def coded(*seconds: float) -> str:
    made = Histogram()
    for each in seconds:
        made.record(each)
    return made.coded()


def second(number: int, *latencies_s: float, errors: dict[str, int] | None = None) -> Line:
    """What a worker tells of a second."""
    return {"second": number, "due": len(latencies_s), "latency": coded(*latencies_s), "errors": errors or {}}


def end(
    sent: int, *lags_s: float, unsent: int = 0, instances: dict[str, tuple[float, ...]] | None = None
) -> Line:  # fmt: skip
    """What a worker tells at its end."""
    named = {name: {"latency": coded(*each), "errors": {}} for name, each in (instances or {}).items()}
    return {
        "end": True, "lag": coded(*lags_s), "sent_in_time": sent, "unsent": unsent, "peak_in_flight": 1,
        "connections": 10, "instances": named,
    }  # fmt: skip


def measured(
    *latencies_s: float, sent: int | None = None, lag_s: float = 0.001, failed: int = 0, kind: str = "HTTP 503"
) -> Measurement:
    """A measurement of one second."""
    errors = {kind: failed} if failed else {}
    share = len(latencies_s) if sent is None else sent
    return gather([second(0, *latencies_s, errors=errors), end(share, lag_s)], 1.0)


def witness(name: str, hit: bool | None = True, *, requests: int = 10, pulled: int = 0, cold: bool = False) -> Witness:
    reason = "match" if hit else "shared_volume_disabled" if hit is False else ""
    return Witness(name, requests, hit, reason, "v1" if hit else "", cold, pulled)


def proof(*witnesses: Witness, expected: int = 3, pulled: dict[str, int] | None = None) -> Evidence:
    return Evidence(expected, witnesses, sum(each.requests for each in witnesses), pulled or {})


class Stalling(asyncio.Protocol):
    """Answers at once, except while its server stalls: then when the stall is over."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._server.arrivals.append(time.monotonic())
        wait_s = self._server.stalled_for_s()
        asyncio.get_running_loop().call_later(wait_s, self._answer) if wait_s > 0 else self._answer()

    def _answer(self) -> None:
        self._transport.write(ANSWER % self._server.status)  # type: ignore[attr-defined]


class Server:
    """A server on loopback that stalls for stall_s in every period_s, counted from its first request."""

    def __init__(self, stall_s: float, period_s: float, status: bytes) -> None:
        self.status = status
        self.url = ""
        self.arrivals: list[float] = []
        self._stall_s = stall_s
        self._period_s = period_s

    def stalled_for_s(self) -> float:
        """How long the stall that holds now lasts still; 0 without one. A period ends with its stall."""
        left_s = self._period_s - (time.monotonic() - self.arrivals[0]) % self._period_s
        return left_s if left_s < self._stall_s else 0.0


@contextmanager
def serving(stall_s: float = 0.0, period_s: float = 1.0, status: bytes = b"200 OK") -> Iterator[Server]:
    """Run such a server in a thread."""
    server = Server(stall_s, period_s, status)
    started, loop = threading.Event(), asyncio.new_event_loop()

    async def serve() -> None:
        listening = await loop.create_server(lambda: Stalling(server), "127.0.0.1", 0)
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
        started.set()

    def run() -> None:
        loop.run_until_complete(serve())
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(30)
    yield server
    loop.call_soon_threadsafe(loop.stop)
    thread.join(30)


def report(found: Measurement | None = None, proven: Evidence | None = None, service: str = "web") -> Report:
    """A report of a test that went well, unless something else is given."""
    planned = schedule.plan(100, 1, warm_up_s=1)
    subject = Subject(
        "staging", "Google Cloud", service, "https://web.example", "/embed", "web-00001", "web:1", "sha256:1"
    )
    result = found or measured(*[0.1] * 100)
    evidence = proven or proof(witness("aaaaaaaaaaaaaaaa"), witness("b", cold=True), witness("c"))
    verdicts = thresholds.judge(thresholds.parse(thresholds.DEFAULT), result)
    return Report(
        subject, "2026-11-30T05:00:00Z", planned, result, evidence, verdicts, result.bottleneck(50), "/reports/1"
    )
