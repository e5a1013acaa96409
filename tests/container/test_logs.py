from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from scripts.container import logs
from scripts.errors import Refused


def entries(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


def test_an_entry_is_one_json_line_with_severity_message_and_fields(capfd: pytest.CaptureFixture[str]) -> None:
    logs.info("cache hit", cache_hit=True, reason="trusted", serial=3, duration_s=0.12345678, manifest_version=None)
    assert entries(capfd) == [
        {"severity": "INFO", "message": "cache hit", "cache_hit": True, "reason": "trusted", "serial": 3,
         "duration_s": 0.123457},
    ]  # fmt: skip


def test_line_ends_and_odd_characters_stay_inside_their_line(capfd: pytest.CaptureFixture[str]) -> None:
    logs.error("two\nlines", path="ü \u2028 \ud800", where=os.fsencode("x"))
    (entry,) = entries(capfd)
    assert entry["message"] == "two\nlines"
    assert entry["path"] == "ü \u2028 \\ud800"


def test_a_remedy_names_the_environment(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    logs.error("x", remedy="Run: sync --env ENVIRONMENT")
    monkeypatch.setenv("MODELSHELF_ENV", "staging")
    logs.error("x", remedy="Run: sync --env ENVIRONMENT", error="ENVIRONMENT")
    assert [entry["remedy"][-11:] for entry in entries(capfd)] == ["ENVIRONMENT", "env staging"]


def test_secrets_never_reach_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    token = "hf_" + "a1B2" * 8
    nested = {"Authorization": "Bearer abc", "deep": [{"password": "hunter2", "plain": f"used {token}"}]}
    logs.warning(f"sent token={token}", hub_token="plain-looking", headers=nested, tokens=5)
    out = capfd.readouterr().out
    for secret in (token, "abc", "hunter2", "plain-looking"):
        assert secret not in out
    assert json.loads(out)["tokens"] == 5


def test_a_failure_tells_error_and_remedy_or_keeps_its_stack_in_one_field() -> None:
    assert logs.failure(Refused("no", "Do this.")) == {"error": "no", "error_type": "Refused", "remedy": "Do this."}
    try:
        {}["missing"]
    except KeyError as error:
        told = logs.failure(error)
    assert told["error_type"] == "KeyError"
    assert "test_logs.py" in told["stack"]
    assert "remedy" not in told


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:], root.level = handlers, level


def test_what_libraries_log_becomes_entries(capfd: pytest.CaptureFixture[str], root_logger: logging.Logger) -> None:
    logs.adopt_libraries()
    logging.getLogger("some.library").info("too quiet")
    logging.getLogger("some.library").warning("careful: %s", "x")
    logging.getLogger("some.library").warning("wrong %d", "arguments")
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("some.library").exception("it broke")
    careful, wrong, broke = entries(capfd)
    assert careful == {"severity": "WARNING", "message": "careful: x", "logger": "some.library"}
    assert wrong["message"] == "wrong %d"
    assert (broke["severity"], broke["error"]) == ("ERROR", "broken")
    assert "ValueError" in broke["stack"]


def test_lines_of_several_threads_do_not_mix(capfd: pytest.CaptureFixture[str]) -> None:
    threads = [threading.Thread(target=lambda: [logs.info("x" * 5000) for _ in range(40)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry["message"] for entry in entries(capfd)] == ["x" * 5000] * 160


def test_a_reader_that_went_away_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr(logs, "_STDOUT", writing)
    try:
        logs.info("into the void")
    finally:
        os.close(writing)
