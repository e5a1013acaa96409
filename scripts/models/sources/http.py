"""HTTP for the sources: retries, redirects that never carry credentials to another host, bodies resumed by Range."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any, NoReturn
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter

from scripts.errors import AccessDenied, BadInput, NotFound, OpsError, Unreachable
from scripts.models.sources.backoff import RETRYABLE, Backoff, Patience, asked_wait_s, wait
from scripts.settings.project import user_agent

# A connection that breaks loses at most the chunk that was being filled.
CHUNK_BYTES = 256 << 10
TIMEOUT_S = (10.0, 60.0)
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 5
_EXPLANATION_BYTES = 8 << 10
_CONNECTIONS = 32
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_BROKEN = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)

Opener = Callable[[Mapping[str, str], Backoff], requests.Response]


class Http:
    """A client with connection reuse; may be used from several threads. received_bytes counts streamed bodies."""

    def __init__(self, *, client: str, patience: Patience, sleep: Callable[[float], None] = wait) -> None:
        self._patience = patience
        self._sleep = sleep
        self._received_bytes = 0
        self._lock = threading.Lock()
        self._session = requests.Session()
        self._session.headers["User-Agent"] = user_agent()
        if client:
            self._session.headers["X-Modelshelf-Client"] = client
        # Without an auth object requests would look into ~/.netrc for every host, redirect targets included.
        self._session.auth = _unchanged
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_connections=8, pool_maxsize=_CONNECTIONS))

    @property
    def received_bytes(self) -> int:
        return self._received_bytes

    def backoff(self) -> Backoff:
        """Fresh patience for one operation."""
        return Backoff(self._patience, self._sleep)

    def request(
        self, method: str, url: str, headers: Mapping[str, str], what: str, backoff: Backoff
    ) -> requests.Response:
        """Send until the answer is final: redirects followed, refusals to serve now (429, 5xx) waited out.

        The body is not read; close the response. Raises Unreachable, or OpsError for redirects that go nowhere.
        """
        while True:
            try:
                response = self._follow(method, url, dict(headers), what)
            except _BROKEN as error:
                _give_up_on_certificates(error, what)
                backoff.pause(what, _reason(error))
                continue
            except (requests.RequestException, ValueError) as error:
                text = f"{what}: {url!r} cannot be requested, or redirects to what is no address ({error})"
                raise BadInput(text, "Check the upstream's address.") from None
            if response.status_code not in RETRYABLE:
                return response
            with contextlib.closing(response):
                said = explanation(_beginning(response))
            cause = f"{urlsplit(response.url).hostname} answered {response.status_code} {response.reason}{said}"
            backoff.pause(what, cause, asked_wait_s(response.headers))

    def read(
        self, url: str, headers: Mapping[str, str], what: str, limit_bytes: int
    ) -> tuple[requests.Response, bytes]:
        """A small answer and its whole body. Raises OpsError above the limit, else like request."""
        backoff = self.backoff()
        while True:
            with contextlib.closing(self.request("GET", url, headers, what, backoff)) as response:
                body = bytearray()
                try:
                    for chunk in response.iter_content(64 << 10):
                        body += chunk
                        if len(body) > limit_bytes:
                            raise OpsError(
                                f"{what}: the answer is larger than {limit_bytes} bytes", "Do not use this model."
                            )
                    return response, bytes(body)
                except (*_BROKEN, requests.exceptions.ContentDecodingError) as error:
                    backoff.pause(what, _reason(error))

    def stream(
        self, opener: Opener, what: str, size_bytes: int, start: int = 0, stop: int | None = None
    ) -> Iterator[bytes]:
        """The bytes [start, stop) of a body of a known size; a broken connection is resumed where it broke.

        opener sends the request with the given Range headers and returns a 200 or 206; it is called again for every
        resumption, so links that expire are renewed. Raises OpsError when the body is not what was announced,
        Unreachable when it cannot be completed.
        """
        end = size_bytes if stop is None else stop
        if not 0 <= start <= end <= size_bytes:
            raise ValueError(f"range {start}-{end} is outside of {size_bytes} bytes")
        position, etag, backoff = start, "", self.backoff()
        while position < end:
            cause = "the connection was closed"
            try:
                with contextlib.closing(opener(_range(position, end, size_bytes), backoff)) as response:
                    etag = _check(response, position, size_bytes, etag, what)
                    for chunk in self._from(response, position if response.status_code == 200 else 0):
                        wanted = chunk[: end - position]
                        position += len(wanted)
                        backoff.progress()
                        yield wanted
                        if position == end:
                            return
            except _BROKEN as error:
                cause = _reason(error)
            backoff.pause(what, f"{cause} after {position} of {size_bytes} bytes")

    def _follow(self, method: str, url: str, headers: dict[str, str], what: str) -> requests.Response:
        seen = {url}
        while True:
            proxies = {"no_proxy": ",".join(LOOPBACK)} if urlsplit(url).hostname in LOOPBACK else None
            response = self._session.request(
                method, url, headers=headers, stream=True, allow_redirects=False, timeout=TIMEOUT_S, proxies=proxies
            )
            location = response.headers.get("Location")
            if response.status_code not in _REDIRECTS or location is None:
                return response
            response.close()
            target = urljoin(url, location)
            if target in seen or len(seen) > _MAX_REDIRECTS:
                raise OpsError(f"{what}: {urlsplit(url).hostname} redirects in a loop", "Try again later.")
            scheme = urlsplit(target).scheme
            if scheme not in _DEFAULT_PORTS or (scheme == "http" and _origin(url)[0] == "https"):
                raise OpsError(f"{what}: expected a redirect to https, found {target[:80]!r}", "Try again later.")
            if _origin(target) != _origin(url):
                # Credentials belong to the host they were given for; once dropped they do not come back.
                headers = {key: value for key, value in headers.items() if key.lower() != "authorization"}
            seen.add(target)
            url = target

    def _from(self, response: requests.Response, skip: int) -> Iterator[bytes]:
        """The body without its first bytes: a server that ignores Range sends from the beginning."""
        for chunk in response.iter_content(CHUNK_BYTES):
            with self._lock:
                self._received_bytes += len(chunk)
            if skip < len(chunk):
                yield chunk[skip:]
            skip = max(0, skip - len(chunk))


def refuse(response: requests.Response, what: str, remedy: str, body: bytes | None = None) -> NoReturn:
    """Raise what a final status other than success means: NotFound (404, 410), AccessDenied (401, 403), OpsError.

    body: where it has been read already.
    """
    status = response.status_code
    with contextlib.closing(response):
        said = explanation(_beginning(response) if body is None else body)
    host = urlsplit(response.url).hostname
    if status in (404, 410):
        raise NotFound(f"{what}: not found upstream, {host} answered {status}{said}", remedy)
    if status in (401, 403):
        raise AccessDenied(f"{what}: not allowed, {host} answered {status}{said}", remedy)
    raise OpsError(f"{what}: expected 200 from {host}, found {status} {response.reason}{said}", remedy)


def explanation(body: bytes) -> str:
    """What an error's JSON body says, in parentheses, in the shapes of registries, hubs and Google; else empty."""
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    for key in ("errors", "error", "message"):
        value = value.get(key, value) if isinstance(value, dict) else value
        value = value[0] if isinstance(value, list) and value else value
    return f" ({value[:900]})" if isinstance(value, str) and value.isprintable() else ""


