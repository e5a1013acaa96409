"""Counts are kept by client and survive the daemon."""

from __future__ import annotations

from pathlib import Path

from scripts.localcloud.context import Database
from scripts.localcloud.upstream.counters import Counters, client_of
from scripts.localcloud.web import Request


async def nothing() -> dict[str, object]:
    return {"type": "http.disconnect"}


def request(**headers: str) -> Request:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return Request("GET", "/", {}, {}, named, "127.0.0.1:1", nothing)


def test_a_client_is_its_own_name_else_its_program() -> None:
    assert client_of(request(x_modelshelf_client="instance-1", user_agent="curl/8")) == "instance-1"
    assert client_of(request(user_agent="curl/8")) == "curl/8"
    assert client_of(request()) == "unknown"
    assert len(client_of(request(user_agent="x" * 5000))) == 200


def test_counts_survive_a_restart(tmp_path: Path) -> None:
    db = Database(tmp_path / "state.db")
    counters = Counters(db)
    counters.request("a")
    counters.sent("a", 100)
    counters.metadata("a", 7)
    counters.request("b")
    counters.save("a")
    counters.save("b")
    expected = {
        "running": True, "requests": 2, "bytes": 100, "metadata_bytes": 7,
        "by_client": {
            "a": {"requests": 1, "bytes": 100, "metadata_bytes": 7},
            "b": {"requests": 1, "bytes": 0, "metadata_bytes": 0},
        },
    }  # fmt: skip
    assert counters.totals() == expected
    again = Counters(db)
    assert again.totals() == expected
    again.reset()
    assert Counters(db).totals()["by_client"] == {}


def test_a_long_stream_is_saved_on_its_way(tmp_path: Path) -> None:
    db = Database(tmp_path / "state.db")
    counters = Counters(db)
    for _ in range(20):
        counters.sent("a", 1 << 20)
    assert Counters(db).totals()["bytes"] >= 12 << 20


def test_the_switch_is_remembered(tmp_path: Path) -> None:
    db = Database(tmp_path / "state.db")
    Counters(db).switch(False)
    assert Counters(db).running is False
    Counters(db).switch(True)
    assert Counters(db).running is True
