"""Alignment and reduction, on series whose values can be added up by hand."""

from __future__ import annotations

import pytest

from scripts.localcloud.monitoring.alignment import again, aggregated, problem
from scripts.localcloud.monitoring.distributions import linear
from scripts.localcloud.monitoring.series import DELTA, GAUGE, Aggregation, Sample, Series, written
from tests.localcloud.monitoring.test_distributions import of_values

HOUR = 3600.0
T = 1_000_000 * 60.0


def counter(reason: str, *samples: Sample, service: str = "a") -> Series:
    return Series("hits", {"reason": reason}, "cloud_run_revision", {"service_name": service}, DELTA, "INT64", samples)


def gauge(*samples: Sample) -> Series:
    return Series("bytes", {}, "gcs_bucket", {"bucket_name": "b"}, GAUGE, "DOUBLE", samples)


def values(found: Series, aligner: str, period_s: float, start: float, end: float) -> list[Sample]:
    results = aggregated([found], Aggregation(period_s, aligner), T + start, T + end)
    return [(at - T, value) for each in results for at, value in each.samples]


def test_windows_are_counted_back_from_the_end() -> None:
    found = counter("x", (T + 10, 1), (T + 70, 2), (T + 119, 4), (T + 120, 8))
    assert values(found, "ALIGN_DELTA", 60, 0, 180) == [(60, 1), (120, 6), (180, 8)]
    assert values(found, "ALIGN_DELTA", 60, 0, 150) == [(30, 1), (90, 2), (150, 12)]
    assert values(found, "ALIGN_RATE", 60, 60, 120) == [(120, 0.1)]
    assert values(found, "ALIGN_SUM", 180, 0, 180) == [(180, 15)]
    assert values(found, "ALIGN_MAX", 180, 0, 180) == [(180, 8)]
    assert values(found, "ALIGN_COUNT", 180, 0, 180) == [(180, 3)]


def test_a_counter_is_zero_for_a_day_after_its_last_count_and_absent_before_its_first() -> None:
    found = counter("x", (T, 3))
    assert values(found, "ALIGN_DELTA", HOUR, -2 * HOUR, 2 * HOUR) == [(HOUR, 3), (2 * HOUR, 0)]
    assert values(found, "ALIGN_DELTA", HOUR, 24 * HOUR, 25 * HOUR) == [(25 * HOUR, 0)]
    assert values(found, "ALIGN_DELTA", HOUR, 30 * HOUR, 31 * HOUR) == []


def test_a_gauge_keeps_its_value() -> None:
    found = gauge((T, 10), (T + 90, 30))
    assert values(found, "ALIGN_MEAN", 60, 0, 240) == [(60, 10), (120, 20), (180, 30), (240, 30)]
    assert values(found, "ALIGN_NEXT_OLDER", 60, 60, 120) == [(120, 30)]
    assert values(found, "ALIGN_NONE", 0, 0, 240) == [(0, 10), (90, 30)]
    assert "ALIGN_DELTA" in problem(found, Aggregation(60, "ALIGN_DELTA"))


def test_groups_keep_the_labels_they_were_made_by() -> None:
    members = [counter("new", (T, 1)), counter("old", (T, 2)), counter("new", (T, 4), service="b")]
    by_reason = Aggregation(60, "ALIGN_DELTA", "REDUCE_SUM", ("metric.labels.reason",))
    found = aggregated(members, by_reason, T, T + 60)
    assert [(each.metric_labels, each.resource_labels, each.samples[0][1]) for each in found] == [
        ({"reason": "new"}, {}, 5), ({"reason": "old"}, {}, 2),
    ]  # fmt: skip
    by_service = Aggregation(60, "ALIGN_DELTA", "REDUCE_SUM", ("resource.label.service_name",))
    assert [each.samples[0][1] for each in aggregated(members, by_service, T, T + 60)] == [3, 4]
    everything = aggregated(members, Aggregation(60, "ALIGN_DELTA", "REDUCE_SUM"), T, T + 60)
    assert [(each.metric_labels, each.samples) for each in everything] == [({}, ((T + 60, 7),))]


