"""Decompressive transcoding: gzip objects reach clients that do not accept gzip unpacked.

cloud.google.com/storage/docs/transcoding
"""

from __future__ import annotations

import asyncio
import os
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from io import FileIO
from typing import Any

_BLOCK_BYTES = 256 << 10
_MAX_OUT_BYTES = 1 << 20


def wanted(fields: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
    """Whether this client gets this object unpacked."""
    if fields.get("contentEncoding") != "gzip":
        return False
    if "no-transform" in str(fields.get("cacheControl", "")).lower():
        return False
    return not _accepts_gzip(headers.get("accept-encoding", ""))


def begins(descriptor: int) -> bool:
    """Whether the content looks like gzip at all; what only says so is sent as it is."""
    return os.pread(descriptor, 2, 0) == b"\x1f\x8b"


async def unpacked(file: FileIO) -> AsyncIterator[bytes]:
    """The content without its compression, block by block in a thread; closes the file.

    Ends where the content stops being gzip, as the answer's head is out by then.
    """
    state = _Inflating(file.fileno())
    try:
        while (block := await _in_thread(state.next)) is not None:
            if block:
                yield block
    finally:
        file.close()


async def _in_thread(call: Callable[[], bytes | None]) -> bytes | None:
    """Run in a thread; when cancelled, wait for it first, so that its descriptor stays valid."""
    job = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(job)
    finally:
        if not job.done():
            await asyncio.wait([job])


class _Inflating:
    """Reads a file and unpacks it; several members one after the other are one content."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._ended = False
        self._at = 0
        self._raw = b""
        self._inflater = zlib.decompressobj(wbits=31)

    def next(self) -> bytes | None:
        """More bytes, perhaps none yet; None at the end."""
        if self._inflater.eof:
            self._raw = self._inflater.unused_data or self._raw
            self._inflater = zlib.decompressobj(wbits=31)
        if not self._raw:
            self._raw = b"" if self._ended else os.pread(self._descriptor, _BLOCK_BYTES, self._at)
            self._at += len(self._raw)
            if not self._raw:
                return None
        try:
            out = self._inflater.decompress(self._raw, _MAX_OUT_BYTES)
        except zlib.error:
            self._ended = True
            return None
        self._raw = self._inflater.unconsumed_tail
        return out


def _accepts_gzip(header: str) -> bool:
    for item in header.lower().split(","):
        name, _, parameters = item.strip().partition(";")
        if name.strip() in ("gzip", "x-gzip", "*"):
            return parameters.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
