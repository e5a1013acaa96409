"""A process that dies at exactly one of its calls to Cloud Storage: before it is sent, or when its answer is there."""

from __future__ import annotations

import json
import os
import signal
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from requests.adapters import HTTPAdapter

from scripts.cloud.storage import Bucket, open_bucket

PROJECT = "test-project"
# A command makes a few dozen calls; one that never ends must not run for ever.
MANY = 10_000


class Deadly(HTTPAdapter):
    """Counts the requests of a session and ends the process at one of them, as `kill -9` does.

    after: the server has carried the call out and answered, and nobody hears it. at=0 only counts.
    """

    def __init__(self, at: int, after: bool) -> None:
        super().__init__(pool_connections=4, pool_maxsize=8)
        self.count = 0
        self._at = at
        self._after = after
        self._lock = threading.Lock()

    def send(self, request: Any, *args: Any, **options: Any) -> Any:
        with self._lock:
            self.count += 1
            mine = self.count
        if mine == self._at and not self._after:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = super().send(request, *args, **options)
        if mine == self._at:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer


@dataclass(frozen=True)
class End:
    """How a child ended. killed: by its own hand at the call; calls: how many it made, when it lived to tell."""

    killed: bool
    calls: int = 0
    error: str = ""


def mount(bucket: Bucket, adapter: HTTPAdapter) -> None:
    """Let all requests of a bucket's clients pass an adapter."""
    bucket._clients()[1].mount("http://", adapter)


def run_and_die(url: str, name: str, command: Callable[[Bucket], object], at: int, after: bool) -> End:
    """Fork, run a command in the child on connections of its own, and let it die at a call; how it ended.

    To be called while this process has no other thread.
    """
    assert threading.active_count() == 1, [thread.name for thread in threading.enumerate()]
    hear, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(hear)
        _live(tell, url, name, command, Deadly(at, after))
    os.close(tell)
    with os.fdopen(hear, "rb") as stream:
        told = stream.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return End(killed=True)
    return End(killed=False, **(json.loads(told) if told else {"error": f"it ended by itself: {status}"}))


def _live(tell: int, url: str, name: str, command: Callable[[Bucket], object], deadly: Deadly) -> None:
    told: dict[str, Any] = {}
    try:
        bucket = open_bucket(PROJECT, url, name)
        mount(bucket, deadly)
        command(bucket)
        told["calls"] = deadly.count
    except BaseException:
        told["error"] = traceback.format_exc()
    finally:
        os.write(tell, json.dumps(told).encode())
        os._exit(0)


def hear(child: int, told: int) -> dict[str, Any]:
    """What a fork() told, once it has ended."""
    with os.fdopen(told, "rb") as stream:
        found: dict[str, Any] = json.loads(stream.read() or b'{"error": "it ended without a word"}')
    os.waitpid(child, 0)
    return found


def fork(work: Callable[[], object]) -> tuple[int, int]:
    """Do something in a child and hear its JSON: the child's id and the file descriptor to read it from."""
    hear, tell = os.pipe()
    child = os.fork()
    if child:
        os.close(tell)
        return child, hear
    os.close(hear)
    try:
        found: object = work()
    except BaseException:
        found = {"error": traceback.format_exc()}
    with os.fdopen(tell, "wb") as stream:
        stream.write(json.dumps(found).encode())
    os._exit(0)
