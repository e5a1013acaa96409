"""Changes of more than one generation survive kill -9 whole or not at all: moves, rewrites, compositions, restores."""

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
from urllib.parse import urlencode

import pytest

pytestmark = pytest.mark.process
WRITERS, NAMES = 3, 6
OBJECTS = "/storage/v1/b/whole/o"
KINDS = ("put", "move", "move", "rewrite", "compose", "delete", "restore")
World = dict[str, bytes]


@dataclass
class Ledger:
    """What one writer knows: the live objects, those it deleted (generation → content), and what a call may have made.

    after: the objects as they are when the call whose answer did not come was carried out; None when none is open.
    """

    live: World = field(default_factory=dict)
    gone: dict[tuple[str, int], bytes] = field(default_factory=dict)
    after: World | None = None
    restoring: tuple[str, int] | None = None
    done: int = 0


@pytest.mark.parametrize(
    ("changes", "longest_s"), [(60, 0.4), pytest.param(1500, 0.8, marks=pytest.mark.full)], ids=["few", "many"]
)
def test_composite_changes_happen_whole_or_not(
    tmp_path: Path, standin_at: Callable[..., Any], connect: Callable[..., Any], changes: int, longest_s: float
) -> None:
    chance, ledgers, kills = random.Random(5), [Ledger() for _ in range(WRITERS)], 0
    last = standin_at(tmp_path / "cloud")
    connect(last.url).create_bucket("whole")
    while sum(ledger.done for ledger in ledgers) < changes or kills < 3:
        killer = threading.Timer(chance.uniform(0.05, longest_s), last.process.kill)
        killer.start()
        with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(partial(_change_until_the_end, last.port, kills), range(WRITERS), ledgers))
        killer.join()
        last.process.wait()
        kills += 1
        last = standin_at(tmp_path / "cloud")
        for number, ledger in enumerate(ledgers):
            _check(connect(last.url).bucket("whole"), f"{number}-", ledger)


def _check(bucket: Any, prefix: str, ledger: Ledger) -> None:
    """The objects are as before the open call or as after it, and what was deleted can still be restored."""
    found = {blob.name: _digest(blob.download_as_bytes(retry=None)) for blob in bucket.list_blobs(prefix=prefix)}
    before, after = (
        {name: _digest(data) for name, data in world.items()}
        for world in (ledger.live, ledger.after if ledger.after is not None else ledger.live)
    )
    assert found in (before, after)
    kept = {(blob.name, blob.generation) for blob in bucket.list_blobs(prefix=prefix, soft_deleted=True)}
    restored = {ledger.restoring} - {None} - kept
    assert set(ledger.gone) - restored <= kept
    if ledger.restoring is not None:
        assert found == (after if restored else before)
    if found == after and ledger.after is not None:
        ledger.live = ledger.after
    ledger.gone = {key: data for key, data in ledger.gone.items() if key not in restored}
    ledger.after = ledger.restoring = None


def _change_until_the_end(port: int, round_number: int, number: int, ledger: Ledger) -> None:
    chance = random.Random(number * 1000 + round_number)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.suppress(OSError, http.client.HTTPException):
        while True:
            names = [f"{number}-{each}" for each in range(NAMES)]
            chance.shuffle(names)
            _change(connection, chance.choice(KINDS), names, chance, ledger)


def _change(connection: Any, kind: str, names: list[str], chance: random.Random, ledger: Ledger) -> None:
    """One change: the ledger says what it will have made before it is asked for."""
    live = [name for name in names if name in ledger.live]
    data, first = os.urandom(chance.randrange(30_000)), names[0]
    body: bytes = b"{}"
    match kind:
        case "put":
            method, path, body, after = "POST", _upload(first), data, {**ledger.live, first: data}
        case "move" if live[:1] != names[-1:] and live:
            method, path = "POST", f"{OBJECTS}/{live[0]}/moveTo/o/{names[-1]}"
            after = {name: text for name, text in ledger.live.items() if name != live[0]}
            after[names[-1]] = ledger.live[live[0]]
        case "rewrite" if live:
            method, path = "POST", f"{OBJECTS}/{live[0]}/rewriteTo/b/whole/o/{names[-1]}"
            after = {**ledger.live, names[-1]: ledger.live[live[0]]}
        case "compose" if len(live) > 1:
            method, path = "POST", f"{OBJECTS}/{live[0]}/compose"
            body = json.dumps({"sourceObjects": [{"name": name} for name in live[:3]]}).encode()
            after = {**ledger.live, live[0]: b"".join(ledger.live[name] for name in live[:3])[:5_000_000]}
        case "delete" if live:
            asked = json.loads(_call(connection, "GET", f"{OBJECTS}/{live[0]}"))
            method, path, body = "DELETE", f"{OBJECTS}/{live[0]}", b""
            after = {name: text for name, text in ledger.live.items() if name != live[0]}
            key = (live[0], int(asked["generation"]))
        case "restore" if ledger.gone:
            key = chance.choice(list(ledger.gone))
            method, path = "POST", f"{OBJECTS}/{key[0]}/restore?generation={key[1]}"
            after = {**ledger.live, key[0]: ledger.gone[key]}
            ledger.restoring = key
        case _:
            return
    deleted = ledger.live.get(live[0]) if kind == "delete" else None
    ledger.after = after
    _call(connection, method, path, body)
    ledger.live, ledger.after, ledger.restoring = after, None, None
    if deleted is not None:
        ledger.gone[key] = deleted
    if kind == "restore":
        del ledger.gone[key]
    ledger.done += 1


def _upload(name: str) -> str:
    return f"/upload{OBJECTS}?{urlencode({'uploadType': 'media', 'name': name})}"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _call(connection: Any, method: str, path: str, body: bytes = b"") -> bytes:
    connection.request(method, path, body or None, {"content-type": "application/json"})
    answer = connection.getresponse()
    told: bytes = answer.read()
    assert answer.status in (200, 204), (method, path, told)
    return told
