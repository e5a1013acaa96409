"""The daemon is found, started once, stopped; what a killed one left behind misleads nobody."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.cloud import standin
from scripts.errors import NotFound, OpsError, Refused, Unreachable
from tests.conftest import free_port

pytestmark = pytest.mark.process


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "state" / "cloud"
    yield folder
    standin.stop(folder)


def quiet(text: str) -> None:
    """Nobody listens."""


def test_it_is_started_once_found_again_and_stopped(state: Path) -> None:
    assert standin.find(state) is None
    said: list[str] = []
    port = free_port()
    started = standin.start(state, port, said.append)
    assert started.url == f"http://127.0.0.1:{port}"
    assert said
    assert standin.start(state, port, said.append) == started
    assert len(said) == 1
    assert standin.check(started.url)["pid"] == started.pid
    assert standin.log_lines(state, 5) is not None
    assert standin.stop(state)
    assert not standin.stop(state)
    assert standin.reset(state)
    assert not state.exists()


def test_two_that_start_at_once_get_the_same_daemon(state: Path) -> None:
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(standin.start(state, 0, quiet).pid)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len(set(found)) == 1


def test_a_killed_daemon_counts_as_none_and_is_started_anew(state: Path) -> None:
    first = standin.start(state, 0, quiet)
    os.kill(first.pid, signal.SIGKILL)
    os.waitpid(first.pid, 0)
    assert (state / "daemon.json").exists()
    assert standin.find(state) is None
    assert standin.start(state, 0, quiet).pid != first.pid


def test_an_address_of_somebody_elses_daemon_is_not_ours(state: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "cloud"
    running = standin.start(other, 0, quiet)
    try:
        state.mkdir(parents=True)
        told = {"pid": running.pid, "url": running.url, "port": 1, "started_at": ""}
        (state / "daemon.json").write_text(json.dumps(told), encoding="utf-8")
        assert standin.find(state) is None
    finally:
        standin.stop(other)


def test_a_daemon_that_hangs_is_stopped_all_the_same(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = standin.start(state, 0, quiet)
    monkeypatch.setattr(standin, "STOP_TIMEOUT_S", 0.3)
    monkeypatch.setattr(standin, "ANSWER_TIMEOUT_S", 0.3)
    os.kill(started.pid, signal.SIGSTOP)
    threading.Thread(target=lambda: os.waitpid(started.pid, 0), daemon=True).start()
    assert standin.stop(state)
    assert standin.find(state) is None


def test_a_port_in_use_is_told_with_the_remedy(state: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(Refused) as refused:
            standin.start(state, port, quiet)
    assert str(port) in refused.value.message
    assert "MODELSHELF_PORT" in refused.value.remedy


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OpsError) as refused:
        standin.start(tmp_path / "file" / "cloud", 0, quiet)
    assert "MODELSHELF_STATE" in refused.value.remedy
    with pytest.raises(NotFound):
        standin.log_lines(tmp_path / "nothing", 5)


def test_another_program_at_the_address_is_not_taken_for_the_stand_in() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()

        def answer() -> None:
            client, _ = other.accept()
            client.recv(4096)
            client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
            client.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(Unreachable, match="is not the stand-in"):
            standin.check(f"http://127.0.0.1:{other.getsockname()[1]}")
