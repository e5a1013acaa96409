"""The console of a stand-in with everything in it, hostile text included: as HTML and as JSON."""

from __future__ import annotations

import base64
import http.client
import json
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from tests.contract.run_support import HELLO, job, service

pytestmark = pytest.mark.process
EVIL = """<script>document.title='owned'</script><img src=x onerror="document.title='owned'">'"&"""
PANELS = (
    "overview", "glance", "services", "instances", "requests", "incidents", "faults", "jobs", "statements", "buckets",
    "clock", "scheduler", "upstreams", "logs",
)  # fmt: skip
VOID = {"meta", "link", "input", "img", "br", "hr"}
FORM = "application/x-www-form-urlencoded"
HTML = {"accept": "text/html,application/xhtml+xml"}
SERVING, RUN = "/apis/serving.knative.dev/v1/namespaces/demo", "/apis/run.googleapis.com/v1/namespaces/demo"
SCHEDULE = "/v1/projects/demo/locations/europe-west1/jobs"


class Page(HTMLParser):
    """Parses strictly: every tag closed in order, ids unique, no inline script or style, everything named."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.problems: list[str] = []
        self.feed(html)
        self.close()
        self.problems += [f"<{tag}> is never closed" for tag in self.open]
        ids = [each["id"] for _, each in self.elements if each.get("id")]
        self.problems += [f"id {each!r} is there twice" for each in set(ids) if ids.count(each) > 1]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.elements.append((tag, values))
        self.problems += [f"<{tag} {key}>" for key in values if key == "style" or key.startswith("on")]
        if tag in ("style", "iframe", "object", "img") or (tag == "script" and "src" not in values):
            self.problems.append(f"<{tag}>")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script" and data.strip():
            self.problems.append("a script in the page")
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [values for name, values in self.elements if name == tag]


def send(standin: Any, method: str, path: str, body: str = "", headers: dict[str, str] | None = None) -> Any:
    """One request, no redirect followed: (status, headers, text)."""
    connection = http.client.HTTPConnection("127.0.0.1", standin.port, timeout=60)
    try:
        connection.request(method, path, body.encode() or None, headers or {})
        answer = connection.getresponse()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read().decode()
    finally:
        connection.close()


def page(standin: Any, path: str = "/") -> tuple[Page, dict[str, str]]:
    status, headers, text = send(standin, "GET", path, headers=HTML)
    assert status == 200
    return Page(text), headers


def put(standin: Any, bucket: str, name: str, value: Any) -> None:
    path = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(name, safe='')}"
    assert send(standin, "POST", path, value if isinstance(value, str) else json.dumps(value))[0] == 200


def statement(serial: int, version: str, reason: str) -> dict[str, Any]:
    payload = {"serial": serial, "version": version, "created_at": "2026-11-20T14:37:00Z", "reason": reason}
    return {"payload": base64.b64encode(json.dumps(payload).encode()).decode(), "signatures": [{"keyid": "k" * 64}]}


def manifest(version: str, name: str, size_bytes: int) -> dict[str, Any]:
    model = {"name": name, "kind": "ollama", "source": EVIL, "revision": "r", "files": [{"size_bytes": size_bytes}]}
    return {"version": version, "created_at": "2026-11-20T14:37:00Z", "total_size_bytes": size_bytes, "models": [model]}


def fill(standin: Any) -> None:
    """Buckets with versions and statements, a service and its gate's log line, a job that ran, a schedule, logs."""
    standin.post("/storage/v1/b?project=demo", {"name": "shelf", "versioning": {"enabled": True}})
    for version, size_bytes in (("v1", 1 << 20), ("v2", 2 << 20)):
        put(standin, "shelf", f"manifests/{version}.json", manifest(version, f"m{EVIL}", size_bytes))
        put(standin, "shelf", f"manifests/{version}.done", {})
    put(standin, "shelf", "manifests/v3.json", "{")
    put(standin, "shelf", "manifests/v4.json", manifest("v4", "huge", 10**400))
    put(standin, "shelf", "manifests/v5.json", '{"models": [], "total_size_bytes": Infinity, "created_at": ""}')
    put(standin, "shelf", "statements/1.dsse.json", statement(1, "v1", "the first"))
    put(standin, "shelf", "statements/2.dsse.json", statement(2, "v2", EVIL))
    put(standin, "shelf", "statements/10.dsse.json", statement(10, "v1", "rolled back"))
    put(standin, "shelf", "statements/11.dsse.json", "no JSON")
    for _ in range(2):
        put(standin, "shelf", f"x/{EVIL}", "body")
    env = {"DB_PASSWORD": "hunter2", "ODD": EVIL}
    standin.post(f"{SERVING}/services", service("web", env=env, container={"command": None}, labels={"team": "us"}))
    standin.post(f"{RUN}/jobs", job("sync", container={"command": None, "image": HELLO}))
    standin.post(f"{RUN}/jobs/sync:run")
    target = {"uri": "https://run.googleapis.com/v2/projects/demo/locations/europe-west1/jobs/sync:run"}
    name = "projects/demo/locations/europe-west1/jobs/nightly"
    standin.post(SCHEDULE, {"name": name, "schedule": "0 2 * * *", "httpTarget": target})
    send(standin, "GET", "/upstream/ollama/v2/", headers={"user-agent": EVIL})
    wait(lambda: json_of(standin, "services")["services"][0]["ready"]["status"] == "True")
    wait(lambda: json_of(standin, "jobs")["jobs"][0]["executions"][0]["state"] == "succeeded")
    identity = json_of(standin, "instances")["instances"][0]["id"]
    told = {"message": f"gate {EVIL}", "cache_hit": True, "reason": "match", "manifest_version": "v1"}
    log(standin, {"textPayload": "old", "timestamp": "1900-01-01T00:00:00Z"})
    log(standin, {"jsonPayload": told, "labels": {"instanceId": identity}}, {"textPayload": f"plain {EVIL}"})


