"""Several threads for many transfers: tasks begin in order, their memory is bounded, the first failure ends all.

A task holds its memory until it lets go of it, which may be after it has run: bytes wait until their turn to be hashed.
Tasks begin in order and only with their memory at hand, so the one that others wait for always has what it needs.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from scripts.models.sources import backoff

# A task in the queue is one connection at a time, to the upstream and then to the bucket.
CONNECTIONS = 8
# What all bytes on their way may take; the process itself takes about as much.
MEMORY_BYTES = 96 << 20


class Stopped(Exception):
    """Another task failed: this one need not go on."""


@dataclass(frozen=True)
class Task:
    """Something to do with some memory; run gets the function that gives the memory back, to be called once."""

    memory_bytes: int
    run: Callable[[Callable[[], None]], None]


class Crew:
    """Works through tasks; one connection means no thread at all, so the order of calls is always the same."""

    def __init__(self, connections: int | None = None, memory_bytes: int | None = None) -> None:
        self._connections = CONNECTIONS if connections is None else connections
        self._free_bytes = MEMORY_BYTES if memory_bytes is None else memory_bytes
        self._tasks: deque[Task] = deque()
        self._under_way = 0
        self._failure: BaseException | None = None
        self._changed = threading.Condition()
        self._turn = threading.Lock()

    def add(self, tasks: Iterable[Task]) -> None:
        """Tasks to begin before all that have not begun; a task that runs may add more."""
        with self._changed:
            self._tasks.extendleft(reversed(list(tasks)))
            self._changed.notify_all()

    def check(self) -> None:
        """Raise Stopped when something failed; to be asked wherever a task takes long."""
        if self._failure is not None:
            raise Stopped

    def work(self) -> None:
        """Return when all tasks are done. Raises what the first task that failed raised; no task begins after that."""
        threads = [
            threading.Thread(target=self._work, name=f"transfer-{number}", daemon=True)
            for number in range(self._connections - 1)
        ]
        for thread in threads:
            thread.start()
        try:
            self._work()
        except BaseException as error:  # Ctrl-C comes to this thread, whatever it waits for
            self._fail(error)
        for thread in threads:
            thread.join()
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        with backoff.heeding(self.check):
            self._carry_on()

    def _carry_on(self) -> None:
        while (task := self._next()) is not None:
            try:
                task.run(self._release(task.memory_bytes))
            except Stopped:
                pass
            except BaseException as error:
                self._fail(error)
            finally:
                with self._changed:
                    self._under_way -= 1
                    self._changed.notify_all()

    def _next(self) -> Task | None:
        """The next task, with its memory; None when nothing is left and nothing under way could add more."""
        with self._turn, self._changed:
            self._changed.wait_for(lambda: self._failure or self._tasks or not self._under_way)
            if self._failure or not self._tasks:
                return None
            task = self._tasks.popleft()
            self._under_way += 1
            self._changed.wait_for(lambda: self._failure or self._free_bytes >= task.memory_bytes)
            if self._failure:
                return None
            self._free_bytes -= task.memory_bytes
            return task

    def _release(self, memory_bytes: int) -> Callable[[], None]:
        def release() -> None:
            with self._changed:
                self._free_bytes += memory_bytes
                self._changed.notify_all()

        return release

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()
