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
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]
WRITERS, NAMES = 3, 6
OBJECTS = "/storage/v1/b/whole/o"
KINDS = ("put", "move", "move", "rewrite", "compose", "delete", "restore")
# Compositions of compositions would double for ever.
COMPOSED_BYTES = 60_000


@dataclass(frozen=True)
class World:
    """The objects of one writer.

    live: name → generation (None while no answer has told it) and content; gone: what can be restored, (name,
    generation) → content.
    """

    live: dict[str, tuple[int | None, bytes]] = field(default_factory=dict)
    gone: dict[tuple[str, int], bytes] = field(default_factory=dict)

    def put(self, name: str, data: bytes) -> World:
        """With a new generation of a name; the former one is gone."""
        return replace(self.without(name), live={**self.live, name: (None, data)})

    def without(self, name: str) -> World:
        """With this name's generation gone."""
        live = dict(self.live)
        generation, data = live.pop(name, (None, b""))
        return World(live, {**self.gone, (name, generation): data} if generation is not None else self.gone)

    def restored(self, key: tuple[str, int]) -> World:
        """With a generation that was gone live again, as a new one."""
        made = self.put(key[0], self.gone[key])
        return replace(made, gone={other: data for other, data in made.gone.items() if other != key})

    def told(self, generations: dict[str, int]) -> World:
        """With the generations that were not known yet."""
        live = {name: (known or generations[name], data) for name, (known, data) in self.live.items()}
        return replace(self, live=live)

    def differences(self, live: dict[str, tuple[int, str]], gone: set[tuple[str, int]]) -> list[str]:
        """What is otherwise in a bucket: its live objects (generation and digest) and what it can restore."""
        found = []
        for name in sorted({*self.live, *live}):
            generation, data = self.live.get(name, (None, None))
            expected = (generation or live.get(name, (None,))[0], _digest(data)) if data is not None else None
            if live.get(name) != expected:
                size = f" of {len(data)} bytes" if data is not None else ""
                found.append(f"{name}: found {live.get(name)}, expected {expected}{size}")
        found += [f"{key}: cannot be restored" for key in sorted(set(self.gone) - gone)]
        return found + [f"{key}: can be restored, but nobody deleted it" for key in sorted(gone - set(self.gone))]


@dataclass
class Ledger:
    """What one writer knows: its objects, and those that there are once `call`, which has no answer yet, is done."""

    now: World = field(default_factory=World)
    after: World | None = None
    call: str = ""
    done: int = 0


@pytest.mark.parametrize("module", ["scripts.localcloud", "tests.joining"])
@pytest.mark.parametrize(
    ("changes", "longest_s"), [(60, 0.4), pytest.param(1500, 0.8, marks=pytest.mark.full)], ids=["few", "many"]
)
def test_composite_changes_happen_whole_or_not(
    tmp_path: Path, standin_at: Callable[..., Any], connect: Callable[..., Any], changes: int, longest_s: float,
    module: str,
) -> None:  # fmt: skip
    chance, ledgers, kills = random.Random(5), [Ledger() for _ in range(WRITERS)], 0
    last = standin_at(tmp_path / "cloud", module=module)
    connect(last.url).create_bucket("whole")
    while sum(ledger.done for ledger in ledgers) < changes or kills < max(3, changes // 100):
        killer = threading.Timer(chance.uniform(0.05, longest_s), last.process.kill)
        killer.start()
        with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(partial(_change_until_the_end, last.port, kills), range(WRITERS), ledgers))
        killer.join()
        last.process.wait()
        kills += 1
        last = standin_at(tmp_path / "cloud", module=module)
        for number, ledger in enumerate(ledgers):
            _check(connect(last.url).bucket("whole"), f"{number}-", ledger, f"kill {kills}")


def _check(bucket: Any, prefix: str, ledger: Ledger, when: str) -> None:
    """All is as before the call that had no answer or as after it, to the last generation."""
    found = {
        blob.name: (blob.generation, _digest(blob.download_as_bytes(retry=None)))
        for blob in bucket.list_blobs(prefix=prefix)
    }
    kept = {(blob.name, blob.generation) for blob in bucket.list_blobs(prefix=prefix, soft_deleted=True)}
    before, after = ledger.now, ledger.after or ledger.now
    wrong = [world.differences(found, kept) for world in (after, before)]
    told = [f"after {when} and {ledger.done} changes, then without an answer: {ledger.call or 'nothing'}"]
    for name, lines in zip(("after", "before"), wrong, strict=True):
        told += [f"compared with the objects {name} it:", *lines]
    assert not all(wrong), "\n  ".join(told)
    ledger.now = (before if wrong[0] else after).told({name: generation for name, (generation, _) in found.items()})
    ledger.after, ledger.call = None, ""


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
    now, first, last = ledger.now, names[0], names[-1]
    live = [name for name in names if name in now.live]
    body: bytes = b"{}"
    match kind:
        case "put":
            body = os.urandom(chance.randrange(30_000))
            method, path, made, after = "POST", _upload(first), first, now.put(first, body)
        case "move" if live and live[0] != last:
            method, path, made = "POST", f"{OBJECTS}/{live[0]}/moveTo/o/{last}", last
            after = now.put(last, now.live[live[0]][1]).without(live[0])
        case "rewrite" if live:
            method, path, made = "POST", f"{OBJECTS}/{live[0]}/rewriteTo/b/whole/o/{last}", last
            after = now.put(last, now.live[live[0]][1])
        case "compose" if len(live) > 1:
            whole = b"".join(now.live[name][1] for name in live[:3])
            if len(whole) > COMPOSED_BYTES:
                return
            method, path, made = "POST", f"{OBJECTS}/{live[0]}/compose", live[0]
            body = json.dumps({"sourceObjects": [{"name": name} for name in live[:3]]}).encode()
            after = now.put(made, whole)
        case "delete" if live:
            method, path, body, made, after = "DELETE", f"{OBJECTS}/{live[0]}", b"", "", now.without(live[0])
        case "restore" if now.gone:
            key = chance.choice(list(now.gone))
            method, path, made = "POST", f"{OBJECTS}/{key[0]}/restore?generation={key[1]}", key[0]
            after = now.restored(key)
        case _:
            return
    ledger.after, ledger.call = after, f"{method} {path} {body.decode() if kind == 'compose' else ''}"
    answer = _call(connection, method, path, body)
    ledger.now = after.told({made: _generation(answer)}) if made else after
    ledger.after, ledger.call = None, ""
    ledger.done += 1


def _upload(name: str) -> str:
    return f"/upload{OBJECTS}?{urlencode({'uploadType': 'media', 'name': name})}"


def _generation(answer: bytes) -> int:
    told = json.loads(answer)
    return int(told.get("resource", told)["generation"])


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _call(connection: Any, method: str, path: str, body: bytes = b"") -> bytes:
    connection.request(method, path, body or None, {"content-type": "application/json"})
    answer = connection.getresponse()
    told: bytes = answer.read()
    assert answer.status in (200, 204), (method, path, told)
    return told
