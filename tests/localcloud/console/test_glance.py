from __future__ import annotations

from typing import Any

from scripts.localcloud.console.glance import glance

AT = "2026-11-20T14:37:00Z"
NOW = 1_795_185_480.0


def values(**panels: Any) -> dict[str, Any]:
    """Panels of a stand-in in which nothing is wrong and nothing has changed, but for those given."""
    quiet: dict[str, Any] = {
        "incidents": {"incidents": []}, "services": {"services": []}, "instances": {"instances": []},
        "jobs": {"jobs": []}, "scheduler": {"jobs": []}, "requests": {"rates": []}, "faults": {"faults": []},
        "upstreams": {"running": True}, "clock": {"rate": 1}, "buckets": {"buckets": []},
        "statements": {"buckets": []},
    }  # fmt: skip
    return {**quiet, **panels}


def wrong(**panels: Any) -> list[tuple[str, str]]:
    return [(each["level"], each["panel"]) for each in glance(values(**panels), NOW)["wrong"]]


def service(status: str) -> dict[str, Any]:
    ready = {"status": status, "reason": "ContainerMissing", "message": ""}
    return {"services": [{"name": "web", "ready": ready, "revisions": []}]}


def job(state: str, ended_at: str | None = AT) -> dict[str, Any]:
    executions = [{"name": "sync-1", "state": state, "started_at": AT, "ended_at": ended_at}]
    return {"jobs": [{"name": "sync", "executions": executions}]}


def fault(left: Any) -> dict[str, Any]:
    return {"faults": [{"id": "f1", "on": "run.*", "kind": "503", "left": left, "set_at": AT}]}


def test_nothing_is_wrong_where_all_is_well() -> None:
    assert glance(values(services=service("True"), jobs=job("succeeded")), NOW)["wrong"] == []
    assert wrong(services=service("Unknown"), jobs=job("running", None), faults=fault(0)) == []


def test_each_trouble_is_told_with_its_panel() -> None:
    incident = {"state": "open", "policy": "p", "condition": "c", "started_at": AT, "ended_at": None}
    assert wrong(incidents={"incidents": [incident]}) == [("bad", "incidents")]
    assert wrong(incidents={"incidents": [{**incident, "state": "closed", "ended_at": AT}]}) == []
    assert wrong(services=service("False")) == [("bad", "services")]
    assert wrong(instances={"instances": [{"state": "crashed"}, {"state": "ready"}]}) == [("bad", "instances")]
    assert wrong(jobs=job("failed")) == [("bad", "jobs")]
    schedule = {"name": "nightly", "problem": "404"}
    assert wrong(scheduler={"jobs": [schedule]}) == [("bad", "scheduler")]
    rate = {"name": "web", "kind": "service", "errors_lately": 2}
    assert wrong(requests={"rates": [rate, {**rate, "kind": "API"}]}) == [("bad", "requests")]
    assert wrong(faults=fault("forever")) == wrong(faults=fault(1)) == [("warn", "faults")]
    assert wrong(upstreams={"running": False}) == [("warn", "upstreams")]
    assert wrong(clock={"rate": 60.0}) == [("warn", "clock")]
    assert wrong(buckets={"buckets": [{"name": "b", "held": True}, {"name": "c", "held": False}]}) == [
        ("warn", "buckets")
    ]


def test_the_worst_comes_first_and_many_are_counted() -> None:
    services = {"services": service("False")["services"] * 20}
    found = glance(values(services=services, upstreams={"running": False}), NOW)
    assert [each["level"] for each in found["wrong"]] == ["bad"] * 8 and found["more"] == 13


def test_what_changed_last_comes_first() -> None:
    old = "2026-11-20T14:30:00Z"
    revision = {"name": "web-1", "created_at": old}
    services = {
        "services": [{**service("True")["services"][0], "revisions": [revision, {**revision, "created_at": "?"}]}]
    }
    statement = {"serial": 2, "version": "v2", "created_at": "2026-11-20T14:36:00Z", "problem": ""}
    statements = {"buckets": [{"statements": [{**statement, "problem": "unreadable"}, statement]}]}
    found = glance(values(services=services, jobs=job("failed"), statements=statements), NOW)["changed"]
    assert [each["text"] for each in found] == [
        "Execution sync-1 failed", "Models v2 by statement 2", "Revision web-1"
    ]  # fmt: skip
    assert [each["age_s"] for each in found] == sorted(each["age_s"] for each in found)
