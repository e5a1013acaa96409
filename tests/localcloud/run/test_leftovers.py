"""Processes of an earlier life: found by start time or by the instance's id, and never a stranger."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from scripts import process
from scripts.localcloud.context import Database
from scripts.localcloud.run import leftovers
from scripts.localcloud.run.store import _TABLES

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.mark.process
def test_recorded_children_and_their_descendants_are_killed(tmp_path: Path) -> None:
    db = Database(tmp_path / "state.db")
    db.script(_TABLES)
    ours = process.spawn(SLEEP, env={})
    orphan = process.spawn(SLEEP, env={leftovers.ID_VARIABLE: "known"})
    stranger = process.spawn(SLEEP, env={leftovers.ID_VARIABLE: "unknown"})
    try:
        leftovers.record(db, "ours", ours.pid)
        db.run("INSERT INTO run_processes VALUES ('known', 999999999, '1')")
        db.run("INSERT INTO run_processes VALUES ('reused', ?, 'another start time')", stranger.pid)
        assert leftovers.kill_all(db) == sorted([ours.pid, orphan.pid])
        assert (ours.wait(60), orphan.wait(60)) == (-9, -9)
        assert stranger.poll() is None
        assert db.rows("SELECT * FROM run_processes") == []
    finally:
        for child in (ours, orphan, stranger):
            process.kill_group(child)
        db.close()


def test_a_start_time_is_known_while_a_process_lives() -> None:
    assert leftovers.started(os.getpid()).isdigit()
    assert leftovers.started(2**22 + 1) == ""
