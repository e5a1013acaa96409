"""How many requests a second the stand-in's front passes to an instance and back, with its request log and without.

Run: python bench/front_throughput.py --seconds 3 --connections 32 [--json]
The daemon has one core, this client and the instance share another. Beside it, in the same run, on the daemon's core: a
bare uvicorn that says hello. Each is measured in turns, and the best turn counts: the machine may have other work.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts import process  # noqa: E402

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
BODY = b"hello from an instance\n"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)


@dataclass(frozen=True)
class Rate:
    """Requests per second of time, and per CPU second of the server's process."""

    per_s: float
    per_cpu_s: float


@dataclass(frozen=True)
class Report:
    """What was measured; ratios of requests per CPU second to bare uvicorn's."""

    connections: int
    with_log: Rate
    without_log: Rate
    uvicorn: Rate
    ratio_with_log: float
    ratio_without_log: float
    entries: int

    def table(self) -> str:
        """The figures as plain text."""
        rows = [
            ("front, with request log", self.with_log, f"{self.ratio_with_log:.2f} of uvicorn's"),
            ("front, without it", self.without_log, f"{self.ratio_without_log:.2f} of uvicorn's"),
            ("bare uvicorn", self.uvicorn, "an ASGI application that says hello"),
        ]
        lines = [f"  {name:<24}{rate.per_s:8.0f} /s {rate.per_cpu_s:8.0f} /CPU s   {note}" for name, rate, note in rows]
        title = f"{self.connections} connections; {self.entries} log entries kept"
        return "\n".join([title, *lines])


def main() -> int:
    """Measure, print a table or JSON; or be one of the servers."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=3.0, help="how long each turn lasts")
    options.add_argument("--turns", type=int, default=2, help="how often each server has its turn")
    options.add_argument("--connections", type=int, default=32, help="how many clients ask at once")
    options.add_argument("--json", action="store_true", help="print one JSON object")
    options.add_argument("--serve", choices=SERVERS, help=argparse.SUPPRESS)
    chosen, rest = options.parse_known_args()
    if chosen.serve:
        SERVERS[chosen.serve](rest)
        return 0
    report = measure(chosen.seconds, chosen.turns, chosen.connections)
    print(json.dumps(asdict(report)) if chosen.json else report.table())
    return 0


def measure(seconds: float, turns: int, connections: int) -> Report:
    """Run the whole measurement once."""
    _pin(0, -1)
    best: dict[str, Rate] = {}
    with tempfile.TemporaryDirectory(prefix="front-bench-") as name, contextlib.ExitStack() as stack:
        servers: dict[str, tuple[int, int, str]] = {}
        for kind in ("logged", "unlogged"):
            port, pid = stack.enter_context(_daemon(Path(name) / kind, kind))
            servers[kind] = (port, pid, _deploy(port))
        servers["uvicorn"] = (*stack.enter_context(_uvicorn(Path(name))), "/")
        for _ in range(turns):
            for kind, (port, pid, path) in servers.items():
                rate = _rate(port, pid, path, seconds, connections)
                best[kind] = max(best.get(kind, rate), rate, key=lambda each: each.per_cpu_s)
        entries = _get(servers["logged"][0], "/_local/status")["logging"]["entries"]
    bare = best["uvicorn"]
    return Report(
        connections, best["logged"], best["unlogged"], bare, best["logged"].per_cpu_s / bare.per_cpu_s,
        best["unlogged"].per_cpu_s / bare.per_cpu_s, entries,
    )  # fmt: skip


class _Client(asyncio.Protocol):
    """One connection: asks again as soon as it has its answer, all of which are equally long."""

    def __init__(self, path: str, port: int) -> None:
        self.request = f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nuser-agent: bench\r\n\r\n".encode()
        self.answers = 0
        self.failed = ""
        self._transport: asyncio.Transport | None = None
        self._size = 0
        self._received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        transport.write(self.request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        if not self._size:
            self._size = data.index(b"\r\n\r\n") + 4 + len(BODY)
        if self._received == 0 and not data.startswith(b"HTTP/1.1 200"):
            self.failed = data[:300].decode("latin-1")
        self._received += len(data)
        if self._received >= self._size and self._transport is not None:
            self._received = 0
            self.answers += 1
            self._transport.write(self.request)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None


def _rate(port: int, pid: int, path: str, seconds: float, connections: int) -> Rate:
    async def ask() -> Rate:
        loop = asyncio.get_running_loop()
        clients = [_Client(path, port) for _ in range(connections)]
        made = [await loop.create_connection(lambda each=each: each, "127.0.0.1", port) for each in clients]  # type: ignore[misc]
        await asyncio.sleep(min(0.5, seconds))
        before, cpu, began = sum(each.answers for each in clients), _cpu_s(pid), time.perf_counter()
        await asyncio.sleep(seconds)
        answers, took = sum(each.answers for each in clients) - before, time.perf_counter() - began
        used = _cpu_s(pid) - cpu
        for transport, _ in made:
            transport.abort()
        failed = next((each.failed for each in clients if each.failed), "")
        if failed or not answers:
            raise SystemExit(f"not every answer was 200: {failed}")
        return Rate(round(answers / took, 1), round(answers / used, 1))

    with asyncio.Runner(loop_factory=_loop) as runner:
        return runner.run(ask())


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _loop() -> asyncio.AbstractEventLoop:
    import uvloop

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def _pin(pid: int, core: int) -> None:
    """Let a process (0 = this one) run on one of this machine's cores only."""
    if len(CORES) > 1:
        os.sched_setaffinity(pid, {CORES[core]})


