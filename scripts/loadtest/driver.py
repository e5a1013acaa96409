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
from collections.abc import Callable, Iterator, Mapping
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
_START_S = 1.0  # until every process is up
_SPARE_S = 30.0

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
    start_at_s = time.time() + _START_S
    whole = Job(
        request.url, method, headers, request.body, schedule.stages, schedule.warm_up_s, 0, processes, start_at_s,
        TIMEOUT_S,
    )  # fmt: skip
    lines: list[Mapping[str, Any]] = []
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(_child(replace(whole, first=first))) for first in range(processes)]
        pumps = [threading.Thread(target=_pump, args=(child, lines, progress), daemon=True) for child, _ in children]
        for pump in pumps:
            pump.start()
        deadline = time.monotonic() + _START_S + schedule.duration_s + TIMEOUT_S + _SPARE_S
        for (child, words), pump in zip(children, pumps, strict=True):
            pump.join(max(deadline - time.monotonic(), 0.1))
            _check(None if pump.is_alive() else child.wait(), words)
    return measurement.gather(lines, schedule.measured_s)


@contextlib.contextmanager
def _child(job: Job) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """A process that works on a job, and what it says in trouble; it ends with this block, whatever happens.

    Its stdin stays open meanwhile: should this process be killed, the system closes it, and the child ends too.
    """
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as words, open(writing, "wb") as told:  # noqa: PTH123 (a descriptor)
        try:
            argv = [sys.executable, "-m", "scripts.loadtest.worker"]
            child = process.spawn(argv, cwd=ROOT, stdin=reading, stderr=words)
        finally:
            os.close(reading)
        try:
            told.write(job.as_json().encode() + b"\n")
            told.flush()
            yield child, words
        finally:
            process.kill_group(child)


def _pump(child: subprocess.Popen[bytes], lines: list[Mapping[str, Any]], progress: Progress) -> None:
    assert child.stdout is not None
    with child.stdout as stream:
        for raw in stream:
            line = json.loads(raw)
            lines.append(line)
            if "second" in line:
                progress(int(line["second"]), Histogram(line["latency"]).at_ms(99))


def _check(code: int | None, words: IO[bytes]) -> None:
    """Raise OpsError with a child's last words unless it ended well; None: it did not end in time."""
    if code == 0:
        return
    words.seek(0)
    said = words.read().decode(errors="replace").strip().splitlines()
    what = "did not end in time" if code is None else f"ended with {code}"
    why = process.redact(said[-1]) if said else "it said nothing"
    raise OpsError(f"a process of the load generator {what}: {why}", "Run the same command again.")