def test_points_are_written_newest_first() -> None:
    shown = written(counter("x", (T + 60, 1.0), (T + 120, 2.0)), 60)
    assert [point["value"] for point in shown["points"]] == [{"int64Value": "2"}, {"int64Value": "1"}]
    assert shown["points"][0]["interval"] == {"startTime": T + 60, "endTime": T + 120}
    assert written(gauge((T, 1.5)), 0)["points"][0]["value"] == {"doubleValue": 1.5}


@pytest.mark.parametrize("path", ["metric.labels.reason", "metric.label.reason", 'metric.labels."reason"'])
def test_labels_are_found(path: str) -> None:
    assert counter("x").label(path) == "x" and counter("x").label("metric.type") == "hits"


def spread(*samples: tuple[float, list[float]], service: str = "a") -> Series:
    buckets = linear(10, 10.0, 0.0)
    points = tuple((at, of_values(buckets, each)) for at, each in samples)
    return Series("latencies", {}, "cloud_run_revision", {"service_name": service}, DELTA, "DISTRIBUTION", points)


def test_distributions_are_merged_over_a_window_and_over_series() -> None:
    found = [spread((T + 1, [5] * 8), (T + 30, [95])), spread((T + 2, [95]), service="b")]
    over = Aggregation(60, "ALIGN_DELTA", "REDUCE_PERCENTILE_50")
    assert aggregated(found, over, T, T + 60)[0].samples == ((T + 60, pytest.approx(6.25)),)
    assert aggregated(found, over, T, T + 60)[0].value_type == "DOUBLE"
    summed = aggregated(found, Aggregation(60, "ALIGN_DELTA", "REDUCE_SUM"), T, T + 60)[0].samples[0][1]
    assert summed.written()["count"] == "10"  # type: ignore[union-attr]
    mean = aggregated(found, Aggregation(60, "ALIGN_SUM", "REDUCE_MEAN"), T, T + 60)[0].samples[0][1]
    assert mean == pytest.approx((8 * 5 + 2 * 95) / 10)
    assert aggregated([spread((T + 1, [5]))], Aggregation(60, "ALIGN_PERCENTILE_99"), T + 60, T + 120) == []


def test_what_is_not_defined_for_a_kind_is_a_problem() -> None:
    assert "ALIGN_MEAN" in problem(spread((T, [1])), Aggregation(60, "ALIGN_MEAN"))
    assert "ALIGN_PERCENTILE_95" in problem(counter("x", (T, 1)), Aggregation(60, "ALIGN_PERCENTILE_95"))
    assert "REDUCE_MAX" in problem(spread((T, [1])), Aggregation(60, "ALIGN_DELTA", "REDUCE_MAX"))
    assert not problem(spread((T, [1])), Aggregation(60, "ALIGN_PERCENTILE_95", "REDUCE_MAX"))


def test_an_aggregation_is_aggregated_again() -> None:
    found = [counter("x", (T + 10, 1), (T + 70, 2), (T + 130, 4), (T + 190, 8))]
    first = aggregated(found, Aggregation(60, "ALIGN_DELTA"), T, T + 240)
    assert again(first, Aggregation(120, "ALIGN_MAX"), T, T + 240)[0].samples == ((T + 120, 2), (T + 240, 8))
    assert again(first, Aggregation(240, "ALIGN_SUM"), T, T + 240)[0].samples == ((T + 240, 15),)
    rates = aggregated(found, Aggregation(60, "ALIGN_RATE"), T, T + 240)
    assert again(rates, Aggregation(240, "ALIGN_MAX"), T, T + 240)[0].samples == ((T + 240, pytest.approx(8 / 60)),)
