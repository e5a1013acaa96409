"""A container for the tests of deploys: a service that answers, or one that is broken in the way that MODE names.

MODE: ok, crash (at its start), hang (never listens), unready (/ready answers 500), slow (listens after LATE_S), leak
(logs its API_TOKEN and ends), sick (500 on /work alone), lame (/work takes LATE_S), late (/ready is good, /health not).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODE = os.environ.get("MODE", "ok")
LATE_S = float(os.environ.get("LATE_S", "60"))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/work" and MODE == "lame":
            time.sleep(LATE_S)
        broken = {("/ready", "unready"), ("/work", "sick"), ("/health", "late")}
        self._answer(500 if (self.path, MODE) in broken else 200)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer(501)  # nothing to warm up

    def _answer(self, status: int) -> None:
        body = json.dumps({"revision": os.environ.get("K_REVISION", ""), "mode": MODE}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *details: Any) -> None:
        """Silent: the front knows every request."""


def main() -> int:
    if "PORT" not in os.environ:  # a job's task
        return 0
    print(json.dumps({"severity": "INFO", "message": f"starting as {MODE}"}), flush=True)
    if MODE == "crash":
        print("the reason is written here", flush=True)
        return 3
    if MODE == "leak":
        print(f"cannot log in with {os.environ['API_TOKEN']} at the registry", flush=True)
        return 4
    if MODE in ("hang", "slow"):
        time.sleep(LATE_S)
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.02)
    return 0


if __name__ == "__main__":
    sys.exit(main())
