"""What every room speaks: Request, Response, ApiError, and a Router over raw path segments."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import unquote

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Headers = tuple[tuple[str, str], ...]

_ENCODER = json.JSONEncoder(separators=(",", ":"))
_ENCODER_OF_TEXT = json.JSONEncoder(ensure_ascii=False)
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class ApiError(Exception):
    """An answer that is an error: HTTP code, Google's reason (storage style) and message."""

    def __init__(self, code: int, message: str, reason: str = "", status: str = "", headers: Headers = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason
        self.status = status or _STATUS.get(code, "UNKNOWN")
        self.headers = headers

    def body(self) -> dict[str, Any]:
        """Google's JSON error; with a reason also the older errors[] that storage clients read."""
        error: dict[str, Any] = {"code": self.code, "message": self.message, "status": self.status}
        if self.reason:
            error["errors"] = [{"message": self.message, "domain": "global", "reason": self.reason}]
        return {"error": error}


class Disconnected(Exception):
    """The client went away before its body was complete."""


class Aborted(Disconnected):
    """The connection is to be reset: a fault wants it so."""


async def _straight(match: Match, request: Request) -> Response:
    return await match.handler(request)


@dataclass
class Request:
    """One HTTP request; the body is streamed and read at most once.

    What carries out a call does so through the gate of its request, where calls are noted and faults happen. A call
    inside of another request (a batch) has that one as `outer`.
    """

    method: str
    raw_path: str
    query: dict[str, str]
    query_all: dict[str, list[str]]
    headers: dict[str, str]
    client: str
    receive: Receive
    params: dict[str, str] = field(default_factory=dict)
    extensions: Mapping[str, Any] = field(default_factory=dict)
    raw_query: str = ""
    consumed: bool = False
    read_bytes: int = 0
    http_version: str = "1.1"
    facts: dict[str, Any] = field(default_factory=dict)  # for the request log: bucket, object, generation, range
    gate: Gate = _straight
    call: Any = None  # what the gate knows of this request
    outer: Request | None = None
    accept: Callable[[Any], Any] | None = None  # checks a body and says what of it counts; raises ApiError 400

    @property
    def path(self) -> str:
        return unquote(self.raw_path)

    @property
    def base_url(self) -> str:
        """The scheme and authority that this client used, for links in answers."""
        return f"http://{self.headers.get('host', '127.0.0.1')}"

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises Disconnected when the client goes away in the middle."""
        if self.consumed:
            return
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            body: bytes = message.get("body", b"")
            more = message.get("more_body", False)
            if not more:
                self.consumed = True
            if body:
                self.read_bytes += len(body)
                yield body
            if not more:
                return

    async def read(self, limit_bytes: int = 16 << 20) -> bytes:
        """The whole body. Raises ApiError 413 above the limit."""
        parts: list[bytes] = []
        size = 0
        async for chunk in self.chunks():
            size += len(chunk)
            if size > limit_bytes:
                raise ApiError(413, f"request body is larger than {limit_bytes} bytes", "uploadTooLarge")
            parts.append(chunk)
        return b"".join(parts)

    async def json(self) -> Any:
        """The body as JSON ({} when empty). Raises ApiError 400 when it is not JSON."""
        raw = await self.read()
        if self.headers.get("content-encoding", "").lower() == "gzip":
            raw = _gunzip(raw)
        return _parsed(raw)

    async def json_object(self) -> dict[str, Any]:
        """The body as a JSON object, as far as the method takes it. Raises ApiError 400 for anything else."""
        return self._taken(await self.json())

    def object_of(self, raw: bytes) -> dict[str, Any]:
        """The same of a part of a body that is not JSON as a whole."""
        return self._taken(_parsed(raw))

    def _taken(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ApiError(400, "Expected a JSON object", "parseError")
        return value if self.accept is None else self.accept(value)


@dataclass(frozen=True)
class FileBody:
    """A slice of an open file as an answer's body; whoever sends it closes the descriptor."""

    descriptor: int
    offset: int
    count: int


@dataclass
class Response:
    """One HTTP answer; a body that is an async iterator is streamed (give content-length when it is known).

    content_type is sent where the headers tell none, unless it is empty (an answer that is only passed on).
    pace, when a fault has set it, says how the body is sent. value: what a JSON body was made of, where that is known.
    """

    status: int = 200
    body: bytes | FileBody | AsyncIterator[bytes] = b""
    headers: Headers = ()
    content_type: str = "application/json; charset=UTF-8"
    pace: Any = None
    value: Any = None

    @classmethod
    def of_json(cls, value: Any, status: int = 200, headers: Headers = ()) -> Response:
        """An answer whose body is JSON."""
        return cls(status, _ENCODER.encode(value).encode(), headers, value=value)


Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Route:
    """method ("*" for any), pattern over the RAW path, handler, operation.

    The operation is Google's discovery id of the method ("storage.objects.insert") on Google's paths, a name of ours
    elsewhere ("upstream.ollama.blobs.get", "local.clock.get"); faults and the request log go by it. A route for any
    method has the method appended ("storage.xml.objects" becomes "storage.xml.objects.put"). A service's own requests
    have none.

    In a pattern `{name}` matches within one raw segment (an escaped slash %2F stays inside it), without a
    colon, so that `{job}:run` works; `{name+}` also takes colons; `{name*}` takes the rest with slashes.
    Values reach the handler unquoted in request.params.
    """

    method: str
    pattern: str
    handler: Handler
    operation: str = ""


class Match(NamedTuple):
    """What a request's method and path stand for."""

    handler: Handler
    params: dict[str, str]
    operation: str


Gate = Callable[[Match, Request], Awaitable[Response]]


class Router:
    """Finds the handler of a request: routes are grouped by their first segment, then tried in order."""

    def __init__(self) -> None:
        self._groups: dict[str, list[Route]] = {}

    def add(self, routes: Iterable[Route]) -> None:
        """Register routes; the first that matches wins. A literal first segment has all paths below it: a variable one
        (a bucket's name) does not get what no route there matches.
        """
        for route in routes:
            first = route.pattern.lstrip("/").split("/", 1)[0]
            group = "" if "{" in first else first
            self._groups.setdefault(group, []).append(route)

    def operations(self) -> set[str]:
        """The operations of all routes; one for any method comes with each method that Google's APIs use."""
        every = [route for group in self._groups.values() for route in group if route.operation]
        return {name for route in every for name in _names(route)}

    def has(self, raw_path: str) -> bool:
        """Whether some route has this path's first segment literally."""
        return _first(raw_path) in self._groups

    def find(self, method: str, raw_path: str) -> Match:
        """Handler, parameters and operation. Raises ApiError 404 (unknown path) or 405 (known path, other method)."""
        first = _first(raw_path)
        other_method = False
        for route in self._groups.get(first if first in self._groups else "", ()):
            match = _compile(route.pattern).fullmatch(raw_path)
            if match is None:
                continue
            verb = route.method
            if verb in ("*", method) or (verb == "GET" and method == "HEAD"):
                named = f"{route.operation}.{method.lower()}" if verb == "*" and route.operation else route.operation
                return Match(route.handler, {key: _unquoted(value) for key, value in match.groupdict().items()}, named)
            other_method = True
        if other_method:
            raise ApiError(405, f"Method {method} is not allowed here", "methodNotAllowed")
        raise ApiError(404, f"Not found: {method} {raw_path}", "notFound")


def _names(route: Route) -> list[str]:
    if route.method != "*":
        return [route.operation]
    return [f"{route.operation}.{method}" for method in ("get", "head", "put", "post", "patch", "delete")]


def _first(raw_path: str) -> str:
    return unquote(raw_path.lstrip("/").split("/", 1)[0])


def _unquoted(value: str) -> str:
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise ApiError(400, "The path is not valid UTF-8", "invalid") from None


def _parsed(raw: bytes) -> Any:
    """JSON as RFC 8259 has it travel: UTF-8, each half of a surrogate pair beside the other. Raises ApiError 400."""
    try:
        text = raw.decode("utf-8-sig")
        value = json.loads(text, parse_constant=_no_json) if raw.strip() else {}
        if _HALF.search(text):
            _ENCODER_OF_TEXT.encode(value).encode()
    except (ValueError, RecursionError):
        raise ApiError(400, "Parse Error", "parseError") from None
    return value


def _no_json(name: str) -> Any:
    """NaN and Infinity, which Python would read (RFC 8259, section 6)."""
    raise ValueError(f"{name} is not JSON")


def _gunzip(raw: bytes, limit_bytes: int = 64 << 20) -> bytes:
    inflater = zlib.decompressobj(wbits=31)
    try:
        plain = inflater.decompress(raw, limit_bytes)
    except zlib.error:
        raise ApiError(400, "The body is not valid gzip", "parseError") from None
    if inflater.unconsumed_tail:
        raise ApiError(413, f"request body is larger than {limit_bytes} bytes", "uploadTooLarge")
    if raw and not inflater.eof:
        raise ApiError(400, "The body is not valid gzip: it ends too early", "parseError")
    return plain


@cache  # and not when the route is added: all of them take longer to compile than the rest of the start
def _compile(pattern: str) -> re.Pattern[str]:
    parts: list[str] = []
    for literal, name, kind in re.findall(r"([^{]*)(?:\{(\w+)([+*]?)\})?", pattern):
        parts.append(re.escape(literal))
        if name:
            parts.append(f"(?P<{name}>{ {'': '[^/:]+', '+': '[^/]+', '*': '.*'}[kind] })".replace(" ", ""))
    return re.compile("".join(parts))


def parse_query(raw: str) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Query parameters: the last value of each, and all of them."""
    last: dict[str, str] = {}
    every: dict[str, list[str]] = {}
    for pair in raw.split("&"):
        if pair:
            key, _, value = pair.partition("=")
            key, value = _plain(key), _plain(value)
            last[key] = value
            every.setdefault(key, []).append(value)
    return last, every


def _plain(text: str) -> str:
    """A part of a query (application/x-www-form-urlencoded) as it was meant."""
    return unquote(text.replace("+", " ")) if "%" in text or "+" in text else text
