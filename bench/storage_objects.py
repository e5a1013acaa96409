"""How many small objects a second the stand-in takes from several clients, and how long lists of many take.

Run: python bench/storage_objects.py --objects 100000 --writers 4 [--client google] [--json]
Starts a daemon of its own in a temporary folder, puts the objects, lists them, starts the daemon again beside them.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.storage_throughput import BUCKET, _create_bucket, _daemon, _google, _peak_mib  # noqa: E402

DATA = b"x" * 1024


@dataclass(frozen=True)
class Report:
    """What was measured: puts a second over all writers, the daemon's own time for one, and seconds for lists."""

    objects: int
    writers: int
    client: str
    puts_s: float
    daemon_ms_per_put: float
    list_all_s: float
    list_page_ms: float
    list_prefixes_s: float
    list_one_prefix_ms: float
    first_answer_s: float
    peak_rss_mib: float


def main() -> int:
    """Measure, print a table or JSON."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--objects", type=int, default=10_000, help="how many objects")
    options.add_argument("--writers", type=int, default=4, help="how many processes put them")
    options.add_argument("--client", choices=("plain", "google"), default="plain")
    options.add_argument("--json", action="store_true", help="print one JSON object")
    chosen, _ = options.parse_known_args()
    report = measure(chosen.objects, chosen.writers, chosen.client)
    figures = {key: round(value, 3) if isinstance(value, float) else value for key, value in asdict(report).items()}
    print(json.dumps(figures) if chosen.json else "\n".join(f"  {key:<20}{value}" for key, value in figures.items()))
    return 0


def measure(objects: int, writers: int, client: str) -> Report:
    """Run the whole measurement once."""
    with tempfile.TemporaryDirectory(prefix="storage-bench-") as name:
        state, kept = Path(name) / "state", Path(name) / "kept"
        with _daemon(state) as (port, pid):
            _create_bucket(port)
            before, began = _cpu_s(pid), time.perf_counter()
            _put_all(port, objects, writers, CLIENTS[client])
            spent_s, took_s = _cpu_s(pid) - before, time.perf_counter() - began
            pages = _timed(lambda token: _page(port, f"maxResults=1000&pageToken={quote(token)}"))
            folders = _timed(lambda token: _page(port, f"delimiter=/&maxResults=1000&pageToken={quote(token)}"))
            one = _timed(lambda token: _page(port, f"prefix=w0/0001/&pageToken={quote(token)}"))
            peak = _peak_mib(pid)
            state.rename(kept)  # _daemon removes what it finds at the old name
        (kept / "daemon.json").unlink()
        began = time.perf_counter()
        with _daemon(kept) as (port, _):
            _page(port, "maxResults=1")
            first = time.perf_counter() - began
    return Report(
        objects, writers, client, objects / took_s, spent_s / objects * 1000, sum(pages), max(pages) * 1000,
        sum(folders), sum(one) * 1000, first, peak,
    )  # fmt: skip


def _put_all(port: int, objects: int, writers: int, put: Callable[[int, list[str]], None]) -> None:
    names = [[f"w{writer}/{n // 100:04}/{n % 100:02}" for n in range(objects // writers)] for writer in range(writers)]
    children = [multiprocessing.Process(target=put, args=(port, mine)) for mine in names]
    for child in children:
        child.start()
    for child in children:
        child.join()
        if child.exitcode:
            raise SystemExit("a writer failed")


def _plain(port: int, names: list[str]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for name in names:
        path = f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={quote(name, safe='')}"
        connection.request("POST", path, DATA)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"upload failed: {answer.status}")


def _library(port: int, names: list[str]) -> None:
    bucket = _google(port, "any").bucket
    for name in names:
        bucket.blob(name).upload_from_string(DATA, checksum=None)


CLIENTS: dict[str, Callable[[int, list[str]], None]] = {"plain": _plain, "google": _library}


def _page(port: int, query: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", f"/storage/v1/b/{BUCKET}/o?{query}")
    answer = connection.getresponse()
    found = json.loads(answer.read())
    connection.close()
    if answer.status != 200:
        raise SystemExit(f"list failed: {answer.status} {found}")
    return found


def _timed(page: Callable[[str], Any]) -> list[float]:
    """Seconds of every page."""
    times: list[float] = []
    token = ""
    while token or not times:
        began = time.perf_counter()
        token = page(token).get("nextPageToken", "")
        times.append(time.perf_counter() - began)
    return times


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


if __name__ == "__main__":
    raise SystemExit(main())
