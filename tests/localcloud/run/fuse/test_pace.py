"""Answers wait for their turn: bytes share the bandwidth, first bytes wait for the latency, signals end the wait."""

from __future__ import annotations

import pytest

from scripts.localcloud.run.fuse.pace import Pace


class Now:
    """A clock."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def pace(now: Now) -> Pace:
    return Pace(now)


def test_nothing_waits_without_limits(pace: Pace) -> None:
    assert pace.free and pace.due(1 << 20, True) == 0.0 and pace.wait_s() is None


def test_readers_share_the_bandwidth(pace: Pace, now: Now) -> None:
    pace.set({"bandwidth_bytes_s": 1000.0, "latency_ms": 0.0})
    assert not pace.free
    assert [pace.due(500, False), pace.due(500, False)] == [100.5, 101.0]
    now.at = 200.0
    assert pace.due(1000, False) == 201.0
    assert pace.due(100, False, 10.0) == 211.0  # the mount's own limit is lower
    pace.set({"bandwidth_bytes_s": None, "latency_ms": 0.0})
    assert pace.due(100, False) == 0.0


def test_latency_is_for_the_first_byte(pace: Pace) -> None:
    pace.set({"bandwidth_bytes_s": None, "latency_ms": 250.0})
    assert (pace.due(10, True), pace.due(10, False)) == (100.25, 0.0)
    pace.set({"bandwidth_bytes_s": 10.0, "latency_ms": 250.0})
    assert (pace.due(10, True), pace.due(10, False)) == (101.25, 102.0)


def test_answers_are_sent_when_they_are_due(pace: Pace, now: Now) -> None:
    sent: list[bytes] = []
    pace.later(102.0, 2, b"second", sent.append)
    pace.later(101.0, 1, b"first", sent.append)
    pace.later(103.0, 3, b"third", sent.append)
    assert pace.wait_s() == 1.0
    pace.flush()
    assert sent == []
    now.at = 102.0
    pace.flush()
    assert sent == [b"first", b"second"] and pace.wait_s() == 1.0
    pace.interrupt(9, b"nobody")
    pace.interrupt(3, b"interrupted")
    assert sent[2:] == [b"interrupted"] and pace.wait_s() is None
