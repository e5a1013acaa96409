"""What stands before the instances: picks a revision by traffic and an instance by turn, and streams both ways.

Every request to a service is logged, those that the front answers itself too (429, 501, 503, 504).
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from urllib.parse import quote

from scripts.localcloud.context import Context
from scripts.localcloud.run import redirects
from scripts.localcloud.run.connections import Broken, Connection, Unreachable
from scripts.localcloud.run.fleet import Fleet, Retired
from scripts.localcloud.run.instance import Instance
from scripts.localcloud.run.requestlog import RequestLog, Served, trace_of
from scripts.localcloud.web import ApiError, Disconnected, Request, Response
from scripts.localcloud.wire import EXTENSION, Wire

# RFC 9110 section 7.6.1, and what the connection to the other side settles for itself
_HOP_BY_HOP = frozenset((
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te", b"trailer",
    b"transfer-encoding", b"upgrade",
))  # fmt: skip
_OWN = frozenset((
    b"expect", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-prefix", b"traceparent",
    b"x-cloud-trace-context",
))  # fmt: skip
_NOT_SENT = _HOP_BY_HOP | _OWN
_NOT_RETURNED = _HOP_BY_HOP | {b"date"}  # ours is there already
_PLAIN_CONNECTION = (b"keep-alive", b"close")
_SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")
_REPEATABLE = (*_SAFE, "PUT", "DELETE")  # RFC 9110, section 9.2.2
_RAW = "%/:?#[]@!$&'()*+,;=~-._"  # the path is forwarded as the client wrote it
_SMALL_BYTES = 64 << 10  # a request's body up to this is read before it is sent, and can be sent again
_TRIES = 10
_LEFT = 499  # nobody got an answer: the client closed its connection
_TEXTS = {
    429: "The request was aborted because there was no available instance. Additional troubleshooting documentation can"
    " be found at: https://cloud.google.com/run/docs/troubleshooting#abort-request",
    504: "The request has been terminated because it has reached the maximum request timeout. To change this limit, see"
    " https://cloud.google.com/run/docs/configuring/request-timeout",
}
_TRUNCATED = (
    "Truncated response body. Usually implies that the request timed out or the application exited before the response"
    " was finished."
)


@dataclass(frozen=True)
class Backend:
    """Who answers for a name: the fleet, and the request time-out of its revision."""

    fleet: Fleet
    timeout_s: float


Find = Callable[[str], Backend]


class _Call:
    """One request on its way: what is sent, by whom it is answered, and what the log will say."""

    def __init__(self, request: Request, name: str, target: str, prefix: str, at_s: float, fleet: Fleet) -> None:
        wire: Wire = request.extensions[EXTENSION]
        self.fleet = fleet
        self.request = request
        self.wire = wire
        self.name = name
        self.prefix = prefix
        self.at_s = at_s
        self.began = time.perf_counter()
        self.instance = ""
        self.repeated = False
        self.small: bytes | None = None
        self.sent_bytes = 0
        headers = request.headers
        self.length = headers.get("content-length")
        self.chunked = "transfer-encoding" in headers
        self.trace = trace_of(headers.get("traceparent", ""), headers.get("x-cloud-trace-context", ""))
        self.remote = request.client.rpartition(":")[0]
        self.head = self._head(target, prefix)

    @property
    def has_body(self) -> bool:
        return self.chunked or (self.length is not None and self.length != "0")

    def _head(self, target: str, prefix: str) -> bytes:
        """Request line and headers for the instance."""
        headers = self.request.headers
        raw = self.wire.raw_headers
        named: tuple[bytes, ...] = ()
        if (connection := headers.get("connection")) is not None:
            named = tuple(each.strip().lower() for each in connection.encode("latin-1").split(b","))
        parts = [f"{self.request.method} {target} HTTP/1.1\r\n".encode("latin-1")]
        parts += [b"%b: %b\r\n" % pair for pair in raw if pair[0] not in _NOT_SENT and pair[0] not in named]
        before = headers.get("x-forwarded-for")
        shown = f"{before}, {self.remote}" if before else self.remote
        host = headers.get("host", "")
        own = f"x-forwarded-for: {shown}\r\nx-forwarded-proto: http\r\nx-forwarded-host: {host}\r\n"
        if prefix:
            own += f"x-forwarded-prefix: {prefix}\r\n"
        if self.chunked:
            own += "transfer-encoding: chunked\r\n"
        parts += [own.encode("latin-1"), self.trace.headers(), b"\r\n"]
        return b"".join(parts)

    async def prepare(self) -> None:
        """Read a small body. Raises Disconnected."""
        if self.length is not None and self.length.isdigit() and int(self.length) <= _SMALL_BYTES:
            self.small = b"".join([chunk async for chunk in self.request.chunks()])
            self.sent_bytes = len(self.small)

    def body(self) -> AsyncIterator[bytes] | None:
        """The body that is not in the head's piece, framed, as it comes."""
        return self._framed() if self.has_body and self.small is None else None

    async def _framed(self) -> AsyncIterator[bytes]:
        async for chunk in self.request.chunks():
            self.sent_bytes += len(chunk)
            yield b"%x\r\n%b\r\n" % (len(chunk), chunk) if self.chunked else chunk
        if self.chunked:
            yield b"0\r\n\r\n"

    @property
    def may_repeat(self) -> bool:
        """Whether the request may go to an instance once more, though one may have seen it."""
        whole = not self.has_body or self.small is not None
        return whole and not self.repeated and self.request.method in _REPEATABLE


