"""What the fuzz is made of: hostile words, requests from Google's schemas, a plain socket, what must never happen.

Every choice is drawn from a Random that is handed in, so that the same run can be had again.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import re
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from tests.contract.schema import Method, document, methods

PATIENCE_S = 30.0
# 501: not imitated; 503: stopped or asked to be; 507: no space. All are documented.
ALLOWED = frozenset({501, 503, 507})
_LEAKS = re.compile(rb"Traceback \(most recent call last\)|\.py\", line \d+|File \"/")
# These tell what a user's program has said, its tracebacks too.
_LOGS = re.compile(rb"/_local/console/|/v2/entries:|/_local/instances")
HELLO = "us-docker.pkg.dev/cloudrun/container/hello"

GOOD = {
    "bucket": ["fuzz-bucket"], "target_bucket": ["fuzz-bucket"], "object": ["fuzz-object"],
    "target_object": ["fuzz-copy"], "target": ["fuzz-moved"], "namespace": ["fuzz"], "project": ["fuzz", "-"],
    "location": ["europe-west1", "-"], "name": ["fuzz-service", "fuzz-job", "fuzz-model"], "job": ["fuzz-job"],
    "ring": ["fuzz-ring"], "key": ["fuzz-key"], "version": ["1", "latest"], "secret": ["fuzz-secret"],
    "account": ["fuzz-account@fuzz.iam.gserviceaccount.com", "-"], "service": ["run.googleapis.com", "fuzz-service"],
    "metric": ["fuzz-metric"], "rest": ["", "x"], "panel": ["overview", "services", "logs"],
    "owner": ["fuzz"], "revision": ["main"], "reference": ["latest"], "path": ["a.json"], "folder": [""],
}  # fmt: skip
SEGMENTS = [
    "", "%00", "..", ".", "%2e%2e", "%2F", "..%2F..%2F..%2Fetc%2Fpasswd", "%2Fetc%2Fpasswd", "%ff%fe", "a" * 3000,
    "%F0%9F%92%A9" * 40, "FUZZ-BUCKET", "%0d%0aX-Evil:%201", "*", "a:b", "a%3Arun", ":run", "-", "_", "%25", "%zz",
    "%", "_local", "%ED%A0%80", "%E2%80%AE", "..\\..\\x", "~", "a%20b", "%C0%AE%C0%AE", "con", "0", "-1", "$(id)", "'",
    "{x}", "a//b", "a/./b", "../x", "%2e", "%09", "%7f", "//", "a?b=c", "x%23y", "%5C", "a+b", "1" * 400,
]  # fmt: skip
WORDS = [
    "", "x", "-1", "0", "1", "1e9", "nan", "true", "99999999999999999999", "-9223372036854775809", "\x00", "\ud800",
    "💩", "../../../../etc/passwd", "/etc/passwd", "a" * 5000, "١٢٣", "1970-01-01T00:00:00Z", "0000-00-00T99:99:99Z",
    "9999-12-31T23:59:59.999999999Z", "-1s", "0s", "1e3s", "999999999999999s", "projects/fuzz", "projects/", "fuzz",
    "%s%s%n", "AAAA", "====", "(" * 600, "NOT " * 300, 'textPayload=~"(a+)+$"', 'textPayload=~"["', "a=~\"(?P<x\"",
    'resource.type="x" AND (', "severity>=WORSE", "timestamp>\"x\"", "*/1 * * * *", "0 0 31 2 *", "* * * * * *",
    "60 * * * *", "every 0 minutes", "every 15 minutes", "Europe/Berlin", "../../etc/localtime", "UTC\x00", HELLO,
    "hello:latest", "metric.type=\"x\"", "metric.type=starts_with(", "serviceAccount:x", "allUsers", "\r\nX-Evil: 1",
    "<script>", "{}", "[]", "=" * 90, "items(name", "items(name)),", "a/" * 40, "*", ",,", "2", "1000000", "٣", "+1",
    " 1", "1.0", "0x10", "null",
]  # fmt: skip
NUMBERS: list[Any] = [
    0, -1, 1, 2, 2**31, 2**32, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 1.5, 1e308, -0.0, True, 10**400, float("nan"),
    float("inf"), float("-inf"), 1e-320,
]  # fmt: skip
COMMON = [
    "fields", "alt", "prettyPrint", "pageSize", "pageToken", "maxResults", "filter", "prefix", "delimiter",
    "generation", "ifGenerationMatch", "ifMetagenerationMatch", "dryRun", "limit", "continue", "labelSelector",
    "fieldSelector", "since", "state", "project", "updateMask", "upload_id", "uploadType", "name", "versions", "limit",
    "operation", "q",
]  # fmt: skip
# What the stand-in's own routes are told; of faults and of the clock nothing, which would change what follows.
OWN = [
    "kind", "name", "tag", "files", "seed", "size_bytes", "withdrawn", "paths", "reference", "digest", "count", "mode",
    "latency_ms", "bandwidth_bytes_s", "bucket", "service", "action",
]  # fmt: skip
OWN_VALUES: list[Any] = [
    None, [], {}, [None], [{}], {"a": 1}, {"a": -1}, {"../a": 1}, "huggingface", "ollama", "fuzz/fuzz-model", "a.json",
]  # fmt: skip
HEADERS = [
    ("content-encoding", "gzip"), ("range", "bytes=-1"), ("range", "bytes=5-1,9-"),
    ("range", "bytes=" + "9" * 60 + "-"), ("if-match", '"x"'), ("if-none-match", "*"),
    ("x-goog-if-generation-match", "x"), ("x-http-method-override", "DELETE"), ("x-goog-hash", "crc32c=!!!!,md5=x"),
    ("authorization", "Bearer \xff\xfe"), ("cookie", "a=b; =; ;;"), ("accept", "*/*;q=x"),
    ("if-modified-since", "yesterday"), ("x-upload-content-length", "-5"), ("content-range", "bytes 9-1/x"),
    ("x-goog-copy-source", "/../x"), ("x-goog-user-project", "\x80"), ("te", "x"), ("accept-encoding", "gzip;q=\x01"),
    ("origin", "http://evil.example"), ("sec-fetch-site", "cross-site"), ("x-forwarded-for", "::1" * 400),
    ("x-cloudscheduler", "true"), ("expect", "100-continue"), ("user-agent", "\x7f"), ("last-event-id", "-1"),
]  # fmt: skip
KINDS = [
    "application/json", "application/json; charset=x", "", "text/plain", "multipart/related",
    "multipart/mixed;boundary=", "application/x-www-form-urlencoded", "application/json\x00",
    "multipart/related; boundary=\"a",
]  # fmt: skip


@dataclass(frozen=True)
class Call:
    """One request as it goes over the wire (without Host, which needs the port, unless headers have one)."""

    verb: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def raw(self, port: int) -> bytes:
        """The bytes of the request; the connection is closed after it."""
        named = {key for key, _ in self.headers}
        headers = list(self.headers) if "host" in named else [("host", f"127.0.0.1:{port}"), *self.headers]
        body = self.body
        if body or self.verb in ("POST", "PUT", "PATCH"):
            headers.append(("content-length", str(len(body))))
        elif "content-length" in named:
            body = b"x"  # as announced: who waits for what never comes is right (see test_clients_that_send_half…)
        lines = [f"{self.verb} {self.target} HTTP/1.1", *(f"{key}: {value}" for key, value in headers)]
        head = "\r\n".join([*lines, "connection: close", "", ""])
        return head.encode("utf-8", "surrogatepass") + body


@dataclass
class Answer:
    """What came back until the connection ended: status is 0 when nothing did."""

    status: int = 0
    raw: bytes = b""
    ended: bool = True
    headers: dict[str, str] = field(default_factory=dict)


def send(port: int, raw: bytes, end: bool = False, keep_bytes: int = 4 << 20) -> Answer:
    """Send bytes and read until the other side ends, within 30 s; with end our side says that nothing follows."""
    answer, parts, size = Answer(), list[bytes](), 0
    deadline = time.monotonic() + PATIENCE_S
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as wire:
        with contextlib.suppress(OSError):
            wire.sendall(raw)
            if end:
                wire.shutdown(socket.SHUT_WR)
        try:
            while time.monotonic() < deadline and (data := wire.recv(1 << 16)):
                size += len(data)
                if size < keep_bytes:
                    parts.append(data)
            answer.ended = time.monotonic() < deadline
        except TimeoutError:
            answer.ended = False
        except OSError:
            pass
    return _read(answer, b"".join(parts))


def _read(answer: Answer, raw: bytes) -> Answer:
    while raw.startswith(b"HTTP/1.1 100"):
        raw = raw.partition(b"\r\n\r\n")[2]
    answer.raw = raw
    found = re.match(rb"HTTP/1\.[01] (\d{3})", raw)
    answer.status = int(found[1]) if found else 0
    for line in raw.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]:
        key, _, value = line.decode("latin-1").partition(":")
        answer.headers[key.lower()] = value.strip()
    return answer


def judge(port: int, raw: bytes, answer: Answer, whole: bool = True, allowed: frozenset[int] = ALLOWED) -> None:
    """No 5xx but the documented, no hang, nothing of the program's inside in an answer."""
    if not answer.ended:
        raise AssertionError(f"no end of the answer within {PATIENCE_S:.0f} s\n{repeat(port, raw)}")
    if not answer.status and whole:
        raise AssertionError(f"no answer\n{repeat(port, raw)}")
    if answer.status >= 500 and answer.status not in allowed:
        raise AssertionError(f"found status {answer.status}: {answer.raw[-600:]!r}\n{repeat(port, raw)}")
    if "x-evil" in answer.headers:
        raise AssertionError(f"a header was injected: {answer.raw[:600]!r}\n{repeat(port, raw)}")
    if _LEAKS.search(answer.raw) and not _LOGS.search(raw):
        raise AssertionError(f"the answer shows a traceback: {answer.raw[:2000]!r}\n{repeat(port, raw)}")