def log(standin: Any, *entries: dict[str, Any]) -> None:
    common = {"logName": "projects/demo/logs/x", "resource": {"type": "global"}}
    standin.post("/v2/entries:write", {**common, "entries": [{"severity": "WARNING", **each} for each in entries]})


def json_of(standin: Any, panel: str) -> Any:
    return standin.get(f"/_local/console/{panel}.json")


def wait(done: Any, limit_s: float = 60.0) -> None:
    until = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def full(shared_standin: Any) -> Iterator[Any]:
    """The module's stand-in, filled."""
    fill(shared_standin)
    yield shared_standin


def act(standin: Any, action: str, target: str = "", fields: dict[str, str] | None = None, **headers: str) -> Any:
    """Press a button as a browser does: cookie and hidden field from the page, Origin of the page; other fields."""
    found, answered = page(standin)
    token = next(each["value"] for each in found.all("input") if each.get("name") == "token")
    sent = {"cookie": answered["set-cookie"].partition(";")[0], "origin": standin.url, "content-type": FORM, **headers}
    return send(
        standin,
        "POST",
        "/_local/console/actions",
        urlencode({**locals_of(action, target, token), **(fields or {})}),
        sent,
    )


def locals_of(action: str, target: str, token: str) -> dict[str, str]:
    return {"action": action, "target": target, "token": token}


def test_an_empty_cloud_has_a_whole_page_and_every_json(standin: Any) -> None:
    found, _ = page(standin)
    text = "".join(found.text)
    assert found.problems == []
    for words in (
        "Nothing is wrong",
        "No alert policy is set",
        "No fault is set",
        "No service is deployed",
        "No instance runs",
        "There is no bucket",
        "Nothing has been logged yet",
    ):
        assert words in text
    for name in PANELS:
        assert isinstance(json_of(standin, name), dict)


