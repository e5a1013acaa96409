"""What people ask of the logs is checked before anything is asked, and an entry is one line."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from scripts.cloud.connect import Cloud
from scripts.cloud.logs import entry
from scripts.errors import BadInput
from scripts.service import deploy, journal
from scripts.service.journal import Wanted
from scripts.service.preflight import Options
from scripts.service.target import Target
from tests.conftest import StandIn
from tests.service.conftest import Checkout, Listener, Make


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90s", timedelta(seconds=90)), ("30m", timedelta(minutes=30)), ("7d", timedelta(days=7))],
)
def test_a_span_is_read(text: str, expected: timedelta) -> None:
    assert journal.span(text) == expected


@pytest.mark.parametrize("text", ["", "7", "d", "1 h", "-1h", "1w", "9999999d", "1h30m"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="expected a number and s, m, h or d"):
        journal.span(text)


def test_a_severity_is_one_of_the_known() -> None:
    assert journal.severity("error") == "ERROR"
    assert journal.severity("") == ""
    with pytest.raises(BadInput, match="expected one of DEBUG"):
        journal.severity('ERROR" OR "')


def test_an_entry_is_one_line_for_people_and_one_for_scripts() -> None:
    item = entry(
        {
            "timestamp": "2026-11-20T02:00:00.123456Z",
            "severity": "ERROR",
            "labels": {"instanceId": "0a1b2c3d4e5f6a7b"},
            "jsonPayload": {"message": "cache miss\nreally", "cache_hit": False, "reason": "models_differ", "x": 1},
        }
    )
    line = journal.line(item, as_json=False)
    assert line.startswith("2026-11-20T02:00:00.123 ERROR   0a1b2c3d4e5f cache miss\n    really")
    assert line.endswith("[cache_hit=False reason=models_differ]")
    assert json.loads(journal.line(item, as_json=True))["x"] == 1


def wanted(**more: str) -> Wanted:
    return Wanted("tabular", "1h", 100, False, "", "", **more)


@pytest.mark.process
def test_what_is_no_instance_and_no_pattern_is_refused(make: Make) -> None:
    found = Target(make(), "tabular", Cloud("p", "r"))
    with pytest.raises(BadInput, match="--instance"):
        wanted(instance='a" OR "').condition(found)
    with pytest.raises(BadInput, match=r"--grep: found .* expected a regular expression"):
        wanted(grep="(").condition(found)
    assert wanted().condition(found).count("AND") == 1


@pytest.mark.process
def test_entries_are_chosen_by_instance_pattern_and_expression(make: Make, shared_standin: StandIn) -> None:
    settings = make()
    resource = {"type": "cloud_run_revision", "labels": {"service_name": "tabular-service", "revision_name": "r"}}
    payloads = [
        ("aa11", {"jsonPayload": {"message": "cache hit", "n": 1}}),
        ("aa22", {"jsonPayload": {"message": "cache miss", "reason": "models_differ", "n": 2}, "severity": "WARNING"}),
        ("bb33", {"textPayload": "Traceback (most recent call last)", "severity": "ERROR"}),
    ]
    entries = [
        {
            "logName": f"projects/{settings.project}/logs/app",
            "resource": resource,
            "labels": {"instanceId": who},
            **what,
        }
        for who, what in payloads
    ]
    shared_standin.post("/v2/entries:write", {"entries": entries})

    def found(**more: str) -> list[str]:
        return sorted(item.instance for item in journal.entries(settings, wanted(**more)))

    assert found() == ["aa11", "aa22", "bb33"]
    assert found(instance="aa") == ["aa11", "aa22"]
    assert found(grep="cache (hit|miss)") == ["aa11", "aa22"]
    assert found(grep="^Traceback") == ["bb33"]
    assert found(grep="models_differ") == ["aa22"]
    assert found(expression="jsonPayload.n>1 OR severity=ERROR") == ["aa22", "bb33"]
    assert found(instance="aa", expression="jsonPayload.n>1 OR severity=ERROR") == ["aa22"]
    assert found(expression='jsonPayload.message:"(" OR severity=ERROR') == ["bb33"]
    for unsafe in ("n=1) OR (severity=ERROR", "(severity=ERROR", '"a" ) OR ("b"'):
        with pytest.raises(BadInput, match="parentheses do not match"):
            found(expression=unsafe)
    with pytest.raises(BadInput, match="Unparseable filter"):
        found(expression="jsonPayload.n>")


@pytest.mark.process
def test_a_revision_that_never_was_is_told_with_those_that_are(make: Make, checkout: Checkout) -> None:
    revision = deploy.deploy(make(), Options(sync="never"), Listener()).revision
    told = checkout.typed("logs", "--env", "local", "--revision", "nosuch", code=3)
    assert "revision 'nosuch' not found in tabular-service (local)" in told.stderr and revision in told.stderr
    assert "Run: ./dev invoke status --env local" in told.stderr and told.stdout == ""
    told = checkout.typed("logs", "--env", "local", "--job", "--revision", "nosuch", code=3)
    assert "execution 'nosuch' not found in tabular-model-sync (local)" in told.stderr
    quiet = checkout.typed("logs", "--env", "local", "--revision", revision, "--severity", "CRITICAL")
    assert quiet.stderr == "no entries in the last 1h\n"
