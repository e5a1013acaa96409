"""The driver: several processes that share one schedule, and what they measured together."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Any

from scripts import process
from scripts.errors import BadInput, OpsError
from scripts.loadtest import measurement
from scripts.loadtest.histogram import Histogram
from scripts.loadtest.measurement import Measurement
from scripts.loadtest.schedule import Schedule
from scripts.loadtest.worker import Job
from scripts.settings.project import ROOT

if TYPE_CHECKING:
    import subprocess

TIMEOUT_S = 30.0
MOST_PROCESSES = 64
_RATE_OF_A_PROCESS = 2000.0
_START_TIMEOUT_S = 60.0
_HEAD_START_S = 0.05  # until every process has heard when to begin
_SPARE_S = 30.0
AGAIN = "Run the same command again."

Progress = Callable[[int, float], None]


@dataclass(frozen=True)
class Request:
    """What is asked again and again; a body makes it a POST of JSON."""

    url: str
    body: str
    headers: Mapping[str, str]


def processes_for(schedule: Schedule, asked: int = 0) -> int:
    """How many processes send: as many as asked for, else two or as many as the rate needs, at most one a processor.

    Raises BadInput for more than MOST_PROCESSES.
    """
    if not 0 <= asked <= MOST_PROCESSES:
        raise BadInput(f"--processes: found {asked}, expected 1 to {MOST_PROCESSES}", "For example: --processes 2")
    needed = max(2, math.ceil(schedule.peak_rate / _RATE_OF_A_PROCESS))
    return asked or min(needed, os.cpu_count() or 1)


def run(request: Request, schedule: Schedule, processes: int, progress: Progress) -> Measurement:
    """Carry the schedule out. progress hears of each second whose requests are answered, with its p99 in ms.

    Raises OpsError with its last words when a process fails.
    """
    headers = {**request.headers, **({"content-type": "application/json"} if request.body else {})}
    method = "POST" if request.body else "GET"
    whole = Job(
        request.url, method, headers, request.body, schedule.stages, schedule.warm_up_s, 0, processes, TIMEOUT_S
    )  # fmt: skip
    lines: list[Mapping[str, Any]] = []
    ready = threading.Semaphore(0)
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(_child(replace(whole, first=first))) for first in range(processes)]
        pumps = [threading.Thread(target=_pump, args=(each, lines, ready, progress), daemon=True) for each in children]
        for pump in pumps:
            pump.start()
        _begin(children, ready)
        deadline = time.monotonic() + schedule.duration_s + TIMEOUT_S + _SPARE_S
        for child, pump in zip(children, pumps, strict=True):
            pump.join(max(deadline - time.monotonic(), 0.1))
            _check(None if pump.is_alive() else child.process.wait(), child.words)
    return measurement.gather(lines, schedule.measured_s)


@dataclass(frozen=True)
class _Child:
    """A process that works on a job: what it is told, and what it says in trouble."""

    process: subprocess.Popen[bytes]
    told: IO[bytes]
    words: IO[bytes]

    def tell(self, line: str) -> None:
        """Give it a line; one that has ended needs none."""
        with contextlib.suppress(BrokenPipeError):
            self.told.write(line.encode() + b"\n")
            self.told.flush()


@contextlib.contextmanager
def _child(job: Job) -> Iterator[_Child]:
    """A process that works on a job; it ends with this block, whatever happens.

    Its stdin stays open meanwhile: should this process be killed, the system closes it, and the child ends too.
    """
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as words, open(writing, "wb") as told:  # noqa: PTH123 (a descriptor)
        try:
            argv = [sys.executable, "-m", "scripts.loadtest.worker"]
            child = _Child(process.spawn(argv, cwd=ROOT, stdin=reading, stderr=words), told, words)
        finally:
            os.close(reading)
        try:
            child.tell(job.as_json())
            yield child
        finally:
            process.kill_group(child.process)


def _begin(children: Sequence[_Child], ready: threading.Semaphore) -> None:
    """Let all begin at the same moment, once all are ready. Raises OpsError when one is not."""
    for _ in children:
        if not ready.acquire(timeout=_START_TIMEOUT_S):
            raise OpsError(f"the load generator did not start within {_START_TIMEOUT_S:g} s", AGAIN)
    for child in children:
        code = child.process.poll()
        if code is not None:
            _check(code or 1, child.words)
    start_at_s = time.time() + _HEAD_START_S
    for child in children:
        child.tell(repr(start_at_s))


def _pump(child: _Child, lines: list[Mapping[str, Any]], ready: threading.Semaphore, progress: Progress) -> None:
    """Gather what a process tells. One that ends before it is ready is waited for no longer either."""
    waiting = True
    assert child.process.stdout is not None
    with child.process.stdout as stream:
        for raw in stream:
            line = json.loads(raw)
            if "ready" in line:
                waiting = False
                ready.release()
                continue
            lines.append(line)
            if "second" in line:
                progress(int(line["second"]), Histogram(line["latency"]).at_ms(99))
    if waiting:
        child.process.wait()
        ready.release()


def _check(code: int | None, words: IO[bytes]) -> None:
    """Raise OpsError with a child's last words unless it ended well; None: it did not end in time."""
    if code == 0:
        return
    words.seek(0)
    said = words.read().decode(errors="replace").strip().splitlines()
    what = "did not end in time" if code is None else f"ended with {code}"
    why = process.redact(said[-1]) if said else "it said nothing"
    raise OpsError(f"a process of the load generator {what}: {why}", AGAIN)
