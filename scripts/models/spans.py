"""A large file as spans that are read at the same time and hashed in their order, however they arrive."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scripts.errors import OpsError
from scripts.models.crew import Task
from scripts.models.transfer import Digest

if TYPE_CHECKING:
    from scripts.cloud.storage_objects import ObjectInfo, Pieces

# A gigabyte in 64 requests, and a few of them in memory. Files of more than 4 GiB take spans twice as long, so that the
# requests for them stay below what a hub allows in five minutes.
SPAN_BYTES = 16 << 20
LARGE_BYTES = 4 << 30


@dataclass(frozen=True)
class Span:
    """The bytes [start, stop) of a file."""

    start: int
    stop: int

    @property
    def size_bytes(self) -> int:
        return self.stop - self.start


def spans(size_bytes: int) -> list[Span]:
    """A file of this size in spans, always in the same ones: what an interrupted run left fits the next."""
    step = SPAN_BYTES if size_bytes <= LARGE_BYTES else 2 * SPAN_BYTES
    return [Span(start, min(start + step, size_bytes)) for start in range(0, max(size_bytes, 1), step)]


def filled(span: Span, chunks: Iterable[bytes], passed: Callable[[int], None]) -> Pieces:
    """The chunks of a span; passed is told of each one's size. Raises OpsError when it comes out longer or shorter."""
    from scripts.cloud.storage_objects import Pieces

    found = Pieces()
    for chunk in chunks:
        found.add(chunk)
        if len(found) > span.size_bytes:
            break
        passed(len(chunk))
    if len(found) != span.size_bytes:
        raise OpsError(f"{len(found)} bytes came, expected {span.size_bytes}", "Run the same command again.")
    return found


@dataclass(frozen=True)
class Steps:
    """What is done with each span and with the whole: read it, keep it (an object that has it), finish."""

    read: Callable[[Span], Pieces]
    keep: Callable[[Span, Pieces], ObjectInfo | None]
    finish: Callable[[Digest, list[ObjectInfo | None]], None]


class Passage:
    """One file passing through memory. Whoever has the span that is next in turn hashes, also for those that wait."""

    def __init__(self, digest: Digest, parts: list[Span], steps: Steps) -> None:
        self._digest = digest
        self._spans = parts
        self._steps = steps
        self._kept: list[ObjectInfo | None] = [None] * len(parts)
        self._waiting: dict[int, tuple[Pieces, Callable[[], None]]] = {}
        self._next = 0
        self._hashing = False
        self._open = 2 * len(parts)
        self._lock = threading.Lock()

    def tasks(self) -> list[Task]:
        """A task for each span, to be begun in this order."""
        return [Task(span.size_bytes, self._task(index)) for index, span in enumerate(self._spans)]

    def _task(self, index: int) -> Callable[[Callable[[], None]], None]:
        return lambda release: self._run(index, release)

    def _run(self, index: int, release: Callable[[], None]) -> None:
        span = self._spans[index]
        data = self._steps.read(span)
        with self._lock:
            held = 2

        def let_go() -> None:
            nonlocal held
            with self._lock:
                held -= 1
                free = held == 0
            if free:
                release()

        self._hash(index, data, let_go)
        self._kept[index] = self._steps.keep(span, data)
        let_go()
        self._closed()

    def _hash(self, index: int, data: Pieces, let_go: Callable[[], None]) -> None:
        with self._lock:
            self._waiting[index] = data, let_go
            if self._hashing:
                return
            self._hashing = True
        while True:
            with self._lock:
                found = self._waiting.pop(self._next, None)
                if found is None:
                    self._hashing = False
                    return
                self._next += 1
            self._digest.add(found[0])
            found[1]()
            self._closed()

    def _closed(self) -> None:
        """One of the two things that happen to each span is done; after the last one the file is whole."""
        with self._lock:
            self._open -= 1
            last = self._open == 0
        if last:
            self._steps.finish(self._digest, self._kept)
