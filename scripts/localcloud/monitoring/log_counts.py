"""What log-based metrics counted: how many entries, or which values, by series and microsecond."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from scripts.localcloud.admin.documents import Document
from scripts.localcloud.context import Database
from scripts.localcloud.logging.filters import parse
from scripts.localcloud.logging.room import LoggingRoom
from scripts.localcloud.monitoring import distributions, extractors
from scripts.localcloud.monitoring.points import Points, Row
from scripts.localcloud.monitoring.series import DELTA, DISTRIBUTION, INT64, Sample, Series

_TABLES = """
CREATE TABLE IF NOT EXISTS log_metric_counts (
  metric TEXT NOT NULL, series TEXT NOT NULL, at INTEGER NOT NULL, count INTEGER NOT NULL,
  PRIMARY KEY (metric, series, at)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log_metric_progress (metric TEXT PRIMARY KEY, upto INTEGER NOT NULL);
"""
# The last moments are found from one series to the next: the index has as many steps as there are series.
_COUNTS = """
WITH RECURSIVE every(series) AS (
  SELECT MIN(series) FROM log_metric_counts WHERE metric = ?1
  UNION ALL SELECT (SELECT MIN(series) FROM log_metric_counts WHERE metric = ?1 AND series > every.series) FROM every
    WHERE every.series IS NOT NULL),
last(series, at) AS (
  SELECT series, (SELECT MAX(at) FROM log_metric_counts WHERE metric = ?1 AND series = every.series AND at < ?3)
    FROM every WHERE series IS NOT NULL)
SELECT series, at, count FROM log_metric_counts WHERE metric = ?1 AND at >= ?3 AND at < ?4
UNION ALL
SELECT c.series, c.at, c.count FROM last
  JOIN log_metric_counts AS c ON c.metric = ?1 AND c.series = last.series AND c.at = last.at WHERE last.at >= ?2
ORDER BY series, at
"""
# What is found in so long is written in one go.
_SLICE_S = 0.05


class Counts:
    """By key of a metric; a series is told by its labels and its resource, as JSON."""

    def __init__(self, db: Database, points: Points, logging_room: LoggingRoom) -> None:
        self._db = db
        self._db.script(_TABLES)
        self._points = points
        self._logging = logging_room

    async def catch_up(self, project: str, key: str, metric: Document) -> None:
        """Count the entries that were stored since the last time."""
        wanted, spread = parse(metric["filter"]), "valueExtractor" in metric
        labels = {name: extractors.parse(text) for name, text in (metric.get("labelExtractors") or {}).items()}
        value = extractors.parse(metric["valueExtractor"]) if spread else None

        def make(at: int, entry: Document) -> tuple[str, int, str]:
            series = json.dumps(
                [{name: read(entry) for name, read in labels.items()}, _resource(entry)], sort_keys=True
            )
            return series, at // 1000, value(entry) if value is not None else ""

        while True:
            row = self._db.row("SELECT upto FROM log_metric_progress WHERE metric = ?", key)
            upto = row["upto"] if row else 0
            found = await self._logging.since(f"projects/{project}", upto, wanted.matches, make, _SLICE_S)
            if found.upto != upto:
                with self._db.transaction():
                    for each in found.made:
                        self._add(project, key, metric, *each)
                    self._db.run("INSERT OR REPLACE INTO log_metric_progress VALUES (?, ?)", key, found.upto)
            if not found.more:
                return

    def _add(self, project: str, key: str, metric: Document, series: str, at_us: int, value: str) -> None:
        if "valueExtractor" not in metric:
            sql = "INSERT INTO log_metric_counts VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET count = count + 1"
            self._db.run(sql, key, series, at_us)
            return
        try:
            number = float(value)
        except ValueError:  # an entry without a number does not count
            return
        if number - number != 0:  # infinity and what is no number have no bucket
            return
        bucket = distributions.of_options(metric.get("bucketOptions") or {}).index(number)
        row = Row(bucket, 1, number, number * number)
        self._points.add(key, {"project_id": project, "series": series}, at_us / 1e6, [row])

    def read(
        self, project: str, key: str, kind: str, metric: Document, start_s: float, end_s: float, whole_s: float
    ) -> list[Series]:
        """The series that have counts or values in start ≤ time < end; kind is the metric's type.

        Before whole_s only the last moment of each series is read: it says that the series is there.
        """
        if "valueExtractor" in metric:
            buckets = distributions.of_options(metric.get("bucketOptions") or {})
            lines = self._points.lines(key, project, start_s, end_s, whole_s)
            return [_series(kind, DISTRIBUTION, each.labels["series"], each.distributions(buckets)) for each in lines]
        rows = self._db.rows(_COUNTS, key, int(start_s * 1e6), int(whole_s * 1e6), end_s * 1e6)
        samples: dict[str, list[Sample]] = {}
        for row in rows:
            samples.setdefault(row["series"], []).append((row["at"] / 1e6, float(row["count"])))
        return [_series(kind, INT64, text, tuple(each)) for text, each in samples.items()]

    def forget(self, key: str) -> None:
        """Start again from the first entry."""
        with self._db.transaction():
            self._db.run("DELETE FROM log_metric_counts WHERE metric = ?", key)
            self._db.run("DELETE FROM log_metric_progress WHERE metric = ?", key)
            self._points.forget(key)


def _series(kind: str, value_type: str, text: str, samples: tuple[Sample, ...]) -> Series:
    labels, resource = json.loads(text)
    return Series(kind, labels, resource["type"], resource["labels"], DELTA, value_type, samples)


def _resource(entry: Mapping[str, Any]) -> Document:
    resource = entry.get("resource") or {}
    return {"type": resource.get("type", "global"), "labels": resource.get("labels") or {}}
