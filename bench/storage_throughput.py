"""How fast the stand-in's storage takes and gives bytes, beside what this machine can do at all.

Run: python bench/storage_throughput.py --size-mib 1024 --writers 1 [--client google] [--json]
Starts a daemon of its own in a temporary folder (under --folder), and removes both at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts import process  # noqa: E402

MIB = 1 << 20
BUCKET = "throughput"
PATTERN = os.urandom(MIB)


@dataclass(frozen=True)
class Report:
    """What was measured; rates in MiB/s over all writers together, peak in MiB (VmHWM of the daemon)."""

    size_mib: int
    writers: int
    client: str
    up_mib_s: float
    down_mib_s: float
    peak_rss_mib: float
    loopback_mib_s: float
    disk_mib_s: float
    md5_mib_s: float
    up_ratio: float
    down_ratio: float

    def table(self) -> str:
        """The figures as plain text; a ratio compares with the slowest thing that direction cannot do without."""
        rows = [
            ("upload", f"{self.up_mib_s:8.0f} MiB/s", f"{self.up_ratio:4.0%} of the slowest of loopback, disk, md5"),
            ("download", f"{self.down_mib_s:8.0f} MiB/s", f"{self.down_ratio:4.0%} of loopback"),
            ("server's peak memory", f"{self.peak_rss_mib:8.0f} MiB", "VmHWM"),
            ("loopback alone", f"{self.loopback_mib_s:8.0f} MiB/s", "one socket to another"),
            ("disk alone", f"{self.disk_mib_s:8.0f} MiB/s", "write(2) into the page cache"),
            ("md5 alone", f"{self.md5_mib_s:8.0f} MiB/s", "one core"),
        ]
        title = f"{self.writers} x {self.size_mib} MiB, {self.client} client"
        return "\n".join([title, *(f"  {name:<22}{value}   {note}" for name, value, note in rows)])


def main() -> int:
    """Measure, print a table or JSON."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--size-mib", type=int, default=1024, help="size of each object")
    options.add_argument("--writers", type=int, default=1, help="how many upload, then download, at once")
    options.add_argument(
        "--client", choices=("plain", "google"), default="plain", help="http.client or google-cloud-storage"
    )
    options.add_argument("--folder", type=Path, help="where the daemon keeps its state; a temporary folder by default")
    options.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = options.parse_args()
    report = measure(chosen.size_mib, chosen.writers, chosen.client, chosen.folder)
    figures = {key: round(value, 2) if isinstance(value, float) else value for key, value in asdict(report).items()}
    print(json.dumps(figures) if chosen.json else report.table())
    return 0


def measure(size_mib: int, writers: int, client: str, folder: Path | None = None) -> Report:
    """Run the whole measurement once."""
    size = size_mib * MIB
    upload, download = CLIENTS[client]
    with tempfile.TemporaryDirectory(prefix="storage-bench-", dir=folder) as name:
        work = Path(name)
        # The disk first: it also makes the machine hand out the memory that the page cache will need.
        disk = max(_rate(size, lambda: _write(work / "raw", size)) for _ in range(2))
        loopback, md5 = _rate(size, lambda: _loopback(size)), _rate(64 * MIB, lambda: _md5(64))
        with _daemon(work / "state") as (port, pid):
            _create_bucket(port)
            up = _rate(size * writers, lambda: _together(writers, lambda n: upload(port, f"object-{n}", size)))
            down = _rate(size * writers, lambda: _together(writers, lambda n: download(port, f"object-{n}", size)))
            peak = _peak_mib(pid)
    floor = min(loopback, disk, md5)
    return Report(
        size_mib, writers, client, up_mib_s=up, down_mib_s=down, peak_rss_mib=peak, loopback_mib_s=loopback,
        disk_mib_s=disk, md5_mib_s=md5, up_ratio=up / floor, down_ratio=down / loopback,
    )  # fmt: skip


def _rate(size: int, work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return size / MIB / (time.perf_counter() - began)


def _together(count: int, work: Callable[[int], None]) -> None:
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(work, range(count)))


