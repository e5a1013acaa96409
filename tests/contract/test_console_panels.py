"""The console's panels of what passes through and what is watched, with hostile text, and of a very full stand-in."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from tests.contract.test_console import EVIL, HTML, act, json_of, page, put, send, wait

pytestmark = pytest.mark.process
PROJECT = "projects/demo"
RUNBOOK = "https://example.com/runbook?a=1&b=2#refused"
STORED = "/storage/v1/b/shelf/o"


@pytest.fixture(scope="module")
def watched(shared_standin: Any) -> Iterator[Any]:
    """The module's stand-in with a bucket of all settings, faults, failing calls and an open incident."""
    standin = shared_standin
    settings = {
        "versioning": {"enabled": True}, "softDeletePolicy": {"retentionDurationSeconds": "604800"},
        "lifecycle": {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 30}}]},
        "retentionPolicy": {"retentionPeriod": "3600"},
    }  # fmt: skip
    standin.post("/storage/v1/b?project=demo", {"name": "shelf", "versioning": {"enabled": True}})
    for _ in range(3):
        put(standin, "shelf", "twice", "12345")
    noncurrent = standin.get(f"{STORED}?versions=true")["items"][0]["generation"]
    assert send(standin, "DELETE", f"{STORED}/twice?generation={noncurrent}")[0] == 204
    kind = {"content-type": "application/json"}
    assert send(standin, "PATCH", "/storage/v1/b/shelf", json.dumps(settings), kind)[0] == 200
    standin.post("/_local/faults", {"on": "storage.objects.insert", "kind": "503", "bucket": EVIL, "object": EVIL})
    standin.post("/_local/faults", {"on": "storage.buckets.get", "kind": "429", "count": "forever"})
    assert send(standin, "GET", "/storage/v1/b/shelf", headers={"user-agent": EVIL})[0] == 429
    assert send(standin, "GET", f"{STORED}/{quote(EVIL, safe='')}", headers={"user-agent": EVIL})[0] == 404
    alert(standin)
    yield standin


def alert(standin: Any) -> None:
    """A policy whose names are hostile and whose documentation has a link to its runbook; it fires."""
    condition = {"displayName": f"c{EVIL}", "conditionMatchedLog": {"filter": 'textPayload:"refused"'}}
    channel = {"type": "email", "displayName": f"on call {EVIL}", "labels": {"email_address": "a@b.example"}}
    named = standin.post(f"/v3/{PROJECT}/notificationChannels", channel)["name"]
    policy = {
        "displayName": f"refusals {EVIL}", "combiner": "OR", "severity": "CRITICAL", "conditions": [condition],
        "notificationChannels": [named],
        "documentation": {"content": f"javascript:alert(1) See [the runbook]({RUNBOOK}).", "mimeType": "text/markdown"},
    }  # fmt: skip
    standin.post(f"/v3/{PROJECT}/alertPolicies", policy)
    entry = {"textPayload": "refused", "logName": f"{PROJECT}/logs/x", "resource": {"type": "global"}}
    standin.post("/v2/entries:write", {"entries": [entry]})
    standin.post("/_local/clock", {"advance_s": 90})


def test_hostile_names_are_shown_and_nothing_of_them_runs(watched: Any) -> None:
    wait(lambda: json_of(watched, "incidents")["open"] == 1)
    found, _ = page(watched)
    assert found.problems == []
    text = "".join(found.text)
    for each in (f"bucket {EVIL}", f"refusals {EVIL}", f"on call {EVIL}", f"shelf/{EVIL}"):
        assert each in text
    links = [each["href"] for each in found.all("a")]
    assert links.count(RUNBOOK) == 2 and not any(each.lower().startswith(("javascript", "data")) for each in links)


def test_incidents_tell_policy_channels_and_runbook(watched: Any) -> None:
    answer = json_of(watched, "incidents")
    (found,) = answer["incidents"]
    assert (found["state"], found["policy"], found["severity"]) == ("open", f"refusals {EVIL}", "CRITICAL")
    assert found["channels"] == [f"on call {EVIL}"] and found["runbook"] == RUNBOOK
    assert found["lasted_s"] is None and found["age_s"] >= 0
    assert [(each["enabled"], each["runbook"]) for each in answer["policies"]] == [(True, RUNBOOK)]