def _beginning(response: requests.Response) -> bytes:
    try:
        return next(response.iter_content(_EXPLANATION_BYTES), b"")
    except (*_BROKEN, requests.exceptions.ContentDecodingError):
        return b""


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)


def _range(position: int, end: int, size_bytes: int) -> dict[str, str]:
    headers = {"Accept-Encoding": "identity"}
    if position > 0 or end < size_bytes:
        headers["Range"] = f"bytes={position}-{end - 1}"
    return headers


def _check(response: requests.Response, position: int, size_bytes: int, etag: str, what: str) -> str:
    """Compare an answer's headers with what was announced; returns its etag, against which a resumption is compared."""
    headers = response.headers
    again = "The upstream's files changed or its answers are damaged; run the same command again."
    if headers.get("Content-Encoding", "identity") != "identity":
        raise OpsError(f"{what}: sent as {headers['Content-Encoding']}, expected identity", again)
    if response.status_code == 206:
        match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
        if match is None or int(match.group(1)) != position:
            raise OpsError(f"{what}: asked from byte {position}, found {headers.get('Content-Range')!r}", again)
        told = match.group(3)
    else:
        told = headers.get("Content-Length", "*")
    if told not in ("*", str(size_bytes)):
        raise OpsError(f"{what}: announced with {size_bytes} bytes, offered with {told}", again)
    found = headers.get("ETag", "").removeprefix("W/")
    if etag and found and etag != found:
        raise OpsError(f"{what}: changed upstream during the download", again)
    return found or etag


def _give_up_on_certificates(error: BaseException, what: str) -> None:
    if isinstance(error, requests.exceptions.SSLError):
        raise Unreachable(
            f"{what}: no trusted TLS connection ({_reason(error)})",
            "Behind an intercepting proxy, set REQUESTS_CA_BUNDLE to its certificate.",
        ) from None


def _reason(error: BaseException) -> str:
    """The innermost cause in a few words: requests wraps urllib3's errors, which wrap the system's."""
    told, seen = type(error).__name__, 0
    current: BaseException | None = error
    while current is not None and seen < 10:
        inner = current.args[0] if current.args and isinstance(current.args[0], BaseException) else None
        reason = getattr(current, "reason", None)
        if isinstance(current, OSError) and current.strerror:
            told = current.strerror
        elif isinstance(current, requests.Timeout | TimeoutError):
            told = "no answer in time"
        inner = reason if isinstance(reason, BaseException) else inner
        current, seen = inner or current.__cause__ or current.__context__, seen + 1
    return told
