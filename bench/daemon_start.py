"""How long the stand-in takes from its start to its first answer, and how much of that is loading its modules.

Run: python bench/daemon_start.py --objects 100000 --rounds 5 [--json]
Measures with an empty state and beside so many objects (rows of the index, without bodies); medians of the rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import secrets
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.storage_objects import _cpu_s  # noqa: E402
from bench.storage_throughput import BUCKET, _create_bucket  # noqa: E402
from scripts import process  # noqa: E402

PAGE = f"/storage/v1/b/{BUCKET}/o?maxResults=1"


@dataclass(frozen=True)
class Report:
    """Seconds: of loading the modules alone, and from the start of the process to its first answer."""

    objects: int
    import_s: float
    empty_s: float
    empty_cpu_s: float
    filled_s: float
    filled_cpu_s: float


def main() -> int:
    """Measure, print a table or JSON."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--objects", type=int, default=100_000, help="how many objects there are at the second start")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--json", action="store_true", help="print one JSON object")
    chosen, _ = options.parse_known_args()
    report = measure(chosen.objects, chosen.rounds)
    figures = {key: round(value, 3) if isinstance(value, float) else value for key, value in asdict(report).items()}
    print(json.dumps(figures) if chosen.json else "\n".join(f"  {key:<20}{value}" for key, value in figures.items()))
    return 0


def measure(objects: int, rounds: int) -> Report:
    """Run the whole measurement once."""
    with tempfile.TemporaryDirectory(prefix="start-bench-") as name:
        filled = Path(name) / "filled"
        with _daemon(filled) as (port, _):
            _first_answer(port, "/_local/health")
            _create_bucket(port)
        _fill(filled / "state.db", objects)
        imports, empty, full = [], [], []
        for number in range(rounds):
            imports.append(_import_s())
            empty.append(_start(Path(name) / f"empty-{number}", "/_local/health"))
            full.append(_start(filled, PAGE))
    columns = [imports, *zip(*empty, strict=True), *zip(*full, strict=True)]
    return Report(objects, *map(statistics.median, columns))


def _fill(database: Path, objects: int) -> None:
    """Objects that look as if small bodies had been put, in the columns of the daemon's own table."""
    moment, fields = "2026-01-01T00:00:00.000000Z", '{"storageClass":"STANDARD","contentType":"text/plain"}'
    rows = (
        (BUCKET, f"{n // 1000:04}/{n % 1000:03}", 1_700_000_000_000_000 + n, 1, 1, secrets.token_hex(16), 1024,
         "AAAAAA==", "rL0Y20zC+Fzt72VPzMSk2A==", moment, moment, None, fields)
        for n in range(objects)
    )  # fmt: skip
    with contextlib.closing(sqlite3.connect(database)) as index, index:
        index.executemany(f"INSERT INTO storage_objects VALUES ({'?, ' * 12}?)", rows)


def _import_s() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import scripts.localcloud.daemon"], cwd=ROOT, check=True)
    return time.perf_counter() - began


def _start(state: Path, path: str) -> tuple[float, float]:
    """Seconds and seconds of the daemon's own work until its first answer."""
    began = time.perf_counter()
    with _daemon(state) as (port, pid):
        _first_answer(port, path)
        return time.perf_counter() - began, _cpu_s(pid)


@contextlib.contextmanager
def _daemon(state: Path) -> Iterator[tuple[int, int]]:
    """A daemon that was started just now; its state stays."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    argv = [sys.executable, "-m", "scripts.localcloud", "--state", str(state), "--port", str(port)]
    child = process.spawn(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield port, child.pid
    finally:
        child.terminate()
        child.wait(30)


def _first_answer(port: int, path: str) -> None:
    """Ask until somebody listens, then wait for the answer."""
    deadline = time.monotonic() + 30
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
        except OSError:
            if time.monotonic() > deadline:
                raise SystemExit("the stand-in did not start") from None
            time.sleep(0.002)
            continue
        answer.read()
        connection.close()
        if answer.status != 200:
            raise SystemExit(f"GET {path} answered {answer.status}")
        return


if __name__ == "__main__":
    raise SystemExit(main())
