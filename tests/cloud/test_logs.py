"""Logs are filtered by literals that nothing can break out of, listed in order, and followed without loss or repeat."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.cloud import logs
from scripts.cloud.connect import Cloud
from scripts.cloud.logs import LogsClient
from scripts.errors import Unreachable
from tests.conftest import StandIn


@pytest.fixture
def client(shared_standin: StandIn, project: str) -> LogsClient:
    return Cloud(project, "europe-west1", shared_standin.url).logs()


def write(standin: StandIn, project: str, *messages: str, service: str = "api", **fields: Any) -> None:
    entries = [
        {
            "logName": f"projects/{project}/logs/run.googleapis.com%2Fstdout",
            "resource": {
                "type": "cloud_run_revision",
                "labels": {"project_id": project, "service_name": service, "revision_name": f"{service}-00001-abc"},
            },
            "labels": {"instanceId": "i-1"},
            "severity": "INFO",
            "jsonPayload": {"message": message, **fields},
        }
        for message in messages
    ]
    standin.post("/v2/entries:write", {"entries": entries})


@pytest.mark.process
def test_entries_come_typed_in_order_and_in_pages(
    shared_standin: StandIn, client: LogsClient, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "PAGE_SIZE", 3)
    write(shared_standin, project, *[f"line {number}" for number in range(8)], cache_hit=True)
    found = client.entries(logs.of_service("api"), limit=100)
    assert [entry.message for entry in found] == [f"line {number}" for number in range(8)]
    assert found[0].instance == "i-1"
    assert found[0].source == "api-00001-abc"
    assert found[0].fields["cache_hit"] is True
    assert [entry.message for entry in client.tail(logs.of_service("api"), limit=4)] == [
        "line 4", "line 5", "line 6", "line 7",
    ]  # fmt: skip
    assert client.entries(logs.of_service("api", "api-00002-xyz")) == []
    assert len(client.entries(logs.both(logs.of_service("api"), "jsonPayload.cache_hit:*"))) == 8
    assert client.entries("", since=datetime.now(UTC) + timedelta(hours=1)) == []


@pytest.mark.process
@pytest.mark.parametrize("name", ['a" OR severity>=DEBUG OR "', "back\\slash", 'quote"', "line\nend", "täg", "%20'"])
def test_no_value_breaks_out_of_its_literal(
    shared_standin: StandIn, client: LogsClient, project: str, name: str
) -> None:
    write(shared_standin, project, "mine", service=name)
    write(shared_standin, project, "other", service="innocent")
    assert [entry.message for entry in client.entries(logs.of_service(name))] == ["mine"]


@given(st.text())
def test_a_literal_has_one_opening_and_one_closing_quote(value: str) -> None:
    literal = logs.quoted(value)
    inner = literal[1:-1].replace("\\\\", "").replace('\\"', "")
    assert literal[0] == literal[-1] == '"'
    assert '"' not in inner
    assert all(char >= " " for char in literal)


@pytest.mark.process
def test_following_shows_each_entry_once(shared_standin: StandIn, client: LogsClient, project: str) -> None:
    write(shared_standin, project, "one", "two", "three")
    rounds = itertools.count()

    def go_on() -> bool:
        number = next(rounds)
        if number in (1, 2):
            write(shared_standin, project, f"later {number}")
        return number < 4

    since = datetime.now(UTC) - timedelta(minutes=5)
    followed: Iterator[logs.Entry] = client.follow(logs.of_service("api"), since=since, limit=2, poll_s=0, go_on=go_on)
    assert [entry.message for entry in followed] == ["two", "three", "later 1", "later 2"]


@pytest.mark.process
def test_nobody_at_the_address_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.cloud.retry.time.sleep", lambda seconds: None)
    with pytest.raises(Unreachable):
        Cloud("project-a", "europe-west1", "http://127.0.0.1:9").logs().entries("")


def test_an_entry_of_any_payload_has_a_message() -> None:
    assert logs.entry({"textPayload": "plain"}).message == "plain"
    assert logs.entry({"protoPayload": {"methodName": "Run.Replace"}}).message == "Run.Replace"
    request = {"requestMethod": "GET", "requestUrl": "http://x/health", "status": 200, "latency": "0.0041s"}
    assert logs.entry({"httpRequest": request}).message == "GET http://x/health 200 4 ms"
    assert logs.entry({"httpRequest": {"status": 499}}).message.split() == ["499", "0", "ms"]
    assert logs.entry({}).message == ""
    failed = logs.entry({"jsonPayload": {"message": "sync failed", "error": "disk full", "remedy": "free some"}})
    assert failed.text == "sync failed · disk full · free some"
    assert failed.as_json()["error"] == "disk full"
