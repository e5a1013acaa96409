"""How fast the load generator is, and what it finds out about a server that stalls, beside Locust, wrk and oha.

Run: python bench/loadtest.py --seconds 10 [--rate 5000] [--json]
The server has one core, each generator in its turn the other. Against a null server that answers at once: requests a
second, and how late an open model sends them. Against a server that stalls 2 s in every 10 s: what each reports as p99.
The others ask in a closed loop of 10 users or connections. Locust is installed into .local/bench-locust when it is not
there; wrk and oha are used where they are installed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts import process  # noqa: E402
from scripts.errors import OpsError  # noqa: E402
from scripts.loadtest import driver, schedule  # noqa: E402

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
LOCUST = ROOT / ".local" / "bench-locust"
STALL_S, PERIOD_S = 2.0, 10.0
USERS = 10
PEAKS = (6000, 7000, 8000, 9000)
LAG_MS = 5.0
# wrk corrects its latencies afterwards, by the pause that it expects between two requests of a connection
MODELS = {"Locust": "closed", "wrk": "corrected", "oha": "closed"}
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\nok\n"
LOCUSTFILE = """
from locust import FastHttpUser, task
class Asker(FastHttpUser):
    @task
    def ask(self):
        self.client.get("/")
"""


@dataclass(frozen=True)
class Found:
    """What one generator did. per_cpu_s: requests a CPU second of its own, its start included.

    lag_p99_ms: how late requests left; -1 for a closed loop, which has no time at which they were due.
    """

    name: str
    model: str
    per_s: float
    per_cpu_s: float
    lag_p99_ms: float
    stalled_p99_ms: float

    def line(self) -> str:
        lag = f"{self.lag_p99_ms:.2f} ms" if self.lag_p99_ms >= 0 else "–"
        rates = f"{self.per_s:>10.0f} /s{self.per_cpu_s:>10.0f} /CPU s"
        return f"  {self.name:<20}{self.model:<10}{rates}{lag:>15}{self.stalled_p99_ms:>14.1f} ms"


@dataclass(frozen=True)
class Report:
    """rate: what the open model was asked for. peak: the highest rate that it kept with a lag p99 below 5 ms."""

    rate: float
    achieved: float
    peak_rate: float
    found: tuple[Found, ...]
    left_out: tuple[str, ...]

    def table(self) -> str:
        """The figures and their ratios as plain text."""
        ours, *others = self.found
        head = f"  {'generator':<20}{'model':<10}{'null server':>13}{'':>17}{'send lag p99':>15}{'stalled, p99':>17}"
        lines = [head, *(each.line() for each in self.found)]
        kept = f"it kept up to {self.peak_rate:g}/s" if self.peak_rate else "it did not keep that rate on this machine"
        lines.append(f"  asked for {self.rate:g}/s, {100 * self.achieved:.1f} % left in time; {kept}")
        for each in others:
            more, seen = ours.per_cpu_s / each.per_cpu_s, ours.stalled_p99_ms / each.stalled_p99_ms
            ratios = f"{more:.2f} of its requests a CPU second, {seen:.1f} times its p99 of the stalled server"
            lines.append(f"  modelshelf beside {each.name}: {ratios}")
        return "\n".join([*lines, *(f"  left out: {each}" for each in self.left_out)])


def main() -> int:
    """Measure, print a table or JSON; or be the server."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=10.0, help="how long each turn on the null server lasts")
    options.add_argument("--rate", type=float, default=5000.0, help="requests a second of the open model")
    options.add_argument("--json", action="store_true", help="print one JSON object")
    options.add_argument("--serve", nargs=2, type=float, metavar=("STALL_S", "PERIOD_S"), help=argparse.SUPPRESS)
    chosen, _ = options.parse_known_args()
    if chosen.serve:
        with asyncio.Runner(loop_factory=_loop) as runner:
            runner.run(_serve(*chosen.serve))
        return 0
    report = measure(chosen.seconds, chosen.rate)
    print(json.dumps(asdict(report)) if chosen.json else report.table())
    return 0


def measure(seconds: float, rate: float) -> Report:
    """Run the whole measurement once. The children inherit this process's core."""
    if len(CORES) > 1:
        os.sched_setaffinity(0, {CORES[0]})
    left_out: list[str] = []
    others = {"Locust": _locust, "wrk": _wrk, "oha": _oha}
    tools = {"Locust": _locust_program(left_out)} | {name: shutil.which(name) or "" for name in ("wrk", "oha")}
    left_out += [f"{name} is not installed" for name, place in tools.items() if not place and name != "Locust"]
    with _server(0.0, PERIOD_S) as null, _server(STALL_S, PERIOD_S) as stalled:
        before_s = _cpu_s()
        per_s, achieved, lag_ms, _ = _ours(null, rate, seconds)
        per_cpu_s = per_s * seconds / (_cpu_s() - before_s)
        peak = _peak(null, rate, min(seconds, 5)) if achieved >= 0.99 and lag_ms < LAG_MS else 0.0
        *_, p99_ms = _ours(stalled, 500, 2 * PERIOD_S)
        found = [Found("modelshelf", "open", per_s, per_cpu_s, lag_ms, p99_ms)]
        for name, place in tools.items():
            if place:
                before_s = _cpu_s()
                counted, _ = others[name](place, null, seconds)
                spent_s = _cpu_s() - before_s
                _, p99_ms = others[name](place, stalled, 2 * PERIOD_S)
                found.append(Found(name, MODELS[name], counted, counted * seconds / spent_s, -1, p99_ms))
    return Report(rate, achieved, peak, tuple(found), tuple(left_out))


