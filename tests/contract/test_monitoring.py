"""Log-based metrics, time series, alert policies and incidents through googleapiclient, checked by schema."""

from __future__ import annotations

import itertools
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.cloud import discovery
from tests.contract.run_support import api

pytestmark = pytest.mark.process
_projects = itertools.count(1)
HITS = "logging.googleapis.com/user/hits"


class Watch:
    """Clients on one stand-in, and the stand-in's clock."""

    def __init__(self, standin: Any, project: str) -> None:
        self.standin = standin
        self.parent = f"projects/{project}"
        self.logs = api(standin.url, "logging", "v2").projects().metrics()
        monitoring = api(standin.url, "monitoring", "v3").projects()
        self.series, self.policies = monitoring.timeSeries(), monitoring.alertPolicies()
        self.channels = monitoring.notificationChannels()

    def now(self) -> str:
        return str(self.standin.get("/_local/clock")["now"])

    def advance(self, seconds: float) -> None:
        self.standin.post("/_local/clock", {"advance_s": seconds})

    def write(self, *payloads: dict[str, Any], **entry: Any) -> None:
        resource = {"type": "cloud_run_revision", "labels": {"service_name": "tabular-service"}}
        entries = [
            {"logName": f"{self.parent}/logs/app", "resource": resource, "jsonPayload": each, **entry}
            for each in payloads
        ]
        self.standin.post("/v2/entries:write", {"entries": entries})

    def metric(self, name: str, text: str, **labels: str) -> Any:
        descriptor = {"metricKind": "DELTA", "valueType": "INT64", "labels": [{"key": key} for key in labels]}
        body: dict[str, Any] = {"name": name, "filter": text, "metricDescriptor": descriptor, "labelExtractors": labels}
        made = self.logs.create(parent=self.parent, body=body).execute()
        discovery.validate("logging", "v2", "LogMetric", made)
        return made

    def read(self, text: str, start: str, end: str, **aggregation: Any) -> Any:
        options = {f"aggregation_{key}": value for key, value in aggregation.items()}
        listed = self.series.list(
            name=self.parent, filter=text, interval_startTime=start, interval_endTime=end, **options
        ).execute()
        discovery.validate("monitoring", "v3", "ListTimeSeriesResponse", listed)
        return listed.get("timeSeries", [])

    def policy(self, **changes: Any) -> Any:
        made = self.policies.create(name=self.parent, body={"displayName": "P", "combiner": "OR", **changes}).execute()
        discovery.validate("monitoring", "v3", "AlertPolicy", made)
        return made

    def incidents(self, state: str = "open") -> Any:
        return self.standin.get(f"/_local/incidents?state={state}&project={self.parent[9:]}")["incidents"]


@pytest.fixture
def watch(shared_standin: Any) -> Watch:
    return Watch(shared_standin, f"project-{next(_projects)}")


def above(metric: str, limit: float, **changes: Any) -> dict[str, Any]:
    condition = {
        "filter": f'metric.type="{metric}" AND resource.type="cloud_run_revision"',
        "comparison": "COMPARISON_GT",
        "thresholdValue": limit,
        "duration": "0s",
        "aggregations": [{"alignmentPeriod": "300s", "perSeriesAligner": "ALIGN_DELTA"}],
        **changes,
    }
    return {"displayName": "too many", "conditionThreshold": condition}


def refused(request: Any) -> tuple[int, str]:
    from googleapiclient.errors import HttpError

    with pytest.raises(HttpError) as caught:
        request.execute()
    return int(caught.value.resp.status), caught.value.content.decode()


def total(found: Any) -> dict[str, int]:
    return {
        each["metric"].get("labels", {}).get("reason", ""): sum(int(p["value"]["int64Value"]) for p in each["points"])
        for each in found
    }


