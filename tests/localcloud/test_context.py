"""The shared database and the events between rooms."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from scripts.localcloud.context import Context, Database


@pytest.fixture
def db(tmp_path: Path) -> Database:
    opened = Database(tmp_path / "state.db")
    opened.script("CREATE TABLE t(x INTEGER PRIMARY KEY)")
    return opened


def test_a_transaction_is_all_or_nothing(db: Database) -> None:
    with pytest.raises(sqlite3.IntegrityError), db.transaction():
        db.run("INSERT INTO t VALUES (1)")
        with db.transaction():
            db.run("INSERT INTO t VALUES (1)")
    assert db.rows("SELECT * FROM t") == []
    with db.transaction(), db.transaction():
        db.run("INSERT INTO t VALUES (2)")
    assert db.row("SELECT x FROM t")["x"] == 2  # type: ignore[index]


def test_after_a_refused_commit_the_next_transaction_works(db: Database) -> None:
    db.script("CREATE TABLE u(x INTEGER REFERENCES t(x) DEFERRABLE INITIALLY DEFERRED)")
    db.run("PRAGMA foreign_keys=ON")
    with pytest.raises(sqlite3.IntegrityError), db.transaction():
        db.run("INSERT INTO u VALUES (99)")
    with db.transaction():
        db.run("INSERT INTO t VALUES (3)")
    assert [row["x"] for row in db.rows("SELECT x FROM t")] == [3]
    assert db.rows("SELECT x FROM u") == []


def test_a_listener_that_fails_does_not_undo_what_happened(tmp_path: Path, db: Database) -> None:
    context = Context(tmp_path, "http://localhost", tmp_path, db)
    heard: list[str] = []

    def broken(event: str) -> None:
        raise ValueError(event)

    context.listen("topic", broken)
    context.listen("topic", heard.append)
    context.publish("topic", "event")
    assert heard == ["event"]


def test_time_and_folders(tmp_path: Path, db: Database) -> None:
    context = Context(tmp_path, "http://localhost", tmp_path, db, clock=lambda: 1_795_000_000.5)
    assert context.now() == "2026-11-18T11:06:40.500000Z"
    assert context.folder("a").stat().st_mode & 0o777 == 0o700