class Front:
    """find(name) picks the backend of a service's name in URLs (or `TAG---NAME`), raising ApiError 404 or 503."""

    def __init__(self, context: Context, find: Find, log: RequestLog) -> None:
        self._context = context
        self._find = find
        self._log = log

    async def by_path(self, request: Request) -> Response:
        """/run/NAME/rest → rest, with X-Forwarded-Prefix: /run/NAME."""
        _, _, raw_name, *rest = request.raw_path.split("/", 3)
        path = "/" + (rest[0] if rest else "")
        return await self._forward(request, request.params["name"], path, f"/run/{raw_name}")

    async def by_host(self, request: Request) -> Response:
        """NAME.localhost/rest → rest."""
        name = request.headers["host"].partition(".")[0]
        return await self._forward(request, name, request.raw_path, "")

    async def _forward(self, request: Request, name: str, raw_path: str, prefix: str) -> Response:
        backend = self._find(name)
        target = quote(raw_path, safe=_RAW) + (f"?{request.raw_query}" if request.raw_query else "")
        call = _Call(request, name, target, prefix, self._context.clock(), backend.fleet)
        try:
            if request.headers.get("upgrade", "").lower() == "websocket":
                raise ApiError(501, "WebSockets are not imitated by the stand-in's front.", status="UNIMPLEMENTED")
            if call.has_body:
                await call.prepare()
            return await self._answer(call, backend)
        except ApiError as error:
            self._note(call, error.code, 0, _TEXTS.get(error.code, error.message))
            raise
        except (Disconnected, asyncio.CancelledError):
            self._note(call, _LEFT, 0, "The client closed its connection before it had an answer.")
            raise

    async def _answer(self, call: _Call, backend: Backend) -> Response:
        tries = 0
        while True:
            instance = backend.fleet.lend()
            try:
                if instance is None:
                    with call.wire.cancelling(asyncio.current_task()):
                        instance = await backend.fleet.acquire()
                call.instance = instance.id
                return await self._lent(call, backend, instance)
            except Retired:
                backend = self._find(call.name)
                call.fleet = backend.fleet
            except Unreachable as error:
                tries += 1
                if instance is None or tries == _TRIES:
                    raise _broken(error) from None
                backend.fleet.refused(instance)
            except TimeoutError:
                raise ApiError(504, f"upstream request timeout: no answer within {backend.timeout_s:g} s") from None
            except Broken as error:
                crashed = instance is None or await _crashed(instance)
                if crashed or not error.untouched or not call.may_repeat:
                    raise _broken(error) from None
                call.repeated = True  # the instance was closing its connections: idle ones, or all as it ends

    async def _lent(self, call: _Call, backend: Backend, instance: Instance) -> Response:
        """One exchange with an instance; its slot is given back here, or at the end of a streamed answer."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + backend.timeout_s
        connection: Connection | None = None
        lease: _Lease | None = None
        try:
            connection = None if call.repeated else instance.pool.kept()
            if connection is None:
                async with asyncio.timeout_at(deadline):
                    connection = await instance.pool.open()
            lease = _Lease(call, backend.fleet, instance, connection, loop.call_at(deadline, connection.time_out))
            if call.wire.gone:
                raise Disconnected
            head = call.head + call.small if call.small else call.head
            await connection.exchange(head, call.body(), call.request.method == "HEAD")
            return self._response(call, connection, lease)
        except BaseException:
            if lease is not None:
                lease.end()
            else:
                if connection is not None:
                    connection.close()
                backend.fleet.release(instance)
            raise

    def _response(self, call: _Call, connection: Connection, lease: _Lease) -> Response:
        status, answer = connection.status, connection.headers
        # with the length of what is not sent, uvicorn would wait for it
        dropped = _NOT_RETURNED | {b"content-length"} if status in (204, 304) else _NOT_RETURNED
        out = []
        for key, value in answer:
            if key == b"connection" and value.lower() not in _PLAIN_CONNECTION:
                dropped = dropped | {each.strip().lower() for each in value.split(b",")}
        for key, value in answer:
            if key not in dropped:
                text = value.decode("latin-1")
                if key == b"location" and call.prefix:
                    text = redirects.seen(text, call.prefix, call.request.headers.get("host", ""))
                out.append((key.decode("latin-1"), text))
        if connection.complete:
            body = connection.body()
            lease.end()
            self._note(call, status, connection.header_bytes + len(body), "")
            unknown = call.request.method == "HEAD" and all(key != b"content-length" for key, _ in answer)
            return Response(status, _nothing() if unknown else body, tuple(out), "")
        return Response(status, self._stream(call, connection, lease), tuple(out), "")

    async def _stream(self, call: _Call, connection: Connection, lease: _Lease) -> AsyncIterator[bytes]:
        """The instance's answer as it arrives; the slot is given back when it ended, failed or was never read."""
        status, size, note = connection.status, connection.header_bytes, _TRUNCATED
        try:
            async for chunk in connection.stream():
                size += len(chunk)
                yield chunk
            note = ""
        except (Broken, TimeoutError):
            raise Disconnected from None  # the client sees that the answer is not whole
        finally:
            lease.end()
            self._note(call, status, size, note)

    def _note(self, call: _Call, status: int, response_bytes: int, note: str) -> None:
        request = call.request
        headers = request.headers
        query = f"?{request.raw_query}" if request.raw_query else ""
        self._log.add(
            Served(
                call.fleet.identity, call.instance, call.trace, call.at_s,
                time.perf_counter() - call.began, request.method,
                f"http://{headers.get('host', '')}{request.raw_path}{query}", len(call.head) + call.sent_bytes, status,
                response_bytes, headers.get("user-agent", ""), headers.get("referer", ""), call.remote, "HTTP/1.1",
                note,
            )
        )  # fmt: skip


