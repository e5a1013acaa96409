"""multipart/related uploads, parsed while they arrive: a JSON part, then the media (RFC 2387).

Clients differ: quoted and bare boundaries, CRLF and LF line ends; gcloud sends LF and single quotes.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from email.parser import BytesHeaderParser

from scripts.localcloud.web import ApiError

_MAX_HEAD_BYTES = 1 << 20
_PLAIN_TYPE = re.compile(rb"content-type:[ \t]*([!-~][ -~]*)\r?\n", re.IGNORECASE)
_BOUNDARY = re.compile(r"""boundary\s*=\s*("(?:[^"\\]|\\.)+"|[^\s;]+)""", re.IGNORECASE)


def boundary_of(content_type: str) -> bytes:
    """The boundary named in a Content-Type. Raises ApiError 400 when there is none."""
    match = _BOUNDARY.search(content_type)
    if match is None or not content_type.lower().startswith("multipart/"):
        raise ApiError(400, "Expected Content-Type multipart/related with a boundary", "invalid")
    text = match[1]
    if text[0] == '"':
        text = re.sub(r"\\(.)", r"\1", text[1:-1])
    elif len(text) > 2 and text[0] == text[-1] == "'":
        text = text[1:-1]
    return text.encode("latin-1", errors="replace")


class Multipart:
    """One body: read head() first, then iterate media()."""

    def __init__(self, boundary: bytes, chunks: AsyncIterator[bytes]) -> None:
        self._dash = b"--" + boundary
        self._chunks = chunks
        self._buffer = bytearray()
        self._newline = b"\r\n"

    async def head(self) -> tuple[bytes, str]:
        """The JSON part as it is, and the Content-Type of the media part ("" when it has none). Raises ApiError 400."""
        await self._first_line()
        await self._part_headers()
        delimiter = self._newline + self._dash
        while (at := self._buffer.find(delimiter)) < 0:
            await self._more()
        raw = bytes(self._buffer[:at])
        del self._buffer[: at + len(delimiter)]
        if (await self._line()).strip():
            raise _malformed("the media part is missing")
        return raw, _content_type(await self._part_headers())

    async def media(self) -> AsyncIterator[bytes]:
        """The media as it arrives, up to the closing boundary. Raises ApiError 400 when that is missing."""
        # An empty part may lack a line end of its own before the boundary: lend it one, and never give it out.
        self._buffer[:0] = self._newline
        skip = len(self._newline)
        while (at := self._closing()) is None:
            ready = len(self._buffer) - len(self._dash) - len(self._newline) - 1
            if ready > skip:
                yield bytes(memoryview(self._buffer)[skip:ready])
                del self._buffer[:ready]
                skip = 0
            await self._more(limit_bytes=None)
        if at > skip:
            yield bytes(memoryview(self._buffer)[skip:at])
        async for _ in self._chunks:
            pass  # an epilogue means nothing

    def _closing(self) -> int | None:
        """Where the media ends, if the closing boundary is in the buffer. Raises ApiError 400 for a third part.

        A longer word that only begins like the boundary is content.
        """
        delimiter = self._newline + self._dash
        at = self._buffer.find(delimiter)
        while at >= 0:
            mark = bytes(self._buffer[at + len(delimiter) : at + len(delimiter) + 2])
            if mark == b"--":
                return at
            if len(mark) < 2:
                return None
            if mark[:1] in (b"\r", b"\n", b" ", b"\t"):
                raise _malformed("more than two parts")
            at = self._buffer.find(delimiter, at + 1)
        return None

    async def _first_line(self) -> None:
        """Up to and with the first boundary line, which shows the kind of line ends."""
        while True:
            line = await self._line()
            if line.rstrip() == self._dash:
                self._newline = b"\r\n" if line.endswith(b"\r\n") else b"\n"
                return

    async def _line(self) -> bytes:
        while (at := self._buffer.find(b"\n")) < 0:
            await self._more()
        line = bytes(self._buffer[: at + 1])
        del self._buffer[: at + 1]
        return line

    async def _part_headers(self) -> bytes:
        lines: list[bytes] = []
        while (line := await self._line()).strip():
            lines.append(line)
            if sum(map(len, lines)) > _MAX_HEAD_BYTES:
                raise _malformed("a part's headers are too long")
        return b"".join(lines)

    async def _more(self, limit_bytes: int | None = _MAX_HEAD_BYTES) -> None:
        if limit_bytes is not None and len(self._buffer) > limit_bytes:
            raise _malformed("the first part is too long")
        chunk = await anext(self._chunks, None)
        if chunk is None:
            raise _malformed("the closing boundary is missing")
        self._buffer += chunk


def _content_type(headers: bytes) -> str:
    """The Content-Type among a part's headers; every small upload has some, and nearly all are one plain line."""
    match = _PLAIN_TYPE.fullmatch(headers)
    if match is not None:
        return match[1].decode()
    return str(BytesHeaderParser().parsebytes(headers).get("content-type", ""))


def _malformed(what: str) -> ApiError:
    return ApiError(400, f"Malformed multipart body: {what}.", "badContent")
