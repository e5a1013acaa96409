"""Exchanges that a stand-in recorded (--exchanges FILE), each judged by Google's discovery documents."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from email.parser import BytesParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from tests.contract.schema import Method, find, lenient, problems

# Where Google's JSON APIs are; all else is the stand-in's own, a service's, an upstream's, or the XML API's.
_GOOGLE = re.compile(r"/(storage|upload|resumable|batch|apis|v[1-9])(/.*)?")
# An image registry's paths (OCI distribution specification, section "Endpoints") lie under /v2 too.
_REGISTRY = re.compile(r"/v2/?|/v2/.*/(manifests|blobs|tags)(/.*)?|/v2/(token|_catalog)")
_CALL = re.compile(r"([A-Z]+) (/[^?# ]*)\??([^# ]*)")
_SHOWN = 400
_UNKNOWN = ": found an unknown field, "
_CODES = re.compile(
    "CANCELLED|UNKNOWN|INVALID_ARGUMENT|DEADLINE_EXCEEDED|NOT_FOUND|ALREADY_EXISTS|PERMISSION_DENIED|UNAUTHENTICATED"
    "|RESOURCE_EXHAUSTED|FAILED_PRECONDITION|ABORTED|OUT_OF_RANGE|UNIMPLEMENTED|INTERNAL|UNAVAILABLE|DATA_LOSS"
)


@dataclass(frozen=True)
class Exchange:
    """One request and its answer. Bodies are bytes; kind is the answer's content type."""

    method: str
    path: str
    status: int
    query: str = ""
    host: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    asked: bytes = b""
    kind: str = "application/json"
    answered: bytes = b""

    def __str__(self) -> str:
        target = f"{self.path}{'?' if self.query else ''}{self.query}"
        asked = f" with {_short(self.asked)!r}" if self.asked else ""
        return f"{self.method} {_short(target)}{asked} -> {self.status}"


def _short(text: Any) -> Any:
    """A text, or bytes, as far as a reader of a failure wants to see it."""
    end = "…" if isinstance(text, str) else b"\xe2\x80\xa6"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + end


@dataclass(frozen=True)
class Verdict:
    """What was found about an exchange: the discovery method that it was, and what is wrong with it ("" if nothing)."""

    operation: str
    wrong: str


def read(path: Path, offset: int = 0) -> tuple[list[Exchange], int]:
    """The exchanges of a recording from an offset on, the calls inside of batches too, and where to go on."""
    if not path.exists():
        return [], offset
    with path.open("rb") as file:
        file.seek(offset)
        raw = file.read()
    whole = raw[: raw.rfind(b"\n") + 1]
    found = [_exchange(line) for line in map(_parsed, whole.splitlines()) if line is not None]
    return [inner for each in found for inner in _opened(each)], offset + len(whole)


def _parsed(line: bytes) -> dict[str, Any] | None:
    """A line of the recording; None for one that kill -9 tore, which the next daemon's first line then continues."""
    try:
        found: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return found


def _exchange(line: dict[str, Any]) -> Exchange:
    asked = line["request"].encode("latin-1")
    if line["headers"].get("content-encoding", "") == "gzip" and asked.startswith(b"\x1f\x8b") and line["status"] < 300:
        asked = gzip.decompress(asked)
    return Exchange(
        line["method"], line["path"], line["status"], line["query"], line["host"], line["headers"],
        asked, line["type"], line["answer"].encode("latin-1"),
    )  # fmt: skip


def _opened(each: Exchange) -> Iterator[Exchange]:
    """A batch as the calls that it holds, anything else as it is."""
    if not (each.path.startswith("/batch") and each.kind.startswith("multipart/mixed")):
        yield each
        return
    asked = _parts(each.headers.get("content-type", ""), each.asked)
    for request, answer in zip(asked, _parts(each.kind, each.answered), strict=True):
        line, headers, body = _http(request)
        status, answer_headers, answer_body = _http(answer)
        call = _CALL.match(line)
        if call is None:
            continue  # the part was no call
        yield Exchange(
            call[1], call[2], int(status.split()[1]), call[3], each.host, headers,
            body, answer_headers.get("content-type", ""), answer_body,
        )  # fmt: skip


def _parts(kind: str, raw: bytes) -> list[bytes]:
    message = BytesParser().parsebytes(b"Content-Type: " + kind.encode("latin-1") + b"\r\n\r\n" + raw)
    parts = message.get_payload()
    return [part.get_payload(decode=True) for part in parts] if isinstance(parts, list) else []


def _http(raw: bytes) -> tuple[str, dict[str, str], bytes]:
    line, _, rest = raw.lstrip().partition(b"\n")
    message = BytesParser().parsebytes(rest)
    body = re.split(rb"\r?\n\r?\n", b"\n" + rest, maxsplit=1)
    headers = {key.lower(): str(value) for key, value in message.items()}
    return line.decode("latin-1").strip(), headers, body[1] if len(body) > 1 else b""


