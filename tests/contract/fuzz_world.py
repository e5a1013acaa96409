"""A stand-in for the fuzz: names that it may spoil, sentinels that it must not, and all the routes that there are."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import secrets
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from scripts.localcloud.context import Context, Database
from scripts.localcloud.rooms import open_rooms
from scripts.localcloud.web import Route
from tests.conftest import ROOT, StandIn, start_standin
from tests.contract import run_support
from tests.contract.fuzz_support import ALLOWED, HELLO, Answer, Call, judge, send, tree

JOB = {"schedule": "0 2 * * *", "timeZone": "UTC", "httpTarget": {"uri": "http://127.0.0.1:9/", "httpMethod": "GET"}}
# They end the daemon or a process of it, or ask the package index.
DANGEROUS = frozenset({"local.stop", "local.instances.kill", "local.upstreams.fetchCorpus"})
_READ = (
    "/storage/v1/b/sentinel", "/storage/v1/b/sentinel/o?versions=true", "/storage/v1/b/sentinel/o/a%2Fb?alt=media",
    "/storage/v1/b/sentinel/o/big?alt=media", "/v1/projects/sentinel/locations/europe-west1/jobs/sentinel",
    "/v1/projects/sentinel/secrets/sentinel/versions/1:access", "/v2/projects/sentinel/metrics/sentinel",
    "/v1/projects/sentinel/locations/europe-west1/keyRings/sentinel/cryptoKeys/sentinel",
    "/v1/projects/sentinel/locations/europe-west1/keyRings/sentinel/cryptoKeys/sentinel/cryptoKeyVersions/1/publicKey",
)  # fmt: skip
_SPECS = (
    "/apis/serving.knative.dev/v1/namespaces/sentinel/services/sentinel",
    "/apis/run.googleapis.com/v1/namespaces/sentinel/jobs/sentinel",
)


def routes() -> list[Route]:
    """Every route of the stand-in."""

    async def opened(state: Path) -> list[Route]:
        context = Context(state, "http://127.0.0.1:1", ROOT, Database(state / "state.db"))
        rooms = open_rooms(context, asyncio.Event())
        found = [route for room in rooms.values() for route in room.routes()]
        for room in reversed(rooms.values()):
            with contextlib.suppress(Exception):
                await room.stop()
        context.db.close()
        return found

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(opened(Path(folder)))


def explore(check: Callable[[Random], None], examples: int, seed: str = "house") -> None:
    """Call with `examples` different Randoms, always the same ones for a seed; a failure says which one it was.

    Nothing is made smaller after a failure: the stand-in is no longer what it was, and the request is told as sent.
    Hypothesis is not asked: what it draws depends on the modules that the process happens to have loaded.
    """
    for number in range(examples):
        try:
            check(Random(f"{seed} {number}"))
        except Exception as error:
            error.add_note(f"seed {seed!r}, example {number} of {examples}")
            raise


@cache
def root_seed() -> str:
    """What the costly run's requests follow from: always the same, so that a verdict can be had again.

    MODELSHELF_FUZZ_SEED names another seed, or `new` for one that there has not been.
    """
    given = os.environ.get("MODELSHELF_FUZZ_SEED", "house")
    return secrets.token_hex(4) if given == "new" else given


@dataclass
class World:
    """A stand-in in a folder of its own, beside files that must stay as they are."""

    root: Path
    standin: StandIn
    sessions: list[str] = field(default_factory=list)
    before: dict[str, Any] = field(default_factory=dict)
    around: dict[str, Any] = field(default_factory=dict)
    sent: int = 0

    @property
    def port(self) -> int:
        return self.standin.port

    def ask(self, call: Call, allowed: frozenset[int] | None = None) -> Answer:
        """Send a request and judge its answer."""
        raw = call.raw(self.port)
        answer = send(self.port, raw)
        self.sent += 1
        judge(self.port, raw, answer, allowed=allowed or ALLOWED)
        return answer

    def do(self, verb: str, path: str, body: Any = None, kind: str = "application/json") -> Any:
        """Send what must succeed; the answer as JSON or text."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        headers = {"content-type": kind} if data is not None else {}
        status, answer = run_support.fetch(self.standin.url + path, data, verb, **headers)
        assert status < 300, (verb, path, status, answer)
        return answer

    def fingerprint(self) -> dict[str, Any]:
        """What the sentinels are, as it must be for ever."""
        found = {path: self.do("GET", path) for path in _READ}
        found |= {path: (read := self.do("GET", path))["spec"] | {"uid": read["metadata"]["uid"]} for path in _SPECS}
        asked = {"resourceNames": ["projects/sentinel"], "filter": 'log_id("sentinel")', "orderBy": "timestamp asc"}
        found["entries"] = self.do("POST", "/v2/entries:list", asked)
        texts = {key: json.dumps(each, sort_keys=True) for key, each in found.items()}
        return {key: text.replace(self.standin.url, "URL") for key, text in texts.items()}

    def check_sentinels(self) -> None:
        changed = self.changed()
        assert not changed, "\n".join(f"{key}: found {now}, expected {was}" for key, (was, now) in changed.items())

    def changed(self) -> dict[str, Any]:
        """Each sentinel that is not what it was: before and now."""
        now = self.fingerprint()
        return {key: (self.before[key], now[key]) for key in now if now[key] != self.before[key]}

    def intact(self) -> None:
        """The sentinels, the files around, the index: also after a restart."""
        self.check_sentinels()
        assert self.standin.stop() == 0
        log = (self.standin.state / "daemon.log").read_text(encoding="utf-8", errors="replace")
        at = log.find("Traceback")
        assert at < 0, log[max(0, at - 500) : at + 3000]
        with contextlib.closing(sqlite3.connect(self.standin.state / "state.db")) as index:
            assert index.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        self.standin = start_standin(self.standin.state)
        self.check_sentinels()
        assert self.surroundings() == self.around

    def surroundings(self) -> dict[str, Any]:
        return tree(self.root, {"cloud", "cloud.exchanges.jsonl"})


