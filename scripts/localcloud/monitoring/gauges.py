"""Bytes and objects in buckets as metrics of Cloud Storage, sampled from the storage room and kept while they change.

storage.googleapis.com/storage/total_bytes and object_count of resource gcs_bucket; noncurrent generations count too.
"""

from __future__ import annotations

import json

from scripts.localcloud.context import Context
from scripts.localcloud.monitoring.series import GAUGE, Sample, Series
from scripts.localcloud.storage.room import StorageRoom

EVERY_S = 300.0
_METRICS = {
    "storage.googleapis.com/storage/total_bytes": ("size_bytes", "DOUBLE"),
    "storage.googleapis.com/storage/object_count": ("generations", "INT64"),
}
_KEPT_S = 42 * 86400
_TABLES = """
CREATE TABLE IF NOT EXISTS monitoring_gauges (
  project TEXT NOT NULL, bucket TEXT NOT NULL, metric TEXT NOT NULL, at REAL NOT NULL, value REAL NOT NULL,
  location TEXT NOT NULL, PRIMARY KEY (project, bucket, metric, at)) WITHOUT ROWID;
"""


class Gauges:
    """sample() notes what there is now; series() gives history."""

    def __init__(self, context: Context, storage: StorageRoom) -> None:
        self._context = context
        self._db = context.db
        self._storage = storage
        self._db.script(_TABLES)
        self._sampled_at = 0.0
        self._changed: dict[str, float] = {}

    def changed(self, bucket: str) -> None:
        """A bucket has another size since now."""
        self._changed[bucket] = self._context.clock()

    def sample(self, *, at_least_every_s: float = 0.0) -> None:
        """Note every bucket's size, unless that was done a moment ago."""
        now = self._context.clock()
        if now - self._sampled_at < at_least_every_s and not self._changed:
            return
        self._sampled_at = now
        totals = self._storage.store.index.totals()
        with self._db.transaction():
            for total in totals:
                bucket = self._storage.store.index.bucket(total["bucket"])
                if bucket is None:
                    continue
                location = str(bucket.settings.get("location", "")).lower()
                at = self._changed.pop(bucket.name, now)
                for metric, (column, _) in _METRICS.items():
                    self._note(bucket.project, bucket.name, metric, at, float(total[column]), location)
            self._db.run("DELETE FROM monitoring_gauges WHERE at < ?", now - _KEPT_S)

    def _note(self, project: str, bucket: str, metric: str, at: float, value: float, location: str) -> None:
        last = self._db.row(
            "SELECT at, value FROM monitoring_gauges WHERE project = ? AND bucket = ? AND metric = ?"
            " ORDER BY at DESC LIMIT 1",
            project, bucket, metric,
        )  # fmt: skip
        if last is None or last["value"] != value or at - last["at"] >= EVERY_S:
            sql = "INSERT OR REPLACE INTO monitoring_gauges VALUES (?, ?, ?, ?, ?, ?)"
            self._db.run(sql, project, bucket, metric, at, value, location)

    def series(self, project: str, start_s: float, end_s: float) -> list[Series]:
        """The samples of a project's buckets in start ≤ time ≤ end."""
        rows = self._db.rows(
            "SELECT * FROM monitoring_gauges WHERE project = ? AND at >= ? AND at <= ? ORDER BY bucket, metric, at",
            project, start_s, end_s,
        )  # fmt: skip
        samples: dict[str, list[tuple[float, float]]] = {}
        for row in rows:
            key = json.dumps([row["bucket"], row["metric"], row["location"]])
            samples.setdefault(key, []).append((row["at"], row["value"]))
        return [_series(project, json.loads(key), tuple(each)) for key, each in samples.items()]


def _series(project: str, key: list[str], samples: tuple[Sample, ...]) -> Series:
    bucket, metric, location = key
    labels = {"project_id": project, "bucket_name": bucket, "location": location}
    kind = _METRICS[metric][1]
    return Series(metric, {"storage_class": "STANDARD"}, "gcs_bucket", labels, GAUGE, kind, samples)
