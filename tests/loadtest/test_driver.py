"""The driver's own processes against a real server: everything due is accounted for, whatever the server does."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.errors import BadInput, OpsError
from scripts.loadtest import driver, measurement, schedule
from scripts.loadtest.driver import Request
from scripts.loadtest.measurement import Line, Measurement
from scripts.loadtest.worker import Job, Worker
from tests.conftest import ROOT, free_port
from tests.loadtest.support import Server, serving

LATE_MS = 60_000.0  # a loaded machine is no reason for these tests to fail


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def load(
    url: str, rate: float, held_s: float, *, ramp: str = "", warm_up_s: float = 0.0, processes: int = 2
) -> Measurement:
    planned = schedule.plan(rate, held_s, ramp, warm_up_s)
    return driver.run(Request(url, "", {"user-agent": "test"}), planned, processes, lambda second, p99_ms: None)


@pytest.mark.process
def test_what_is_due_is_sent_by_several_processes_and_the_warm_up_is_not_measured(server: Server) -> None:
    found = load(server.url, 100, 1, ramp="0..100:1s", warm_up_s=0.5)
    assert (found.due, found.latency.count, found.processes) == (150, 150, 2)
    assert [each.due for each in found.seconds] == [50, 100]
    assert len(server.arrivals) == 151  # one more while it warmed up, at 1 a second
    assert [(each.instance, each.requests) for each in found.served] == [("one", 150)]
    assert (found.errors, found.unsent) == ({}, 0)
    assert found.bottleneck(LATE_MS) == ""


@pytest.mark.process
def test_a_stalled_server_cannot_hide_behind_requests_that_waited() -> None:
    """1 s of every 3 s: half of the requests due meanwhile have to wait for half a second at least. A closed loop sends
    one of them for each of its connections, and no more before the stall is over."""
    with serving(1.0, 3.0) as server:
        found = load(server.url, 100, 4.5)
    assert found.latency.count == found.due == 450
    assert found.latency.at_ms(100 - 100 * 45 / 450) > 500  # of 50; some may fall off the edges
    assert found.latency.at_ms(98.5) > 900
    slow = [each for each in found.seconds if each.p99_ms > 900]
    assert slow and len(found.seconds) == 5


@pytest.mark.process
def test_requests_leave_though_the_server_stalls() -> None:
    """An open model: what is due during the stall arrives during the stall."""
    with serving(3.0, 4.0) as server:
        found = load(server.url, 20, 4.0, processes=1)
    arrivals = [moment - server.arrivals[0] for moment in server.arrivals]
    assert found.peak_in_flight > 20
    assert sum(1.0 < moment < 4.0 for moment in arrivals) > 20


@pytest.mark.process
def test_latency_counts_from_when_a_request_was_due(server: Server) -> None:
    """A generator that begins 5 s late sends at once what was due meanwhile, and none of it was answered in time."""
    told: list[Line] = []
    job = Job(server.url, "GET", {}, "", (schedule.Stage(10, 10, 6),), 0, 0, 1, 60)
    asyncio.run(Worker(job, time.time() - 5, told.append).run())
    found = measurement.gather(told, 6)
    assert found.latency.count == 60
    assert found.seconds[0].p50_ms > 4000 and found.seconds[2].p50_ms > 2000
    assert found.lag.max_ms >= 5000
    assert found.latency.mean_ms > found.lag.mean_ms


@pytest.mark.process
def test_a_generator_that_cannot_keep_up_says_so() -> None:
    with serving() as server:
        found = load(server.url, schedule.HIGHEST_RATE, 0.2, processes=1)
    assert found.due == 20_000
    assert found.latency.count + found.unsent == 20_000
    assert "the generator sent" in found.bottleneck(LATE_MS)


@pytest.mark.process
def test_failures_are_counted_by_kind() -> None:
    with serving(status=b"503 Service Unavailable") as server:
        found = load(server.url, 20, 0.5)
    assert (found.errors, found.error_percent) == ({"HTTP 503": 10}, 100)
    nobody = load(f"http://127.0.0.1:{free_port()}/", 20, 0.5)
    assert sum(nobody.errors.values()) == nobody.latency.count == 10
    assert load("nonsense", 20, 0.5).error_percent == 100


@pytest.mark.process
def test_a_request_without_an_answer_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "TIMEOUT_S", 0.3)
    with serving(10.0, 10.0) as server:
        found = load(server.url, 10, 0.5, processes=1)
    assert found.errors == {"no answer within 0.3 s": 5}
    assert found.latency.at_ms(0) >= 299


@pytest.mark.process
def test_a_worker_ends_when_its_driver_is_gone(server: Server) -> None:
    job = Job(server.url, "GET", {}, "", (schedule.Stage(5, 5, 600),), 0, 0, 1, 5)
    worker = subprocess.Popen([sys.executable, "-m", "scripts.loadtest.worker"], cwd=ROOT, stdin=subprocess.PIPE)
    assert worker.stdin is not None
    worker.stdin.write(f"{job.as_json()}\n{time.time()}\n".encode())
    worker.stdin.flush()
    deadline = time.monotonic() + 60
    while not server.arrivals:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert worker.poll() is None
    worker.stdin.close()
    assert worker.wait(60) == 1


@pytest.mark.process
def test_a_process_that_cannot_start_is_told(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "ROOT", tmp_path)
    with pytest.raises(OpsError, match=r"ended with 1: .*No module named 'scripts'"):
        load(server.url, 10, 600)
    assert server.arrivals == []


def test_a_process_that_fails_is_told_with_its_last_words() -> None:
    driver._check(0, io.BytesIO(b"whatever"))
    with pytest.raises(OpsError, match=r"ended with 3: OSError: no room"):
        driver._check(3, io.BytesIO(b"Traceback\nOSError: no room\n"))
    with pytest.raises(OpsError, match="did not end in time: it said nothing"):
        driver._check(None, io.BytesIO())


def test_how_many_processes_send() -> None:
    cores = os.cpu_count() or 1
    assert driver.processes_for(schedule.plan(10, 1), 5) == 5
    assert driver.processes_for(schedule.plan(10, 1)) == min(2, cores)
    assert driver.processes_for(schedule.plan(50_000, 1)) == min(25, cores)
    with pytest.raises(BadInput, match="--processes: found 65"):
        driver.processes_for(schedule.plan(10, 1), 65)
