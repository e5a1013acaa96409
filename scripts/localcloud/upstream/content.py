"""Bytes that the upstreams serve: held in memory, in a file, or generated on the fly; read at any offset."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

CHUNK_BYTES = 256 << 10
_AES_BLOCK_BYTES = 16
_ZEROS = memoryview(bytes(CHUNK_BYTES + _AES_BLOCK_BYTES))


class Content(Protocol):
    """Something of a known size that can be read from any offset."""

    @property
    def size_bytes(self) -> int: ...

    def read(self, start: int, length: int) -> bytes:
        """Exactly `length` bytes from offset `start`, both within the size."""
        ...


@dataclass(frozen=True)
class Held:
    """Small content held in memory."""

    data: bytes

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    def read(self, start: int, length: int) -> bytes:
        return self.data[start : start + length]


@dataclass(frozen=True)
class Stored:
    """Content of an immutable file."""

    place: Path
    size_bytes: int

    def read(self, start: int, length: int) -> bytes:
        with self.place.open("rb", buffering=0) as handle:
            handle.seek(start)
            data = handle.read(length)
        if len(data) != length:
            raise OSError(f"{self.place} is shorter than {self.size_bytes} bytes")
        return data


@dataclass(frozen=True)
class Generated:
    """Content that depends on nothing but its label: the key stream of AES-128 in counter mode (NIST SP 800-38A, 6.5).

    Counter mode gives any offset without what precedes it, at some GB/s, so nothing is kept on disk.
    """

    label: str
    size_bytes: int

    def read(self, start: int, length: int) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        block, skip = divmod(start, _AES_BLOCK_BYTES)
        key = hashlib.sha256(self.label.encode()).digest()[:16]
        stream = Cipher(algorithms.AES(key), modes.CTR(block.to_bytes(16, "big"))).encryptor()
        count = skip + length
        return stream.update(_ZEROS[:count] if count <= len(_ZEROS) else bytes(count))[skip:]


@dataclass(frozen=True)
class Digests:
    """sha256 (hex) and git_oid (hex; SHA-1 over git's blob header and the content) of one content."""

    sha256: str
    git_oid: str


class Hasher:
    """Both digests in one pass; the size must be known first because git writes it into its header."""

    def __init__(self, size_bytes: int) -> None:
        self._sha256 = hashlib.sha256()
        self._git = hashlib.sha1(f"blob {size_bytes}\0".encode(), usedforsecurity=False)

    def update(self, data: bytes) -> None:
        self._sha256.update(data)
        self._git.update(data)

    def digests(self) -> Digests:
        return Digests(self._sha256.hexdigest(), self._git.hexdigest())


def chunks(content: Content, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """The content in pieces of at most 256 KiB."""
    end = content.size_bytes if stop is None else stop
    for position in range(start, end, CHUNK_BYTES):
        yield content.read(position, min(CHUNK_BYTES, end - position))


def digest(content: Content) -> Digests:
    """Read the content once and return its digests."""
    hasher = Hasher(content.size_bytes)
    for data in chunks(content):
        hasher.update(data)
    return hasher.digests()
