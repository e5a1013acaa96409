"""Faults as values: which calls they take, and what is left of them."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.localcloud.traffic.faults import Fault, Faults, Shot, due
from scripts.localcloud.web import ApiError


def _taken(calls: int, /, **options: Any) -> list[int]:
    """The numbers of the calls that a fault took."""
    fault = Faults().add({"on": "*", "kind": "503", **options}, "")
    taken = []
    for number in range(1, calls + 1):
        if fault.see():
            Shot(fault).fire()
            taken.append(number)
    return taken


def test_the_calls_that_are_taken() -> None:
    assert _taken(5) == [1]
    assert _taken(5, nth=3) == [3]
    assert _taken(9, nth=3, count=2) == [3, 4]
    assert _taken(4, count="forever") == [1, 2, 3, 4]
    assert _taken(9, nth=2, every=3) == [2, 5, 8]
    assert _taken(9, every=2, count=2) == [1, 3]
    assert _taken(40, probability=0.5, seed=1) == _taken(40, probability=0.5, seed=1)
    assert _taken(40, probability=0.5, seed=1) != _taken(40, probability=0.5, seed=2)
    assert _taken(5, probability=1.0) == [1, 2, 3, 4, 5]


def test_a_call_under_way_holds_its_turn_until_it_is_missed() -> None:
    fault = Fault("f1", "*", "truncate")
    assert fault.see()
    shot = Shot(fault)
    assert not fault.see(), "the one turn is taken by a call that is not over"
    shot.end()
    assert (fault.fired, fault.missed, fault.left) == (0, 1, 1)
    assert fault.see()
    shot = Shot(fault)
    shot.fire()
    shot.fire()
    shot.end()
    assert (fault.seen, fault.fired, fault.missed, fault.left) == (3, 1, 1, 0)
    assert not fault.see()


def test_the_first_that_is_due_gets_the_call_and_all_count_it() -> None:
    faults = Faults()
    later = faults.add({"on": "a.*", "kind": "503", "nth": 2}, "")
    first = faults.add({"on": "a.b", "kind": "429"}, "")
    faults.add({"on": "c", "kind": "429"}, "")
    for expected in (first, later):
        shot = due(faults.meant("a.b", ""))
        assert shot is not None and shot.fault is expected
        shot.fire()
    assert [fault.seen for fault in faults.listed()] == [2, 2, 0]


def test_clearing() -> None:
    faults = Faults()
    with pytest.raises(ApiError, match="none is set"):
        faults.clear("f1")
    faults.add({"on": "*", "kind": "503"}, "")
    faults.add({"on": "*", "kind": "503"}, "")
    with pytest.raises(ApiError, match="set are f1, f2"):
        faults.clear("f3")
    assert [fault.id for fault in faults.clear("f1")] == ["f1"]
    assert [fault.id for fault in faults.clear()] == ["f2"]
    assert not faults.any
    assert faults.add({"on": "*", "kind": "503"}, "").id == "f3", "an id is never given again"
