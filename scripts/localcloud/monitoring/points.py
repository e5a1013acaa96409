"""Points of metrics in the daemon's database: counts by bucket, one row for each moment, series and bucket.

A scalar is a row of bucket -1 whose total is its value. Points older than an hour are merged by the minute, those older
than six weeks are removed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scripts.localcloud.context import Database
from scripts.localcloud.monitoring.distributions import Buckets, Distribution
from scripts.localcloud.monitoring.series import Sample, Value

_TABLE = """
CREATE TABLE IF NOT EXISTS monitoring_points (
  source TEXT NOT NULL, series TEXT NOT NULL, at INTEGER NOT NULL, bucket INTEGER NOT NULL,
  count INTEGER NOT NULL, total REAL NOT NULL, squares REAL NOT NULL,
  PRIMARY KEY (source, series, at, bucket)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS monitoring_points_by_time ON monitoring_points (source, at);
"""
_ADD = """
INSERT INTO monitoring_points VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
  count = count + excluded.count, total = total + excluded.total, squares = squares + excluded.squares
"""
_MERGED = """
INSERT INTO monitoring_points SELECT source, series, at, bucket, count, total, squares FROM (
  SELECT source, series, at / 60000000 * 60000000 AS at, bucket,
    SUM(count) AS count, SUM(total) AS total, SUM(squares) AS squares
  FROM merging GROUP BY source, series, at / 60000000, bucket) WHERE 1
"""
# The last moments are found from one series to the next: the index has as many steps as there are series.
_LINES = """
WITH RECURSIVE every(series) AS (
  SELECT MIN(series) FROM monitoring_points WHERE source = ?1
  UNION ALL SELECT (SELECT MIN(series) FROM monitoring_points WHERE source = ?1 AND series > every.series) FROM every
    WHERE every.series IS NOT NULL),
last(series, at) AS (
  SELECT series, (SELECT MAX(at) FROM monitoring_points WHERE source = ?1 AND series = every.series AND at < ?3)
    FROM every WHERE json_extract(series, '$.project_id') = ?5)
SELECT series, at, bucket, count, total, squares FROM monitoring_points
  WHERE source = ?1 AND at >= ?3 AND at <= ?4 AND json_extract(series, '$.project_id') = ?5
UNION ALL
SELECT p.series, p.at, p.bucket, p.count, p.total, p.squares FROM last
  JOIN monitoring_points AS p ON p.source = ?1 AND p.series = last.series AND p.at = last.at WHERE last.at >= ?2
ORDER BY series, at, bucket
"""
SCALAR = -1
_WHOLE_S = 3600.0
_KEPT_S = 42 * 86400.0
_MERGED_EVERY_S = 900.0


@dataclass(frozen=True)
class Row:
    """What one moment adds to one bucket of a series."""

    bucket: int
    count: int
    total: float
    squares: float = 0.0


@dataclass(frozen=True)
class Line:
    """A series as stored: its own labels and rows by moment (seconds since the epoch), the earliest first."""

    labels: Mapping[str, str]
    rows: Mapping[float, tuple[Row, ...]]

    def counts(self) -> tuple[Sample, ...]:
        """How many values each moment has."""
        return tuple((at, float(sum(row.count for row in rows))) for at, rows in self.rows.items())

    def totals(self) -> tuple[Sample, ...]:
        """The sum of each moment's values: what a scalar is."""
        return tuple((at, sum(row.total for row in rows)) for at, rows in self.rows.items())

    def distributions(self, buckets: Buckets) -> tuple[Sample, ...]:
        """The distribution of each moment's values."""
        return tuple((at, _distribution(buckets, rows)) for at, rows in self.rows.items())


class Points:
    """add() and lines() by source (what the points are of); labels tell the series of a source apart."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._db.script(_TABLE)
        self._merged_at = 0.0

    def add(self, source: str, labels: Mapping[str, str], at_s: float, rows: Iterable[Row]) -> None:
        """Add to a moment of a series."""
        text, at = json.dumps(labels, sort_keys=True), int(at_s * 1e6)
        for row in rows:
            self._db.run(_ADD, source, text, at, row.bucket, row.count, row.total, row.squares)

    def set(self, source: str, labels: Mapping[str, str], at_s: float, value: float) -> None:
        """A gauge's value at a moment."""
        sql = "INSERT OR REPLACE INTO monitoring_points VALUES (?, ?, ?, ?, 1, ?, 0)"
        self._db.run(sql, source, json.dumps(labels, sort_keys=True), int(at_s * 1e6), SCALAR, value)

    def lines(
        self, source: str, project: str, start_s: float, end_s: float, whole_s: float | None = None
    ) -> list[Line]:
        """The series of a source whose label project_id is the project, with rows in start ≤ time ≤ end.

        Before whole_s only the last moment of each series is read: it says that the series is there.
        """
        start, whole = int(start_s * 1e6), int((start_s if whole_s is None else whole_s) * 1e6)
        rows = self._db.rows(_LINES, source, start, whole, int(end_s * 1e6), project)
        found: dict[str, dict[float, list[Row]]] = {}
        for row in rows:
            moments = found.setdefault(row["series"], {})
            each = Row(row["bucket"], row["count"], row["total"], row["squares"])
            moments.setdefault(row["at"] / 1e6, []).append(each)
        return [
            Line(json.loads(text), {at: tuple(each) for at, each in moments.items()}) for text, moments in found.items()
        ]

    def above_zero(self, source: str, since_s: float) -> list[Mapping[str, str]]:
        """The labels of the series of a source that had a value since a moment."""
        sql = "SELECT DISTINCT series FROM monitoring_points WHERE source = ? AND at >= ? AND total > 0"
        return [json.loads(row["series"]) for row in self._db.rows(sql, source, int(since_s * 1e6))]

    def forget(self, source: str) -> None:
        """Remove all points of a source."""
        self._db.run("DELETE FROM monitoring_points WHERE source = ?", source)

    def tidy(self, now: float, merged: Iterable[str]) -> None:
        """Merge old points of these sources, and remove the oldest of all; does nothing if that was done of late."""
        if 0 <= now - self._merged_at < _MERGED_EVERY_S:
            return
        since, self._merged_at = self._merged_at, now
        first, last = int((since - 2 * _WHOLE_S) // 60 * 60e6), int((now - _WHOLE_S) // 60 * 60e6)
        with self._db.transaction():
            self._db.run("DELETE FROM monitoring_points WHERE at < ?", int((now - _KEPT_S) * 1e6))
            for source in merged:
                where = "WHERE source = ? AND at >= ? AND at < ?"
                self._db.run(
                    f"CREATE TEMP TABLE merging AS SELECT * FROM monitoring_points {where}", source, first, last
                )
                self._db.run(f"DELETE FROM monitoring_points {where}", source, first, last)
                self._db.run(_MERGED)
                self._db.run("DROP TABLE merging")


def _distribution(buckets: Buckets, rows: Iterable[Row]) -> Value:
    counts: dict[int, int] = {}
    total = squares = 0.0
    for row in rows:
        counts[row.bucket] = counts.get(row.bucket, 0) + row.count
        total += row.total
        squares += row.squares
    return Distribution(buckets, counts, total, squares)