def judge(each: Exchange) -> Verdict | None:
    """What Google's documents say about an exchange; None for one that they are not about."""
    if _GOOGLE.fullmatch(each.path) is None or _REGISTRY.fullmatch(each.path) or each.method == "HEAD":
        return None
    if each.status >= 400 and each.status != 499:
        return Verdict("", _wrong_error(each))
    ended = each.method == "DELETE" and "/upload/" in each.path  # a resumable upload's end is no method of its own
    if each.status in (304, 308, 499) or "alt=media" in each.query or ended:
        return None
    candidates = find(each.method, each.path, each.host)
    if not candidates:
        return Verdict("", "answered, but no discovery document has such a method")
    verdicts = [(method, asked(method, each) or _wrong_answer(method, each)) for method in candidates]
    method, wrong = next((found for found in verdicts if not found[1]), verdicts[0])
    return Verdict(method.id, f"{method.id}: {wrong}" if wrong else "")


def proven(each: Exchange) -> set[str]:
    """The ids of the methods that an exchange may have been, when it is as Google describes it."""
    verdict = judge(each)
    right = verdict is not None and not verdict.wrong and each.status < 300
    return {method.id for method in find(each.method, each.path, each.host)} if right else set()


def _wrong_answer(method: Method, each: Exchange) -> str:
    if not each.answered.strip():
        begun = method.media and each.method == "POST" and "uploadType=resumable" in each.query
        if method.answered and each.status != 204 and not begun:
            return f"answer: found nothing, expected {method.answered}"
        return ""
    try:
        value = _json(each.answered)
    except ValueError as error:
        return f"answer: found no JSON ({error})"
    if not method.answered:
        return "" if value == {} else "answer: found a body, expected none"
    wrong = problems(method, method.answered, _sample(value))
    return f"answer: {wrong}" if wrong else ""


def asked(method: Method, each: Exchange) -> str:
    """What is wrong with a request that was accepted as this method; "" for nothing."""
    body = _metadata(method, each)
    if body is None or not body.strip():
        return ""
    try:
        value = _json(body)
    except ValueError as error:
        return f"request: accepted, but it is not JSON ({error})"
    if not method.asked:
        return "" if value in ({}, None) else "request: accepted with a body, though the method has none"
    wrong = problems(method, method.asked, lenient(method, method.asked, _sample(value)))
    if method.api == "storage":  # ignores what it does not know: see test_schema.py
        wrong = "\n".join(line for line in wrong.splitlines() if _UNKNOWN not in line)
    return f"request: accepted with {wrong}" if wrong else ""


def _metadata(method: Method, each: Exchange) -> bytes | None:
    """The JSON that a request carries: of an upload in two parts the first, of other media nothing."""
    kind = each.headers.get("content-type", "")
    if not method.media:
        return each.asked
    if kind.startswith("multipart/related"):
        parts = _parts(kind, each.asked)
        return parts[0] if parts else None
    begins = parse_qs(each.query).get("uploadType") == ["resumable"] and each.method == "POST"
    return each.asked if begins and "upload_id=" not in each.query else None


def _json(raw: bytes) -> Any:
    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    return json.loads(raw, parse_constant=refuse)


def _sample(value: Any) -> Any:
    """A page of a list with its first and last 20 items only: its items are made by one piece of code."""
    if not isinstance(value, dict):
        return value
    return {
        key: [*item[:20], *item[-20:]] if isinstance(item, list) and len(item) > 40 else item
        for key, item in value.items()
    }


def _wrong_error(each: Exchange) -> str:
    """Google's errors: {"error": {"code": the status, "message": …, "status": a canonical code, "errors": […]}}."""
    if not each.answered:
        return ""
    try:
        value = _json(each.answered)
        error = value["error"]
        code, message = error["code"], error["message"]
    except (ValueError, KeyError, TypeError):
        return f"error: found {each.answered[:200]!r}, expected Google's error"
    wrong = []
    if set(value) != {"error"} or set(error) - {"code", "message", "status", "errors", "details"}:
        wrong.append(f"error: found the fields {sorted(error)}")
    if code != each.status:
        wrong.append(f"error.code: found {code}, expected {each.status}")
    if not isinstance(message, str) or not message or "Traceback" in message:
        wrong.append(f"error.message: found {message!r}")
    if _CODES.fullmatch(str(error.get("status", "UNKNOWN"))) is None:
        wrong.append(f"error.status: found {error['status']!r}")
    for inner in error.get("errors", []):
        if not {"message", "domain", "reason"} <= set(inner):
            wrong.append(f"error.errors: found {inner!r}")
    return "; ".join(wrong)


def failures(exchanges: Iterable[Exchange]) -> list[str]:
    """One line for each exchange that breaks Google's descriptions, with the JSON path."""
    judged = ((each, judge(each)) for each in exchanges)
    return [f"{each}: {verdict.wrong}" for each, verdict in judged if verdict is not None and verdict.wrong]
