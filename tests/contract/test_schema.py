"""Every recorded exchange is judged by Google's discovery documents, and the judge finds what is wrong.

conftest.py judges what any test of this folder made the stand-in say. Cloud Storage, whose front is older than those of
the other APIs, overlooks fields that it does not know, and so does the stand-in; the others refuse them.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.conftest import StandIn, exchanges_of
from tests.contract import exchanges, schema
from tests.contract.exchanges import Exchange
from tests.contract.run_support import fetch

pytestmark = pytest.mark.process
BUCKET = {
    "kind": "storage#bucket",
    "id": "b",
    "name": "b",
    "metageneration": "1",
    "timeCreated": "2026-11-20T02:00:00Z",
}
GOOD = Exchange("GET", "/storage/v1/b/b", 200, answered=json.dumps(BUCKET).encode())
SERVICES = "/apis/serving.knative.dev/v1/namespaces/demo/services"
CREATED = Exchange("POST", SERVICES, 200, asked=b'{"kind": "Service"}', answered=b'{"kind": "Service"}')


def test_what_is_recorded_is_what_was_said(shared_standin: StandIn) -> None:
    path = exchanges_of(shared_standin.state)
    offset = exchanges.read(path)[1]
    body = json.dumps({"name": "recorded", "labels": {"a": "ü"}}).encode()
    created = fetch(f"{shared_standin.url}/storage/v1/b?project=demo", body, content_type="application/json")
    fetch(f"{shared_standin.url}/storage/v1/b/recorded-not")
    insert = f"{shared_standin.url}/upload/storage/v1/b/recorded/o?uploadType=media&name=x"
    fetch(insert, b"media", content_type="text/plain")
    fetch(f"{shared_standin.url}/storage/v1/b/recorded/o/x?alt=media")
    batch = b"--b\r\n\r\nGET /storage/v1/b/recorded?fields=name HTTP/1.1\r\n\r\n\r\n--b--"
    fetch(f"{shared_standin.url}/batch/storage/v1", batch, content_type="multipart/mixed; boundary=b")
    found = exchanges.read(path, offset)[0]
    told = [(each.method, each.path, each.status) for each in found]
    assert told == [
        ("POST", "/storage/v1/b", 200),
        ("GET", "/storage/v1/b/recorded-not", 404),
        ("POST", "/upload/storage/v1/b/recorded/o", 200),
        ("GET", "/storage/v1/b/recorded", 200),
    ]
    assert found[0].asked == body and json.loads(found[0].answered) == created[1]
    assert json.loads(found[3].answered) == {"name": "recorded"}
    verdicts = [exchanges.judge(each) for each in found]
    assert [verdict.operation for verdict in verdicts if verdict] == [
        "storage.buckets.insert", "", "storage.objects.insert", "storage.buckets.get",
    ]  # fmt: skip


@pytest.mark.parametrize("each", [GOOD, CREATED, replace(GOOD, path="/storage/v1/b/a%2Fb")])
def test_what_google_describes_passes(each: Exchange) -> None:
    assert exchanges.failures([each]) == []


@pytest.mark.parametrize(
    ("each", "words"),
    [
        (
            replace(GOOD, answered=json.dumps({**BUCKET, "metageneration": 1}).encode()),
            "answer: metageneration: found 1",
        ),
        (replace(GOOD, answered=json.dumps({**BUCKET, "extra": 1}).encode()), "answer: extra: found an unknown field"),
        (replace(GOOD, answered=json.dumps({**BUCKET, "labels": []}).encode()), "labels: found a list, expected a map"),
        (replace(GOOD, answered=json.dumps({**BUCKET, "timeCreated": "now"}).encode()), "timeCreated: found"),
        (replace(GOOD, answered=b""), "found nothing, expected Bucket"),
        (replace(GOOD, answered=b"<html>"), "no JSON"),
        (replace(GOOD, answered=b'{"kind": NaN}'), "no JSON"),
        (replace(GOOD, path="/storage/v1/b/b/unheardOf"), "no discovery document has such a method"),
        (replace(GOOD, method="DELETE"), "storage.buckets.delete: answer: found a body"),
        (replace(GOOD, status=404), "expected Google's error"),
        (replace(GOOD, status=404, answered=b'{"error": {"code": 400, "message": "x"}}'), "error.code: found 400"),
        (replace(GOOD, status=404, answered=b'{"error": {"code": 404, "message": ""}}'), "error.message"),
        (
            replace(GOOD, status=404, answered=b'{"error": {"code": 404, "message": "x", "status": "GONE"}}'),
            "error.status: found 'GONE'",
        ),
        (replace(CREATED, asked=b'{"kinds": "Service"}'), "request: accepted with kinds: found an unknown field"),
        (replace(CREATED, asked=b'{"spec": []}'), "request: accepted with spec: found a list"),
        (replace(CREATED, asked=b"{"), "request: accepted, but it is not JSON"),
        (
            replace(CREATED, path="/v2/entries:write", asked=b"", answered=b'{"entries": []}'),
            "answer: entries: found an unknown",
        ),
    ],
)
def test_what_google_does_not_describe_is_found(each: Exchange, words: str) -> None:
    [found] = exchanges.failures([each])
    assert words in found, found


@pytest.mark.parametrize("path", ["/_local/status", "/run/hello/x", "/bucket/manifest.json", "/v2/demo/x/manifests/1"])
def test_what_is_not_google_s_is_not_judged(path: str) -> None:
    assert exchanges.judge(Exchange("GET", path, 200, answered=b'{"anything": 1}')) is None


def test_bodies_may_be_written_in_every_way_that_google_reads() -> None:
    [method] = [each for each in schema.methods() if each.id == "logging.entries.write"]
    body = {
        "entries": [
            {"log_name": "x", "severity": 200, "httpRequest": {"status": "200", "requestSize": 5}, "trace": None}
        ]
    }
    assert schema.problems(method, method.asked, schema.lenient(method, method.asked, body)) == ""
    wrong = {"entries": [{"severity": "LOUD"}]}
    assert "entries[0].severity" in schema.problems(method, method.asked, schema.lenient(method, method.asked, wrong))


@pytest.mark.parametrize(
    "path",
    [
        SERVICES, "/apis/run.googleapis.com/v1/namespaces/demo/jobs", "/v2/entries:list", "/v2/entries:write",
        "/v1/projects/demo/locations/europe-west1/jobs", "/v3/projects/demo/alertPolicies", "/v2/projects/demo/metrics",
        "/v1/projects/demo/secrets?secretId=x", "/v1/projects/demo/serviceAccounts", "/v1/projects/demo:setIamPolicy",
        "/v1/projects/demo/locations/europe-west1/keyRings?keyRingId=x", "/v1/projects/demo/services:batchEnable",
    ],
)  # fmt: skip
def test_a_field_that_there_is_not_is_refused(shared_standin: StandIn, path: str) -> None:
    status, answer = fetch(shared_standin.url + path, b'{"noSuchField": 1}', content_type="application/json")
    assert status == 400, answer
    assert 'Unknown name "noSuchField"' in answer["error"]["message"]


@pytest.mark.parametrize(
    ("verb", "path", "body", "words"),
    [
        ("PATCH", "/storage/v1/b/overlooks", {"labels": []}, "'labels'"),
        ("PATCH", "/storage/v1/b/overlooks", {"versioning": {"enabled": "yes"}}, "'versioning.enabled'"),
        ("POST", "/storage/v1/b?project=demo", {"name": 5}, "'name'"),
        ("POST", "/v2/entries:list", {"resourceNames": "projects/demo"}, "'resourceNames'"),
    ],
)
def test_a_value_of_a_wrong_type_is_refused(
    shared_standin: StandIn, verb: str, path: str, body: dict[str, Any], words: str
) -> None:
    new = json.dumps({"name": "overlooks", "noSuchField": 1, "labels": {"a": "b"}}).encode()
    made = fetch(f"{shared_standin.url}/storage/v1/b?project=demo", new, content_type="application/json")
    assert made[0] in (200, 409) and "noSuchField" not in made[1]
    status, answer = fetch(shared_standin.url + path, json.dumps(body).encode(), verb, content_type="application/json")
    assert status == 400 and words in answer["error"]["message"], answer
