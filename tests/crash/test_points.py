"""Every call of every command is a crash point: killed before it, and after it with the answer lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, StandIn
from tests.crash.scenes import SCENES

pytestmark = pytest.mark.process

# No scene can be proven with fewer: a command that stopped calling the bucket would pass for the wrong reason.
LEAST = {
    "sync, first": 35, "sync, second": 35, "sync, last of two tasks": 30, "sync that prunes": 50,
    "sync, up to date": 10, "sync, held": 9,
    "rollback": 10, "prune": 15, "repair": 15, "pin": 8,
}  # fmt: skip


def play(standin: StandIn, folder: Path, *options: str) -> list[dict[str, Any]]:
    """What the nursery tells of all scenes."""
    arguments = [sys.executable, "-m", "tests.crash.nursery", standin.url, str(folder), *options]
    done = subprocess.run(arguments, check=False, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [item["error"] for item in told if "error" in item] == []
    return told


def judge(told: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    """Print the points and let every fault be read."""
    told.sort(key=lambda item: (item["scene"], item["way"]))
    counts = ", ".join(f"{item['scene']} {item['points']} {item['way']}" for item in told)
    reads = sum(item["reads"] for item in told)
    beside = f", {reads} reads beside them" if reads else ""
    with capsys.disabled():
        print(f"\n{sum(item['points'] for item in told)} crash points{beside}: {counts}")
    assert {item["scene"] for item in told} == {scene.name for scene in SCENES}
    assert len(told) == 2 * len(SCENES)
    assert [fault for item in told for fault in item["faults"]] == []
    for item in told:
        assert item["points"] >= LEAST[item["scene"]], item


@pytest.mark.timeout(900)
def test_whoever_dies_at_any_call_harms_nobody_and_the_next_one_finishes(
    shared_standin: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge(play(shared_standin, tmp_path), capsys)


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_a_reader_beside_them_sees_whole_versions_only(
    shared_standin: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = play(shared_standin, tmp_path, "readers")
    judge(told, capsys)
    assert all(item["reads"] >= item["points"] for item in told)
