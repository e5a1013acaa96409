"""A container for the contract tests: a server that shows what it was given and misbehaves on request.

Environment: START_DELAY_S, EXIT_AT_START (code), LISTEN=0 (never), STUBBORN=1 (ignores SIGTERM), ABRUPT=1 (dies of it).
GET /env, /list?path=, /read?path=, /write?path=, /sleep/S, /exit/CODE, /stream/N, /headers, /health; POST /echo, /sick.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

SICK = threading.Event()
BUSY: list[str] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        BUSY.append(self.path)
        try:
            self._get()
        finally:
            BUSY.remove(self.path)

    def _get(self) -> None:
        parts = urlsplit(self.path)
        words = parts.path.strip("/").split("/")
        path = Path(parse_qs(parts.query).get("path", ["."])[0])
        if words[0] == "stream":
            self._stream(int(words[1]))
            return
        answers = {
            "env": lambda: dict(os.environ),
            "list": lambda: sorted(str(each.relative_to(path)) for each in path.rglob("*")),
            "read": lambda: path.read_text(encoding="utf-8"),
            "write": lambda: _try_to_write(path),
            "sleep": lambda: time.sleep(float(words[1])),
            "exit": lambda: os._exit(int(words[1])),
            "headers": lambda: {key.lower(): value for key, value in self.headers.items()},
        }
        status = 500 if words[0] == "health" and SICK.is_set() else 200
        try:
            value = answers[words[0]]() if words[0] in answers else {"path": self.path, "pid": os.getpid()}
        except OSError as error:
            status, value = 404, {"error": str(error)}
        self._answer(status, json.dumps(value).encode())

    def do_POST(self) -> None:
        body = self._body()
        if self.path == "/sick":
            SICK.set()
        self._answer(200, body)

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _stream(self, count: int) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(count):
            line = f"line {number}\n".encode()
            self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Seen-By", "container")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *details: Any) -> None:
        """Silent."""


def _try_to_write(path: Path) -> str:
    try:
        path.write_text("x", encoding="utf-8")
    except OSError as error:
        return type(error).__name__ + ": " + str(error.strerror)
    return "written"


def main() -> None:
    print(json.dumps({"severity": "NOTICE", "message": "starting", "cache_hit": True, "n": 7}), flush=True)
    print("a plain line", file=sys.stderr, flush=True)
    time.sleep(float(os.environ.get("START_DELAY_S", "0")))
    if "EXIT_AT_START" in os.environ:
        print("the reason is written here", flush=True)
        raise SystemExit(int(os.environ["EXIT_AT_START"]))
    if os.environ.get("LISTEN") == "0":
        print("waiting for nothing", flush=True)
        time.sleep(60)
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
    stop = signal.SIG_IGN if os.environ.get("STUBBORN") else lambda *_: threading.Thread(target=server.shutdown).start()
    if not os.environ.get("ABRUPT"):
        signal.signal(signal.SIGTERM, stop)
    server.serve_forever(poll_interval=0.02)
    while BUSY:
        time.sleep(0.01)


if __name__ == "__main__":
    main()
