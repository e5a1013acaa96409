"""A real HTTP proxy between a client and the stand-in that loses replies, answers 503 or cuts requests on demand."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

REFUSALS = {"busy": 503, "forbidden": 403, "expired": 401, "quota": 429}


@dataclass
class Trouble:
    """What happens to the next `times` requests of a method whose target contains `part`.

    how: lost (carried out, the reply never comes), busy (503 with Retry-After: 0, not carried out), cut (the connection
    closes after half of the body, not carried out), forbidden (403), expired (401), quota (429).
    """

    method: str
    part: str
    how: str
    times: int = 1


Headers = list[tuple[str, str]]
Alter = Callable[[str, int, Headers, bytes], tuple[int, Headers, bytes]]


class Proxy:
    """The proxy's address, what is to go wrong, and what passed through."""

    def __init__(self, target: str) -> None:
        self.target = urlsplit(target)
        self.troubles: list[Trouble] = []
        self.seen: list[str] = []
        # Another answer than the stand-in's: path, status, headers, body → the same but for the path.
        self.alter: Alter = lambda path, status, headers, data: (status, headers, data)
        self.authorized: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def match(self, method: str, path: str) -> str:
        for trouble in self.troubles:
            if trouble.times and trouble.method == method and trouble.part in path:
                trouble.times -= 1
                return trouble.how
        return ""

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def any(self) -> None:
                how = proxy.match(self.command, self.path)
                proxy.seen.append(f"{self.command} {self.path} {how}".rstrip())
                if "authorization" in self.headers:
                    proxy.authorized.append(self.path)
                size = int(self.headers.get("content-length") or 0)
                if how == "cut":
                    self.rfile.read(size // 2)
                    self.close_connection = True
                    return
                body = self.rfile.read(size)
                if how in REFUSALS:
                    self.answer(REFUSALS[how], [("retry-after", "0")], b'{"error": {"message": "no"}}')
                    return
                status, headers, data = self.forward(body)
                if how == "lost":
                    self.close_connection = True
                    return
                self.answer(*proxy.alter(self.path, status, headers, data))

            def forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
                upstream = http.client.HTTPConnection(proxy.target.hostname or "", proxy.target.port, timeout=30)
                upstream.request(self.command, self.path, body, dict(self.headers.items()))
                answer = upstream.getresponse()
                headers = [(key, value) for key, value in answer.getheaders() if key.lower() != "content-length"]
                data = answer.read()
                upstream.close()
                return answer.status, headers, data

            def answer(self, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
                self.send_response_only(status)
                for key, value in headers:
                    if key.lower() not in ("transfer-encoding", "connection"):
                        self.send_header(key, value)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = any

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing: the test looks at `seen`."""

        return Handler


@contextmanager
def troubled(target: str) -> Iterator[Proxy]:
    """A running proxy in front of a stand-in."""
    proxy = Proxy(target)
    thread = threading.Thread(target=proxy.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.server.shutdown()
        proxy.server.server_close()
        thread.join()
