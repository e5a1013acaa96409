"""The panel of Cloud Monitoring as values: incidents, the open ones first, and the policies that are watched."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from scripts.localcloud.console.values import duration, moment, web_link
from scripts.localcloud.monitoring.queries import time_text

Document = dict[str, Any]
_OPEN = 50
_CLOSED = 6
_INCIDENTS = """
SELECT id, policy, opened, closed, document FROM monitoring_incidents WHERE closed IS {state} NULL
ORDER BY opened DESC, id LIMIT ?
"""
_KEPT = "SELECT name, document FROM admin_documents WHERE name GLOB ? ORDER BY name LIMIT ?"
_POLICIES = 200
_SIGNS = {"GT": ">", "GE": "≥", "LT": "<", "LE": "≤", "EQ": "=", "NE": "≠"}


def incidents(db: sqlite3.Connection, now: float) -> dict[str, Any]:
    """{open, closed: how many, incidents: [{policy, condition, since, channels, runbook, …}], policies: [{…}]}."""
    policies = _documents(db, "projects/*/alertPolicies/*")
    channels = {name: _label(each) for name, each in _documents(db, "projects/*/notificationChannels/*").items()}
    rows = [*db.execute(_INCIDENTS.format(state=""), (_OPEN,)), *db.execute(_INCIDENTS.format(state="NOT"), (_CLOSED,))]
    count = "SELECT count(*) - count(closed) AS open, count(closed) AS closed FROM monitoring_incidents"
    return {
        **dict(db.execute(count).fetchone()),
        "incidents": [_incident(row, policies, channels, now) for row in rows],
        "policies": [_policy(name, each) for name, each in policies.items()],
    }


def _documents(db: sqlite3.Connection, pattern: str) -> dict[str, Document]:
    return {row["name"]: json.loads(row["document"]) for row in db.execute(_KEPT, (pattern, _POLICIES))}


def _incident(row: sqlite3.Row, policies: dict[str, Document], channels: dict[str, str], now: float) -> dict[str, Any]:
    told = json.loads(row["document"])
    ended = row["closed"]
    return {
        "id": row["id"],
        "state": "open" if ended is None else "closed",
        "policy": str(told.get("policyDisplayName") or row["policy"]),
        "path": row["policy"],
        "condition": str(told.get("condition") or ""),
        "severity": str(told.get("severity") or ""),
        "value": _reading(told),
        "labels": ", ".join(f"{key}={value}" for key, value in sorted((told.get("labels") or {}).items()))[:300],
        "started_at": time_text(row["opened"]),
        "ended_at": None if ended is None else time_text(ended),
        "age_s": now - row["opened"],
        "lasted_s": None if ended is None else ended - row["opened"],
        "channels": [channels.get(each, each) for each in told.get("notified") or ()],
        "runbook": _runbook(policies.get(row["policy"], {})),
    }


def _reading(told: Document) -> str:
    """0.25 > 0.1: what was measured, against what was allowed."""
    value = told.get("value")
    if not isinstance(value, (int, float)) or "threshold" not in told:
        return ""
    sign = _SIGNS.get(str(told.get("comparison")).rpartition("_")[2], "?")
    return f"{value:g} {sign} {float(told['threshold']):g}"


def _policy(name: str, policy: Document) -> dict[str, Any]:
    every = [str(each.get("displayName") or "") for each in policy.get("conditions") or ()]
    problem = str((policy.get("validity") or {}).get("message") or "")
    return {
        "path": name,
        "name": str(policy.get("displayName") or name),
        "enabled": policy.get("enabled", True) is not False,
        "severity": str(policy.get("severity") or ""),
        "conditions": every,
        "problem": problem,
        "runbook": _runbook(policy),
    }


def _runbook(policy: Document) -> str:
    """The address of the policy's documentation: its first link, else the first address in its text."""
    given = policy.get("documentation") or {}
    links = [web_link(each.get("url")) for each in given.get("links") or () if isinstance(each, dict)]
    return next((each for each in links if each), "") or web_link(given.get("content") or "")


def _label(channel: Document) -> str:
    address = next(iter((channel.get("labels") or {}).values()), "")
    return str(channel.get("displayName") or address or channel.get("type") or "channel")


def moved(clock: dict[str, Any], now: float) -> dict[str, Any]:
    """The clock's status for the page: {now, skipped_s, skipped, rate, next, next_s}."""
    following = moment(clock["next"])
    return {
        **clock,
        "skipped": duration(clock["skipped_s"]),
        "next_s": None if following is None else max(0.0, following - now),
    }