def open_world(root: Path) -> World:
    """Start a stand-in at root/cloud and fill it."""
    (root / "neighbour").mkdir(parents=True)
    (root / "neighbour" / "file").write_text("untouched", encoding="utf-8")
    (root / "state.db").write_text("not the index", encoding="utf-8")
    world = World(root, start_standin(root / "cloud"))
    for name in ("sentinel", "fuzz"):
        _fill(world, name)
    model = {"name": "fuzz/fuzz-model"}
    world.do("POST", "/_local/upstreams/tags", {**model, "kind": "huggingface", "files": {"a.json": 10, "b.bin": 9}})
    world.do("POST", "/_local/upstreams/tags", {**model, "kind": "ollama", "size_bytes": 100})
    session = f"{world.standin.url}/upload/storage/v1/b/fuzz-bucket/o?uploadType=resumable&name=fuzz-resumed"
    for _ in range(3):
        answer = send(world.port, Call("POST", session.removeprefix(world.standin.url)).raw(world.port))
        world.sessions.append(answer.headers["location"].removeprefix(world.standin.url))
    for name in ("sentinel", "fuzz"):
        run_support.until(lambda name=name: _ready(world, name))
    world.before = world.fingerprint()
    world.around = world.surroundings()
    return world


def _ready(world: World, name: str) -> bool:
    service = name if name == "sentinel" else "fuzz-service"
    path = f"/apis/serving.knative.dev/v1/namespaces/{name}/services/{service}"
    found = world.do("GET", path).get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in found)


def _fill(world: World, name: str) -> None:
    def named(kind: str) -> str:
        return name if name == "sentinel" else f"{name}-{kind}"

    bucket, place = named("bucket"), f"projects/{name}/locations/europe-west1"
    world.do("POST", f"/storage/v1/b?project={name}", {"name": bucket, "versioning": {"enabled": True}})
    for target, data in (("a%2Fb", b"one"), ("a%2Fb", b"two"), ("big", b"0123456789" * 30_000), ("fuzz-object", b"x")):
        path = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={target}"
        world.do("POST", path, data, "application/octet-stream")
    world.do("POST", f"/v1/{place}/jobs", {**JOB, "name": f"{place}/jobs/{named('job')}"})
    world.do("POST", f"/v1/{place}/jobs/{named('job')}:pause", {})
    world.do("POST", f"/v1/projects/{name}/secrets?secretId={named('secret')}", {"replication": {"automatic": {}}})
    payload = {"payload": {"data": base64.b64encode(b"secret").decode()}}
    world.do("POST", f"/v1/projects/{name}/secrets/{named('secret')}:addVersion", payload)
    world.do("POST", f"/v1/{place}/keyRings?keyRingId={named('ring')}", {})
    key = {"purpose": "ASYMMETRIC_SIGN", "versionTemplate": {"algorithm": "EC_SIGN_P256_SHA256"}}
    world.do("POST", f"/v1/{place}/keyRings/{named('ring')}/cryptoKeys?cryptoKeyId={named('key')}", key)
    world.do("POST", f"/v1/projects/{name}/serviceAccounts", {"accountId": f"{name}-account"})
    world.do("POST", f"/v2/projects/{name}/metrics", {"name": named("metric"), "filter": "severity>=ERROR"})
    texts = ["a" * 40 + "!", "second", "\x00\ud7ff💩"]
    entries = [{"logName": f"projects/{name}/logs/{name}", "resource": {"type": "global"}} for _ in texts]
    world.do(
        "POST", "/v2/entries:write", {"entries": [{**e, "textPayload": t} for e, t in zip(entries, texts, strict=True)]}
    )
    service = run_support.service(named("service"))
    service["spec"]["template"]["spec"]["containers"] = [{"image": HELLO}]
    world.do("POST", f"/apis/serving.knative.dev/v1/namespaces/{name}/services", service)
    world.do("POST", f"/apis/run.googleapis.com/v1/namespaces/{name}/jobs", run_support.job(named("job")))
