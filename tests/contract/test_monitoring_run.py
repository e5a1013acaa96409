"""Cloud Run's metrics and what alert policies make of them, through googleapiclient, on services that really serve."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scripts.cloud import discovery
from tests.contract.run_support import Cloud, api, job, service, until
from tests.contract.test_monitoring import Watch, refused, total

pytestmark = pytest.mark.process
RUN = "run.googleapis.com"


def read(watch: Watch, metric: str, start: str, more: str = "", **aggregation: Any) -> Any:
    """The series of a metric up to a second from now: the newest points are as old as the answer."""
    watch.advance(1)
    return watch.read(f'metric.type="{RUN}/{metric}"{more}', start, watch.now(), **aggregation)


def _before(start: str) -> str:
    """A day earlier: instances may have started before a test did."""
    return (datetime.fromisoformat(start) - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def call(url: str, path: str = "/") -> int:
    try:
        with urllib.request.urlopen(url + path, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.fixture(scope="module")
def served(shared_standin: Any) -> Any:
    """A service that has answered twelve requests, three of them with 404."""
    cloud = Cloud(shared_standin.url)
    url = cloud.create(service("metered"))["status"]["url"]
    watch = Watch(shared_standin, "demo")
    start = watch.now()
    statuses = [call(url, "/read?path=/nowhere" if number % 4 == 0 else "/") for number in range(12)]
    return watch, start, statuses


def test_requests_are_counted_by_their_status(served: Any) -> None:
    watch, start, statuses = served
    found = read(watch, "request_count", start, ' resource.labels.service_name="metered"')
    counted = {
        each["metric"]["labels"]["response_code"]: sum(int(p["value"]["int64Value"]) for p in each["points"])
        for each in found
    }
    assert counted == {str(code): statuses.count(code) for code in set(statuses)} and len(counted) == 2
    assert found[0]["resource"]["type"] == "cloud_run_revision"
    labels = found[0]["resource"]["labels"]
    assert labels["revision_name"].startswith("metered-") and labels["location"] == "europe-west1"
    aggregated = read(
        watch, "request_count", start, ' metric.labels.response_code_class="4xx"', alignmentPeriod="3600s",
        perSeriesAligner="ALIGN_SUM", crossSeriesReducer="REDUCE_SUM", groupByFields="resource.labels.service_name",
    )  # fmt: skip
    assert total(aggregated) == {"": 3}


def test_latencies_are_distributions_with_percentiles(served: Any) -> None:
    watch, start, statuses = served
    whole = read(
        watch, "request_latencies", start, alignmentPeriod="3600s", perSeriesAligner="ALIGN_DELTA",
        crossSeriesReducer="REDUCE_SUM",
    )  # fmt: skip
    spread = whole[0]["points"][0]["value"]["distributionValue"]
    assert int(spread["count"]) == len(statuses) == sum(map(int, spread["bucketCounts"]))
    assert spread["bucketOptions"]["exponentialBuckets"]["numFiniteBuckets"] == 66
    assert whole[0]["valueType"] == "DISTRIBUTION" and 0 < spread["mean"] < 30_000
    percentiles = [
        read(
            watch, "request_latencies", start, alignmentPeriod="3600s", perSeriesAligner="ALIGN_DELTA",
            crossSeriesReducer=f"REDUCE_PERCENTILE_{percent}",
        )[0]["points"][0]["value"]["doubleValue"]
        for percent in ("50", "95", "99")
    ]  # fmt: skip
    assert percentiles == sorted(percentiles) and percentiles[0] > 0
    bad = {"interval_endTime": watch.now(), "interval_startTime": start}
    bad |= {"filter": f'metric.type="{RUN}/request_latencies"', "aggregation_alignmentPeriod": "60s"}
    code, text = refused(watch.series.list(name=watch.parent, aggregation_perSeriesAligner="ALIGN_MEAN", **bad))
    assert code == 400 and "ALIGN_MEAN" in text


def test_instances_and_their_memory_are_sampled(served: Any) -> None:
    watch, start, _ = served
    watch.advance(120)
    until(lambda: read(watch, "container/memory/utilizations", start))
    found = read(watch, "container/instance_count", start, ' resource.labels.service_name="metered"')
    assert {each["metric"]["labels"]["state"] for each in found} == {"active", "idle"}
    assert max(int(point["value"]["int64Value"]) for each in found for point in each["points"]) == 1
    use = read(
        watch, "container/memory/utilizations", start, alignmentPeriod="3600s", perSeriesAligner="ALIGN_PERCENTILE_99"
    )
    assert 0 < use[0]["points"][0]["value"]["doubleValue"] <= 1
    started = until(lambda: read(watch, "container/startup_latencies", _before(start)))
    assert int(started[0]["points"][0]["value"]["distributionValue"]["count"]) == 1


def test_executions_of_jobs_are_counted(served: Any, shared_standin: Any) -> None:
    watch, start, _ = served
    cloud = Cloud(shared_standin.url)
    for name, env in (("counted-well", {}), ("counted-badly", {"FAIL_INDEX": "0"})):
        cloud.run.jobs().create(parent="namespaces/demo", body=job(name, env=env)).execute()
        cloud.execute(name)
    found = read(watch, "job/completed_execution_count", start)
    results = {each["resource"]["labels"]["job_name"]: each["metric"]["labels"]["result"] for each in found}
    assert results == {"counted-well": "succeeded", "counted-badly": "failed"}
    assert {each["resource"]["type"] for each in found} == {"cloud_run_job"}


def test_metrics_and_resources_are_described(served: Any) -> None:
    watch, _, _ = served
    projects = api(watch.standin.url, "monitoring", "v3").projects()
    listed = (
        projects.metricDescriptors().list(name=watch.parent, filter=f'metric.type = starts_with("{RUN}/")').execute()
    )
    discovery.validate("monitoring", "v3", "ListMetricDescriptorsResponse", listed)
    kinds = {each["type"].removeprefix(f"{RUN}/"): each["valueType"] for each in listed["metricDescriptors"]}
    assert kinds["request_count"] == "INT64" and kinds["request_latencies"] == "DISTRIBUTION"
    one = projects.metricDescriptors().get(name=f"{watch.parent}/metricDescriptors/{RUN}/request_count").execute()
    discovery.validate("monitoring", "v3", "MetricDescriptor", one)
    assert [label["key"] for label in one["labels"]] == ["response_code", "response_code_class"]
    resources = projects.monitoredResourceDescriptors()
    every = resources.list(name=watch.parent).execute()
    discovery.validate("monitoring", "v3", "ListMonitoredResourceDescriptorsResponse", every)
    one = resources.get(name=f"{watch.parent}/monitoredResourceDescriptors/cloud_run_revision").execute()
    assert "service_name" in {label["key"] for label in one["labels"]}
    assert refused(projects.metricDescriptors().get(name=f"{watch.parent}/metricDescriptors/{RUN}/none"))[0] == 404


def test_alerts_go_off_on_errors_and_slowness(standin_at: Callable[..., Any], tmp_path: Path) -> None:
    standin = standin_at(tmp_path / "cloud")
    watch, cloud = Watch(standin, "demo"), Cloud(standin.url)
    url = cloud.create(service("alarmed"))["status"]["url"]
    by_service = {"alignmentPeriod": "300s", "groupByFields": ["resource.labels.service_name"]}
    sums = [{**by_service, "perSeriesAligner": "ALIGN_DELTA", "crossSeriesReducer": "REDUCE_SUM"}]
    count = f'metric.type="{RUN}/request_count" AND resource.type="cloud_run_revision"'
    errors = {
        "filter": f'{count} AND metric.labels.response_code_class="4xx"', "denominatorFilter": count,
        "aggregations": sums, "denominatorAggregations": sums, "comparison": "COMPARISON_GT", "thresholdValue": 0.5,
    }  # fmt: skip
    slow = {
        "filter": f'metric.type="{RUN}/request_latencies"', "comparison": "COMPARISON_GT", "thresholdValue": 0.001,
        "aggregations": [
            {**by_service, "perSeriesAligner": "ALIGN_PERCENTILE_95", "crossSeriesReducer": "REDUCE_MAX"},
            {"alignmentPeriod": "300s", "perSeriesAligner": "ALIGN_MAX"},
        ],
    }  # fmt: skip
    silent = {"filter": count, "duration": "600s", "aggregations": sums}
    watch.policy(displayName="errors", conditions=[{"displayName": "c", "conditionThreshold": errors}])
    watch.policy(displayName="slow", conditions=[{"displayName": "c", "conditionThreshold": slow}])
    watch.policy(displayName="silent", conditions=[{"displayName": "c", "conditionAbsent": silent}])
    assert [call(url, "/read?path=/nowhere") for _ in range(6)] == [404] * 6 and call(url) == 200
    watch.advance(60)
    opened = {each["policyDisplayName"]: each for each in watch.incidents()}
    assert set(opened) == {"errors", "slow"}
    assert opened["errors"]["value"] == pytest.approx(6 / 7)
    assert opened["errors"]["labels"]["resource"] == {"service_name": "alarmed"}
    watch.advance(300)
    assert "errors" in {each["policyDisplayName"] for each in watch.incidents()}  # without requests there is no ratio
    assert call(url) == 200
    watch.advance(60)
    closed = {each["policyDisplayName"]: each for each in watch.incidents("closed")}
    assert closed["errors"]["endedAt"][17:19] == closed["errors"]["startedAt"][17:19] == "00"
    assert closed["errors"]["startedAt"] < closed["errors"]["endedAt"] <= watch.now()
    assert set(closed) == {"errors"}
    watch.advance(720)
    assert "silent" in {each["policyDisplayName"] for each in watch.incidents()}
    assert call(url) == 200
    watch.advance(60)
    assert "silent" in {each["policyDisplayName"] for each in watch.incidents("closed")}
