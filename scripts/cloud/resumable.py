"""The resumable upload protocol of Cloud Storage, one part after the other, each kept until the server has it.

Protocol: PUT parts with `Content-Range: bytes A-B/*` to the session's URL, `…/TOTAL` with the last; 308 tells in
`Range` how far the server has come; `bytes */TOTAL` asks. (Cloud Storage documentation, "Resumable uploads".)
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from scripts.cloud.storage_calls import AGAIN, TIMEOUT_S, TRANSIENT, Failure, Waits, for_response, response_message
from scripts.cloud.storage_calls import understand as understand_error
from scripts.errors import OpsError

# Parts must be multiples of 256 KiB; 8 MiB keeps a gigabit line busy, and memory small.
PART_BYTES = 8 << 20


def parts(chunks: Iterable[bytes], size: int = PART_BYTES) -> Iterator[tuple[bytes, bool]]:
    """Regroup chunks of any size into parts of exactly `size` bytes and a last one (maybe empty), marked True."""
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        # Strictly more than a part: what stays behind is never empty, so that the last part is known as such.
        while len(buffer) > size:
            with memoryview(buffer) as view:
                part = bytes(view[:size])
            del buffer[:size]
            yield part, False
    yield bytes(buffer), True


class Session:
    """An open upload session. http: a requests session; what: the attempt in words; place: who is called."""

    def __init__(self, http: Any, url: str, what: str, place: str) -> None:
        self._http = http
        self._url = url
        self._what = what
        self._place = place

    def send(self, start: int, part: bytes, *, last: bool, crc32c: str = "") -> dict[str, Any] | None:
        """Put a part at an offset until the server has all of it; the object's JSON after the last one, else None.

        crc32c of the whole object goes with the last part, so that the server refuses to finish a damaged one.
        Raises Conflict (the precondition failed at the end), OpsError (the session was lost) and what attempt() raises.
        """
        end = start + len(part)
        total = str(end) if last else "*"
        headers = {"x-goog-hash": f"crc32c={crc32c}"} if last and crc32c else {}
        position, waits = start, Waits()
        while True:
            answer = self._put(memoryview(part)[position - start :], position, end, total, headers)
            if isinstance(answer, Failure):
                if not waits.again(answer):
                    raise answer.error
                answer = self._put(b"", end, end, total, {})  # ask how far it came
                if isinstance(answer, Failure):
                    continue
            if answer.status_code in (200, 201):
                return dict(answer.json())
            reached = _persisted(answer)
            if reached == end and not last:
                return None
            if not start <= reached <= end:
                raise self._lost(f"the server has {reached} bytes, expected {start} to {end}")
            if reached > position:
                waits = Waits()
            position = reached

    def cancel(self) -> None:
        """Give the session up; failing to say so is no error (it expires by itself)."""
        with contextlib.suppress(Exception):
            self._http.delete(self._url, timeout=TIMEOUT_S)

    def _put(self, data: Any, start: int, end: int, total: str, headers: dict[str, str]) -> Any:
        """One PUT: the answer when it is 200, 201 or 308, a transient Failure otherwise; raises what is final."""
        span = f"bytes {start}-{end - 1}/{total}" if len(data) else f"bytes */{total}"
        try:
            answer = self._http.put(
                self._url,
                data=data,
                headers={"content-range": span, "content-length": str(len(data)), **headers},
                timeout=TIMEOUT_S,
                allow_redirects=False,
            )
        except Exception as error:
            failure = understand_error(error, self._what, self._place)
            if failure is None:
                raise
            if not failure.transient:
                raise failure.error from error
            return failure
        if answer.status_code in (200, 201, 308):
            return answer
        if answer.status_code in (404, 410):
            raise self._lost(f"HTTP {answer.status_code}")
        failure = for_response(answer.status_code, "", response_message(answer), answer, self._what, self._place)
        if answer.status_code not in TRANSIENT:
            raise failure.error
        return failure

    def _lost(self, why: str) -> OpsError:
        return OpsError(f"cannot {self._what}: the upload session was lost ({why})", AGAIN)


def _persisted(answer: Any) -> int:
    """How many bytes the server has: `Range: bytes=0-N` means N + 1, no Range means none."""
    _, _, last = answer.headers.get("range", "").partition("-")
    return int(last) + 1 if last.isdigit() else 0
