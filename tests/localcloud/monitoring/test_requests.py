"""Requests counted from events: by status and revision, in buckets of latency, over restarts and merges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.localcloud.context import Context, Database
from scripts.localcloud.monitoring.alignment import aggregated
from scripts.localcloud.monitoring.distributions import Distribution
from scripts.localcloud.monitoring.points import Points
from scripts.localcloud.monitoring.requests import COUNT, LATENCIES, SOURCE, Requests
from scripts.localcloud.monitoring.series import Aggregation, Series
from scripts.localcloud.run.events import REQUEST, RequestServed

T = 1_700_000_040.0


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    context = Context(tmp_path, "http://127.0.0.1:1", tmp_path, Database(tmp_path / "state.db"))
    yield context
    context.db.close()


def serve(context: Context, at_s: float, status: int = 200, ms: float = 100, revision: str = "api-1") -> None:
    context.publish(REQUEST, RequestServed("demo", "api", revision, "i", status, ms / 1000, at_s))


def by_code(found: list[Series]) -> dict[str, float]:
    return {each.metric_labels["response_code"]: sum(value for _, value in each.samples) for each in found}  # type: ignore[misc]


def test_requests_are_counted_by_status_and_revision(context: Context) -> None:
    requests = Requests(context, Points(context.db))
    for number in range(30):
        serve(context, T + number, 500 if number % 3 == 0 else 200)
    serve(context, T + 40, 200, revision="api-2")
    found = requests.series("demo", [COUNT], T, T + 60)
    assert by_code([each for each in found if each.resource_labels["revision_name"] == "api-1"]) == {
        "200": 20,
        "500": 10,
    }
    assert {each.metric_labels["response_code_class"] for each in found} == {"2xx", "5xx"}
    assert found[0].resource_labels == {
        "project_id": "demo", "service_name": "api", "revision_name": "api-1", "location": "europe-west1",
        "configuration_name": "api",
    }  # fmt: skip
    assert requests.series("other", [COUNT], T, T + 60) == []
    assert requests.series("demo", ["another"], T, T + 60) == []


def test_of_what_lies_before_only_the_last_moment_is_read(context: Context) -> None:
    requests = Requests(context, Points(context.db))
    for second in (0, 1, 2, 50, 60, 61):
        serve(context, T + second)
        requests.flush()
    serve(context, T + 2, 500)
    found = requests.series("demo", [COUNT], T, T + 100, T + 60)
    assert {each.metric_labels["response_code"]: [at - T for at, _ in each.samples] for each in found} == {
        "200": [50, 60, 61],
        "500": [2],
    }
    assert [len(each.samples) for each in requests.series("demo", [COUNT], T + 10, T + 100, T + 60)] == [3]
    assert requests.series("other", [COUNT], T, T + 100, T + 60) == []


def test_a_restart_loses_nothing_that_was_written(context: Context) -> None:
    requests = Requests(context, Points(context.db))
    serve(context, T)
    requests.flush()
    serve(context, T + 1)
    requests.flush()
    assert by_code(Requests(context, Points(context.db)).series("demo", [COUNT], T, T + 60)) == {"200": 2}


def test_latencies_have_percentiles(context: Context) -> None:
    requests = Requests(context, Points(context.db))
    for number in range(100):
        serve(context, T + number / 10, ms=1000 if number >= 94 else 20)
    found = requests.series("demo", [LATENCIES], T, T + 60)
    values = {
        percent: aggregated(found, Aggregation(60, f"ALIGN_PERCENTILE_{percent}"), T, T + 60)[0].samples[0][1]
        for percent in ("50", "95", "99")
    }
    # within the bucket that the latency falls into: its bounds are 1.4 apart
    assert 14 < values["50"] < 28 and 714 < values["95"] <= values["99"] < 1400  # type: ignore[operator]
    whole = aggregated(found, Aggregation(60, "ALIGN_DELTA"), T, T + 60)[0].samples[0][1]
    assert isinstance(whole, Distribution) and whole.count == 100
    assert whole.mean == pytest.approx((94 * 20 + 6 * 1000) / 100)


def test_old_points_are_merged_by_the_minute_and_lose_nothing(context: Context) -> None:
    points = Points(context.db)
    requests = Requests(context, points)
    for number in range(10):
        serve(context, T + number * 20, ms=10 * number)
        requests.flush()
    before = requests.series("demo", [LATENCIES, COUNT], T - 60, T + 600)
    points.tidy(T + 3 * 3600, (SOURCE,))
    after = requests.series("demo", [LATENCIES, COUNT], T - 60, T + 600)
    assert len(after[0].samples) == 4 < len(before[0].samples) == 10
    wanted = Aggregation(600, "ALIGN_DELTA")
    whole = [aggregated(each, wanted, T - 60, T + 540) for each in (before, after)]
    assert whole[0][0].samples[0][1] == 10
    assert whole[0][1].samples[0][1].written() == whole[1][1].samples[0][1].written()  # type: ignore[union-attr]
    points.tidy(T + 50 * 86400, (SOURCE,))
    assert requests.series("demo", [COUNT], T - 60, T + 600) == []
