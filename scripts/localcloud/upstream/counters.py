"""What each client asked of the upstreams: requests, file bytes, metadata bytes; kept over restarts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from scripts.localcloud.context import Database
from scripts.localcloud.web import Request

_SAVE_EVERY_BYTES = 8 << 20
_TABLES = """
CREATE TABLE IF NOT EXISTS upstream_clients (
    client TEXT PRIMARY KEY, requests INTEGER NOT NULL, bytes INTEGER NOT NULL, metadata_bytes INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS upstream_settings (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@dataclass
class Count:
    """requests of any kind; bytes of model files; metadata_bytes of everything else (manifests, listings, errors)."""

    requests: int = 0
    bytes: int = 0
    metadata_bytes: int = 0


def client_of(request: Request) -> str:
    """Who asks: the name that an instance gives itself, else the program's user agent."""
    headers = request.headers
    return (headers.get("x-modelshelf-client") or headers.get("user-agent") or "unknown")[:200]


class Counters:
    """The counts of all clients, and whether the upstreams are running; both survive a restart and a kill -9.

    A stream is saved every 8 MiB and at its end, so a killed daemon forgets at most that much of each.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        db.script(_TABLES)
        self._clients = {
            row["client"]: Count(row["requests"], row["bytes"], row["metadata_bytes"])
            for row in db.rows("SELECT * FROM upstream_clients")
        }
        self._unsaved: dict[str, int] = {}
        self._running = self.setting("running", "1") == "1"

    @property
    def running(self) -> bool:
        return self._running

    def switch(self, running: bool) -> None:
        """Start or stop the upstreams."""
        self._running = running
        self.set("running", "1" if running else "0")

    def setting(self, key: str, default: str) -> str:
        """A remembered value; the default is remembered when there is none."""
        self._db.run("INSERT OR IGNORE INTO upstream_settings VALUES (?, ?)", key, default)
        row = self._db.row("SELECT value FROM upstream_settings WHERE key = ?", key)
        return str(row["value"]) if row is not None else default

    def set(self, key: str, value: str) -> None:
        self._db.run("INSERT OR REPLACE INTO upstream_settings VALUES (?, ?)", key, value)

    def request(self, client: str) -> None:
        self._count(client).requests += 1

    def metadata(self, client: str, size_bytes: int) -> None:
        self._count(client).metadata_bytes += size_bytes

    def sent(self, client: str, size_bytes: int) -> None:
        self._count(client).bytes += size_bytes
        self._unsaved[client] = self._unsaved.get(client, 0) + size_bytes
        if self._unsaved[client] >= _SAVE_EVERY_BYTES:
            self.save(client)

    def save(self, client: str) -> None:
        count = self._count(client)
        self._unsaved.pop(client, None)
        self._db.run(
            "INSERT OR REPLACE INTO upstream_clients VALUES (?, ?, ?, ?)",
            client, count.requests, count.bytes, count.metadata_bytes,
        )  # fmt: skip

    def reset(self) -> None:
        """Forget every count."""
        self._clients.clear()
        self._unsaved.clear()
        self._db.run("DELETE FROM upstream_clients")

    def totals(self) -> dict[str, Any]:
        """running, requests, bytes, metadata_bytes, and the same counts by client."""
        every = self._clients.values()
        return {
            "running": self.running,
            "requests": sum(count.requests for count in every),
            "bytes": sum(count.bytes for count in every),
            "metadata_bytes": sum(count.metadata_bytes for count in every),
            "by_client": {client: asdict(count) for client, count in sorted(self._clients.items())},
        }

    def _count(self, client: str) -> Count:
        return self._clients.setdefault(client, Count())
