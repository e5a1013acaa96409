"""Shared fixtures: unit tests may neither start a child nor open a socket; mark `process` those that must."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis.internal.conjecture import providers

# How fast an example runs says something about the machine alone. Derandomized: a run is worth the same everywhere.
hypothesis.settings.register_profile("house", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("house")
# It also draws numbers and texts that stand in the project's modules, as far as they are loaded: that depends on what
# the worker of pytest-xdist ran before, so none are taken from there.
assert callable(providers.is_local_module_file)
providers.is_local_module_file = lambda path: False

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _closed_world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Block sockets and child processes in tests that are not marked `process` (or `full`)."""
    for name in ("MODELSHELF_ENV", "MODELSHELF_ENDPOINT", "MODELSHELF_STATE", "MODELSHELF_PORT"):
        monkeypatch.delenv(name, raising=False)
    if request.node.get_closest_marker("process") or request.node.get_closest_marker("full"):
        return

    def refused(*args: object, **kwargs: object) -> None:
        raise AssertionError("a unit test tried to reach out; mark it @pytest.mark.process if it must")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(subprocess.Popen, "__init__", refused)


@pytest.fixture(scope="session", autouse=True)
def _temporary_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what tests and their children leave in TMPDIR, killed ones above all, where pytest clears it away."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("t")))
        patch.setattr(tempfile, "tempdir", None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Let the tests' children hear Ctrl-C although this process may ignore it, as what a script starts with & does."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass
class StandIn:
    """A running stand-in of a test's own: its address, state folder and process."""

    url: str
    state: Path
    port: int
    process: subprocess.Popen[bytes]

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return json.load(answer)

    def post(self, path: str, body: Any = None) -> Any:
        data = json.dumps(body if body is not None else {}).encode()
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json"}, method="POST")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.process.wait(timeout=60)


# Where the stand-ins of this session write what they were asked and answered: tests/contract judges it.
RECORDINGS: set[Path] = set()
CLAIMS: list[socket.socket] = []


def exchanges_of(state: Path) -> Path:
    """The recording of the stand-in on a state folder: beside it."""
    return state.with_name(f"{state.name}.exchanges.jsonl")


def free_port() -> int:
    """A port that no instance of any stand-in takes while these tests run, for a server that starts in a moment; none
    of those that the kernel hands out by itself meanwhile."""
    from scripts.localcloud.run.instance import claim_port

    port, claim = claim_port()
    CLAIMS.append(claim)
    return port


def start_standin(state: Path, port: int = 0, module: str = "scripts.localcloud") -> StandIn:
    """Start the real daemon on a state folder and wait until it answers."""
    state.mkdir(parents=True, exist_ok=True)
    (state / "daemon.json").unlink(missing_ok=True)
    RECORDINGS.add(exchanges_of(state))
    log = (state / "daemon.log").open("ab")
    process = subprocess.Popen(
        [sys.executable, "-m", module, "--state", str(state), "--port", str(port),
         "--exchanges", str(exchanges_of(state))],
        cwd=ROOT, stdout=log, stderr=log, env=dict(os.environ),
    )  # fmt: skip
    log.close()
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        if (state / "daemon.json").exists():
            address = json.loads((state / "daemon.json").read_text(encoding="utf-8"))
            return StandIn(address["url"], state, address["port"], process)
        time.sleep(0.02)
    raise AssertionError(f"the stand-in did not start: {(state / 'daemon.log').read_text(encoding='utf-8')[-2000:]}")


@pytest.fixture
def standin(tmp_path: Path) -> Iterator[StandIn]:
    """A fresh stand-in for one test."""
    running = start_standin(tmp_path / "cloud")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def shared_standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """One stand-in for a module whose tests use names of their own."""
    running = start_standin(tmp_path_factory.mktemp("cloud"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def _kept_standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], StandIn]]:
    """The session's stand-in: started when it is first needed, and anew when it has ended meanwhile."""
    started: list[StandIn] = []

    def running() -> StandIn:
        if not started or started[-1].process.poll() is not None:
            started.append(start_standin(tmp_path_factory.mktemp("cloud")))
        return started[-1]

    yield running
    for each in started:
        each.stop()


@pytest.fixture(scope="module")
def common_standin(_kept_standin: Callable[[], StandIn]) -> StandIn:
    """One stand-in for all modules whose tests look at buckets and jobs of random names alone."""
    return _kept_standin()


@pytest.fixture
def standin_at() -> Iterator[Callable[..., StandIn]]:
    """Start stand-ins on given state folders; those still running are stopped at the end."""
    started: list[StandIn] = []

    def start(state: Path, port: int = 0, module: str = "scripts.localcloud") -> StandIn:
        started.append(start_standin(state, port, module))
        return started[-1]

    yield start
    for running in started:
        running.stop()