def test_the_page_is_well_formed_and_everything_has_a_name(full: Any) -> None:
    found, _ = page(full)
    assert found.problems == []
    assert [each["lang"] for each in found.all("html")] == ["en"]
    landmarks = [name for name, _ in found.elements if name in ("header", "nav", "main", "footer")]
    assert landmarks == ["header", "nav", "main", "footer"]
    assert [name for name, _ in found.elements if name == "h1"] == ["h1"]
    ids = {values.get("id") for _, values in found.elements}
    assert all(each["href"][1:] in ids for each in found.all("a") if each["href"].startswith("#"))
    labelled = {each["for"] for each in found.all("label")}
    assert all(each["id"] in labelled for each in found.all("input") if each.get("type") != "hidden")
    assert all(each.get("scope") in ("row", "col") for each in found.all("th"))
    assert all(each.get("aria-label") for each in found.all("button") if each.get("name") == "action")
    assert all({each.get("aria-label"), each.get("aria-hidden")} != {None} for each in found.all("svg"))
    live = next(values for _, values in found.elements if values.get("role") == "log")
    assert live["aria-live"] == "off" and live["tabindex"] == "0", "each line would be read aloud"
    heard = next(values for _, values in found.elements if values.get("id") == "heard")
    assert (heard["role"], heard["aria-live"]) == ("status", "polite")


