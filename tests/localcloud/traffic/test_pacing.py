"""Where bodies are cut: sizes, and the steps in which they pass."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scripts.localcloud.traffic.faults import Fault, Shot
from scripts.localcloud.traffic.pacing import Pace, cut_at, dispose, size_of
from scripts.localcloud.web import FileBody, Response


@pytest.mark.parametrize(
    ("size", "after", "cut"), [(0, None, None), (1, None, 0), (9, None, 4), (9, 0, 0), (9, 8, 8), (9, 9, None)]
)
def test_an_answer_is_cut_where_it_still_has_bytes(size: int, after: int | None, cut: int | None) -> None:
    assert cut_at(Response(body=bytes(size)), after) == cut


def test_sizes() -> None:
    async def stream() -> AsyncIterator[bytes]:
        yield b""

    assert size_of(Response(body=FileBody(0, 5, 7))) == 7
    assert size_of(Response(body=stream(), headers=(("Content-Length", "12"),))) == 12
    assert size_of(Response(body=stream())) is None


def test_steps() -> None:
    shot = Shot(Fault("f1", "*", "slow"))
    slow = Pace(shot, "slow", 10, rate_bytes_s=200)
    assert [slow.step(0, 100), slow.step(8, 100), slow.step(10, 100), slow.step(95, 3)] == [10, 2, 10, 3]
    assert Pace(shot, "cut", 10).step(10, 100) == 100


def test_an_answer_that_nobody_gets_is_closed(tmp_path: Path) -> None:
    import asyncio

    (tmp_path / "x").write_bytes(b"x")
    descriptor = os.open(tmp_path / "x", os.O_RDONLY)
    asyncio.run(dispose(Response(body=FileBody(descriptor, 0, 1))))
    with pytest.raises(OSError):
        os.fstat(descriptor)
