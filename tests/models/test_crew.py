"""Tasks begin in order with bounded memory; the first failure ends all."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from scripts.models.crew import Crew, Stopped, Task
from scripts.models.sources.backoff import Backoff, Patience

Release = Callable[[], None]


@pytest.mark.parametrize("connections", [1, 4])
def test_all_tasks_run_those_that_others_add_too(connections: int) -> None:
    crew, ran = Crew(connections), []

    def work(name: str, more: list[str]) -> Callable[[Release], None]:
        def run(release: Release) -> None:
            ran.append(name)
            release()
            crew.add(Task(1, work(each, [])) for each in more)

        return run

    crew.add(Task(1, work(name, [f"{name}{number}" for number in range(3)])) for name in "abc")
    crew.work()
    assert sorted(ran) == sorted([*"abc", *(f"{name}{number}" for name in "abc" for number in range(3))])
    if connections == 1:
        assert ran[:5] == ["a", "a0", "a1", "a2", "b"]


def test_memory_is_bounded_and_given_in_order() -> None:
    crew, lock = Crew(4, 100), threading.Lock()
    held, most, began = 0, 0, []

    def work(number: int) -> Callable[[Release], None]:
        def run(release: Release) -> None:
            nonlocal held, most
            with lock:
                began.append(number)
                held += 40
                most = max(most, held)
            with lock:
                held -= 40
            release()

        return run

    crew.add(Task(40, work(number)) for number in range(50))
    crew.work()
    assert most <= 80
    assert sorted(began) == list(range(50))


def test_memory_that_is_kept_beyond_a_task_is_waited_for() -> None:
    """The second task needs what the first one gives back only when the third has run: as spans wait to be hashed."""
    crew, kept, ran = Crew(3, 2), [], []

    def keeps(release: Release) -> None:
        ran.append("keeps")
        kept.append(release)

    def frees(release: Release) -> None:
        ran.append("frees")
        release()
        while not kept:
            pass
        kept.pop()()

    crew.add([Task(1, keeps), Task(1, frees), Task(2, lambda release: ran.append("last"))])
    crew.work()
    assert sorted(ran) == ["frees", "keeps", "last"] and ran[-1] == "last"


@pytest.mark.parametrize("connections", [1, 4])
def test_the_first_failure_is_raised_and_nothing_more_begins(connections: int) -> None:
    crew, ran, failed = Crew(connections), [], threading.Event()

    def fails(release: Release) -> None:
        ran.append("fails")
        failed.set()
        raise ValueError("broken")

    def waits(release: Release) -> None:
        failed.wait(10)
        while True:
            crew.check()

    crew.add([*(Task(0, waits) for _ in range(connections - 1)), Task(0, fails), *(Task(0, waits) for _ in range(9))])
    with pytest.raises(ValueError, match="broken"):
        crew.work()
    assert ran == ["fails"]
    with pytest.raises(Stopped):
        crew.check()


def test_a_failure_frees_whoever_waits_for_memory() -> None:
    crew, waiting = Crew(2, 1), threading.Event()

    def holds(release: Release) -> None:
        waiting.wait(0.2)
        raise ValueError("broken")

    begun = []
    crew.add([Task(1, holds), Task(1, lambda release: begun.append("another"))])
    with pytest.raises(ValueError, match="broken"):
        crew.work()
    assert begun == []


def test_an_interruption_passes_through() -> None:
    crew = Crew(2)

    def interrupted(release: Release) -> None:
        raise KeyboardInterrupt

    crew.add([Task(0, interrupted)])
    with pytest.raises(KeyboardInterrupt):
        crew.work()


def test_a_failure_ends_the_waits_that_an_upstream_asked_for() -> None:
    crew, waiting = Crew(2), threading.Event()

    def waits(release: Release) -> None:
        waiting.set()
        Backoff(Patience()).pause("a file", "the upstream is busy", 250.0)

    def fails(release: Release) -> None:
        waiting.wait(10)
        raise ValueError("broken")

    crew.add([Task(0, waits), Task(0, fails)])
    with pytest.raises(ValueError, match="broken"):
        crew.work()
    Backoff(Patience(first_wait_s=0.01)).pause("a file", "the upstream is busy")  # of no concern to what comes later
