"""Alert policies evaluated once a minute by the clock, and the incidents that come of it, kept over a restart.

A threshold must be violated for its duration at every evaluation. Without data a violation stays as it was, or as
evaluationMissingData says; after autoClose (7 days) it ends. OR opens an incident for each series, AND one when every
condition is met. Source: "Behavior of metric-based alerting policies" of Cloud Monitoring.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

from scripts.localcloud.admin.documents import Document
from scripts.localcloud.context import Context
from scripts.localcloud.logging.filters import parse as parse_log_filter
from scripts.localcloud.logging.room import LoggingRoom
from scripts.localcloud.monitoring import conditions
from scripts.localcloud.monitoring.conditions import Reading, Readings
from scripts.localcloud.monitoring.policies import duration_s
from scripts.localcloud.monitoring.queries import Queries, time_text

_TABLES = """
CREATE TABLE IF NOT EXISTS monitoring_states (
  condition TEXT NOT NULL, series TEXT NOT NULL, labels TEXT NOT NULL, since REAL NOT NULL, seen_at REAL NOT NULL,
  met INTEGER NOT NULL, value REAL, PRIMARY KEY (condition, series)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS monitoring_log_progress (condition TEXT PRIMARY KEY, upto INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS monitoring_incidents (
  id TEXT PRIMARY KEY, policy TEXT NOT NULL, key TEXT NOT NULL, opened REAL NOT NULL, closed REAL,
  document TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS monitoring_open ON monitoring_incidents(policy, closed);
"""
_AUTO_CLOSE_S = 7 * 86400.0


class Incidents:
    """evaluate() a policy; forget() it; listed() for people."""

    def __init__(self, context: Context, queries: Queries, logging_room: LoggingRoom) -> None:
        self._context = context
        self._db = context.db
        self._db.script(_TABLES)
        self._queries = queries
        self._logging = logging_room

    def listed(self, state: str = "", project: str = "") -> list[Document]:
        """Incidents, the newest first; state is open, closed or empty for both."""
        rows = self._db.rows("SELECT * FROM monitoring_incidents ORDER BY opened DESC, id")
        found = []
        for row in rows:
            shown = {**json.loads(row["document"]), "state": "open" if row["closed"] is None else "closed"}
            shown["startedAt"] = time_text(row["opened"])
            if row["closed"] is not None:
                shown["endedAt"] = time_text(row["closed"])
            if state in ("", shown["state"]) and row["policy"].startswith(f"projects/{project}/" if project else ""):
                found.append(shown)
        return found

    def forget(self, policy: str) -> None:
        """The policy is gone, disabled or other than before: its incidents end, and it starts anew."""
        prefix = f"{policy}/"
        with self._db.transaction():
            self._db.run("DELETE FROM monitoring_states WHERE substr(condition, 1, ?) = ?", len(prefix), prefix)
            self._db.run("DELETE FROM monitoring_log_progress WHERE substr(condition, 1, ?) = ?", len(prefix), prefix)
            self._close(policy, set())

    def begin(self, policy: Document) -> None:
        """Entries that are there when a policy is made do not count for its log conditions."""
        newest = self._logging.newest()
        for condition in policy["conditions"]:
            sql = "INSERT OR REPLACE INTO monitoring_log_progress VALUES (?, ?)"
            self._db.run(sql, condition["name"], newest)

    async def evaluate(self, policy: Document) -> None:
        """Read every condition now, and open or end incidents."""
        project, now = policy["name"].split("/")[1], self._context.clock()
        auto_close_s = duration_s((policy.get("alertStrategy") or {}).get("autoClose"), "auto_close") or _AUTO_CLOSE_S
        met: dict[str, Mapping[str, Any]] = {}
        every = True
        for condition in policy["conditions"]:
            readings = await self._read(project, condition, now)
            if readings is not None:
                self._advance(condition, readings, now, auto_close_s)
            rows = self._met(condition)
            every = every and bool(rows)
            met |= {f"{condition['name']} {row['series']}": self._seen(condition, row) for row in rows}
        if policy["combiner"] != "OR":
            met = {"all": next(iter(met.values()))} if every and met else {}
        with self._db.transaction():
            self._close(policy["name"], set(met))
            for key, seen in met.items():
                self._open(policy, key, seen, now)

    async def _read(self, project: str, condition: Document, now: float) -> Readings | None:
        """None for a condition that is not evaluated here."""
        if "conditionThreshold" in condition:
            return await conditions.threshold(self._queries, project, condition["conditionThreshold"], now)
        if "conditionAbsent" in condition:
            return await conditions.absence(self._queries, project, condition["conditionAbsent"], now)
        if "conditionMatchedLog" in condition:
            return await self._matched(project, condition)
        return None

    async def _matched(self, project: str, condition: Document) -> Readings:
        """Whether a new log entry matches."""
        wanted = parse_log_filter(condition["conditionMatchedLog"].get("filter") or "")
        progress = self._db.row("SELECT upto FROM monitoring_log_progress WHERE condition = ?", condition["name"])
        upto = progress["upto"] if progress else 0
        found = await self._logging.since(f"projects/{project}", upto, wanted.matches, lambda at, entry: at)
        self._db.run("INSERT OR REPLACE INTO monitoring_log_progress VALUES (?, ?)", condition["name"], found.upto)
        return {"log": Reading({}, float(len(found.made)), True)} if found.made else {}

    def _advance(self, condition: Document, readings: Readings, now: float, auto_close_s: float) -> None:
        """Count how long each series has violated the condition."""
        given = condition.get("conditionThreshold") or {}
        waited_s, missing = duration_s(given.get("duration"), "duration"), given.get("evaluationMissingData", "")
        known = {row["series"]: row for row in self._rows(condition)}
        with self._db.transaction():
            for key in known.keys() | readings.keys():
                reading, row = readings.get(key), known.get(key)
                if reading is None and row is not None:
                    gone = missing == "EVALUATION_MISSING_DATA_INACTIVE" or now - row["seen_at"] >= auto_close_s
                    active = missing == "EVALUATION_MISSING_DATA_ACTIVE"
                    met = bool(row["met"]) or (active and now - row["since"] >= waited_s)
                    state = (row["labels"], row["since"], row["seen_at"], met, row["value"])
                else:
                    assert reading is not None
                    since = row["since"] if row is not None else now
                    gone = not reading.violated
                    state = (json.dumps(reading.labels), since, now, now - since >= waited_s, reading.value)
                if gone:
                    sql = "DELETE FROM monitoring_states WHERE condition = ? AND series = ?"
                    self._db.run(sql, condition["name"], key)
                else:
                    sql = "INSERT OR REPLACE INTO monitoring_states VALUES (?, ?, ?, ?, ?, ?, ?)"
                    self._db.run(sql, condition["name"], key, *state)

    def _rows(self, condition: Document) -> list[Any]:
        return self._db.rows("SELECT * FROM monitoring_states WHERE condition = ? ORDER BY series", condition["name"])

    def _met(self, condition: Document) -> list[Any]:
        """The series that meet the condition, if they are as many as its trigger asks for."""
        rows = self._rows(condition)
        given = condition.get("conditionThreshold") or condition.get("conditionAbsent") or {}
        trigger = given.get("trigger") or {}
        wanted = max(int(trigger.get("count") or 1), float(trigger.get("percent") or 0) / 100 * len(rows))
        met = [row for row in rows if row["met"]]
        return met if len(met) >= wanted else []

    def _seen(self, condition: Document, row: Any) -> dict[str, Any]:
        seen: dict[str, Any] = {"condition": condition.get("displayName", condition["name"]), "value": row["value"]}
        seen["labels"] = json.loads(row["labels"])
        threshold = condition.get("conditionThreshold") or {}
        if threshold:
            seen["comparison"], seen["threshold"] = threshold["comparison"], threshold.get("thresholdValue", 0)
        return seen

    def _open(self, policy: Document, key: str, seen: Mapping[str, Any], now: float) -> None:
        sql = "SELECT id FROM monitoring_incidents WHERE policy = ? AND key = ? AND closed IS NULL"
        if self._db.row(sql, policy["name"], key) is not None:
            return
        name = f"0.{secrets.token_hex(6)}"
        document = {"id": name, "policy": policy["name"], "policyDisplayName": policy["displayName"], **seen}
        document["severity"] = policy.get("severity", "")
        for field, shown in (("userLabels", "policyUserLabels"), ("documentation", "documentation")):
            if policy.get(field):
                document[shown] = policy[field]
        document["notified"] = policy.get("notificationChannels") or []
        self._db.run(
            "INSERT INTO monitoring_incidents VALUES (?, ?, ?, ?, NULL, ?)",
            name, policy["name"], key, now, json.dumps(document),
        )  # fmt: skip

    def _close(self, policy: str, still_open: set[str]) -> None:
        rows = self._db.rows("SELECT id, key FROM monitoring_incidents WHERE policy = ? AND closed IS NULL", policy)
        for row in rows:
            if row["key"] not in still_open:
                sql = "UPDATE monitoring_incidents SET closed = ? WHERE id = ?"
                self._db.run(sql, self._context.clock(), row["id"])
