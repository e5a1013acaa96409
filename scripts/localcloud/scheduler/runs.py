"""What is due: one row a job, written before anything is sent, so that a restart neither loses nor repeats a firing.

A job is idle (due_at: its next time) or in an execution (slot: the time it was due; retry_at: when it is tried again,
or NULL while an attempt is under way). An attempt that the daemon's end cut short is made again: Cloud Scheduler too
promises "at least once".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scripts.localcloud.context import Database
from scripts.localcloud.scheduler import cron, retries

# Times missed while the daemon was down, or while an execution took too long, are made up; older ones are not,
# except the one that was due first.
CATCH_UP_S = 3600.0
_TABLE = """
CREATE TABLE IF NOT EXISTS scheduler_runs (
  name TEXT PRIMARY KEY, due_at REAL, slot REAL, retry_at REAL, first_at REAL, attempts INTEGER NOT NULL DEFAULT 0);
"""


@dataclass(frozen=True)
class Firing:
    """An attempt to be made now; slot is the time it was due, attempt counts from 1."""

    name: str
    slot: float
    attempt: int


class Runs:
    """The rows; times are seconds since the epoch."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._db.script(_TABLE)

    def resume(self) -> None:
        """After a start: what was under way is due at once, as the attempt that it was."""
        self._db.run(
            "UPDATE scheduler_runs SET retry_at = slot, attempts = MAX(attempts - 1, 0)"
            " WHERE slot IS NOT NULL AND retry_at IS NULL"
        )

    def known(self) -> set[str]:
        """The names of jobs that have a row."""
        return {row["name"] for row in self._db.rows("SELECT name FROM scheduler_runs")}

    def plan(self, job: dict[str, Any], now: float) -> None:
        """A job is new, changed, paused or resumed: count from now, and forget its execution."""
        due = None if job["state"] != "ENABLED" else cron.next_after(job["schedule"], job["timeZone"], now)
        self._db.run("INSERT OR REPLACE INTO scheduler_runs (name, due_at) VALUES (?, ?)", job["name"], due)

    def forget(self, name: str) -> None:
        """The job is gone."""
        self._db.run("DELETE FROM scheduler_runs WHERE name = ?", name)

    def next_at(self, name: str | None = None) -> float | None:
        """When something is due: of one job, or of all. None for never, or not before an attempt has ended."""
        where, values = ("WHERE name = ?", (name,)) if name else ("", ())
        row = self._db.row(
            f"SELECT MIN(CASE WHEN slot IS NULL THEN due_at ELSE retry_at END) AS at FROM scheduler_runs {where}",
            *values,
        )
        return None if row is None else row["at"]

    def due(self, now: float) -> list[str]:
        """The jobs that have something to do, the earliest first."""
        rows = self._db.rows(
            "SELECT name, CASE WHEN slot IS NULL THEN due_at ELSE retry_at END AS at FROM scheduler_runs"
            " WHERE at <= ? ORDER BY at, name",
            now,
        )
        return [row["name"] for row in rows]

    def begin(self, job: dict[str, Any], now: float) -> Firing:
        """Note that the attempt which is due is under way."""
        row = self._db.row("SELECT * FROM scheduler_runs WHERE name = ?", job["name"])
        assert row is not None
        if row["slot"] is None:
            slot = row["due_at"]
            following = cron.next_after(job["schedule"], job["timeZone"], max(slot, now - CATCH_UP_S))
            self._db.run(
                "UPDATE scheduler_runs SET slot = ?, due_at = ?, first_at = ?, retry_at = NULL, attempts = 1"
                " WHERE name = ?",
                slot, following, now, job["name"],
            )  # fmt: skip
            return Firing(job["name"], slot, 1)
        attempts = row["attempts"] + 1
        self._db.run("UPDATE scheduler_runs SET retry_at = NULL, attempts = ? WHERE name = ?", attempts, job["name"])
        return Firing(job["name"], row["slot"], attempts)

    def end(self, job: dict[str, Any], firing: Firing, succeeded: bool, now: float) -> None:
        """The attempt has ended: the execution too, unless it may be tried again."""
        row = self._db.row("SELECT first_at FROM scheduler_runs WHERE name = ? AND slot = ?", job["name"], firing.slot)
        if row is None:  # changed or paused meanwhile
            return
        config = job["retryConfig"]
        if not succeeded and retries.allowed(config, firing.attempt, now - row["first_at"]):
            again = now + retries.pause_s(config, firing.attempt)
            self._db.run("UPDATE scheduler_runs SET retry_at = ? WHERE name = ?", again, job["name"])
        else:
            self._db.run("UPDATE scheduler_runs SET slot = NULL, retry_at = NULL WHERE name = ?", job["name"])
