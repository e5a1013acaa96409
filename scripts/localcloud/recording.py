"""A record of what was asked and answered in JSON, for checks against Google's own description of its APIs.

Off unless the daemon was started with --exchanges FILE. A line is written before its answer is sent, so that whoever
has the answer finds the line. Media are not recorded: of an upload in two parts only the beginning, with its metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.localcloud.web import Request, Response

_WHOLE = ("application/json", "multipart/mixed")
_BEGINNING = "multipart/related"
_BEGINNING_BYTES = 1 << 20


class Recorder:
    """Appends one JSON line for each exchange to a file: bodies are text whose characters are the bytes (latin-1).

    Keys: method, host, path, query, status, headers (of the request), request, type (of the answer), answer.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="ascii")
        path.chmod(0o600)

    def listen(self, request: Request) -> bytearray:
        """Keep a copy of what the handler reads of this request's body."""
        kept = bytearray()
        kind = request.headers.get("content-type", "").lower()
        if kind.startswith(_WHOLE):
            _tee(request, kept, None)
        elif kind.startswith(_BEGINNING):
            _tee(request, kept, _BEGINNING_BYTES)
        return kept

    def note(self, request: Request, kept: bytearray, response: Response) -> None:
        """Write the line of an exchange whose answer is JSON, a batch, or nothing at all."""
        kind, body = response.content_type.lower(), response.body
        if not isinstance(body, bytes) or (body and not kind.startswith(_WHOLE)):
            return
        exchange = {
            "method": request.method,
            "host": request.headers.get("host", ""),
            "path": request.raw_path,
            "query": request.raw_query,
            "status": response.status,
            "headers": {key: request.headers[key] for key in _TOLD if key in request.headers},
            "request": kept.decode("latin-1"),
            "type": kind,
            "answer": body.decode("latin-1"),
        }
        self._file.write(json.dumps(exchange) + "\n")
        self._file.flush()


_TOLD = ("content-type", "content-encoding", "content-range", "x-http-method-override")


def _tee(request: Request, kept: bytearray, limit_bytes: int | None) -> None:
    inner = request.receive

    async def receive() -> Mapping[str, Any]:
        message = await inner()
        if limit_bytes is None or len(kept) < limit_bytes:
            kept.extend(message.get("body", b""))
        return message

    request.receive = receive
