"""A tiny real HTTP server that answers what a test tells it to, under two host names: an upstream that misbehaves."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from scripts.models.sources.backoff import Patience

SWIFT = Patience(attempts=3, first_wait_s=0.001, longest_wait_s=0.002, budget_s=5.0)


@dataclass
class Answer:
    """One answer; cut = send only so many bytes of the body, then drop the connection.

    Ranges are honoured unless ranges is false. A header with an empty value is left out.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    ranges: bool = True


@dataclass
class Seen:
    method: str
    path: str
    headers: dict[str, str]


class Upstream:
    """url and other_url reach the same server by two names, so they are two hosts to a client."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.other_url = f"http://localhost:{port}"
        self.seen: list[Seen] = []
        self.answers: dict[str, list[Answer]] = {}

    def on(self, path: str, *answers: Answer) -> None:
        """Answer requests for a path in this order; the last answer repeats."""
        self.answers[path] = list(answers)

    def paths(self) -> list[str]:
        return [seen.path for seen in self.seen]

    def next(self, path: str) -> Answer:
        waiting = self.answers.get(path) or self.answers.get(path.partition("?")[0]) or [Answer(404)]
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]


def _handler(upstream: Upstream) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = {key.lower(): value for key, value in self.headers.items()}
            upstream.seen.append(Seen(self.command, self.path, headers))
            answer = upstream.next(self.path)
            status, body, extra = answer.status, answer.body, dict(answer.headers)
            asked = headers.get("range", "")
            if status == 200 and asked and answer.ranges:
                first, last = asked.removeprefix("bytes=").split("-")
                status, extra["Content-Range"] = 206, f"bytes {first}-{last}/{len(body)}"
                body = body[int(first) : int(last) + 1]
                extra = extra | {key: value for key, value in answer.headers.items() if key == "Content-Range"}
            self.send_response(status)
            for key, value in ({"Content-Length": str(len(body))} | extra).items():
                if value:
                    self.send_header(key, value)
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body if answer.cut is None else body[: answer.cut])
            if answer.cut is not None:
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what these tests are about."""


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A scripted upstream; mark the test `process`."""
    server = _Server(("127.0.0.1", 0), BaseHTTPRequestHandler)
    scripted = Upstream(server.server_address[1])
    server.RequestHandlerClass = _handler(scripted)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield scripted
    server.shutdown()
    server.server_close()


@pytest.fixture
def answer() -> Callable[..., Answer]:
    return Answer


@pytest.fixture
def swift() -> Patience:
    """Patience for tests: three tries, thousandths of a second apart."""
    return SWIFT