def test_what_is_wrong_comes_first(watched: Any) -> None:
    found = json_of(watched, "glance")
    assert found["wrong"][0] == {"level": "bad", "text": f"refusals {EVIL}: c{EVIL}", "panel": "incidents"}
    assert {"level": "warn", "text": "2 faults are set", "panel": "faults"} in found["wrong"]
    assert {each["panel"] for each in found["changed"]} >= {"incidents", "faults"}
    assert [each["age_s"] for each in found["changed"]] == sorted(each["age_s"] for each in found["changed"])


def test_requests_tell_rates_failures_and_sums(watched: Any) -> None:
    found = json_of(watched, "requests")
    rates = {each["name"]: each for each in found["rates"]}
    assert rates["storage"]["kind"] == "API" and rates["storage"]["errors"] >= 2
    assert rates["all APIs"]["requests"] >= rates["storage"]["requests"] > 5
    assert len(rates["storage"]["per_minute"]) == 60 and sum(rates["storage"]["per_minute"]) > 5
    failing = {(each["operation"], each["status"]): each for each in found["failing"]}
    assert failing["storage.objects.get", 404]["object"] == EVIL
    assert "f2" in failing["storage.buckets.get", 429]["fault"]
    sums = {each["operation"]: each for each in found["operations"]}
    assert sums["storage.objects.insert"]["count"] == 3 and sums["storage.objects.insert"]["bytes_in"] >= 15
    assert 0 < sums["storage.objects.insert"]["p50_ms"] <= sums["storage.objects.insert"]["p95_ms"]


def test_buckets_tell_what_they_keep(watched: Any) -> None:
    (found,) = json_of(watched, "buckets")["buckets"]
    assert (found["objects"], found["noncurrent"], found["noncurrent_bytes"]) == (1, 1, 5)
    assert (found["soft_deleted"], found["soft_deleted_bytes"], found["size_bytes"]) == (1, 5, 10)
    assert found["badges"] == ["versions", "soft delete 7 d", "1 lifecycle rule", "retention 1 h"]


def test_faults_are_set_and_cleared_by_their_buttons(standin: Any) -> None:
    asked = {
        "on": "storage.objects.get",
        "kind": "stall",
        "nth": "2",
        "count": "forever",
        "bucket": "b",
        "delay_s": "0.5",
    }
    status, headers, _ = act(standin, "fault.set", fields={**asked, "object": ""})
    assert status == 303 and headers["location"].endswith("#faults")
    (found,) = json_of(standin, "faults")["faults"]
    assert {key: found[key] for key in ("id", "on", "kind", "nth", "bucket", "delay_s", "left")} == {
        "id": "f1", "on": "storage.objects.get", "kind": "stall", "nth": 2, "bucket": "b", "delay_s": 0.5,
        "left": "forever",
    }  # fmt: skip
    assert (found["seen"], found["fired"]) == (0, 0)
    for wrong in ({"on": "storage.nothing"}, {"nth": "-1"}, {"count": "many"}, {"kind": EVIL}, {"delay_s": "soon"}):
        location = act(standin, "fault.set", fields={**asked, **wrong})[1]["location"]
        said, _ = page(standin, location.partition("#")[0])
        assert said.problems == [] and any("said bad" in each.get("class", "") for each in said.all("p")), wrong
    act(standin, "fault.set", fields={"on": "run.*", "kind": "503"})
    assert act(standin, "fault.clear", "f1")[0] == 303
    assert [each["on"] for each in json_of(standin, "faults")["faults"]] == ["run.*"]
    act(standin, "fault.set", fields={"on": "run.*", "kind": "503"})
    assert act(standin, "fault.clear-all")[0] == 303
    assert json_of(standin, "faults")["faults"] == []


def test_the_clock_moves_by_its_buttons(standin: Any) -> None:
    def now() -> datetime:
        return datetime.fromisoformat(json_of(standin, "clock")["now"])

    before = now()
    assert act(standin, "clock.advance", "3600")[0] == 303
    assert now() >= before + timedelta(seconds=3600)  # what it is ahead of the machine is less: moving took some time
    assert act(standin, "clock.rate", "60")[0] == 303
    assert json_of(standin, "clock")["rate"] == 60
    assert "60 times as fast" in str(json_of(standin, "glance")["wrong"])
    assert act(standin, "clock.rate", "1")[0] == 303
    location = act(standin, "clock.advance", "1e9")[1]["location"]
    assert "names nothing" in "".join(page(standin, location.partition("#")[0])[0].text)