def _ours(url: str, rate: float, seconds: float) -> tuple[float, float, float, float]:
    """Requests a second, the share that left in time, p99 of the lag and of the latency in ms; one process."""
    planned = schedule.plan(rate, seconds, warm_up_s=1.0)
    done = driver.run(driver.Request(url, "", {}), planned, 1, lambda second, p99_ms: None)
    if done.errors:
        raise SystemExit(f"not every request was answered: {done.errors}")
    return done.rate, done.achieved, done.lag.at_ms(99), done.latency.at_ms(99)


def _cpu_s() -> float:
    """CPU seconds of all children that have ended; the servers have not."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _peak(url: str, kept_rate: float, seconds: float) -> float:
    """The highest of PEAKS that is kept, tried one after the other, else the rate that was kept already."""
    for higher in PEAKS:
        _, achieved, lag_ms, _ = _ours(url, higher, seconds)
        if achieved < 0.99 or lag_ms >= LAG_MS:
            break
        kept_rate = higher
    return kept_rate


def _locust_program(left_out: list[str]) -> str:
    """Locust, installed now when it is not there; without a way to get it, why it is left out."""
    program = LOCUST / "bin" / "locust"
    if not program.exists():
        try:
            process.run([sys.executable, "-m", "venv", "--clear", str(LOCUST)], timeout_s=120)
            pip = [str(LOCUST / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
            process.run([*pip, "locust"], timeout_s=300)
        except OpsError as error:
            shutil.rmtree(LOCUST, ignore_errors=True)
            left_out.append(f"Locust cannot be installed: {error.message.splitlines()[-1][:200]}")
            return ""
    return str(program)


def _locust(program: str, url: str, seconds: float) -> tuple[float, float]:
    with tempfile.TemporaryDirectory(prefix="locust-") as folder:
        file = Path(folder) / "locustfile.py"
        file.write_text(LOCUSTFILE, encoding="utf-8")
        argv = [program, "-f", str(file), "--headless", "--json", "--skip-log", "-u", str(USERS), "-r", str(USERS)]
        done = process.run(
            [*argv, "-t", f"{seconds:g}s", "--host", url.rstrip("/")], cwd=Path(folder), timeout_s=seconds + 60
        )
    entries = json.loads(done.stdout[done.stdout.index("[") :])
    if not entries or entries[0]["num_failures"]:
        raise SystemExit("Locust sent nothing, or saw failures")
    told = entries[0]
    counts = sorted((float(time_ms), int(count)) for time_ms, count in told["response_times"].items())
    lasted_s = told["last_request_timestamp"] - told["start_time"]
    return told["num_requests"] / lasted_s, _percentile(counts, 0.99)


def _percentile(counts: list[tuple[float, int]], share: float) -> float:
    left = share * sum(count for _, count in counts)
    for value, count in counts:
        left -= count
        if left <= 0:
            return value
    raise AssertionError("the shares end at 1")


def _wrk(program: str, url: str, seconds: float) -> tuple[float, float]:
    argv = [program, "-t1", f"-c{USERS}", f"-d{seconds:g}s", "--latency", "--timeout", "30s", url]
    told = process.run(argv, timeout_s=seconds + 60).stdout
    rate, late = re.search(r"Requests/sec:\s+([\d.]+)", told), re.search(r"99%\s+([\d.]+)(us|ms|s)", told)
    if rate is None or late is None:
        raise SystemExit(f"wrk said something else: {told[:300]}")
    return float(rate[1]), float(late[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[late[2]]


def _oha(program: str, url: str, seconds: float) -> tuple[float, float]:
    argv = [program, "-z", f"{seconds:g}s", "-c", str(USERS), "--no-tui", "--output-format", "json", url]
    told = json.loads(process.run(argv, timeout_s=seconds + 60).stdout)
    return float(told["summary"]["requestsPerSec"]), 1000 * float(told["latencyPercentiles"]["p99"])


# the server


class _Server(asyncio.Protocol):
    """Whatever comes is one request; while the server stalls, the answer waits until that is over."""

    def __init__(self, stall_s: float, period_s: float) -> None:
        self._stall_s, self._period_s = stall_s, period_s

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        left_s = self._period_s - time.monotonic() % self._period_s
        if left_s < self._stall_s:
            asyncio.get_running_loop().call_later(left_s, self._transport.write, ANSWER)
        else:
            self._transport.write(ANSWER)


async def _serve(stall_s: float, period_s: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Server(stall_s, period_s), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def _server(stall_s: float, period_s: float) -> Iterator[str]:
    argv = [sys.executable, str(Path(__file__).resolve()), "--serve", str(stall_s), str(period_s)]
    child = process.spawn(argv, cwd=ROOT, stderr=subprocess.DEVNULL)
    if len(CORES) > 1:
        os.sched_setaffinity(child.pid, {CORES[-1]})
    try:
        assert child.stdout is not None
        yield f"http://127.0.0.1:{int(child.stdout.readline())}/"
    finally:
        process.kill_group(child)


def _loop() -> asyncio.AbstractEventLoop:
    import uvloop

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


if __name__ == "__main__":
    raise SystemExit(main())