class _Lease:
    """A slot of an instance and the connection on which it is used; end() gives both back, once."""

    def __init__(
        self, call: _Call, fleet: Fleet, instance: Instance, connection: Connection, timer: asyncio.TimerHandle
    ) -> None:
        self.fleet = fleet
        self._call = call
        self._instance = instance
        self._connection = connection
        self._timer = timer
        self._open = True
        call.wire.watch(connection.abandon)

    def end(self) -> None:
        """The exchange is over, well or not."""
        if not self._open:
            return
        self._open = False
        self._timer.cancel()
        self._call.wire.unwatch(self._connection.abandon)
        self._connection.finish()
        self.fleet.release(self._instance)

    def __del__(self) -> None:
        self.end()  # an answer that nobody began to read


async def _crashed(instance: Instance) -> bool:
    """Whether an instance has just died, and not because it was asked to: the request may have been the reason."""
    await asyncio.sleep(0.03)
    child = instance.child
    if child is None or child.alive:
        return False
    await asyncio.wait([child.gone], timeout=1.0)
    return not child.gone.done() or child.gone.result() not in (0, -signal.SIGTERM)


async def _nothing() -> AsyncIterator[bytes]:
    """A body of unknown length that is not sent (HEAD)."""
    for chunk in tuple[bytes, ...]():
        yield chunk


def _broken(error: Broken) -> ApiError:
    return ApiError(
        503,
        "The request failed because either the HTTP response was malformed or connection to the instance had an error:"
        f" {error.problem}.",
    )
