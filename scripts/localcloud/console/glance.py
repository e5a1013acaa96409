"""What an operator looks for first: what is wrong now, and what changed last. Made from the other panels' values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scripts.localcloud.console.values import moment

_WRONG = 8
_CHANGED = 6
Values = dict[str, Any]
Wrong = tuple[str, str, str]


def glance(values: Values, now: float) -> dict[str, Any]:
    """{wrong: [{level: bad|warn, text, panel}], more: how many are left out, changed: [{at, age_s, text, panel}]}."""
    wrong = [*_alarms(values), *_broken(values), *_odd(values)]
    wrong.sort(key=lambda each: each[0] != "bad")
    shown = [{"level": level, "text": text, "panel": panel} for level, text, panel in wrong[:_WRONG]]
    return {"wrong": shown, "more": max(0, len(wrong) - _WRONG), "changed": _changed(values, now)}


def _alarms(values: Values) -> Iterator[Wrong]:
    for each in values["incidents"]["incidents"]:
        if each["state"] == "open":
            yield "bad", f"{each['policy']}: {each['condition'] or 'an incident is open'}", "incidents"


def _broken(values: Values) -> Iterator[Wrong]:
    for each in values["services"]["services"]:
        if each["ready"]["status"] == "False":
            yield "bad", f"{each['name']} is not ready: {each['ready']['reason'] or 'failed'}", "services"
    troubled = [each for each in values["instances"]["instances"] if each["state"] in ("failed", "crashed")]
    if troubled:
        number = len(troubled)
        yield "bad", f"{number} instance{' has' if number == 1 else 's have'} failed", "instances"
    for each in values["jobs"]["jobs"]:
        if each["executions"] and each["executions"][0]["state"] == "failed":
            yield "bad", f"{each['name']}: its last execution failed", "jobs"
    for each in values["scheduler"]["jobs"]:
        if each["problem"]:
            yield "bad", f"{each['name']}: its last run failed", "scheduler"
    for each in values["requests"]["rates"]:
        if each["kind"] == "service" and each["errors_lately"]:
            number = each["errors_lately"]
            yield "bad", f"{each['name']}: {number} failed request{'' if number == 1 else 's'} lately", "requests"


def _odd(values: Values) -> Iterator[Wrong]:
    """What somebody has done on purpose, and may have forgotten."""
    armed = [each for each in values["faults"]["faults"] if each["left"]]
    if armed:
        yield "warn", f"{len(armed)} fault{' is' if len(armed) == 1 else 's are'} set", "faults"
    if not values["upstreams"]["running"]:
        yield "warn", "The upstreams are off: every pull is refused", "upstreams"
    if values["clock"]["rate"] != 1:
        yield "warn", f"The clock runs {values['clock']['rate']:,.0f} times as fast", "clock"
    for each in values["buckets"]["buckets"]:
        if each["held"]:
            yield "warn", f"{each['name']} is held at one version", "buckets"


def _changed(values: Values, now: float) -> list[dict[str, Any]]:
    found = []
    for at, text, panel in (*_of_run(values), *_of_models(values), *_of_others(values)):
        began = moment(at)
        if began is not None:
            found.append((began, {"at": at, "age_s": now - began, "text": text, "panel": panel}))
    found.sort(key=lambda each: each[0], reverse=True)
    return [each for _, each in found[:_CHANGED]]


def _of_run(values: Values) -> Iterator[tuple[Any, str, str]]:
    for service in values["services"]["services"]:
        for each in service["revisions"][:3]:
            yield each["created_at"], f"Revision {each['name']}", "services"
    for job in values["jobs"]["jobs"]:
        for each in job["executions"][:3]:
            state = "started" if each["state"] == "running" else each["state"]
            yield each["ended_at"] or each["started_at"], f"Execution {each['name']} {state}", "jobs"


def _of_models(values: Values) -> Iterator[tuple[Any, str, str]]:
    for bucket in values["statements"]["buckets"]:
        for each in bucket["statements"][:3]:
            if not each["problem"]:
                yield each["created_at"], f"Models {each['version']} by statement {each['serial']}", "statements"


def _of_others(values: Values) -> Iterator[tuple[Any, str, str]]:
    for each in values["incidents"]["incidents"]:
        ended = each["ended_at"] is not None
        yield (
            each["ended_at"] or each["started_at"],
            f"Incident {'over' if ended else 'open'}: {each['policy']}",
            ("incidents"),
        )
    for each in values["faults"]["faults"]:
        yield each["set_at"], f"Fault {each['id']}: {each['kind']} on {each['on']}", "faults"
