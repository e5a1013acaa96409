"""How far load alone may go, and that the log says so."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from scripts.localcloud.context import Context, Database
from scripts.localcloud.run.container import DEFAULT_STARTUP, Plan
from scripts.localcloud.run.fleet import Fleet, Retired
from scripts.localcloud.run.instance import Identity, claim_port


class _Starting(Fleet):
    """Starts nothing."""

    def _begin(self, why: str) -> Any:
        assert why.startswith("AUTOSCALING")


@pytest.mark.parametrize(("maximum", "waiting", "started", "told"), [(100, 25, 20, 1), (3, 25, 3, 0), (100, 2, 2, 0)])
def test_load_starts_no_more_than_the_machine_s_share(
    tmp_path: Path, maximum: int, waiting: int, started: int, told: int
) -> None:
    context = Context(tmp_path, "http://127.0.0.1:1", tmp_path, Database(tmp_path / "state.db"))
    said: list[tuple[Identity, str, str]] = []
    identity = Identity("p", "europe-west1", "s", "s-1")
    plan = Plan(("x",), {}, (), DEFAULT_STARTUP, None, 1, 300.0, 0, maximum)

    async def ask() -> _Starting:
        nothing: Any = None
        fleet = _Starting(context, identity, plan, nothing, lambda *entry: said.append(entry))
        waiters = [asyncio.create_task(fleet.acquire()) for _ in range(waiting)]
        await asyncio.sleep(0)
        assert fleet.describe()["waiting"] == waiting
        assert fleet.wanted == started
        await fleet.close()
        assert {type(each) for each in await asyncio.gather(*waiters, return_exceptions=True)} == {Retired}
        return fleet

    fleet = asyncio.run(ask())
    assert fleet.limit == min(maximum, 20) and len(said) == told
    assert all(severity == "WARNING" and "at most 20" in text for _, severity, text in said)
    context.db.close()


def test_instances_that_start_together_never_draw_the_same_port() -> None:
    """A thousand of twelve thousand ports at random: without a claim about forty would be drawn twice."""
    claimed = [claim_port() for _ in range(1000)]
    try:
        assert len({port for port, _ in claimed}) == 1000
        taken, _ = claimed[0]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", taken))
    finally:
        for _, claim in claimed:
            claim.close()