def test_metrics_count_what_was_logged_before_and_after(watch: Watch) -> None:
    start = watch.now()
    watch.write(
        {"cache_hit": False, "reason": "no_manifest"}, {"cache_hit": False, "reason": "old"}, {"cache_hit": True}
    )
    made = watch.metric("misses", "jsonPayload.cache_hit=false", reason="EXTRACT(jsonPayload.reason)")
    assert made["metricDescriptor"]["type"] == "logging.googleapis.com/user/misses"
    watch.write({"cache_hit": False, "reason": "old"})
    watch.advance(2)
    text = 'metric.type="logging.googleapis.com/user/misses"'
    raw = watch.read(text, start, watch.now())
    assert total(raw) == {"no_manifest": 1, "old": 2}
    assert raw[0]["resource"]["labels"]["service_name"] == "tabular-service"
    aligned = watch.read(
        text, start, watch.now(), alignmentPeriod="3600s", perSeriesAligner="ALIGN_SUM",
        crossSeriesReducer="REDUCE_SUM", groupByFields="resource.labels.service_name",
    )  # fmt: skip
    assert total(aligned) == {"": 3} and len(aligned[0]["points"]) == 1
    narrow = watch.read(text + ' AND metric.labels.reason="old"', start, watch.now())
    assert total(narrow) == {"old": 2}


def test_metrics_live_their_life(watch: Watch) -> None:
    watch.metric("a/b", 'severity>=ERROR AND jsonPayload.message=~"x"')
    name = f"{watch.parent}/metrics/a%2Fb"
    assert watch.logs.get(metricName=name).execute()["name"] == "a/b"
    start = watch.now()
    watch.write({"message": "x"}, severity="ERROR")
    watch.advance(2)
    text = 'metric.type="logging.googleapis.com/user/a/b"'
    assert total(watch.read(text, start, watch.now())) == {"": 1}
    watch.logs.update(metricName=name, body={"name": "a/b", "filter": "severity=ALERT"}).execute()
    assert watch.read(text, start, watch.now()) == []
    listed = watch.logs.list(parent=watch.parent).execute()
    discovery.validate("logging", "v2", "ListLogMetricsResponse", listed)
    assert [each["filter"] for each in listed["metrics"]] == ["severity=ALERT"]
    watch.logs.delete(metricName=name).execute()
    assert refused(watch.logs.get(metricName=name))[0] == 404
    for bad in (
        {"filter": "a="},
        {"filter": ""},
        {"filter": "a", "labelExtractors": {"x": "EXTRACT(a)"}},
        {"extra": 1},
    ):
        body = {"name": "bad", "filter": "severity=ALERT", **bad}
        assert refused(watch.logs.create(parent=watch.parent, body=body))[0] == 400


def test_bytes_of_buckets_are_series(watch: Watch, connect: Callable[..., Any]) -> None:
    bucket = connect(watch.standin.url, watch.parent[9:]).create_bucket("sized", location="europe-west1")
    start = watch.now()
    bucket.blob("a").upload_from_string(b"x" * 1000)
    watch.advance(600)
    bucket.blob("b").upload_from_string(b"x" * 500)
    text = 'metric.type="storage.googleapis.com/storage/total_bytes" AND resource.labels.bucket_name="sized"'
    watch.advance(1)
    found = watch.read(text, start, watch.now(), alignmentPeriod="300s", perSeriesAligner="ALIGN_MAX")
    assert [point["value"]["doubleValue"] for point in found[0]["points"]][:2] == [1500, 1000]
    assert found[0]["resource"]["type"] == "gcs_bucket"
    bad = {"interval_endTime": watch.now(), "interval_startTime": start, "filter": text}
    bad |= {"aggregation_perSeriesAligner": "ALIGN_DELTA", "aggregation_alignmentPeriod": "60s"}
    assert "ALIGN_DELTA" in refused(watch.series.list(name=watch.parent, **bad))[1]


