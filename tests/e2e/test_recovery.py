"""A sync that is killed in the middle: the same command again converges, and nothing half done is left."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import House

pytestmark = pytest.mark.process


def sync_processes(house: House) -> list[int]:
    """Process ids of running sync tasks of this checkout."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            environ = (entry / "environ").read_bytes()
        except OSError:
            continue
        if b"scripts.container" in words and b"MODEL_SYNC_MODE=1" in environ and house.url.encode() in environ:
            found.append(int(entry.name))
    return found


# Killed later, it leaves a lease that holds the next one up for 20 s.
@pytest.mark.parametrize("pause_s", [0.0, pytest.param(0.6, marks=pytest.mark.full)])
def test_a_killed_sync_converges(fresh_house: House, pause_s: float) -> None:
    house = fresh_house
    first = house.start("deploy", "--env", "local")
    deadline = time.monotonic() + 90
    while not (running := sync_processes(house)):
        assert first.poll() is None, first.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(pause_s)
    for pid in running:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    out, err = first.communicate(timeout=170)
    assert "Traceback" not in out + err
    again = house.json("deploy", "--env", "local")
    assert all(instance["cache_hit"] for instance in again["instances"])
    names = [item["name"] for item in house.request("/storage/v1/b/tabular-model-cache-local/o")["items"]]
    assert [name for name in names if name.startswith("statements/")] == ["statements/1.dsse.json"] or len(
        [name for name in names if name.startswith("statements/")]
    ) == 1
    assert not [name for name in names if name.startswith(".tmp/")]
    house.json("cache.show", "--env", "local")


def test_a_stand_in_of_older_code_is_told(fresh_house: House) -> None:
    house = fresh_house
    assert "before the last change" not in house.invoke("local.up", "--no-model").stderr
    later = time.time() + 60
    os.utime(house.root / "scripts" / "localcloud" / "app.py", (later, later))
    told = house.invoke("local.up", "--no-model").stderr
    assert "runs code from before the last change" in told
    assert "invoke local.down" in told
