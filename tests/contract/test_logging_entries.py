"""Cloud Logging through Google's API client."""

from __future__ import annotations

from typing import Any

import pytest
from googleapiclient.errors import HttpError

from scripts.cloud import discovery
from tests.contract.run_support import api

pytestmark = pytest.mark.process
LOG = "projects/demo/logs/checks"


@pytest.fixture(scope="module")
def entries(shared_standin: Any) -> Any:
    return api(shared_standin.url, "logging", "v2").entries()


def write(entries: Any, *given: dict[str, Any], log: str = LOG, **options: Any) -> None:
    body = {"logName": log, "resource": {"type": "global"}, "entries": list(given), **options}
    entries.write(body=body).execute()


def read(entries: Any, text: str, **options: Any) -> dict[str, Any]:
    body = {"resourceNames": ["projects/demo"], "filter": text, **options}
    found: dict[str, Any] = entries.list(body=body).execute()
    discovery.validate("logging", "v2", "ListLogEntriesResponse", found)
    return found


def test_entries_are_completed_and_found(entries: Any) -> None:
    write(
        entries,
        {"severity": 500, "jsonPayload": {"cache_hit": False, "n": 3, "deep": {"er": "Text"}}, "labels": {"a/b": "c"}},
        {"textPayload": "a plain text", "timestamp": "2026-11-20T02:00:00.5Z", "insertId": "one"},
        labels={"common": "yes"},
    )
    found = read(entries, 'jsonPayload.deep.er="text" AND labels."a/b"=c AND labels.common:*')["entries"][0]
    assert found["severity"] == "ERROR" and found["insertId"] and found["timestamp"] and found["receiveTimestamp"]
    assert found["logName"] == LOG and found["resource"] == {"type": "global"}
    text = read(entries, 'timestamp>="2026-11-20T02:00:00Z" timestamp<2026-11-20T02:00:01Z textPayload:PLAIN')
    assert [each["textPayload"] for each in text["entries"]] == ["a plain text"]
    assert "entries" not in read(entries, "jsonPayload.n>3 OR jsonPayload.n<3")


def test_the_same_entry_is_kept_once(entries: Any) -> None:
    for _ in range(2):
        write(entries, {"textPayload": "twice", "timestamp": "2026-11-20T02:00:00Z", "insertId": "same"})
    assert len(read(entries, 'textPayload="twice"')["entries"]) == 1


def test_a_large_entry_is_refused_alone(entries: Any) -> None:
    log = "projects/demo/logs/large"
    given = [{"textPayload": "x" * 250_000}, {"textPayload": "x" * 300_000}, {"textPayload": "small"}]
    with pytest.raises(HttpError, match=r"exceeds maximum size of 256\.0K"):
        write(entries, *given, log=log)
    assert "entries" not in read(entries, 'log_id("large")')
    with pytest.raises(HttpError, match="1 of 3 entries were refused"):
        write(entries, *given, log=log, partialSuccess=True)
    found = read(entries, 'log_id("large")', pageSize="10")["entries"]
    assert sorted(len(each["textPayload"]) for each in found) == [5, 250_000]
    with pytest.raises(HttpError, match="Request payload size exceeds the limit"):
        write(entries, *[{"textPayload": "x" * 200_000}] * 53, log=log)


def test_order_and_pages(entries: Any) -> None:
    log = "projects/demo/logs/paged"
    write(entries, *({"textPayload": str(n), "timestamp": f"2026-11-19T00:00:0{n}Z"} for n in range(7)), log=log)
    seen: list[str] = []
    token = ""
    while True:
        page = read(entries, f'logName="{log}"', pageSize=3, orderBy="timestamp desc", pageToken=token)
        seen += [each["textPayload"] for each in page.get("entries", [])]
        token = page.get("nextPageToken", "")
        if not token:
            break
    assert seen == ["6", "5", "4", "3", "2", "1", "0"]
    oldest = read(entries, f'logName="{log}"', pageSize=1)
    assert oldest["entries"][0]["textPayload"] == "0"
    with pytest.raises(HttpError) as caught:
        read(entries, "another", pageToken=oldest["nextPageToken"])
    assert caught.value.resp.status == 400


def test_projects_do_not_see_each_other(entries: Any) -> None:
    write(entries, {"textPayload": "private"}, log="projects/another/logs/x")
    assert "entries" not in read(entries, "textPayload=private")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("severity>=LOUD", "position 10"),
        ('textPayload="open', "position 12"),
        ("resource.type=", "position 14"),
        ("nonsense.field=1", "position 15"),
        ("timestamp>yesterday", "position 10"),
        ("(severity=ERROR", "position 15"),
        ("severity=ERROR )", "position 15"),
        ('textPayload=~"("', "position 13"),
    ],
)
def test_a_bad_filter_is_refused_with_its_position(entries: Any, text: str, words: str) -> None:
    with pytest.raises(HttpError) as caught:
        read(entries, text)
    assert caught.value.resp.status == 400 and words in caught.value.reason


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"entries": []}, "entries"),
        ({"entries": [{"textPayload": "x"}]}, "log_name"),
        ({"entries": [{"textPayload": "x"}], "logName": LOG}, "resource.type"),
        ({"entries": [{"timestamp": "now"}], "logName": LOG, "resource": {"type": "global"}}, "timestamp"),
    ],
)
def test_a_bad_entry_is_refused(entries: Any, body: dict[str, Any], words: str) -> None:
    with pytest.raises(HttpError) as caught:
        entries.write(body=body).execute()
    assert caught.value.resp.status == 400 and words in caught.value.reason
