"""Slow mounts and dying ones: bandwidth, latency, mmap; nothing hangs, and nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.mount_support import AT_ONCE, Connect, Mounts
from tests.contract.run_support import fetch, until

pytestmark = pytest.mark.process
SIZE_BYTES = 1 << 20
HALF_A_SECOND = {"bandwidth_bytes_s": 2 * SIZE_BYTES}
UNHURRIED = {"bandwidth_bytes_s": None, "latency_ms": 0}


@pytest.fixture(scope="module")
def mounts(shared_standin: Any, connect: Connect) -> Mounts:
    return Mounts(shared_standin, connect(shared_standin.url))


def big(mounts: Mounts, name: str) -> Any:
    """A bucket with a model of SIZE_BYTES."""
    bucket = mounts.bucket(name)
    bucket.blob("model").upload_from_string(os.urandom(SIZE_BYTES))
    return bucket


def test_reading_is_as_slow_as_asked_for(mounts: Mounts) -> None:
    """A container that loads its model within its startup probe's time on a disk does not over a network."""
    if not mounts.fuse:
        return
    one, two = mounts.instances("slow", big(mounts, "slow"), AT_ONCE, count=2)
    assert one("load", "model")[0] == SIZE_BYTES
    mounts.standin.post("/_local/mounts", HALF_A_SECOND)
    assert one("load", "model")[1] >= 0.4
    count, seconds, _ = two("through_map", "model")  # the other instance's page cache is of its own
    assert count == SIZE_BYTES and seconds >= 0.4
    told = mounts.standin.post("/_local/mounts", UNHURRIED)
    assert told["bandwidth_bytes_s"] is None and two("load", "model")[0] == SIZE_BYTES


def test_the_mount_option_limits_too(mounts: Mounts) -> None:
    if not mounts.fuse:
        return
    careless = mounts.instance("option", big(mounts, "option"), f"{AT_ONCE},limit-bytes-per-sec={2 * SIZE_BYTES}")
    assert careless("load", "model")[1] >= 0.4


def test_latency_is_paid_for_every_file(mounts: Mounts) -> None:
    """A container that reads many small files one after the other waits for each."""
    if not mounts.fuse:
        return
    careless = mounts.instance("latency", big(mounts, "latency"), AT_ONCE)
    mounts.standin.post("/_local/mounts", {"latency_ms": 200})
    assert careless("load", "model")[1] >= 0.4  # its name is looked up, then its first byte comes
    mounts.standin.post("/_local/mounts", UNHURRIED)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"bandwidth_bytes_s": 0}, "bandwidth_bytes_s"),
        ({"bandwidth_bytes_s": 10**400}, "bandwidth_bytes_s"),
        ({"latency_ms": -1}, "latency_ms"),
        ({"latency_ms": "1"}, "latency_ms"),
        ({"mode": "nfs"}, "mode"),
        ({"speed": 1}, "speed"),
    ],
)
def test_what_cannot_be_set_is_refused(mounts: Mounts, body: dict[str, Any], told: str) -> None:
    status, answer = fetch(f"{mounts.standin.url}/_local/mounts", json.dumps(body).encode())
    assert status == 400 and told in answer["error"]["message"]


def test_a_dead_mount_answers_with_an_error(mounts: Mounts) -> None:
    if not mounts.fuse:
        return
    careless = mounts.instance("dead", mounts.bucket("dead", file="x"), AT_ONCE)
    assert careless("read", "file") == "x"
    server = mounts.standin.get("/_local/mounts")["fuse_processes"][careless.id]
    os.kill(server, signal.SIGKILL)
    assert until(lambda: careless("read", "file") == "ENOTCONN")
    assert careless("listing") == "ENOTCONN"
    assert until(lambda: not Path(f"/proc/{server}").exists()), "it is no zombie, though its instance lives on"
    assert careless.id not in mounts.standin.get("/_local/mounts")["fuse_processes"]


@pytest.mark.parametrize("operation", ["load", "through_map"])
def test_an_instance_that_waits_for_a_slow_read_can_be_killed(mounts: Mounts, operation: str) -> None:
    if not mounts.fuse:
        return
    name = f"killed-{operation.replace('_', '-')}"
    careless = mounts.instance(name, big(mounts, name), AT_ONCE)
    server = mounts.standin.get("/_local/mounts")["fuse_processes"][careless.id]
    mounts.standin.post("/_local/mounts", {"bandwidth_bytes_s": 1})
    try:
        waiting = threading.Thread(target=_quietly, args=(lambda: careless(operation, "model"),))
        waiting.start()
        until(lambda: any(each in _waits_for(careless.pid) for each in ("request_wait_answer", "folio", "page")))
        mounts.standin.post(f"/_local/instances/{careless.id}:kill")
        waiting.join(30)
        assert not waiting.is_alive()
        until(lambda: not Path(f"/proc/{careless.pid}").exists() and not Path(f"/proc/{server}").exists())
    finally:
        mounts.standin.post("/_local/mounts", UNHURRIED)


def _quietly(call: Callable[[], Any]) -> None:
    try:
        call()
    except OSError:
        return


def _waits_for(pid: int) -> str:
    """The kernel functions in which the threads of a process sleep."""
    found = [each / "wchan" for each in Path(f"/proc/{pid}/task").iterdir()]
    return " ".join(each.read_text(encoding="ascii") for each in found)


def test_a_killed_daemon_leaves_no_mount_and_no_process(
    standin_at: Callable[..., Any], tmp_path: Path, connect: Connect
) -> None:
    first = standin_at(tmp_path / "cloud")
    mounts = Mounts(first, connect(first.url))
    instances = mounts.instances("left", mounts.bucket("left", file="x"), AT_ONCE, count=2)
    processes = [each.pid for each in instances]
    processes += first.get("/_local/mounts")["fuse_processes"].values()
    first.stop(signal.SIGKILL)
    until(lambda: not any(_alive(each) for each in processes))
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")


def _alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