def test_a_threshold_opens_and_ends_an_incident(watch: Watch) -> None:
    watch.metric("hits", "jsonPayload.hit=true")
    channel = watch.channels.create(
        name=watch.parent, body={"type": "email", "labels": {"email_address": "a@b"}}
    ).execute()
    discovery.validate("monitoring", "v3", "NotificationChannel", channel)
    made = watch.policy(conditions=[above(HITS, 2, duration="120s")], notificationChannels=[channel["name"]])
    watch.write(*[{"hit": True}] * 3)
    watch.advance(90)
    assert watch.incidents() == []
    watch.advance(90)
    [incident] = watch.incidents()
    assert incident["value"] == 3 and incident["threshold"] == 2 and incident["notified"] == [channel["name"]]
    assert incident["labels"]["resource"]["service_name"] == "tabular-service"
    watch.advance(300)
    assert watch.incidents() == [] and watch.incidents("closed")[0]["id"] == incident["id"]
    code, text = refused(watch.channels.delete(name=channel["name"]))
    assert code == 400 and "force" in text
    watch.policies.delete(name=made["name"]).execute()
    watch.channels.delete(name=channel["name"]).execute()


def test_an_incident_outlives_another_description_of_its_policy(watch: Watch) -> None:
    watch.metric("hits", "jsonPayload.hit=true")
    about = {"content": "Look at the log.", "mimeType": "text/markdown"}
    made = watch.policy(conditions=[above(HITS, 0)], documentation=about, userLabels={"team": "a", "tier": "1"})
    watch.write({"hit": True})
    watch.advance(60)
    [incident] = watch.incidents()
    assert incident["documentation"] == about and incident["policyUserLabels"] == made["userLabels"]
    body = {"userLabels": {"team": "b"}, "documentation": {"content": "Ask."}, "displayName": "Q"}
    mask = "user_labels.team,documentation.content,display_name"
    new = watch.policies.patch(name=made["name"], updateMask=mask, body=body).execute()
    assert new["userLabels"] == {"team": "b", "tier": "1"} and new["displayName"] == "Q"
    assert new["documentation"] == {"content": "Ask.", "mimeType": "text/markdown"}
    watch.policies.patch(name=made["name"], body={**new, "severity": "WARNING"}).execute()
    assert [each["id"] for each in watch.incidents()] == [incident["id"]]
    watch.policies.patch(name=made["name"], updateMask="enabled", body={"enabled": False}).execute()
    assert watch.incidents() == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"filter": 'resource.type="cloud_run_revision"'}, "metric.type"),
        ({"filter": 'metric.type="a" OR metric.type="b"'}, "metric.type"),
        ({"filter": f'metric.type="{HITS}"', "view": "SOME"}, "Invalid value at 'view'"),
    ],
)
def test_series_are_of_one_metric(watch: Watch, options: dict[str, str], words: str) -> None:
    url = f"{watch.standin.url}/v3/{watch.parent}/timeSeries?"
    query = urllib.parse.urlencode({**options, "interval.endTime": watch.now()})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url + query, timeout=30)
    assert caught.value.code == 400 and words in json.load(caught.value)["error"]["message"]


def test_a_ratio_counts_the_hits_that_never_were(watch: Watch) -> None:
    watch.metric("hits", "jsonPayload.cache_hit=true")
    watch.metric("starts", "jsonPayload.cache_hit:*")
    window = [{"alignmentPeriod": "3600s", "perSeriesAligner": "ALIGN_DELTA", "crossSeriesReducer": "REDUCE_SUM"}]
    ratio = above(
        HITS, 0.9, comparison="COMPARISON_LT", aggregations=window, denominatorAggregations=window,
        denominatorFilter='metric.type="logging.googleapis.com/user/starts"',
    )  # fmt: skip
    watch.policy(conditions=[ratio])
    watch.advance(120)
    assert watch.incidents() == []
    watch.write(*[{"cache_hit": False}] * 2)
    watch.advance(60)
    assert [each["value"] for each in watch.incidents()] == [0]
    watch.write(*[{"cache_hit": True}] * 30)
    watch.advance(60)
    assert watch.incidents() == []