@pytest.mark.parametrize("action", ["fault.set", "fault.clear-all", "clock.advance", "clock.rate"])
def test_without_the_token_nothing_changes(shared_standin: Any, watched: Any, action: str) -> None:
    before = (json_of(watched, "faults")["faults"], json_of(watched, "clock")["rate"])
    fields = {"on": "storage.*", "kind": "503", "token": "guess"}
    assert act(watched, action, "7200", fields)[0] == 403
    assert act(watched, action, "7200", {"on": "storage.*", "kind": "503"}, origin="http://evil.example")[0] == 403
    after = (json_of(watched, "faults")["faults"], json_of(watched, "clock")["rate"])
    assert [each["id"] for each in after[0]] == [each["id"] for each in before[0]] and after[1] == before[1]


def test_a_very_full_stand_in_has_a_short_page_and_all_of_it_as_json(standin: Any) -> None:
    fill(standin)
    found, _ = page(standin)
    assert found.problems == []
    assert len([each for each in found.all("article") if each.get("class") == "service"]) == 16
    shown = "".join(found.text)
    assert "184 more services" in shown and "12 more jobs" in shown and "40 more buckets" in shown
    assert len(send(standin, "GET", "/", headers=HTML)[2]) < 1_000_000
    services = json_of(standin, "services")["services"]
    assert len(services) == 200 and all(len(each["revisions"]) == 2 for each in services)
    assert services[7]["name"] == "svc-007" and services[7]["revisions"][0]["name"] == "svc-007-1"
    jobs = json_of(standin, "jobs")
    assert [(each["executions_total"], len(each["executions"])) for each in jobs["jobs"]] == [(50, 8)] * 20
    assert jobs["running"] == 20 and jobs["jobs"][3]["executions"][0]["name"] == "job-003-49"
    assert jobs["jobs"][3]["executions"][0]["state"] == "running"
    buckets = json_of(standin, "buckets")["buckets"]
    assert len(buckets) == 50 and {(each["objects"], each["noncurrent"]) for each in buckets} == {(180, 20)}


def fill(standin: Any) -> None:
    """200 services, 1,000 executions, 50 buckets with 10,000 generations, written where the rooms have them."""
    standin.post("/storage/v1/b?project=demo", {"name": "b-00", "softDeletePolicy": {"retentionDurationSeconds": "0"}})
    put(standin, "b-00", "x", "body")
    db = sqlite3.connect(standin.state / "state.db", timeout=60)
    with db:
        kept = db.execute("SELECT * FROM storage_buckets").fetchone()
        stored = db.execute("SELECT * FROM storage_objects").fetchone()
        db.execute("DELETE FROM storage_objects")
        for number in range(50):
            name = f"b-{number:02}"
            _insert(db, "storage_buckets", [(name, *kept[1:])])
            rows = [(name, f"x{each}", each + 1, 1, int(each % 10 > 0), *stored[5:]) for each in range(200)]
            _insert(db, "storage_objects", rows)
        _insert(db, "run_objects", list(_documents()))
    db.close()


def _insert(db: sqlite3.Connection, table: str, rows: list[tuple[Any, ...]]) -> None:
    db.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)


def _documents() -> Iterator[tuple[Any, ...]]:
    """Rows of run_objects: kind, project, name, sequence, document."""
    pod = {"containers": [{"image": "hello", "env": [{"name": f"V{each}", "value": "x"} for each in range(20)]}]}
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    task = {"template": {"spec": {"template": {"spec": pod}}}}
    many: list[tuple[str, str, dict[str, Any], Any, Any]] = []
    for number in range(200):
        name = f"svc-{number:03}"
        many.append(("service", name, {}, {"template": {"spec": pod}}, ready))
        labels = {"serving.knative.dev/service": name}
        many += [("revision", f"{name}-{each}", labels, {}, ready) for each in range(2)]
    for number in range(20):
        name = f"job-{number:03}"
        many.append(("job", name, {}, task, {}))
        labels = {"run.googleapis.com/job": name}
        done = {"conditions": [{"type": "Completed", "status": "True"}], "completionTime": "2026-11-20T14:37:00Z"}
        many += [("execution", f"{name}-{each}", labels, {"taskCount": 3}, done) for each in range(49)]
        many.append(("execution", f"{name}-49", labels, {"taskCount": 3}, {"runningCount": 2, "succeededCount": 1}))
    for sequence, (kind, name, labels, spec, status) in enumerate(many):
        metadata = {"name": name, "labels": labels, "creationTimestamp": "2026-11-20T14:36:00Z"}
        yield kind, "demo", name, sequence, json.dumps({"metadata": metadata, "spec": spec, "status": status})
