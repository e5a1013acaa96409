"""The clock that can be moved, with timers that count how often they rang."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from scripts.localcloud.clock import Clock
from scripts.localcloud.context import Context, Database


class Machine:
    """A machine's clock under the test's control."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


class Ticker:
    """Rings every `every` seconds; what it starts takes `takes` seconds of the machine's time."""

    def __init__(self, clock: Clock, machine: Machine, every: float, takes: float = 0.0, fails: bool = False) -> None:
        self.clock, self.machine, self.every, self.takes, self.fails = clock, machine, every, takes, fails
        self.due = clock() + every
        self.rang: list[float] = []
        self.under_way = 0
        self.settled = 0
        self.third = asyncio.Event()

    def next_at(self) -> float | None:
        return self.due

    def ring(self) -> None:
        self.rang.append(self.clock())
        if self.fails:
            raise RuntimeError("broken")
        self.due += self.every
        self.under_way += 1
        if len(self.rang) == 3:
            self.third.set()

    async def settle(self) -> None:
        self.settled += self.under_way
        self.machine.at += self.takes * self.under_way
        self.under_way = 0


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def context(tmp_path: Path) -> Any:
    context = Context(tmp_path, "http://127.0.0.1:1", tmp_path, Database(tmp_path / "state.db"))
    yield context
    context.db.close()


def test_every_timer_rings_at_its_own_moments_in_order(context: Context, machine: Machine) -> None:
    async def scenario() -> None:
        clock = Clock(context, machine)
        slow, quick = Ticker(clock, machine, 40), Ticker(clock, machine, 25, takes=7)
        clock.add(slow)
        clock.add(quick)
        await clock.advance(100)
        assert quick.rang == [1025, 1050, 1075, 1100] and quick.settled == 4
        assert slow.rang == [1040, 1080]
        # the events took 28 s of the machine's time, which is not added to what was asked for
        assert clock() == 1100
        machine.at += 5
        assert clock() == 1105

    asyncio.run(scenario())


def test_what_was_skipped_is_kept(context: Context, machine: Machine) -> None:
    async def scenario() -> None:
        await Clock(context, machine).advance(86400)
        assert Clock(context, machine)() == 87400
        assert context.clock() == 87400 and context.now() == "1970-01-02T00:16:40.000000Z"

    asyncio.run(scenario())


def test_a_fast_clock_passes_no_moment_before_its_timer_has_rung(context: Context, machine: Machine) -> None:
    async def scenario() -> None:
        clock = Clock(context, machine)
        slow, quick = Ticker(clock, machine, 1800), Ticker(clock, machine, 600, takes=5)
        clock.add(slow)
        clock.add(quick)
        await clock.run_at(3600)
        running = asyncio.create_task(clock.run())
        machine.at += 0.5
        assert clock() == 1600  # the next timer's moment: it has not rung yet
        for _ in range(200):
            if slow.rang:
                break
            await asyncio.sleep(0.005)
        assert quick.rang == [1600, 2200, 2800] and slow.rang == [2800]
        # 1800 s have passed, and not what the machine took to carry them out
        assert clock() == 2800
        await clock.run_at(1)
        machine.at += 7
        assert clock() == 2807
        running.cancel()

    asyncio.run(scenario())


def test_a_fast_clock_does_not_go_backwards_when_the_daemon_dies(context: Context, machine: Machine) -> None:
    async def scenario() -> None:
        clock = Clock(context, machine)
        await clock.run_at(3600)
        running = asyncio.create_task(clock.run())
        await asyncio.sleep(0)
        machine.at += 0.1
        seen = clock()
        running.cancel()
        again = Clock(context, machine)
        assert seen == pytest.approx(1360) and seen <= again() <= seen + 3600 and again.rate == 3600

    asyncio.run(scenario())


def test_a_timer_that_fails_does_not_stop_time(context: Context, machine: Machine) -> None:
    async def scenario() -> None:
        clock = Clock(context, machine)
        broken, good = Ticker(clock, machine, 10, fails=True), Ticker(clock, machine, 50)
        clock.add(broken)
        clock.add(good)
        await clock.advance(200)
        assert broken.rang == [1010, 1070, 1130, 1190] and len(good.rang) == 4

    asyncio.run(scenario())


def test_timers_ring_as_time_goes_by(context: Context) -> None:
    async def scenario() -> None:
        clock = Clock(context)
        ticker = Ticker(clock, Machine(), 0.02)
        clock.add(Ticker(clock, Machine(), 3600))
        running = asyncio.create_task(clock.run())
        await asyncio.sleep(0)  # it sleeps for an hour, and is told of an earlier timer
        clock.add(ticker)
        await asyncio.wait_for(ticker.third.wait(), 20)
        running.cancel()
        assert all(rang < clock() for rang in ticker.rang) and sorted(ticker.rang) == ticker.rang

    asyncio.run(scenario())
