"""What is known of one call: before it is carried out for faults, afterwards for the request log."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from scripts.localcloud.traffic.faults import Shot
from scripts.localcloud.web import Headers, Request, Response

_INSTANCE = re.compile(r"instance/([A-Za-z0-9._-]{1,100})")
_UPLOAD = re.compile(r"[?&]upload_id=([^&]+)")
_TOLD_BYTES = 64 << 10
_PEEK_BYTES = 64 << 10
_METADATA = re.compile(rb"\r?\n\r?\n\s*(\{.*?\})\s*\r?\n--", re.DOTALL)
_SESSIONS = 10_000
# The operations whose JSON answer is an object or a bucket, with its name and generation.
_TELLING = {"storage.buckets.insert"} | {
    f"storage.objects.{verb}"
    for verb in ("insert", "get", "patch", "update", "compose", "copy", "rewrite", "move", "restore")
}
# at is in microseconds since the epoch.
COLUMNS = (
    "at", "operation", "method", "path", "agent", "account", "instance", "bucket", "object", "generation", "range",
    "bytes_in", "bytes_out", "status", "ms", "fault",
)  # fmt: skip


class Call:
    """One call of an API. status is 0 until an answer began; at: by the stand-in's clock, began_s: the machine's."""

    __slots__ = (
        "at", "began_s", "body", "bytes_in", "bytes_out", "fault", "headers", "ms", "operation", "request", "shot",
        "status",
    )  # fmt: skip

    def __init__(self, operation: str, request: Request, at: float, began_s: float) -> None:
        self.operation = operation
        self.request = request
        self.at = at
        self.began_s = began_s
        self.status = 0
        self.bytes_in = self.bytes_out = 0
        self.ms = 0.0
        self.fault = ""
        self.shot: Shot | None = None
        self.headers: Headers = ()
        self.body: bytes = b""

    def answered(self, response: Response) -> None:
        """Keep what the answer tells of the object."""
        self.headers = response.headers
        body = response.body
        if "generation" in self.request.facts:  # its handler has told all
            return
        if isinstance(body, bytes) and len(body) <= _TOLD_BYTES and self.operation in _TELLING:
            self.body = body

    def fire(self) -> None:
        """The fault happens."""
        if self.shot is not None:
            self.shot.fire()


def instance_of(request: Request) -> str:
    """The instance that a client of ours says it is in: `instance/ID` in its user agent."""
    found = _INSTANCE.search(request.headers.get("user-agent", ""))
    return found[1] if found else ""


class Names:
    """Which object a call is about, as far as its address tells; remembers what resumable uploads are for."""

    def __init__(self) -> None:
        self._sessions: dict[str, str] = {}

    def of(self, request: Request) -> tuple[str, str]:
        """(bucket, object); empty where the address does not tell."""
        facts, params, query = request.facts, request.params, request.query
        name = facts.get("object") or params.get("object") or query.get("name") or ""
        if not name and "upload_id" in query:
            name = self._sessions.get(query["upload_id"], "")
        return str(facts.get("bucket") or params.get("bucket") or ""), str(name)

    async def read(self, request: Request) -> tuple[str, str]:
        """The same, but looks into the body of an upload for its object's name; the body can be read again."""
        bucket, name = self.of(request)
        if name or request.query.get("uploadType") not in ("multipart", "resumable"):
            return bucket, name
        return bucket, await _peeked(request)

    def learn(self, call: Call) -> None:
        """Remember which object an upload session is for, when it is begun with this answer."""
        name = call.request.facts.get("object")
        if not name or call.request.query.get("uploadType") != "resumable" or "upload_id" in call.request.query:
            return
        location = next((value for key, value in call.headers if key == "location"), "")
        if found := _UPLOAD.search(location):
            self._sessions[found[1]] = name
            while len(self._sessions) > _SESSIONS:
                del self._sessions[next(iter(self._sessions))]


async def _peeked(request: Request) -> str:
    """The name in the metadata with which an upload begins; what was read for that is given again."""
    receive = request.receive
    read: list[Mapping[str, Any]] = []
    seen = b""
    while len(seen) < _PEEK_BYTES:
        read.append(await receive())
        seen += read[-1].get("body", b"")
        if not read[-1].get("more_body", False) or _METADATA.search(seen):
            break
    waiting = iter(read)

    async def again() -> Mapping[str, Any]:
        kept = next(waiting, None)
        return await receive() if kept is None else kept

    request.receive = again
    found = _METADATA.search(seen)
    told = _object(found[1] if found else seen)
    return str(told.get("name", ""))


def row(call: Call, names: Names) -> tuple[Any, ...]:
    """The values of COLUMNS. Runs beside the event loop: what is costly to find out is found out here."""
    request = call.request
    bucket, name = names.of(request)
    told = _object(call.body) if 200 <= call.status < 300 else {}
    told = told.get("resource", told) if call.operation == "storage.objects.rewrite" else told
    if call.operation.startswith("storage.") and isinstance(told, dict):
        bucket = bucket or str(told.get("bucket", ""))
        name = name or str(told.get("name", ""))
    if call.operation == "storage.buckets.insert":
        bucket, name = name, ""
    generation = request.facts.get("generation") or (told.get("generation") if isinstance(told, dict) else None)
    generation = generation or next((value for key, value in call.headers if key == "x-goog-generation"), "")
    headers = request.headers
    span = request.facts.get("range") or headers.get("range") or headers.get("content-range") or ""
    agent = headers.get("user-agent", "")[:400]
    return (
        round(call.at * 1e6), call.operation, request.method, request.raw_path[:2048], agent,
        account_of(request), instance_of(request), bucket, name, str(generation), str(span), call.bytes_in,
        call.bytes_out, call.status, call.ms, call.fault,
    )  # fmt: skip


def account_of(request: Request) -> str:
    """Who calls: an account's address, `anonymous`, or `unreadable` for a token that does not tell."""
    given = request.headers.get("authorization", "")
    if not given:
        signer = request.query.get("X-Goog-Credential", "").partition("/")[0]
        return unquote(signer)[:200] if "@" in signer else "anonymous"
    token = given.partition(" ")[2].strip()
    if token.startswith("stand-in."):
        return token.removeprefix("stand-in.")[:200]
    parts = token.split(".")
    if len(parts) == 3:
        try:
            claims = _object(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        except ValueError:
            claims = {}
        told = claims.get("email") or claims.get("sub")
        if isinstance(told, str):
            return told[:200]
    return "unreadable"


def _object(raw: bytes) -> dict[str, Any]:
    try:
        found = json.loads(raw) if raw else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
