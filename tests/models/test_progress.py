"""The pace of a transfer: at most once a second, by the rate of the last seconds."""

from __future__ import annotations

from scripts.models.progress import Pace, Progress


def test_the_pace_is_told_once_a_second_and_follows_the_network() -> None:
    now, told = [0.0], list[Pace]()
    progress = Progress(10_000, told.append, lambda: now[0])
    progress.add(100)
    assert told == []
    now[0] = 1.0
    progress.add(900)
    progress.add(1)
    assert told == [Pace(1_000, 10_000, 1_000, 9.0)]
    for second in range(2, 30):
        now[0] = float(second)
        progress.add(10)
    assert told[-1].rate_bytes_per_s == 10
    assert told[-1].done_bytes == 1_281


def test_what_has_to_be_brought_again_is_not_done() -> None:
    now, told = [0.0], list[Pace]()
    progress = Progress(100, told.append, lambda: now[0])
    progress.add(100)
    now[0] = 1.0
    progress.add(-100)
    assert told == [Pace(0, 100, 0, None)]
