"""A bucket and everybody who may work on it: commands, deaths, races and readers, and what must come of it."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from requests.adapters import HTTPAdapter

from scripts.cloud.storage import open_bucket
from scripts.errors import Conflict, NotFound, OpsError, Refused
from scripts.models import gate, holds, layout, repair, retention, rollback, shelf
from scripts.models.manifest import Manifest
from scripts.models.outcome import SyncResult
from scripts.models.publish import Publisher
from scripts.models.statements import Trusted
from scripts.models.sync import sync
from scripts.service import cache
from tests.crash.killing import PROJECT, mount
from tests.crash.ledger import Ledger, digests, expire
from tests.crash.scenes import LARGE, SMALL, TTL_S, on, target
from tests.models.support import World

WAIT_S = 60.0
# So many calls a command makes at least when it has something to do; deaths are chosen among them.
CALLS = {"publish": 45, "same": 13, "older": 45, "repair": 24, "prune": 22, "resume": 6}
SEEDS = st.integers(0, 1 << 30)
COMMANDS = ("publish", "publish", "same", "older", "back", "to", "resume", "pin", "unpin", "prune", "repair")


class Gone(BaseException):
    """The process is dead: nothing reaches the bucket any more."""


class Ending(HTTPAdapter):
    """Lets calls pass until one at which everything ends: before it, or after it with the answer lost. at=0: never."""

    def __init__(self, at: int, after: bool) -> None:
        super().__init__(pool_connections=4, pool_maxsize=8)
        self._left = at if at else -1
        self._after = after
        self._dead = False
        self._lock = threading.Lock()

    def send(self, request: Any, *args: Any, **options: Any) -> Any:
        with self._lock:
            self._left -= 1
            last = self._left == 0
            if self._dead or (last and not self._after):
                self._dead = True
                raise Gone
        answer = super().send(request, *args, **options)
        if last:
            self._dead = True
            raise Gone
        return answer


@dataclass
class Ran:
    """How a command ended: what it returned or raised, and what it is to be judged by."""

    name: str
    value: object = None
    error: BaseException | None = None


class Shelves(RuleBasedStateMachine):
    """Publishing, going back, keeping, removing, dying and racing on one bucket, with readers all the time."""

    made = 0
    tally: ClassVar[Counter[str]] = Counter()

    def __init__(self, url: str, folder: Path, signer: Any, key: Any, prefix: str) -> None:
        super().__init__()
        Shelves.made += 1
        bucket = open_bucket(PROJECT, url, f"{prefix}-{Shelves.made}")
        bucket.create("europe-west1", {})
        self.world = World(url, bucket, folder / f"{prefix}-{Shelves.made}", signer, (key,))
        self.ledger = Ledger(self.world)
        self.number = 0
        self.serials: set[int] = set()
        self.keep = 1
        self.step = 0

    # What may happen

    @initialize()
    def first(self) -> None:
        """Something is published."""
        self.upstream()
        self.accept(self.run("same", 0))

    @rule(seed=SEEDS)
    def command(self, seed: int) -> None:
        """A command, to its end."""
        dice = self.dice(seed)
        name, pick = dice.choice(COMMANDS), dice.randrange(8)
        self.prepare(name, pick)
        protected = self.protected()
        self.accept(self.run(name, pick))
        self.account(protected)

    @rule(seed=SEEDS)
    def death(self, seed: int) -> None:
        """A command that dies at a call, and whose lease lapses."""
        dice = self.dice(seed)
        name, pick = dice.choice(COMMANDS), dice.randrange(8)
        at, after = 1 + dice.randrange(CALLS.get(name, 12)), dice.random() < 0.5
        self.prepare(name, pick)
        protected = self.protected()
        ran = self.run(name, pick, at, after)
        expire(self.world)
        if isinstance(ran.error, Gone):
            self.see()
        else:
            self.accept(ran)
        self.account(protected)

    @rule(seed=SEEDS)
    def race(self, seed: int) -> None:
        """Two commands at once, with a reader beside them."""
        dice = self.dice(seed)
        names, pick = (dice.choice(COMMANDS), dice.choice(COMMANDS)), dice.randrange(8)
        for name in names:
            self.prepare(name, pick)
        protected = self.certain(names)
        done: list[Ran] = []
        workers = [threading.Thread(target=lambda item=name: done.append(self.run(item, pick))) for name in names]
        for worker in workers:
            worker.start()
        self.watch(workers)
        for ran in done:
            self.tally["raced"] += 1
            self.accept(ran, racing=True)
        self.see()
        self.account(protected)

    @invariant()
    def history(self) -> None:
        """One complete version serves, nothing acknowledged was lost, each serial has one winner."""
        if not self.number:
            return
        self.see()
        listed = self.world.bucket.list(versions=True)
        self.ledger.one_winner(listed)
        for content in self.ledger.versions.values():
            self.ledger.complete(content, listed)
        found = holds.read(self.world.bucket)
        for version in (*found.pins, *([found.hold.version] if found.hold else [])):
            assert version in self.ledger.versions, f"{version} is pinned or held, and gone"

    # How it is done

    def dice(self, seed: int) -> Random:
        """Hypothesis prefers small and equal choices; commands and calls shall be of every kind in few steps."""
        self.step += 1
        return Random(f"{seed} {self.step}")

    def upstream(self) -> None:
        """A new revision of both models."""
        self.number += 1
        name, own = f"r{self.number}", f"of revision {self.number} ".encode() * 50
        files = {"blobs/sha256-00": LARGE[:2000], "blobs/sha256-01": own}
        self.world.ollama.put("library/tiny:1b", name, files)
        self.world.hub.put("acme/mini", name, {"refs/main": name.encode(), f"snapshots/{name}/weights": SMALL})

    def prepare(self, name: str, pick: int) -> None:
        """What is there before a command starts."""
        if name == "publish":
            self.upstream()
        if name in ("publish", "older") and pick % 4:
            holds.change(self.world.bucket, cache.lifted)
        if name == "repair":
            client, _ = self.world.bucket._clients()
            bucket = client.bucket(self.world.bucket.name)
            lost = (layout.MANIFEST_COPY, layout.DONE_COPY)[pick % 2]
            if self.world.bucket.stat(lost) is not None:
                bucket.blob(lost).delete()

    def run(self, name: str, pick: int, at: int = 0, after: bool = False) -> Ran:
        """Run a command on connections of its own."""
        bucket = open_bucket(PROJECT, self.world.url, self.world.bucket.name)
        mount(bucket, Ending(at, after))
        ran = Ran(name)
        try:
            ran.value = self.call(on(self.world, bucket), name, pick)
        except BaseException as error:
            ran.error = error
        self.tally[f"{name}{' †' if isinstance(ran.error, Gone) else ''}"] += 1
        return ran

    def call(self, world: World, name: str, pick: int) -> object:
        """The commands, as their tasks run them."""
        versions = sorted(self.ledger.versions) or ["20200101T000000Z-00000000"]
        version = versions[pick % len(versions)]
        if name in ("publish", "same", "older"):
            return self.publish(world, self.number if name != "older" else 1 + pick % self.number)
        if name in ("back", "to"):
            return self.back(world, version if name == "to" else "")
        if name in ("pin", "unpin"):
            return self.pin(world, version, keep=name == "pin")
        if name == "resume":
            return cache.change_holds(
                target(world), "cache.resume", lambda: cache.plan_resume(target(world)), cache.lifted, print
            )
        if name == "prune":
            return self.prune(world)
        todo = repair.prepare(world.bucket, world.keys)
        if not todo.plan().empty:
            cache.carry_out_repair(target(world), todo, print)
        return todo

    def publish(self, world: World, number: int) -> SyncResult:
        specs = tuple(replace(spec, revision=f"r{number}") for spec in world.specs)
        sources: dict[Any, Any] = {"ollama": world.ollama, "huggingface": world.hub}
        return sync(world.bucket, specs, sources, world.signer, keys=world.keys, wait_s=WAIT_S, lease_ttl_s=TTL_S)

    def back(self, world: World, version: str) -> Trusted:
        def decide() -> rollback.Rollback:
            return rollback.prepare(world.bucket, world.keys, to=version, reason="a test")

        todo = decide()
        if todo.plan().empty:
            return todo.to
        with cache._work(target(world), "cache.rollback", todo.plan(), print, todo.seen.lease) as held:
            fresh = shelf.settled(held, todo, decide)
            return rollback.carry_out(
                Publisher(world.bucket, world.signer, world.keys, held, fresh.serial), fresh, "ann"
            )

    def pin(self, world: World, version: str, *, keep: bool) -> object:
        reached, edit = target(world), cache.pinned(version, keep=keep)
        return cache.change_holds(
            reached, "cache.pin", lambda: cache.plan_pin(reached, version, keep=keep), edit, print
        )

    def prune(self, world: World) -> int:
        def decide() -> retention.Pruning:
            return retention.prepare(world.bucket, world.keys, keep=self.keep)

        todo = decide()
        return 0 if todo.plan().empty else cache.prune(target(world), todo, decide, print)

    # What is held against it

    def accept(self, ran: Ran, *, racing: bool = False) -> None:
        """A command that came to its end did what it says, or said why not."""
        if ran.error is not None:
            # Nothing to go back to, no such version any more; of two that race, the one that finds the bucket changed.
            allowed: tuple[type[OpsError], ...] = (NotFound,) if ran.name in ("back", "to", "pin") else ()
            allowed += (Conflict, Refused) if racing else ()
            if not isinstance(ran.error, allowed):
                raise AssertionError(f"{ran.name} ended with {ran.error!r}") from ran.error
            return
        value = ran.value
        if isinstance(value, SyncResult) and value.outcome == "published":
            self.commit(value.serial, ran.name)
        if racing:
            return
        active = self.see()
        if isinstance(value, SyncResult):
            assert active.version == value.version
            if value.outcome == "held":
                assert value.hold is not None and value.upstream_bytes == 0
        if ran.name in ("back", "to") and isinstance(value, Trusted):
            hold = holds.read(self.world.bucket).hold
            assert active.version == value.version
            assert hold is not None and hold.version == value.version

    def commit(self, serial: int, name: str) -> None:
        assert serial not in self.serials, f"{name} and another one both committed serial {serial}"
        self.serials.add(serial)

    def see(self) -> Trusted:
        """What a reader gets; from then on it may not be lost."""
        trusted = self.ledger.read()
        assert trusted is not None
        self.ledger.acknowledge(trusted)
        return trusted

    def protected(self) -> set[str]:
        """What no pruning may remove: active, held, pinned, and the newest ones."""
        if not self.ledger.versions:
            return set()
        found = holds.read(self.world.bucket)
        newest = sorted(self.ledger.versions, reverse=True)[: self.keep]
        return {*newest, *found.pins, *([found.hold.version] if found.hold else [])}

    def certain(self, names: tuple[str, str]) -> set[str]:
        """What is protected whichever of two commands comes first: they may publish two versions and let one go."""
        found = holds.read(self.world.bucket)
        newest = sorted(self.ledger.versions, reverse=True)[: max(self.keep - len(names), 1)]
        return {*newest, *(found.pins if "unpin" not in names else ())}

    def account(self, protected: set[str]) -> None:
        """Forget what was pruned by rule."""
        names = {info.name for info in self.world.bucket.list(layout.MANIFESTS)}
        for version in list(self.ledger.versions):
            if layout.done_name(version) not in names:
                assert version not in protected, f"{version} was removed although it was to stay"
                del self.ledger.versions[version]

    def watch(self, workers: list[threading.Thread]) -> None:
        """Read while others work: never a mixture, never back in serials, never nothing."""
        last = self.ledger.serial
        bucket = open_bucket(PROJECT, self.world.url, self.world.bucket.name)
        while any(worker.is_alive() for worker in workers):
            trusted = gate.read(bucket, self.world.keys).trusted
            assert trusted is not None, "a reader found nothing"
            assert trusted.serial >= last, "a reader went back"
            last = trusted.serial
            self.pure(trusted.manifest)
        for worker in workers:
            worker.join()

    def pure(self, content: Manifest) -> None:
        for model in content.models:
            source = self.world.ollama if model.kind == "ollama" else self.world.hub
            told = {file.path: file.sha256 for file in model.files}
            assert told == digests(source.home(model.source) / model.revision), f"{content.version} is a mixture"
