"""Generated content is the same for ever and readable from any offset."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from scripts.localcloud.upstream.content import CHUNK_BYTES, Content, Generated, Held, Stored, chunks, digest

SIZE_BYTES = 3 * CHUNK_BYTES + 77


def contents(folder: Path) -> list[Content]:
    whole = b"".join(chunks(Generated("a model", SIZE_BYTES)))
    (folder / "stored").write_bytes(whole)
    return [Generated("a model", SIZE_BYTES), Held(whole), Stored(folder / "stored", SIZE_BYTES)]


def test_generated_bytes_never_change() -> None:
    assert digest(Generated("a model", SIZE_BYTES)).sha256 == (
        "92f2144f2e5559803b9d31b6721569bfffd3af27775438ad1319fd1d5f4e3202"
    )
    assert digest(Generated("another", SIZE_BYTES)) != digest(Generated("a model", SIZE_BYTES))


def test_every_kind_of_content_reads_the_same_from_any_offset(tmp_path: Path) -> None:
    same = contents(tmp_path)
    for start, length in ((0, 1), (1, 15), (15, 2), (16, 16), (17, CHUNK_BYTES), (SIZE_BYTES - 1, 1), (5, 0)):
        assert len({content.read(start, length) for content in same}) == 1
        assert len(same[0].read(start, length)) == length
    assert len({digest(content) for content in same}) == 1


def test_chunks_cover_a_part_exactly() -> None:
    content = Held(bytes(range(256)) * 4096)
    parts = list(chunks(content, 100, 700_000))
    assert b"".join(parts) == content.data[100:700_000]
    assert max(len(part) for part in parts) <= CHUNK_BYTES


def test_git_and_sha256_digests() -> None:
    # What `echo hello | git hash-object --stdin` prints.
    found = digest(Held(b"hello\n"))
    assert found.git_oid == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert found.sha256 == hashlib.sha256(b"hello\n").hexdigest()


def test_a_file_that_became_shorter_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345")
    with pytest.raises(OSError, match="shorter than 6 bytes"):
        Stored(tmp_path / "x", 6).read(0, 6)