def repeat(port: int, raw: bytes) -> str:
    """A command that sends the same bytes again to a stand-in on a port."""
    with tempfile.NamedTemporaryFile(prefix="fuzz-", suffix=".http", delete=False) as file:
        file.write(raw)
    shown = f"{raw[:1500]!r}{'…' if len(raw) > 1500 else ''}"
    return f"the request: {shown}\nrepeat it: nc -N 127.0.0.1 {port} < {file.name}"


@cache
def described() -> dict[str, Method]:
    """Google's methods by id."""
    return {each.id: each for each in reversed(methods())}


def pick(rnd: Random, words: list[Any]) -> Any:
    return words[rnd.randrange(len(words))]


def path(rnd: Random, pattern: str) -> str:
    """A path of a route: mostly with names that there are, sometimes with hostile ones, rarely out of its form."""

    def filled(found: re.Match[str]) -> str:
        good = GOOD.get(found[1], ["fuzz"])
        return str(pick(rnd, good if rnd.randrange(6) else SEGMENTS))

    made = re.sub(r"\{\+?(\w+?)(?:sId|Id)?[+*]?\}", filled, pattern)
    return made + pick(rnd, SEGMENTS) if not rnd.randrange(25) else made


def query(rnd: Random, method: Method | None) -> str:
    names = [name for name, place, _ in method.parameters if place == "query"] if method is not None else COMMON
    chosen = [pick(rnd, names if rnd.randrange(4) else COMMON) for _ in range(rnd.randrange(4))]
    return "&".join(f"{name}={quoted(pick(rnd, WORDS))}" for name in chosen if (name, "media") != ("alt", "media"))