def test_nothing_of_others_runs_and_nothing_is_fetched_from_elsewhere(full: Any) -> None:
    found, headers = page(full, "/?" + urlencode({"filter": f'"{EVIL}', "said": EVIL}))
    assert found.problems == []
    assert "owned" in "".join(found.text)
    policy = dict(each.strip().split(" ", 1) for each in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'" and policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'" and policy["form-action"] == "'self'"
    assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"
    sources = [each.get("src") or each.get("href") for tag in ("script", "link") for each in found.all(tag)]
    assert len(sources) == 3
    for each in sources:
        status, sent, _ = send(full, "GET", str(each))
        assert (
            status == 200 and each.startswith("/_local/console/static/") and sent["x-content-type-options"] == "nosniff"
        )
    assert send(full, "GET", "/_local/console/static/..%2Froom.py")[0] == 404


def test_only_browsers_get_the_page(full: Any) -> None:
    assert "text/html" not in send(full, "GET", "/")[1]["content-type"]
    assert "text/html" not in send(full, "GET", "/", headers={"accept": "application/json"})[1]["content-type"]
    foreign = {**HTML, "host": "evil.example"}
    assert send(full, "GET", "/", headers=foreign)[0] == 403
    google = {**HTML, "host": "storage.googleapis.com"}
    assert "text/html" not in send(full, "GET", "/", headers=google)[1]["content-type"]
    assert send(full, "POST", "/_local/console/actions", headers={"host": "evil.example"})[0] == 403


def test_services_hide_secrets(full: Any) -> None:
    (found,) = json_of(full, "services")["services"]
    assert found["traffic"] == [{"revision": found["revision"], "percent": 100, "tag": "", "url": ""}]
    assert {"name": "DB_PASSWORD", "value": "[redacted]"} in found["env"]
    html = send(full, "GET", "/", headers=HTML)[2]
    assert "hunter2" not in html and "[redacted]" in html
    assert f'aria-label="Traffic: 100 percent to {found["revision"]}"' in html


def test_instances_tell_hit_version_and_age(full: Any) -> None:
    (found,) = json_of(full, "instances")["instances"]
    assert (found["hit"], found["reason"], found["version"], found["state"]) == (True, "match", "v1", "ready")
    assert found["mount_mode"] in ("fuse", "namespace", "rewritten") and 0 <= found["age_s"] < 120


def test_jobs_tell_status_and_duration(full: Any) -> None:
    executions = json_of(full, "jobs")["jobs"][0]["executions"]
    assert executions[-1]["state"] == "succeeded" and executions[-1]["duration_s"] >= 0
    assert (executions[-1]["succeeded"], executions[-1]["tasks"]) == (1, 1)


def test_buckets_tell_the_active_version_and_noncurrent_generations(full: Any) -> None:
    (found,) = json_of(full, "buckets")["buckets"]
    versions = {each["version"]: each for each in found["versions"]}
    assert [each["version"] for each in found["versions"]] == ["v5", "v4", "v3", "v2", "v1"]
    assert [(each["active"], each["serial"], each["size_bytes"]) for each in versions.values()] == [
        (False, None, None), (False, None, None), (False, None, None), (False, 2, 2 << 20), (True, 10, 1 << 20)
    ]  # fmt: skip
    assert all(versions[name]["problem"] and not versions[name]["complete"] for name in ("v3", "v4", "v5"))
    assert found["noncurrent"] == 1 and found["newest_noncurrent"][0]["name"] == f"x/{EVIL}"


def test_statements_are_decoded_and_said_to_be_unchecked(full: Any) -> None:
    answer = json_of(full, "statements")
    (bucket,) = answer["buckets"]
    assert [each["serial"] for each in bucket["statements"]] == [11, 10, 2, 1]
    assert bucket["statements"][0]["problem"] and bucket["statements"][1]["reason"] == "rolled back"
    assert [each["newest"] for each in bucket["statements"]] == [False, True, False, False]
    assert answer["note"] == "signature not checked here"
    assert "Signature not checked here" in send(full, "GET", "/", headers=HTML)[2]


def test_the_log_tail_takes_filters_and_explains_bad_ones(full: Any) -> None:
    wanted = urlencode({"filter": "jsonPayload.cache_hit=true"})
    entries = full.get(f"/_local/console/logs.json?{wanted}")["entries"]
    assert [each["text"] for each in entries] == [f"gate {EVIL}"]
    wrong = send(full, "GET", "/_local/console/logs.html?filter=severity%3E%3D")[2]
    assert "This filter cannot be understood" in wrong and "position" in wrong
    log(full, {"textPayload": "the latest"})
    later = urlencode({"filter": "severity>=WARNING", "since": entries[0]["timestamp"]})
    found = [each["text"] for each in full.get(f"/_local/console/logs.json?{later}")["entries"]]
    assert found[0] == "the latest" and f"gate {EVIL}" in found


def test_upstreams_stop_and_start_by_their_buttons(full: Any) -> None:
    assert json_of(full, "upstreams")["by_client"][EVIL[:200]]["requests"] == 1
    for action, running, said in (("stop", False, "are stopped"), ("start", True, "serve again")):
        status, headers, _ = act(full, f"upstreams.{action}")
        assert status == 303 and headers["location"].endswith("#upstreams")
        assert json_of(full, "upstreams")["running"] is running
        path = headers["location"].partition("#")[0]
        assert said in "".join(page(full, path)[0].text)
        assert said not in "".join(page(full, path)[0].text)


def test_jobs_schedules_and_instances_by_their_buttons(full: Any) -> None:
    before = json_of(full, "jobs")["jobs"][0]["executions_total"]
    assert act(full, "job.run", "demo/sync")[0] == 303
    assert json_of(full, "jobs")["jobs"][0]["executions_total"] == before + 1
    path = json_of(full, "scheduler")["jobs"][0]["path"]
    for action, state in (("pause", "PAUSED"), ("resume", "ENABLED")):
        assert act(full, f"schedule.{action}", path)[0] == 303
        assert json_of(full, "scheduler")["jobs"][0]["state"] == state
    old = json_of(full, "instances")["instances"][0]["id"]
    assert act(full, "instance.restart", old)[0] == 303
    wait(
        lambda: (
            [(each["id"] != old, each["state"]) for each in json_of(full, "instances")["instances"]]
            == [(True, "ready")]
        )
    )
    location = act(full, "job.run", "demo/nothing")[1]["location"]
    assert "does not exist" in "".join(page(full, location.partition("#")[0])[0].text)


def test_no_token_no_change(full: Any) -> None:
    before = json_of(full, "upstreams")["running"]
    body = urlencode(locals_of("upstreams.stop", "", "guess"))
    for headers in ({}, {"origin": full.url}, {"origin": full.url, "content-type": FORM}):
        status, _, text = send(full, "POST", "/_local/console/actions", body, headers)
        assert status == 403 and Page(text).problems == [] and "Nothing was changed" in text
    assert act(full, "upstreams.stop", origin="http://evil.example")[0] == 403
    assert act(full, "upstreams.stop", cookie="")[0] == 403
    assert json_of(full, "upstreams")["running"] is before is True
    assert send(full, "GET", "/_local/console/actions")[0] == 405


def test_an_unknown_panel_is_told(full: Any) -> None:
    status, _, text = send(full, "GET", "/_local/console/nothing.json")
    assert status == 404 and "statements" in text
