"""The Range header of a download (RFC 9110, section 14) and the Content-Range header of an upload's chunk."""

from __future__ import annotations

import re
from dataclasses import dataclass

from scripts.localcloud.web import ApiError

_RANGE = re.compile(r"bytes\s*=\s*(\d{0,19})\s*-\s*(\d{0,19})", re.IGNORECASE | re.ASCII)
_CHUNK = re.compile(r"bytes\s+(?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19}|\*)", re.IGNORECASE | re.ASCII)


def parse_range(header: str, size_bytes: int) -> tuple[int, int] | None:
    """First byte and count of a single range; None when the whole is to be sent: no, several or senseless ranges.

    Raises ApiError 416 when no byte of the object lies in the range.
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        count = min(int(match[2]), size_bytes)
        first = size_bytes - count
    else:
        first = int(match[1])
        last = int(match[2]) if match[2] else size_bytes - 1
        if match[2] and last < first:
            return None
        count = min(last, size_bytes - 1) - first + 1
    if count <= 0 or first >= size_bytes:
        headers = (("content-range", f"bytes */{size_bytes}"),)
        raise ApiError(416, "The requested range cannot be satisfied.", "requestedRangeNotSatisfiable", headers=headers)
    return first, count


@dataclass(frozen=True)
class Chunk:
    """What a Content-Range says: first byte (None: no bytes, a question or an end), their count, total if known.

    last: with these bytes the upload is complete.
    """

    first: int | None
    count: int
    total: int | None
    last: bool = False


def parse_chunk(header: str) -> Chunk:
    """Raises ApiError 400 for anything but `bytes A-B/TOTAL`, `bytes A-B/*`, `bytes */TOTAL`, `bytes */*`."""
    match = _CHUNK.fullmatch(header.strip())
    if match is None:
        raise ApiError(400, f"Invalid Content-Range: {header[:100]!r}", "invalid")
    total = None if match[3] == "*" else int(match[3])
    if match[1] is None:
        return Chunk(None, 0, total)
    first, last = int(match[1]), int(match[2])
    if last < first or (total is not None and last >= total):
        raise ApiError(400, f"Invalid Content-Range: {header[:100]!r}", "invalid")
    return Chunk(first, last - first + 1, total, last=last + 1 == total)