def quoted(word: str) -> str:
    """Percent-encoded, lone surrogates too."""
    return "".join(f"%{byte:02X}" for byte in word.encode("utf-8", "surrogatepass")) if len(word) < 1500 else word


def value(rnd: Random, schemas: dict[str, Any], schema: dict[str, Any], depth: int = 0) -> Any:
    """A value of a schema with, now and then, something else in its place."""
    if not rnd.randrange(12):
        return pick(rnd, [None, [], {}, pick(rnd, WORDS), pick(rnd, NUMBERS), {"unknown": 1}, [[[1]]], False])
    schema = schemas.get(schema.get("$ref", ""), schema)
    kind = schema.get("type")
    if kind == "object":
        return _object(rnd, schemas, schema, depth)
    if kind == "array":
        return [value(rnd, schemas, schema.get("items", {}), depth + 1) for _ in range(rnd.randrange(3))]
    if kind in ("integer", "number") or schema.get("format") in ("int64", "uint64"):
        number = pick(rnd, NUMBERS)
        return str(number) if kind == "string" and rnd.randrange(2) else number
    if kind == "boolean":
        return bool(rnd.randrange(2))
    if "enum" in schema and rnd.randrange(4):
        return pick(rnd, schema["enum"])
    if schema.get("format") == "byte" and rnd.randrange(2):
        return base64.b64encode(pick(rnd, WORDS).encode("utf-8", "surrogatepass")).decode()
    return pick(rnd, WORDS)


