"""Spans cover a file, and are hashed in order however they arrive."""

from __future__ import annotations

import hashlib
import itertools
import threading
from dataclasses import replace

import pytest

from scripts.cloud.storage_objects import Pieces
from scripts.errors import OpsError
from scripts.models import spans as module
from scripts.models.crew import Crew
from scripts.models.sources.base import RemoteFile, Resolved
from scripts.models.spans import Passage, Span, Steps, filled, spans
from scripts.models.transfer import Digest, Wanted
from tests.models.support import SPECS

MIB, GIB = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("size_bytes", "count", "longest"),
    [(0, 1, 0), (1, 1, 1), (16 * MIB, 1, 16 * MIB), (16 * MIB + 1, 2, 16 * MIB), (GIB, 64, 16 * MIB),
     (4 * GIB, 256, 16 * MIB), (4 * GIB + 1, 129, 32 * MIB), (50 * GIB, 1600, 32 * MIB)],
)  # fmt: skip
def test_spans_cover_a_file_without_gap_or_overlap(size_bytes: int, count: int, longest: int) -> None:
    found = spans(size_bytes)
    assert len(found) == count
    assert (found[0].start, found[-1].stop) == (0, size_bytes)
    assert all(one.stop == two.start for one, two in itertools.pairwise(found))
    assert max(span.size_bytes for span in found) == longest


def test_a_span_is_filled_exactly() -> None:
    passed: list[int] = []
    assert b"".join(filled(Span(10, 16), [b"abc", b"", b"def"], passed.append)) == b"abcdef"
    assert passed == [3, 0, 3]
    for chunks in ([b"abcdefg"], [b"abc", b"defg"], [b"abc"], []):
        with pytest.raises(OpsError, match="expected 6"):
            filled(Span(10, 16), chunks, passed.append)


@pytest.mark.parametrize("late", [0, 2, 4])
def test_bytes_are_hashed_in_order_whoever_is_late(monkeypatch: pytest.MonkeyPatch, late: int) -> None:
    monkeypatch.setattr(module, "SPAN_BYTES", 10)
    data = bytes(range(48))
    sha256 = hashlib.sha256(data).hexdigest()
    file = RemoteFile("blobs/x", len(data), sha256, f"sha256:{sha256}")
    digest = Digest(Wanted("x", Resolved(SPECS[0], "r", (file,)), file))
    parts, others, ended = spans(len(data)), threading.Semaphore(0), []

    def read(span: Span) -> Pieces:
        if span == parts[late]:
            for _ in range(len(parts) - 1):
                others.acquire()
        return Pieces([data[span.start : span.stop]])

    def keep(span: Span, found: object) -> None:
        others.release()

    crew = Crew(5, 50)
    steps = Steps(read, keep, lambda digest, kept: ended.append((digest.fault(), digest.sha256, len(kept))))
    crew.add(Passage(digest, parts, steps).tasks())
    crew.work()
    assert ended == [("", sha256, 5)]
    assert crew._free_bytes == 50  # every span gave its memory back once


def test_a_whole_that_is_not_as_announced_is_known_at_its_end() -> None:
    file = RemoteFile("blobs/x", 3, "0" * 64, "i")
    digest = Digest(Wanted("x", Resolved(SPECS[0], "r", (replace(file),)), file))
    faults: list[str] = []
    crew = Crew(1)
    crew.add(Passage(digest, spans(3), Steps(lambda span: Pieces([b"abc"]), lambda span, data: None,
                                             lambda digest, kept: faults.append(digest.fault()))).tasks())  # fmt: skip
    crew.work()
    assert faults[0].startswith("has the sha256 ba7816bf")
