from __future__ import annotations

import asyncio
import json
from typing import Any

from scripts.localcloud.console.gate import Gate, Verdict, verdict
from scripts.localcloud.console.values import moment

BEGAN = "2026-11-20T14:37:00Z"
NOW = moment(BEGAN) or 0.0
ODD = 'a"b'
LABELS = {"instanceId": ODD}
HIT = {
    "labels": LABELS,
    "jsonPayload": {"cache_hit": True, "reason": "match", "manifest_version": "v1", "source": "mount"},
}
MISS = {"labels": LABELS, "jsonPayload": {"cache_hit": False, "reason": "no statement", "manifest_version": None}}
STARTED = {"labels": LABELS, "jsonPayload": {"message": "service started", "manifest_version": "v2"}}


class Log:
    """Answers each search with what it was given, and remembers the filters."""

    def __init__(self, *entries: dict[str, Any]) -> None:
        self.entries = list(entries)
        self.asked: list[str] = []

    async def search(self, text: str, size: int, *, newest_first: bool = True) -> list[dict[str, Any]]:
        self.asked.append(text)
        return self.entries


def ask(gate: Gate, state: str = "ready", age_s: float = 5.0) -> dict[str, Any]:
    instance = {"id": ODD, "state": state, "started_at": BEGAN}
    return asyncio.run(gate.add_to([instance], NOW + age_s))[0]


def test_the_first_decision_counts_and_the_last_version() -> None:
    assert verdict([HIT, STARTED]) == Verdict(True, "match", "v2", "mount")
    assert verdict([MISS, STARTED]) == Verdict(False, "no statement", "v2")
    assert verdict([]) == Verdict()
    assert verdict([{"jsonPayload": "odd"}, {"textPayload": "x"}, {"jsonPayload": {"cache_hit": "yes"}}]) == Verdict()


def test_an_instance_that_has_told_is_asked_once() -> None:
    log = Log(HIT)
    gate = Gate(log.search)
    assert ask(gate)["hit"] is True
    assert ask(gate)["version"] == "v1"
    assert len(log.asked) == 1
    assert 'labels.instanceId=("a\\"b")' in log.asked[0]


def test_an_instance_that_starts_is_asked_again() -> None:
    log = Log(MISS)
    gate = Gate(log.search)
    assert ask(gate, "starting")["hit"] is False
    log.entries.append(STARTED)
    assert ask(gate)["version"] == "v2"


def test_an_instance_without_a_gate_is_left_alone_after_a_while() -> None:
    log = Log()
    gate = Gate(log.search)
    for age_s in (5, 31, 40, 50):
        assert ask(gate, age_s=age_s)["hit"] is None
    assert len(log.asked) == 2


def test_many_are_asked_for_in_turns_and_a_slow_log_holds_up_nobody() -> None:
    log = Log(HIT)
    gate = Gate(log.search)
    instances = [{"id": f"i{number}", "state": "ready", "started_at": BEGAN} for number in range(30)]
    for _ in range(2):
        asyncio.run(gate.add_to([*instances, {**instances[0], "id": ODD}], NOW))
    names = [*(each["id"] for each in instances), ODD]
    first, second = ({name for name in names if json.dumps(name) in text} for text in log.asked)
    assert len(first) == 20 and ODD in second and first | second == set(names)

    async def never(*_: Any, **__: Any) -> list[dict[str, Any]]:
        await asyncio.Event().wait()
        return []

    async def look() -> list[dict[str, Any]]:
        slow = Gate(never)
        found = await slow.add_to(instances, NOW, 0.01)
        slow.stop()
        return found

    assert [each["hit"] for each in asyncio.run(look())] == [None] * 30