def _object(rnd: Random, schemas: dict[str, Any], schema: dict[str, Any], depth: int) -> dict[str, Any]:
    known = schema.get("properties", {})
    extra = schema.get("additionalProperties")
    made: dict[str, Any] = {}
    if depth > 5:
        return made
    for name in known:
        if rnd.randrange(max(2, len(known) // 4)) == 0:
            made[name] = value(rnd, schemas, known[name], depth + 1)
    if isinstance(extra, dict):
        made[pick(rnd, WORDS)] = value(rnd, schemas, extra, depth + 1)
    if not rnd.randrange(10):
        made[pick(rnd, WORDS)] = pick(rnd, WORDS)
    return made


def written(rnd: Random, made: Any) -> bytes:
    """A value as JSON, or as something that only looks like it."""
    text = json.dumps(made, ensure_ascii=bool(rnd.randrange(2)))
    raw = text.encode("utf-8", "surrogatepass")
    spoiled: list[Callable[[], bytes]] = [
        lambda: raw[: rnd.randrange(len(raw) + 1)],
        lambda: raw + b"}",
        lambda: b'{"name":1,' + raw[1:],
        lambda: b"[" * 100_000,
        lambda: b'{"a":' * 3000 + b"1" + b"}" * 3000,
        lambda: text.encode("utf-16", "surrogatepass"),
        lambda: b"\xef\xbb\xbf" + raw,
        lambda: b"\xff\xfe\x00" + raw,
        lambda: b'{"a":' + b"9" * 5000 + b"}",
        lambda: b"",
        lambda: b"null",
        lambda: b"NaN",
    ]
    return raw if rnd.randrange(5) else pick(rnd, spoiled)()


def bomb() -> bytes:
    """200 MiB of blanks as 200 KiB of gzip."""
    return _bomb()


@cache
def _bomb() -> bytes:
    return gzip.compress(b" " * (200 << 20), 9)


def body(rnd: Random, method: Method | None) -> bytes:
    if method is not None and method.asked:
        schemas = document(method.api, method.version)["schemas"]
        made = value(rnd, schemas, schemas[method.asked])
    else:
        made = {
            pick(rnd, WORDS + COMMON + OWN * 3): pick(rnd, WORDS + NUMBERS + OWN_VALUES * 4)
            for _ in range(rnd.randrange(5))
        }
    return written(rnd, made)


def call(rnd: Random, verb: str, pattern: str, operation: str) -> Call:
    """A request to a route, with the query and body of Google's method where the route is one."""
    method = described().get(operation)
    asked = query(rnd, method)
    headers = [pick(rnd, HEADERS)] if not rnd.randrange(4) else []
    raw = body(rnd, method) if verb not in ("GET", "HEAD", "DELETE") or not rnd.randrange(8) else b""
    if raw:
        kind = "application/json" if rnd.randrange(5) else pick(rnd, KINDS)
        headers.append(("content-type", kind))
    if not rnd.randrange(300):
        raw, headers = bomb(), [("content-type", "application/json"), ("content-encoding", "gzip")]
    return Call(verb, path(rnd, pattern) + ("?" + asked if asked else ""), tuple(headers), raw)


def tree(root: Path, without: set[str]) -> dict[str, tuple[int, bytes]]:
    """What is under a folder: mode and contents of each file, but for some names at the top."""
    return {
        each.relative_to(root).as_posix(): (each.lstat().st_mode, each.read_bytes() if each.is_file() else b"")
        for each in sorted(_below(root, without))
    }


def _below(root: Path, without: set[str]) -> Iterator[Path]:
    for top in root.iterdir():
        if top.name not in without:
            yield top
            if top.is_dir():
                yield from top.rglob("*")
