"""The filter language: what matches, in which order operators bind, where mistakes are."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.localcloud.logging.filters import Comparison, FilterError, parse

ENTRY: dict[str, Any] = {
    "logName": "projects/demo/logs/run.googleapis.com%2Fstdout",
    "resource": {"type": "cloud_run_revision", "labels": {"service_name": "tabular-service"}},
    "labels": {"instanceId": "0042", "run.googleapis.com/task_index": "3"},
    "severity": "WARNING",
    "timestamp": "2026-11-20T02:00:00.250Z",
    "insertId": "one",
    "httpRequest": {
        "requestMethod": "GET",
        "status": 503,
        "latency": "1.250s",
        "responseSize": "1000",
        "remoteIp": "10.1.2.3",
    },
    "jsonPayload": {
        "cache_hit": True,
        "n": 7,
        "big": 9007199254740993,
        "rate": 0.5,
        "message": "Loaded v1",
        "list": ["a", "b"],
        "code": "200",
        "nothing": None,
        "deep": {"a.b": {"c": 1}, "items": [{"id": 1}, {"id": 2}]},
        "when": "2026-11-20",
    },
}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  -- only a comment",
        'resource.type="cloud_run_revision"',
        "resource.type=cloud_run_revision",
        'resource.type="cloud_run_revision"\nresource.labels.service_name="tabular-service"',
        'resource.type="cloud_run_revision" AND severity>=WARNING AND severity<500',
        "severity=warning",
        "severity!=ERROR",
        'labels."run.googleapis.com/task_index"=3',
        "labels.instanceId=0042",
        "jsonPayload.cache_hit=true",
        "jsonPayload.cache_hit:*",
        "jsonPayload.cache_hit!=false",
        "jsonPayload.n>=7 jsonPayload.n<8 jsonPayload.n=7.0",
        "jsonPayload.big=9007199254740993",
        "jsonPayload.rate>0.25",
        "jsonPayload.code=200",
        "jsonPayload.message:LOADED",
        'jsonPayload.message="loaded V1"',
        'jsonPayload.message=~"^Loaded v[0-9]$"',
        'jsonPayload.message!~"^v"',
        "jsonPayload.list=b",
        'timestamp>="2026-11-20T02:00:00Z" AND timestamp<"2026-11-20T03:00:00+00:30" AND timestamp<2026-11-21',
        "timestamp>=2026-11-20T02:00:00.25Z",
        'logName:"stdout"',
        'log_id("run.googleapis.com/stdout")',
        "NOT severity=ERROR",
        "-severity=ERROR",
        "NOT jsonPayload.missing=1",
        'textPayload=""',
        "cache_hit",
        '"loaded v1"',
        "severity=(ERROR OR WARNING)",
        "jsonPayload.message:(loaded AND v1)",
        "severity=ERROR OR severity=WARNING",
        # OR binds closer than AND
        "severity=WARNING OR severity=ERROR AND jsonPayload.n=7",
        "(severity=ERROR AND jsonPayload.n=1) OR jsonPayload.n=7",
        "severity=(ERROR OR WARNING AND (warning OR INFO))",
        "jsonPayload.message:(loaded v1)",
        "jsonPayload.message:(loaded AND NOT v2 -v3)",
        'jsonPayload.list=(a AND "b")',
        'httpRequest.latency>"0.5s" httpRequest.latency<=1.5s httpRequest.latency>=1250ms',
        "httpRequest.status>=500 httpRequest.responseSize>900 http_request.request_method=get",
        "jsonPayload.nothing=NULL_VALUE",
        "NOT jsonPayload.nothing:*",
        'jsonPayload.deep."a.b".c=1',
        "jsonPayload.deep.items.id=2",
        "jsonPayload.when>2026-11-19",
        'resource.labels."service_name"=tabular-service',
        "jsonPayload.n=(7)",
        '-(severity=ERROR OR "absent")',
        "severity=WARNING -- AND severity=ERROR\nAND jsonPayload.n=7",
        "NOT NOT severity=WARNING",
        'SEARCH("v1 loaded")',
        'search(jsonPayload.message, "`Loaded v1`")',
        'ip_in_net(httpRequest.remoteIp, "10.1.0.0/16")',
        'source("projects/demo")',
        "source(project/demo)",
        "sample(insertId, 1)",
        "cast(jsonPayload.code, INT64)>=200",
        'CAST(REGEXP_EXTRACT(jsonPayload.message, "v(\\d+)"), INT64)<2',
        'regexp_extract(jsonPayload.message, "^(\\w+) ")=(loaded OR x)',
        'cast(timestamp, STRING, TIMEZONE("Asia/Tokyo"))=~"^2026-11-20T11:00"',
        'jsonPayload.message=~"v\\d$"',
        'jsonPayload.message=~"v\\\\d$"',
    ],
)
def test_it_matches(text: str) -> None:
    assert parse(text).matches(ENTRY)


@pytest.mark.parametrize(
    "text",
    [
        "severity>WARNING",
        "resource.type=cloud_run_job",
        "resource.type:*job*",
        "jsonPayload.cache_hit=false",
        "jsonPayload.missing:*",
        "jsonPayload.missing!=1",
        "jsonPayload.n>text",
        "jsonPayload.list!=b",
        "labels.other=1",
        "textPayload:x",
        "timestamp>2026-11-20T02:00:00.25Z",
        'log_id("stderr")',
        "absent",
        "jsonPayload.cache_hit",  # a text search; existence is jsonPayload.cache_hit:*
        'jsonPayload.message=~"^loaded"',
        "severity=WARNING jsonPayload.n=8",
        "(severity=WARNING OR severity=ERROR) AND NOT jsonPayload.n=7",
        # (a OR b) AND c, not a OR (b AND c)
        "severity=WARNING OR severity=ERROR AND jsonPayload.n=8",
        "NOT (severity=WARNING AND jsonPayload.n=7)",
        "jsonPayload.message:(loaded AND v2)",
        "httpRequest.latency>2s",
        "httpRequest.responseSize>9000",
        "jsonPayload.missing=NULL_VALUE",
        'jsonPayload.nothing="NULL_VALUE"',
        "jsonPayload.nothing!=NULL_VALUE",
        'SEARCH("load")',
        'ip_in_net(jsonPayload.message, "10.1.0.0/16")',
        'source("projects/dem")',
        "cast(jsonPayload.message, INT64)>0",
        'regexp_extract(jsonPayload.message, "x(.)"):*',
    ],
)
def test_it_does_not_match(text: str) -> None:
    assert not parse(text).matches(ENTRY)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("severity", None),
        ("severity>=", 10),
        ("severity=LOUD", 9),
        ("unknown.field=1", 14),
        ('textPayload="open', 12),
        ("a AND", 5),
        ("AND a", 0),
        ("a OR", 4),
        ("NOT", 3),
        ("(a", 2),
        ("a)", 1),
        ("()", 1),
        ("=x", 0),
        ("ip_in_net(jsonPayload.ip)", 10),
        ("timestamp>noon", 10),
        ('textPayload=~"["', 13),
        ("(" * 60 + "a", 51),
        ("jsonPayload.=1", 12),
        ("jsonPayload..a=1", 12),
        (".a=1", 0),
        ("resource.label.x=1", 17),
        ("severity=(ERROR OR)", 18),
        ("severity=(ERROR", 15),
        ("httpRequest.latency>fast", 20),
        ("httpRequest.status>=five", 20),
        ("jsonPayload.a=1 jsonPayload.b==1", 30),
        ('textPayload=~"(?=x)"', 13),
        ("nonsense(textPayload)", 0),
        ("cast(textPayload, THING)=1", 18),
        ("cast(textPayload, INT64)", 24),
        ("sample(insertId, 2)", 17),
        ('ip_in_net(jsonPayload.ip, "nowhere")', 26),
        ("x" * 20_001, 20_000),
    ],
)
def test_mistakes_have_a_place(text: str, position: int | None) -> None:
    if position is None:
        parse(text)
        return
    with pytest.raises(FilterError) as caught:
        parse(text)
    assert caught.value.position == position, str(caught.value)
    assert f"position {position}" in str(caught.value)


def test_quoted_values_are_what_the_client_meant() -> None:
    entry = {"jsonPayload": {"a": 'say "hi"\n\tback\\slash'}}
    assert parse('jsonPayload.a="say \\"hi\\"\\x0a\\x09back\\\\slash"').matches(entry)
    assert parse('jsonPayload.a="*"').matches({"jsonPayload": {"a": "*"}})
    assert not parse('jsonPayload.a:"*"').matches({"jsonPayload": {"a": "x"}})


def test_what_every_entry_must_pass_is_offered_to_the_store() -> None:
    start = 'timestamp>="2026-11-20T00:00:00Z"'
    found = parse(f"{start} AND (severity=ERROR OR severity=INFO) resource.type=x NOT labels.a=b")
    assert [test.path for test in found.required] == [("timestamp",), ("resource", "type")]
    assert all(isinstance(test, Comparison) for test in found.required)
