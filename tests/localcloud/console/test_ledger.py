from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
from pathlib import Path

import pytest

from scripts.localcloud.console.ledger import Kept, Ledger


def test_it_reads_in_a_thread_what_another_has_written_and_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("CREATE TABLE t(x)")

    async def look() -> None:
        ledger = Ledger(path)
        usual_s = sys.getswitchinterval()
        for count in (0, 1):
            assert await ledger.read(lambda found: found.execute("SELECT count(*) FROM t").fetchone()[0]) == count
            db.execute("INSERT INTO t VALUES (1)")
        assert await ledger.beside(threading.get_ident) != threading.get_ident()
        assert sys.getswitchinterval() == usual_s
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await ledger.read(lambda found: found.execute("DELETE FROM t"))
        await ledger.close()

    asyncio.run(look())
    db.close()


def test_who_asks_waits_a_moment_and_then_gets_the_last_value() -> None:
    async def look() -> None:
        go = asyncio.Event()
        made: list[int] = []

        async def make() -> int:
            await go.wait()
            made.append(1)
            return len(made)

        kept = Kept(make)
        assert await kept.get(0.01) is None
        assert await kept.get(0.01) is None
        go.set()
        assert await kept.get(30.0) == 1 == len(made), "both waited for the same"
        assert await kept.fresh() == 2
        go.clear()
        slow = asyncio.create_task(kept.fresh())
        await asyncio.sleep(0)
        assert await kept.get(0.01) == 2
        go.set()
        assert await slow == 3
        kept.stop()

    asyncio.run(look())


def test_what_went_wrong_is_told_and_tried_again() -> None:
    async def look() -> None:
        answers = iter((ValueError("no"), 7))

        async def make() -> int:
            found = next(answers)
            if isinstance(found, Exception):
                raise found
            return found

        kept = Kept(make)
        with pytest.raises(ValueError, match="no"):
            await kept.get(30.0)
        assert await kept.get(30.0) == 7

    asyncio.run(look())
