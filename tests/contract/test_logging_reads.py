"""Reading logs through Google's API client: pages while entries arrive, hard searches, and what lists logs."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest
from googleapiclient.errors import HttpError

from scripts.cloud import discovery
from tests.contract.run_support import api

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def logging(shared_standin: Any) -> Any:
    return api(shared_standin.url, "logging", "v2")


def write(logging: Any, log: str, *given: dict[str, Any], **options: Any) -> Any:
    entries = [{"logName": log, "resource": {"type": "global"}, **each} for each in given]
    return logging.entries().write(body={"entries": entries, **options}).execute()


def page(logging: Any, project: str, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = logging.entries().list(body={"resourceNames": [f"projects/{project}"], **options}).execute()
    discovery.validate("logging", "v2", "ListLogEntriesResponse", found)
    return found


def status(request: Any) -> int:
    with pytest.raises(HttpError) as caught:
        request.execute()
    assert json.loads(caught.value.content)["error"]["status"]
    return int(caught.value.resp.status)


def test_pages_stay_what_they_were_while_entries_arrive(logging: Any) -> None:
    log = "projects/arriving/logs/x"
    write(logging, log, *({"textPayload": str(n), "timestamp": f"2026-11-19T00:00:0{n}Z"} for n in range(6)))
    options = {"orderBy": "timestamp desc", "pageSize": 2}
    seen: list[str] = []
    token = ""
    for late in ("2026-11-19T01:00:00Z", "2026-11-19T02:00:00Z", "2026-11-19T03:00:00Z", ""):
        found = page(logging, "arriving", pageToken=token, **options)
        seen += [each["textPayload"] for each in found.get("entries", [])]
        token = found.get("nextPageToken", "")
        if late:
            write(logging, log, {"textPayload": "late", "timestamp": late})
    assert seen == ["5", "4", "3", "2", "1", "0"] and not token


@pytest.mark.parametrize(
    "change", [{"filter": "textPayload=1"}, {"orderBy": "timestamp asc"}, {"pageToken": "nonsense"}]
)
def test_a_page_token_belongs_to_its_list(logging: Any, change: dict[str, str]) -> None:
    write(logging, "projects/tokens/logs/x", *({"textPayload": str(n)} for n in range(3)))
    first = page(logging, "tokens", pageSize=1, orderBy="timestamp desc")
    body = {"resourceNames": ["projects/tokens"], "pageToken": first["nextPageToken"], "orderBy": "timestamp desc"}
    assert status(logging.entries().list(body={**body, **change})) == 400


def test_a_search_that_would_never_end_does(logging: Any) -> None:
    text = "a" * 100_000
    write(logging, "projects/hard/logs/x", {"textPayload": text}, {"textPayload": f"{text}b"})
    found = page(logging, "hard", filter='textPayload=~"^(a+)+b$"')
    assert [len(each["textPayload"]) for each in found["entries"]] == [100_001]


def test_what_gcloud_reads_is_found(logging: Any) -> None:
    request = {"requestMethod": "GET", "status": 500, "latency": "0.750s", "requestUrl": "http://x/a"}
    resource = {"type": "cloud_run_revision", "labels": {"service_name": "api", "location": "europe-west1"}}
    entry = {"httpRequest": request, "resource": resource, "severity": "ERROR", "labels": {"k8s/x": "1"}}
    write(logging, "projects/gcloud/logs/run.googleapis.com%2Frequests", entry)
    read = 'timestamp>="2026-01-01T00:00:00Z" AND (resource.type = "cloud_run_revision") AND '
    for text in (
        'resource.labels.service_name = "api" resource.labels.location = "europe-west1" severity>=DEFAULT',
        'log_id("run.googleapis.com/requests") AND httpRequest.latency>"0.5s" AND httpRequest.status=(500 OR 503)',
        'logName="projects/gcloud/logs/run.googleapis.com%2Frequests" labels."k8s/x":*',
        "severity=error -httpRequest.status<500",
    ):
        assert len(page(logging, "gcloud", filter=read + text)["entries"]) == 1, text
    view = "projects/gcloud/locations/global/buckets/_Default/views/_AllLogs"
    assert logging.entries().list(body={"resourceNames": [view]}).execute()["entries"]


def test_logs_are_listed_and_deleted(logging: Any) -> None:
    names = [f"projects/listing/logs/{name}" for name in ("a", "b%2Fc", "d")]
    for name in names:
        write(logging, name, {"textPayload": "x"}, {"textPayload": "y"})
    write(logging, "projects/listing-more/logs/z", {"textPayload": "x"})
    logs = logging.projects().logs()
    listed = logs.list(parent="projects/listing").execute()
    discovery.validate("logging", "v2", "ListLogsResponse", listed)
    assert listed["logNames"] == names
    first = logs.list(parent="projects/listing", pageSize=2).execute()
    assert logs.list(parent="projects/listing", pageToken=first["nextPageToken"]).execute()["logNames"] == names[2:]
    assert logs.delete(logName=names[1]).execute() == {}
    assert logs.list(parent="projects/listing").execute()["logNames"] == [names[0], names[2]]
    assert len(page(logging, "listing")["entries"]) == 4
    assert status(logs.delete(logName=names[1])) == 404


def test_what_routes_and_keeps_logs_is_there_to_read(logging: Any) -> None:
    projects, parent = logging.projects(), "projects/demo"
    buckets = projects.locations().buckets()
    for name, request in (
        ("ListSinksResponse", projects.sinks().list(parent=parent)),
        ("LogSink", projects.sinks().get(sinkName=f"{parent}/sinks/_Default")),
        ("ListExclusionsResponse", projects.exclusions().list(parent=parent)),
        ("ListBucketsResponse", buckets.list(parent=f"{parent}/locations/-")),
        ("LogBucket", buckets.get(name=f"{parent}/locations/global/buckets/_Required")),
        ("ListViewsResponse", buckets.views().list(parent=f"{parent}/locations/global/buckets/_Default")),
        ("ListLocationsResponse", projects.locations().list(name=parent)),
        ("ListMonitoredResourceDescriptorsResponse", logging.monitoredResourceDescriptors().list()),
        ("Settings", projects.getSettings(name=parent)),
    ):
        discovery.validate("logging", "v2", name, request.execute())
    assert status(projects.sinks().get(sinkName=f"{parent}/sinks/none")) == 404
    assert status(projects.sinks().create(parent=parent, body={"name": "x", "destination": "y"})) == 400
    assert status(logging.entries().tail(body={"resourceNames": [parent]})) == 400


def test_some_entries_of_a_request_may_be_refused(logging: Any, shared_standin: Any) -> None:
    log = "projects/partial/logs/x"
    body = {"logName": log, "resource": {"type": "global"}, "partialSuccess": True}
    body["entries"] = [{"textPayload": "good"}, {"textPayload": "lost", "logName": "nonsense"}]
    assert status(logging.entries().write(body=body)) == 400
    assert [each["textPayload"] for each in page(logging, "partial")["entries"]] == ["good"]
    write(logging, log, {"textPayload": "dry"}, dryRun=True)
    assert len(page(logging, "partial")["entries"]) == 1
    with urllib.request.urlopen(f"{shared_standin.url}/_local/health", timeout=30) as answer:
        assert answer.status == 200
