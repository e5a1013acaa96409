"""What was acknowledged survives kill -9 at any moment: whole, and with nothing torn or left over beside it."""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import http.client
import json
import os
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytestmark = pytest.mark.process
WRITERS = 4
KINDS = ("media", "multipart", "resumable", "overwrite", "compose", "delete")


@dataclass
class Ledger:
    """What one writer was told: name → digest of an acknowledged object, None for an acknowledged deletion.

    A change whose answer did not come may have happened or not: `open` names what the object may be instead.
    """

    known: dict[str, str | None] = field(default_factory=dict)
    open: dict[str, str | None] = field(default_factory=dict)
    acknowledged: int = 0


@pytest.mark.parametrize(
    ("writes", "longest_s"), [(80, 0.5), pytest.param(1000, 1.0, marks=pytest.mark.full)], ids=["few", "thousand"]
)
def test_every_acknowledged_write_is_there_and_intact(
    tmp_path: Path, standin_at: Callable[..., Any], connect: Callable[..., Any], writes: int, longest_s: float
) -> None:
    state, chance = tmp_path / "cloud", random.Random(11)
    ledgers = [Ledger() for _ in range(WRITERS)]
    kills = 0
    last = standin_at(state)
    bucket = connect(last.url).bucket("acks")
    bucket.soft_delete_policy.retention_duration_seconds = 0
    bucket.create()
    while sum(ledger.acknowledged for ledger in ledgers) < writes or kills < 3:
        killer = threading.Timer(chance.uniform(0.05, longest_s), last.process.kill)
        killer.start()
        with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(partial(_write, last.port, kills), range(WRITERS), ledgers))
        killer.join()
        last.process.wait()
        kills += 1
        last = standin_at(state)
        _check(connect(last.url).bucket("acks"), ledgers)
    found = {blob.name for blob in connect(last.url).bucket("acks").list_blobs()}
    expected = {name for ledger in ledgers for name, digest in ledger.known.items() if digest is not None}
    assert found == expected
    sessions = last.get("/_local/status")["storage"]["uploads_under_way"]
    assert len([path for path in (state / "storage").rglob("*") if path.is_file()]) <= len(found) + sessions


def _check(bucket: Any, ledgers: list[Ledger]) -> None:
    """Every object is one of those that it may be; what was in doubt is known from now on."""
    found = {
        blob.name: hashlib.sha256(blob.download_as_bytes(checksum="crc32c", retry=None)).hexdigest()
        for blob in bucket.list_blobs()
    }
    for ledger in ledgers:
        for name in {*ledger.known, *ledger.open}:
            may_be = {ledger.known.get(name)} | ({ledger.open[name]} if name in ledger.open else set())
            assert found.get(name) in may_be, name
            ledger.known[name] = found.get(name)
        ledger.open.clear()


def _write(port: int, round_number: int, number: int, ledger: Ledger) -> None:
    """Change objects of all kinds until the daemon is gone."""
    chance = random.Random(number * 1000 + round_number)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.suppress(OSError, http.client.HTTPException):
        for count in range(100_000):
            kind, data = chance.choice(KINDS), os.urandom(chance.randrange(60_000))
            mine = [name for name, digest in ledger.known.items() if digest is not None]
            name = (
                chance.choice(mine) if kind in ("overwrite", "delete") and mine else f"{number}-{round_number}-{count}"
            )
            if kind == "delete" and not mine:
                continue
            gone = kind == "delete"
            ledger.open[name] = None if gone else hashlib.sha256(data).hexdigest()
            _change(connection, kind, name, data)
            ledger.known[name] = ledger.open.pop(name)
            ledger.acknowledged += 1


def _change(connection: http.client.HTTPConnection, kind: str, name: str, data: bytes) -> None:
    upload = "/upload/storage/v1/b/acks/o"
    match kind:
        case "delete":
            _call(connection, "DELETE", f"/storage/v1/b/acks/o/{name}", None, 204)
        case "multipart":
            head = f'--b\r\ncontent-type: application/json\r\n\r\n{{"name": "{name}"}}\r\n--b\r\n\r\n'.encode()
            body = head + data + b"\r\n--b--"
            _call(connection, "POST", f"{upload}?uploadType=multipart", body, 200, "multipart/related; boundary=b")
        case "resumable":
            headers = _call(connection, "POST", f"{upload}?uploadType=resumable&name={name}", b"", 200)
            _call(connection, "PUT", urlsplit(headers["location"])._replace(scheme="", netloc="").geturl(), data, 200)
        case "compose":
            _call(connection, "POST", f"{upload}?uploadType=media&name={name}", data, 200)
            body = json.dumps({"sourceObjects": [{"name": name}]}).encode()
            _call(connection, "POST", f"/storage/v1/b/acks/o/{name}/compose", body, 200)
        case _:
            _call(connection, "POST", f"{upload}?uploadType=media&name={name}", data, 200)


def _call(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None, status: int, kind: str = ""
) -> Any:
    connection.request(method, path, body, {"content-type": kind or "application/json"})
    answer = connection.getresponse()
    told = answer.read()
    assert answer.status == status, told
    return answer.headers
