"""The `hello` image: a tiny server for smoke tests. It answers every GET with JSON {message, service, revision, path}
and every POST with the body it got. Arguments: PORT SERVICE REVISION; as a job's task it says hello and ends."""

from __future__ import annotations

import json
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class _Hello(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    names: tuple[str, str] = ("", "")

    def do_GET(self) -> None:
        service, revision = self.names
        answer = {"message": "hello", "service": service, "revision": revision, "path": self.path}
        self._answer(json.dumps(answer).encode(), "application/json")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer(body, self.headers.get("Content-Type") or "application/octet-stream")

    def _answer(self, body: bytes, content_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *details: Any) -> None:
        """Silent: the front knows every request."""


def say(message: str) -> None:
    """One structured log line."""
    print(json.dumps({"severity": "INFO", "message": message}), flush=True)


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM; without a port (a job's task) only say hello."""
    port, service, revision = (*arguments, "", "", "")[:3]
    if not port.isdigit():
        say("hello from a task")
        return 0
    _Hello.names = (service, revision)
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), _Hello)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    say("hello is listening")
    server.serve_forever(poll_interval=0.05)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
