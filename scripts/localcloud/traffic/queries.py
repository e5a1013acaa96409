"""Questions to the request log: which calls, in which order, or summed up by something."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from scripts.localcloud.traffic.calls import COLUMNS
from scripts.localcloud.web import ApiError

MOST = 10_000
_MOST_STARS = 8
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PATTERNS = ("operation", "bucket", "object", "instance", "method", "fault")
_SUMMARIES = {"operation": "operation", "object": "bucket || '/' || object", "caller": "agent", "instance": "instance"}
_OTHERS = ("caller", "status", "since", "until", "limit", "order", "summary")
_ORDERS = {"newest": "DESC", "oldest": "ASC"}
_AGO = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h|d)")
_UNITS_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_STATUS = re.compile(r"[0-9]{1,3}|[1-5]xx|error|none")
_FAILED = "(status = 0 OR status >= 400)"
_SUMS = """
WITH chosen AS (SELECT {key} AS name, bytes_in, bytes_out, ms, {failed} AS failed FROM requests WHERE {where}),
ranked AS (
    SELECT *, row_number() OVER (PARTITION BY name ORDER BY ms) AS rank, count(*) OVER (PARTITION BY name) AS size
    FROM chosen
)
SELECT name, count(*) AS count, sum(bytes_in) AS bytes_in, sum(bytes_out) AS bytes_out, sum(failed) AS errors,
    min(CASE WHEN rank * 100 >= size * 50 THEN ms END) AS p50_ms,
    min(CASE WHEN rank * 100 >= size * 95 THEN ms END) AS p95_ms
FROM ranked GROUP BY name ORDER BY count DESC, name LIMIT ?
"""


@dataclass(frozen=True)
class Query:
    """A condition in SQL with its values; summary is empty when the calls themselves are asked for."""

    where: str
    values: tuple[Any, ...]
    limit: int
    order: str
    summary: str

    @classmethod
    def of(cls, asked: Mapping[str, str], now: float) -> Query:
        """Read a query's parameters; now is for times like `10m` (ago). Raises ApiError 400."""
        for key in asked:
            if key not in (*_PATTERNS, *_OTHERS):
                raise _bad(f"{key[:50]!r} is no parameter; there are {', '.join((*_PATTERNS, *_OTHERS))}")
        conditions, values = ["1"], list[Any]()
        for key in _PATTERNS:
            if asked.get(key):
                conditions.append(f"{key} GLOB ?")
                values.append(_glob(asked[key]))
        if caller := asked.get("caller"):
            pattern = _glob(caller)
            conditions.append("(account GLOB ? OR agent GLOB ?)")
            values += [pattern, pattern if set(caller) & set("*?[") else f"*{pattern}*"]
        if asked.get("status"):
            conditions.append(_status(asked["status"]))
        for key, sign in (("since", ">="), ("until", "<")):
            if asked.get(key):
                conditions.append(f"at {sign} ?")
                values.append(_time(key, asked[key], now))
        summary, order = asked.get("summary", ""), asked.get("order") or "newest"
        if summary and summary not in _SUMMARIES:
            raise _bad(f"summary: found {summary[:50]!r}, expected one of {', '.join(_SUMMARIES)}")
        if order not in _ORDERS:
            raise _bad(f"order: found {order[:50]!r}, expected one of {', '.join(_ORDERS)}")
        return cls(" AND ".join(conditions), tuple(values), _limit(asked.get("limit", "")), order, summary)

    def run(self, db: sqlite3.Connection) -> dict[str, Any]:
        """The answer: {requests, matched} or {summary, matched}."""
        matched = db.execute(f"SELECT count(*) FROM requests WHERE {self.where}", self.values).fetchone()[0]
        if self.summary:
            sql = _SUMS.format(key=_SUMMARIES[self.summary], failed=_FAILED, where=self.where)
            rows = db.execute(sql, (*self.values, self.limit))
            return {"summary": [_sum(self.summary, found) for found in rows], "matched": matched}
        # ids are given when a call is over: its beginning is what people look for
        sql = f"SELECT {', '.join(COLUMNS)} FROM requests WHERE {self.where} ORDER BY at {_ORDERS[self.order]}, id "
        rows = db.execute(f"{sql} {_ORDERS[self.order]} LIMIT ?", (*self.values, self.limit))
        return {"requests": [_described(found) for found in rows], "matched": matched}


def _described(found: tuple[Any, ...]) -> dict[str, Any]:
    told = dict(zip(COLUMNS, found, strict=True))
    at = (_EPOCH + timedelta(microseconds=told.pop("at"))).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {"time": at, **told, "ms": round(told["ms"], 3)}


def _sum(kind: str, found: tuple[Any, ...]) -> dict[str, Any]:
    name, count, bytes_in, bytes_out, errors, p50_ms, p95_ms = found
    return {
        kind: name, "count": count, "bytes": bytes_in + bytes_out, "bytes_in": bytes_in, "bytes_out": bytes_out,
        "errors": errors, "p50_ms": round(p50_ms, 3), "p95_ms": round(p95_ms, 3),
    }  # fmt: skip


def _glob(pattern: str) -> str:
    """A pattern as faults have it, too, in SQLite's spelling. Raises ApiError 400 for one that takes for ever."""
    if len(pattern) > 1024 or pattern.count("*") > _MOST_STARS:
        raise _bad(f"{pattern[:50]!r} has more than 1024 characters or {_MOST_STARS} stars")
    return pattern.replace("[!", "[^")


def _status(text: str) -> str:
    parts = [part.strip().lower() for part in text.split(",")]
    if not all(_STATUS.fullmatch(part) for part in parts):
        raise _bad(f"status: found {text[:50]!r}, expected some of 404, 5xx, error, none (no answer), with commas")
    words = {"error": _FAILED, "none": "status = 0"}
    return "(" + " OR ".join(words.get(part) or _range(part) for part in parts) + ")"


def _range(part: str) -> str:
    return f"status BETWEEN {part[0]}00 AND {part[0]}99" if part.endswith("xx") else f"status = {int(part)}"


def _time(key: str, text: str, now: float) -> int:
    """Microseconds since the epoch. Raises ApiError 400."""
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return round(max(0.0, now - float(ago[1]) * _UNITS_S[ago[2]]) * 1e6)
    try:
        at = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except ValueError:
        raise _bad(f"{key}: found {text[:50]!r}, expected 10m (ago) or a time like 2026-01-31T02:00:00Z") from None
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)


def _limit(text: str) -> int:
    if not text:
        return 100
    if text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= MOST:
        return int(text)
    raise _bad(f"limit: found {text[:50]!r}, expected a whole number from 1 to {MOST}")


def _bad(text: str) -> ApiError:
    return ApiError(400, text, "invalid")