def test_absence_and_logs_and_all_of_them(standin_at: Any, tmp_path: Path) -> None:
    watch = Watch(standin_at(tmp_path / "cloud"), "demo")
    watch.metric("hits", "jsonPayload.hit=true")
    absent = {"filter": f'metric.type="{HITS}" resource.type="cloud_run_revision"', "duration": "600s"}
    silent = {"displayName": "silent", "conditionAbsent": absent}
    logged = {"displayName": "logged", "conditionMatchedLog": {"filter": "severity=ALERT"}}
    watch.write({"hit": True}, severity="ALERT")
    watch.policy(displayName="any", conditions=[silent])
    watch.policy(displayName="log", conditions=[logged], alertStrategy={"autoClose": "1800s"})
    watch.policy(displayName="both", conditions=[silent, logged], combiner="AND")
    watch.advance(300)
    assert watch.incidents() == []
    watch.advance(420)
    assert [each["policyDisplayName"] for each in watch.incidents()] == ["any"]
    watch.write({"message": "!"}, severity="ALERT")
    watch.advance(60)
    assert {each["policyDisplayName"] for each in watch.incidents()} == {"any", "log", "both"}
    watch.standin.stop()
    again = Watch(standin_at(watch.standin.state), "demo")
    assert len(again.incidents()) == 3
    again.write({"hit": True})
    again.advance(60)
    assert {each["policyDisplayName"] for each in again.incidents()} == {"log"}
    again.advance(1800)
    assert {each["policyDisplayName"] for each in again.incidents()} == {"any", "both"}


def test_policies_live_their_life(watch: Watch) -> None:
    query = {"displayName": "q", "conditionPrometheusQueryLanguage": {"query": "up"}}
    foreign = watch.policy(conditions=[query])
    assert "not evaluated" in foreign["validity"]["message"]
    made = watch.policy(conditions=[above(HITS, 1)], userLabels={"severity": "p1"})
    off = watch.policies.patch(name=made["name"], updateMask="enabled", body={"enabled": False}).execute()
    assert (
        off["enabled"] is False and off["userLabels"] == {"severity": "p1"} and off["conditions"] == made["conditions"]
    )
    listed = watch.policies.list(name=watch.parent).execute()
    discovery.validate("monitoring", "v3", "ListAlertPoliciesResponse", listed)
    assert listed["totalSize"] == 2
    watch.policies.delete(name=made["name"]).execute()
    assert refused(watch.policies.get(name=made["name"]))[0] == 404


@pytest.mark.parametrize(
    "changes",
    [
        {"conditions": []},
        {"conditions": [above("x", 1)], "combiner": "XOR"},
        {"conditions": [above("x", 1)], "displayName": ""},
        {"conditions": [above("x", 1, filter="metric.type")]},
        {"conditions": [above("x", 1, comparison="MORE")]},
        {"conditions": [above("x", 1, duration="90s")]},
        {"conditions": [above("x", 1, thresholdValue="many")]},
        {"conditions": [above("x", 1, trigger={"percent": "nan"})]},
        {"conditions": [above("x", 1, aggregations=[{"perSeriesAligner": "ALIGN_PERCENTILE_99"}])]},
        {"conditions": [above("x", 1, aggregations=[{"perSeriesAligner": "ALIGN_SUM", "alignmentPeriod": "5s"}])]},
        {"conditions": [{"displayName": "x", "conditionAbsent": {"filter": 'metric.type="x"', "duration": "60s"}}]},
        {"conditions": [{"displayName": "x", "conditionMatchedLog": {"filter": "a="}}]},
        {"conditions": [{"displayName": "x"}]},
        {"conditions": [above("x", 1)], "notificationChannels": ["projects/demo/notificationChannels/1"]},
        {"conditions": [above("x", 1)], "unknown": 1},
    ],
)
def test_bad_policies_are_refused(shared_standin: Any, changes: dict[str, Any]) -> None:
    policies = api(shared_standin.url, "monitoring", "v3").projects().alertPolicies()
    body = {"displayName": "bad", "combiner": "OR", **changes}
    assert refused(policies.create(name="projects/demo", body=body))[0] in (400, 404)
