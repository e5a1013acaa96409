"""Distributions from logs, and an aggregation of an aggregation, through googleapiclient."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from scripts.cloud import discovery
from tests.contract.test_monitoring import Watch, refused

pytestmark = pytest.mark.process
_projects = itertools.count(1)
TYPE = 'metric.type="logging.googleapis.com/user/load_time"'
BUCKETS = {"linearBuckets": {"numFiniteBuckets": 20, "width": 100, "offset": 0}}


@pytest.fixture
def watch(shared_standin: Any) -> Watch:
    return Watch(shared_standin, f"spread-{next(_projects)}")


def spread(watch: Watch, **changes: Any) -> Any:
    descriptor = {"metricKind": "DELTA", "valueType": "DISTRIBUTION", "unit": "ms", "labels": [{"key": "model"}]}
    body = {
        "name": "load_time", "filter": "jsonPayload.load_ms:*", "metricDescriptor": descriptor,
        "valueExtractor": "EXTRACT(jsonPayload.load_ms)", "labelExtractors": {"model": "EXTRACT(jsonPayload.model)"},
        "bucketOptions": BUCKETS, **changes,
    }  # fmt: skip
    return watch.logs.create(parent=watch.parent, body=body)


def test_values_of_log_entries_are_a_distribution(watch: Watch) -> None:
    start = watch.now()
    watch.write(*[{"load_ms": 150, "model": "a"}] * 9, {"load_ms": 1950, "model": "a"}, {"load_ms": 50, "model": "b"})
    made = spread(watch).execute()
    discovery.validate("logging", "v2", "LogMetric", made)
    watch.write({"load_ms": "75.5", "model": "b"}, {"load_ms": "soon", "model": "b"})
    watch.advance(2)
    window = {"alignmentPeriod": "3600s", "perSeriesAligner": "ALIGN_DELTA"}
    found = watch.read(TYPE, start, watch.now(), **window)
    values = {each["metric"]["labels"]["model"]: each["points"][0]["value"]["distributionValue"] for each in found}
    assert values["a"]["bucketCounts"] == ["0", "0", "9", *["0"] * 17, "1"]
    assert values["a"]["bucketOptions"] == BUCKETS
    assert values["b"]["count"] == "2" and values["b"]["mean"] == pytest.approx(62.75)
    slow = watch.read(TYPE, start, watch.now(), **window, crossSeriesReducer="REDUCE_PERCENTILE_99")
    assert 1900 < slow[0]["points"][0]["value"]["doubleValue"] <= 2000
    half = watch.read(TYPE, start, watch.now(), alignmentPeriod="3600s", perSeriesAligner="ALIGN_PERCENTILE_50")
    assert 100 <= half[0]["points"][0]["value"]["doubleValue"] <= 200
    descriptors = watch.standin.get(f"/v3/{watch.parent}/metricDescriptors?filter={TYPE.replace(' ', '')}")
    assert [each["valueType"] for each in descriptors["metricDescriptors"]] == ["DISTRIBUTION"]


@pytest.mark.parametrize(
    "changes",
    [
        {"valueExtractor": "EXTRACT("},
        {"valueExtractor": None},
        {"bucketOptions": {"linearBuckets": {"numFiniteBuckets": 0, "width": 1}}},
        {"metricDescriptor": {"metricKind": "GAUGE", "valueType": "DISTRIBUTION", "labels": [{"key": "model"}]}},
        {"metricDescriptor": {"metricKind": "DELTA", "valueType": "INT64", "labels": [{"key": "model"}]}},
        {"labelExtractors": {"model": 'REGEXP_EXTRACT(jsonPayload.model, "(?=x)(y)")'}},
    ],
)
def test_metrics_that_cannot_be_counted_are_refused(watch: Watch, changes: dict[str, Any]) -> None:
    assert refused(spread(watch, **changes))[0] == 400


def test_what_was_aggregated_is_aggregated_again(watch: Watch) -> None:
    watch.metric("hits", "jsonPayload.hit=true")
    start = watch.now()
    for count in (1, 5, 2):
        watch.write(*[{"hit": True}] * count)
        watch.advance(60)
    options = {
        "aggregation_alignmentPeriod": "60s", "aggregation_perSeriesAligner": "ALIGN_DELTA",
        "secondaryAggregation_alignmentPeriod": "600s", "secondaryAggregation_perSeriesAligner": "ALIGN_MAX",
        "interval_startTime": start, "interval_endTime": watch.now(),
    }  # fmt: skip
    text = 'metric.type="logging.googleapis.com/user/hits"'
    listed = watch.series.list(name=watch.parent, filter=text, **options).execute()
    discovery.validate("monitoring", "v3", "ListTimeSeriesResponse", listed)
    [point] = listed["timeSeries"][0]["points"]
    assert point["value"]["int64Value"] == "5"
    bad = {**options, "secondaryAggregation_perSeriesAligner": "ALIGN_PERCENTILE_99"}
    assert "secondaryAggregation" in refused(watch.series.list(name=watch.parent, filter=text, **bad))[1]