# the servers


class _Instance(asyncio.Protocol):
    """A container that costs next to nothing: whatever comes is one request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(ANSWER)  # type: ignore[attr-defined]


def _serve_instance(rest: list[str]) -> None:
    if len(rest) > 1:
        os.sched_setaffinity(0, {int(rest[0])})

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(_Instance, "127.0.0.1", int(os.environ["PORT"]))
        await server.serve_forever()

    with asyncio.Runner(loop_factory=_loop) as runner:
        runner.run(serve())


def _serve_uvicorn(rest: list[str]) -> None:
    import uvicorn

    async def hello(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(BODY)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": BODY})

    uvicorn.run(
        hello, host="127.0.0.1", port=int(rest[0]), lifespan="off", access_log=False, log_config=None, loop="uvloop",
        http="httptools", ws="none",
    )  # fmt: skip


def _serve_daemon_without_log(rest: list[str]) -> None:
    from scripts.localcloud import daemon
    from scripts.localcloud.run.requestlog import RequestLog

    RequestLog.add = lambda self, served: None  # type: ignore[method-assign]
    sys.argv[1:] = rest
    daemon.main()


SERVERS: dict[str, Callable[[list[str]], None]] = {
    "instance": _serve_instance,
    "uvicorn": _serve_uvicorn,
    "unlogged": _serve_daemon_without_log,
}


@contextlib.contextmanager
def _daemon(state: Path, kind: str) -> Iterator[tuple[int, int]]:
    program = ["-m", "scripts.localcloud"] if kind == "logged" else [str(Path(__file__).resolve()), "--serve", kind]
    argv = [sys.executable, *program, "--state", str(state), "--port", "0"]
    with _child(argv) as child:
        address = state / "daemon.json"
        _until(address.exists, child)
        yield json.loads(address.read_text(encoding="utf-8"))["port"], child.pid
    shutil.rmtree(state, ignore_errors=True)


@contextlib.contextmanager
def _uvicorn(folder: Path) -> Iterator[tuple[int, int]]:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with _child([sys.executable, str(Path(__file__).resolve()), "--serve", "uvicorn", str(port)]) as child:

        def answers() -> bool:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                return False
            return True

        _until(answers, child)
        yield port, child.pid


@contextlib.contextmanager
def _child(argv: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    child = process.spawn(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _pin(child.pid, 0)
    try:
        yield child
    finally:
        child.terminate()
        child.wait(30)


def _until(done: Callable[[], object], child: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + 30
    while not done():
        if (child is not None and child.poll() is not None) or time.monotonic() > deadline:
            raise SystemExit("a server did not start")
        time.sleep(0.02)


def _deploy(port: int) -> str:
    """A service whose instance is ours: its path."""
    core = [str(CORES[-1])] if len(CORES) > 1 else []
    command = ["python", str(Path(__file__).resolve()), "--serve", "instance", *core, "-"]
    container = {"image": "us-docker.pkg.dev/cloudrun/container/hello", "command": command}
    body = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "bench"},
        "spec": {"template": {"spec": {"containers": [container], "containerConcurrency": 1000}}},
    }
    path = "/apis/serving.knative.dev/v1/namespaces/bench/services"
    _get(port, path, json.dumps(body).encode())

    def ready() -> bool:
        conditions = _get(port, f"{path}/bench").get("status", {}).get("conditions", [])
        if any(each["type"] == "Ready" and each["status"] == "False" for each in conditions):
            raise SystemExit(f"the service did not start: {conditions}")
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    _until(ready)
    return "/run/bench/"


def _get(port: int, path: str, body: bytes | None = None) -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


if __name__ == "__main__":
    raise SystemExit(main())
