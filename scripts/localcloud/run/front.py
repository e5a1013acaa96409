"""What stands before the instances: picks a revision by traffic and an instance by turn, and streams both ways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from urllib.parse import quote

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from scripts.localcloud.run.fleet import Fleet
from scripts.localcloud.run.instance import Instance
from scripts.localcloud.web import ApiError, Disconnected, Request, Response

# RFC 9110 section 7.6.1, and what the connection to the instance settles for itself
_HOP_BY_HOP = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade", "expect",
}  # fmt: skip
_WHOLE_BYTES = 64 << 10
_TRIES = 3


@dataclass(frozen=True)
class Backend:
    """Who answers for a name: the fleet, and the request time-out of its revision."""

    fleet: Fleet
    timeout_s: float


Find = Callable[[str], Backend]


class Front:
    """find(name) picks the backend of a service's name in URLs (or `TAG---NAME`), raising ApiError 404 or 503."""

    def __init__(self, session: aiohttp.ClientSession, find: Find) -> None:
        self._session = session
        self._find = find

    async def by_path(self, request: Request) -> Response:
        """/run/NAME/rest → rest, with X-Forwarded-Prefix: /run/NAME."""
        _, _, raw_name, *rest = request.raw_path.split("/", 3)
        prefix = f"/run/{raw_name}"
        return await self._forward(request, request.params["name"], "/" + (rest[0] if rest else ""), prefix)

    async def by_host(self, request: Request) -> Response:
        """NAME.localhost/rest → rest."""
        name = request.headers["host"].partition(".")[0]
        return await self._forward(request, name, request.raw_path, "")

    async def _forward(self, request: Request, name: str, raw_path: str, prefix: str) -> Response:
        backend = self._find(name)
        deadline = asyncio.get_running_loop().time() + backend.timeout_s
        for attempt in range(_TRIES):
            instance = await backend.fleet.acquire()
            try:
                return await self._exchange(request, backend.fleet, instance, raw_path, prefix, deadline)
            except aiohttp.ClientConnectorError:
                backend.fleet.release(instance)
                if request.consumed or attempt == _TRIES - 1:
                    raise _broken() from None
                await asyncio.sleep(0.05)  # it just died: its fleet is about to notice
            except TimeoutError:
                backend.fleet.release(instance)
                raise ApiError(504, f"upstream request timeout: no answer within {backend.timeout_s:g} s") from None
            except aiohttp.ClientError:
                backend.fleet.release(instance)
                if not await _may_repeat(request, instance):
                    raise _broken() from None
            except BaseException:
                backend.fleet.release(instance)
                raise
        raise _broken()

    async def _exchange(
        self, request: Request, fleet: Fleet, instance: Instance, raw_path: str, prefix: str, deadline: float
    ) -> Response:
        query = f"?{request.raw_query}" if request.raw_query else ""
        url = URL(f"http://127.0.0.1:{instance.port}{quote(raw_path, safe=_RAW)}{query}", encoded=True)
        headers = _to_instance(request, prefix)
        body = _Body(request) if _has_body(request) else None
        try:
            async with asyncio.timeout_at(deadline):
                answer = await self._session.request(
                    request.method, url, headers=headers, data=body, allow_redirects=False,
                    skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                )  # fmt: skip
        except aiohttp.ClientError:
            if body is not None and body.client_left:
                raise Disconnected from None
            raise
        out = tuple((key, value) for key, value in answer.headers.items() if key.lower() not in _dropped(answer))
        size = answer.content_length
        if request.method == "HEAD" or answer.status in (204, 304) or (size is not None and size <= _WHOLE_BYTES):
            try:
                async with asyncio.timeout_at(deadline):
                    whole = b"" if request.method == "HEAD" else await answer.read()
            finally:
                answer.release()
            fleet.release(instance)
            return Response(answer.status, whole, out, _content_type(answer))
        streamed = _Streamed(answer, lambda: fleet.release(instance), deadline)
        return Response(answer.status, streamed.chunks(), out, _content_type(answer))


_RAW = "%/:?#[]@!$&'()*+,;=~-._"  # the path is forwarded as the client wrote it


class _Body:
    """The client's body as it arrives; remembers whether the client left in the middle."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self.client_left = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._request.chunks():
                yield chunk
        except Disconnected:
            self.client_left = True
            raise


class _Streamed:
    """The instance's answer as it arrives; the slot is given back when it ended, failed or was never read."""

    def __init__(self, answer: aiohttp.ClientResponse, release: Callable[[], None], deadline: float) -> None:
        self._answer = answer
        self._release: Callable[[], None] | None = release
        self._deadline = deadline

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async with asyncio.timeout_at(self._deadline):
                async for chunk in self._answer.content.iter_any():
                    yield chunk
            self._answer.release()
        finally:
            self._answer.close()
            self._done()

    def _done(self) -> None:
        if self._release is not None:
            self._release()
            self._release = None

    def __del__(self) -> None:
        self._done()


async def _may_repeat(request: Request, instance: Instance) -> bool:
    """Whether a lost exchange was only an idle connection that the instance closed (RFC 9110 section 9.2.2).

    A request after which the instance is dead is not sent to the next one.
    """
    if request.method not in ("GET", "HEAD") or _has_body(request):
        return False
    await asyncio.sleep(0.03)
    return instance.alive


def _has_body(request: Request) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers


def _to_instance(request: Request, prefix: str) -> CIMultiDict[str]:
    named = {each.strip().lower() for each in request.headers.get("connection", "").split(",")}
    headers: CIMultiDict[str] = CIMultiDict()
    for key, value in request.headers.items():
        if key not in _HOP_BY_HOP and key not in named:
            headers.add(key, value)
    client = request.client.rpartition(":")[0]
    before = request.headers.get("x-forwarded-for")
    headers["X-Forwarded-For"] = f"{before}, {client}" if before else client
    headers["X-Forwarded-Proto"] = "http"
    headers["X-Forwarded-Host"] = request.headers.get("host", "")
    if prefix:
        headers["X-Forwarded-Prefix"] = prefix
    return headers


def _dropped(answer: aiohttp.ClientResponse) -> set[str]:
    named = {each.strip().lower() for each in answer.headers.get("Connection", "").split(",")}
    return (_HOP_BY_HOP - {"expect"}) | named


def _content_type(answer: aiohttp.ClientResponse) -> str:
    return answer.headers.get("Content-Type", "application/octet-stream")


def _broken() -> ApiError:
    return ApiError(
        503,
        "The request failed because either the HTTP response was malformed or connection to the instance had an error.",
    )