def _put(port: int, name: str, size: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    body = (PATTERN for _ in range(size // MIB))
    path = f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={name}"
    connection.request("POST", path, body, {"content-length": str(size)})
    answer = connection.getresponse()
    found = json.loads(answer.read())
    if answer.status != 200 or found["size"] != str(size):
        raise SystemExit(f"upload failed: {answer.status} {found}")
    connection.close()


def _get(port: int, name: str, size: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", f"/storage/v1/b/{BUCKET}/o/{name}?alt=media")
    answer = connection.getresponse()
    buffer, received = bytearray(MIB), 0
    while count := answer.readinto(buffer):
        received += count
    if answer.status != 200 or received != size:
        raise SystemExit(f"download failed: {answer.status}, {received} of {size} bytes")
    connection.close()


def _google(port: int, name: str) -> Any:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    options = {"api_endpoint": f"http://127.0.0.1:{port}"}
    nobody: Any = AnonymousCredentials
    client = storage.Client(project="bench", credentials=nobody(), client_options=options)
    return client.bucket(BUCKET).blob(name)


class _Pattern:
    """A file of a given size that needs no disk and, read in equal blocks, no copies: the server is measured here."""

    def __init__(self, size: int) -> None:
        self._size, self._at, self._block = size, 0, b""

    def read(self, count: int = -1) -> bytes:
        wanted = self._size - self._at if count < 0 else min(count, self._size - self._at)
        self._at += wanted
        if len(self._block) < wanted:
            self._block = (PATTERN * (wanted // MIB + 1))[:wanted]
        return self._block if len(self._block) == wanted else self._block[:wanted]

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = {0: 0, 1: self._at, 2: self._size}[whence] + offset
        return self._at


class _Nowhere:
    """A file that forgets."""

    def __init__(self) -> None:
        self.received = 0

    def write(self, data: bytes) -> int:
        self.received += len(data)
        return len(data)


def _google_put(port: int, name: str, size: int) -> None:
    blob = _google(port, name)
    blob.chunk_size = 32 * MIB
    blob.upload_from_file(_Pattern(size), size=size, content_type="application/octet-stream")


def _google_get(port: int, name: str, size: int) -> None:
    target = _Nowhere()
    _google(port, name).download_to_file(target)
    if target.received != size:
        raise SystemExit(f"download failed: {target.received} of {size} bytes")


Transfer = Callable[[int, str, int], None]
CLIENTS: dict[str, tuple[Transfer, Transfer]] = {"plain": (_put, _get), "google": (_google_put, _google_get)}


def _loopback(size: int) -> None:
    """A thread sends, the caller receives into one buffer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def send() -> None:
            with socket.create_connection(listener.getsockname()) as out:
                for _ in range(size // MIB):
                    out.sendall(PATTERN)

        sender = threading.Thread(target=send)
        sender.start()
        incoming, _ = listener.accept()
        buffer = bytearray(256 << 10)
        with incoming:
            while incoming.recv_into(buffer):
                pass
        sender.join()


def _write(path: Path, size: int) -> None:
    with path.open("wb", buffering=0) as file:
        for _ in range(size // MIB):
            file.write(PATTERN)
    path.unlink()


def _md5(count: int) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    for _ in range(count):
        digest.update(PATTERN)


@contextlib.contextmanager
def _daemon(state: Path) -> Iterator[tuple[int, int]]:
    argv = [sys.executable, "-m", "scripts.localcloud", "--state", str(state), "--port", "0"]
    child = process.spawn(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = state / "daemon.json"
        deadline = time.monotonic() + 30
        while not address.exists():
            if child.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the stand-in did not start")
            time.sleep(0.02)
        yield json.loads(address.read_text(encoding="utf-8"))["port"], child.pid
    finally:
        child.terminate()
        child.wait(30)
        shutil.rmtree(state, ignore_errors=True)


def _create_bucket(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    body = json.dumps({"name": BUCKET})
    connection.request("POST", "/storage/v1/b?project=bench", body, {"content-type": "application/json"})
    answer = connection.getresponse()
    if answer.status != 200:
        raise SystemExit(f"no bucket: {answer.status} {answer.read()!r}")
    connection.close()


def _peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(kib) / 1024


if __name__ == "__main__":
    raise SystemExit(main())
