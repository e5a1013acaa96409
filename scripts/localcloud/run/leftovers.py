"""Processes of an earlier daemon's life: every child is recorded with its start time, and killed at the next start."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Set
from pathlib import Path

from scripts.localcloud.context import Database

ID_VARIABLE = "MODELSHELF_INSTANCE_ID"
_PROC = Path("/proc")
_PASSES = 5


def started(pid: int) -> str:
    """A process's start time in clock ticks since boot, as text ("" when unknown or gone); see proc(5), field 22."""
    try:
        return (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def record(db: Database, identity: str, pid: int) -> None:
    """Remember a child just started."""
    db.run("INSERT OR REPLACE INTO run_processes (id, pid, started) VALUES (?, ?, ?)", identity, pid, started(pid))


def forget(db: Database, identity: str) -> None:
    """The child is gone."""
    db.run("DELETE FROM run_processes WHERE id = ?", identity)


def kill_all(db: Database) -> list[int]:
    """Kill what recorded children left running (themselves, their groups, their descendants); the pids found.

    A pid alone proves nothing, it may have been given to a stranger: the start time or the instance's id in the
    process's environment must agree.
    """
    recorded = {row["id"]: row for row in db.rows("SELECT id, pid, started FROM run_processes")}
    killed = []
    for row in recorded.values():
        if row["started"] and started(row["pid"]) == row["started"]:
            killed.append(row["pid"])
            with contextlib.suppress(OSError):
                os.killpg(row["pid"], signal.SIGKILL)
    for pid in _with_ids(set(recorded)) if recorded else ():
        killed.append(pid)
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    db.run("DELETE FROM run_processes")
    return sorted(set(killed))


def kill_escaped(identity: str, spared: Set[int]) -> list[int]:
    """Kill what a child whose group is gone has left in groups and sessions of their own; the pids.

    They are found by the instance's id in their environment. It takes some milliseconds.
    """
    killed: list[int] = []
    for _ in range(_PASSES):  # one that is found may just have started another
        found = [pid for pid in _with_ids({identity}) if pid not in spared]
        if not found:
            break
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        killed += found
    return sorted(set(killed))


def _with_ids(identities: set[str]) -> list[int]:
    found = []
    for folder in _PROC.glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        prefix = f"{ID_VARIABLE}=".encode()
        if any(
            item[len(prefix) :].decode(errors="replace") in identities
            for item in environment
            if item.startswith(prefix)
        ):
            found.append(int(folder.name))
    return found
