"""The commands whose every call is a crash point, each with the bucket that it starts from and what it must come to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from scripts.cloud.storage import Bucket, open_bucket
from scripts.models import holds, layout, publish, repair, retention, rollback, shelf
from scripts.models.flight import Share
from scripts.models.outcome import SyncResult
from scripts.models.publish import Publisher
from scripts.models.retention import Retain
from scripts.models.statements import Trusted
from scripts.service import cache
from scripts.settings.types import ModelSpec
from tests.crash.killing import PROJECT
from tests.crash.ledger import Ledger, checksums
from tests.models.support import World

# Far longer than a test: no heartbeat falls among the calls that are counted; dead leases are made to lapse.
TTL_S = 600.0
LARGE, SMALL = b"large " * 50_000, b"weights " * 200


def target(world: World) -> Any:
    """What the commands of the cache need of their environment."""
    return SimpleNamespace(bucket=world.bucket, environment="test")


class Scene(ABC):
    """A command on buckets of its own. POINTS: so many crash points share a bucket."""

    name: str
    points = 1_000

    def __init__(self, url: str, folder: Path, signer: Any, key: Any, prefix: str) -> None:
        self._url = url
        self._folder = folder
        self._keys = (signer, key)
        self._prefix = prefix
        self._buckets = 0
        self._used = 0
        self.world: World
        self.ledger: Ledger

    def arrange(self) -> None:
        """Bring a bucket into the state before the command."""
        if not self._buckets or self._used >= self.points:
            self._buckets, self._used = self._buckets + 1, 0
            bucket = open_bucket(PROJECT, self._url, f"{self._prefix}-{self._buckets}")
            bucket.create("europe-west1", {})
            signer, key = self._keys
            self.world = World(self._url, bucket, self._folder / f"{self._prefix}-{self._buckets}", signer, (key,))
            self.ledger = Ledger(self.world)
            self.found()
        self._used += 1
        self.prepare()

    def found(self) -> None:  # noqa: B027
        """What a new bucket needs first."""

    @abstractmethod
    def prepare(self) -> None:
        """What each point needs."""

    @abstractmethod
    def command(self, world: World) -> object:
        """The command, whole, as its task runs it."""

    @abstractmethod
    def again(self) -> None:
        """The same command again, and that it came to where it should. Raises AssertionError."""

    def read(self) -> Trusted | None:
        """What a reader sees between the crash and the next command."""
        return self.ledger.read()

    def publish(self, number: int) -> Trusted:
        """Put another revision upstream and publish it."""
        self.upstream(number)
        self.sync(self.world, number)
        return self.ledger.settle(active=self.world.trusted().version)

    def upstream(self, number: int) -> None:
        """A revision of both models: one file is the same in all of them."""
        name = f"r{number}"
        own = f"of revision {number} ".encode() * 100
        self.world.ollama.put("library/tiny:1b", name, {"blobs/sha256-00": LARGE, "blobs/sha256-01": own})
        self.world.hub.put("acme/mini", name, {"refs/main": name.encode(), f"snapshots/{name}/weights": SMALL})

    def specs(self, number: int) -> tuple[ModelSpec, ...]:
        return tuple(replace(spec, revision=f"r{number}") for spec in self.world.specs)

    def sync(self, world: World, number: int) -> SyncResult:
        return world.sync(specs=self.specs(number), lease_ttl_s=TTL_S, wait_s=0.0)


class Syncing(Scene):
    """A sync that publishes."""

    number = 1

    before: Trusted | None = None
    active: Trusted

    def prepare(self) -> None:
        self.upstream(self.number)

    def command(self, world: World) -> SyncResult:
        return self.sync(world, self.number)

    def read(self) -> Trusted | None:
        return self.ledger.read(none=self.before is None)

    def again(self) -> None:
        seen = self.read()
        there = {info.crc32c for info in self.world.bucket.list()}
        self.world.ollama.ranges.clear()
        self.world.hub.ranges.clear()
        result = self.command(self.world)
        committed = seen is not None and (self.before is None or seen.serial > self.before.serial)
        assert result.outcome == ("up_to_date" if committed else "published"), result
        for source, name in ((self.world.ollama, "library/tiny:1b"), (self.world.hub, "acme/mini")):
            pulled = checksums(source.home(name) / f"r{self.number}", source.ranges)
            twice = [where for where, checksum in pulled.items() if checksum in there]
            assert twice == [], f"pulled although they were there: {twice}"
        self.active = trusted = self.ledger.settle(active=result.version)
        assert {model.revision for model in trusted.manifest.models} == {f"r{self.number}"}
        assert trusted.serial == (self.before.serial if self.before else 0) + 1
        if self.before is not None and self.ledger.strangers():
            back = rollback.prepare(self.world.bucket, self.world.keys)
            assert back.to.version == self.before.version, f"a rollback would go to {back.to.version}"


class First(Syncing):
    """The first publication into an empty bucket."""

    name = "sync, first"
    points = 1


class Second(Syncing):
    """Another version that shares files with the one before."""

    name = "sync, second"
    points = 12

    def found(self) -> None:
        self.number = 1
        self.before = self.publish(1)

    def prepare(self) -> None:
        self.number += 1
        super().prepare()

    def again(self) -> None:
        super().again()
        self.before = self.active


class LastTask(Second):
    """The last of two tasks, which publishes what both of them placed."""

    name = "sync, last of two tasks"

    def prepare(self) -> None:
        super().prepare()
        assert self.task(self.world, 0).outcome == "placed"

    def task(self, world: World, index: int) -> SyncResult:
        execution = f"job-{self.number}"
        share = Share(index, 2, execution)
        return world.sync(
            specs=self.specs(self.number), share=share, execution=execution, lease_ttl_s=TTL_S, wait_s=0.0
        )

    def command(self, world: World) -> SyncResult:
        return self.task(world, 1)


class Pruning(Second):
    """A sync that publishes another version, and removes the oldest of those that no longer count."""

    name = "sync that prunes"
    points = 6

    def found(self) -> None:
        self.publish(1)
        self.publish(2)
        self.before = self.publish(3)
        self.number = 3

    def command(self, world: World) -> SyncResult:
        retain = Retain(retention.LEAST, lambda: ())
        return world.sync(specs=self.specs(self.number), lease_ttl_s=TTL_S, wait_s=0.0, retain=retain)

    def again(self) -> None:
        versions = sorted(self.ledger.versions)
        for version in versions[: len(versions) - 2]:  # these two and the new one are kept
            self.ledger.versions.pop(version)
        super().again()
        left = sorted(info.name for info in self.world.bucket.list(layout.MANIFESTS))
        assert len(left) == 2 * retention.LEAST, left


class Unchanged(Scene):
    """A sync that finds nothing to do."""

    name = "sync, up to date"

    def found(self) -> None:
        self.active = self.publish(1)

    def prepare(self) -> None:
        self.before = self._generations()

    def command(self, world: World) -> SyncResult:
        return self.sync(world, 1)

    def again(self) -> None:
        result = self.command(self.world)
        assert (result.outcome, result.upstream_bytes) == ("up_to_date", 0)
        assert self._generations() == self.before
        self.ledger.settle(active=self.active.version)

    def _generations(self) -> dict[str, int]:
        return {info.name: info.generation for info in self.world.bucket.list() if not info.name.startswith("leases/")}


class Held(Unchanged):
    """A sync under a hold although the settings ask for something else."""

    name = "sync, held"

    def found(self) -> None:
        self.active = self.publish(1)
        self.upstream(2)
        hold = holds.Hold(self.active.version, "a test", publish.timestamp(), "ann")
        holds.change(self.world.bucket, lambda found: replace(found, hold=hold))

    def command(self, world: World) -> SyncResult:
        return self.sync(world, 2)

    def again(self) -> None:
        result = self.command(self.world)
        assert (result.outcome, result.upstream_bytes) == ("held", 0)
        assert self._generations() == self.before
        self.ledger.settle(active=self.active.version)


class Back(Scene):
    """A rollback; the next point goes forth again, so that each moves."""

    name = "rollback"

    def found(self) -> None:
        self.ends = [self.publish(1).version, self.publish(2).version]
        holds.change(self.world.bucket, lambda found: replace(found, pins=(self.ends[0],)))

    def prepare(self) -> None:
        holds.change(self.world.bucket, cache.lifted)
        before = self.ledger.read()
        assert before is not None
        self.before = before
        self.to = next(version for version in self.ends if version != before.version)

    def command(self, world: World) -> Trusted:
        def decide() -> rollback.Rollback:
            return rollback.prepare(world.bucket, world.keys, to=self.to, reason="a test")

        todo = decide()
        if todo.plan().empty:
            return todo.to
        with cache._work(target(world), "cache.rollback", todo.plan(), world.said.append, todo.seen.lease) as held:
            fresh = shelf.settled(held, todo, decide)
            publisher = Publisher(world.bucket, world.signer, world.keys, held, fresh.serial)
            return rollback.carry_out(publisher, fresh, "ann")

    def again(self) -> None:
        self.command(self.world)
        trusted = self.ledger.settle(active=self.to)
        assert trusted.serial == self.before.serial + 1
        hold = holds.read(self.world.bucket).hold
        assert hold is not None and hold.version == self.to
        assert self.sync(self.world, 1).outcome == "held"


class Prune(Scene):
    """Pruning: one version goes, with a noncurrent generation and what a dead sync left."""

    name = "prune"

    def found(self) -> None:
        self.old, *_, self.active = (self.publish(number).version for number in (1, 2, 3))
        bucket = self.world.bucket
        names = [info.name for info in bucket.list() if self.old in info.name]
        self.kept = {name: (bucket.read(name) or (b"",))[0] for name in names}
        self.again()

    def prepare(self) -> None:
        bucket = self.world.bucket
        for name, data in self.kept.items():
            made = bucket.create_object(name, data)
            if name.endswith("blobs/sha256-01"):
                bucket.replace(name, data, made.generation)
        bucket.create_object(f".tmp/{self.old}/ollama/blobs/x", b"left over")

    def command(self, world: World) -> int:
        def decide() -> retention.Pruning:
            return retention.prepare(world.bucket, world.keys, keep=1)

        todo = decide()
        return 0 if todo.plan().empty else cache.prune(target(world), todo, decide, world.said.append)

    def again(self) -> None:
        self.command(self.world)
        self.ledger.settle(active=self.active, pruned=[self.old])
        left = [info.name for info in self.world.bucket.list(versions=True) if self.old in info.name]
        assert left == [], f"left of what was pruned: {left}"
        assert retention.prepare(self.world.bucket, self.world.keys, keep=1).plan().empty


class Mend(Scene):
    """A repair after the newest statement, its .done and a file were deleted and the copy was overwritten."""

    name = "repair"

    def found(self) -> None:
        self.older, self.active = self.publish(1).version, self.publish(2).version
        self.ledger.serial = 1  # with the newest statement gone, readers go by the one before

    def prepare(self) -> None:
        bucket = self.world.bucket
        for info in bucket.list(layout.MANIFEST_COPY, versions=True):
            if info.deleted:
                bucket.delete(info.name, info.generation)
        client, _ = bucket._clients()
        for name in (layout.statement_name(2), layout.done_name(self.active), f"ollama/{self.active}/blobs/sha256-01"):
            client.bucket(bucket.name).blob(name).delete()
        self.world.overwrite(layout.MANIFEST_COPY, b"{}")
        self.ledger.serial = 1

    def command(self, world: World) -> repair.Repair:
        todo = repair.prepare(world.bucket, world.keys)
        if not todo.plan().empty:
            cache.carry_out_repair(target(world), todo, world.said.append)
        return todo

    def again(self) -> None:
        todo = self.command(self.world)
        assert todo.lost == ()
        trusted = self.ledger.settle(active=self.active)
        assert trusted.serial == 2
        assert repair.prepare(self.world.bucket, self.world.keys).plan().empty


class Pin(Scene):
    """Pinning a version; the next point lets it go again."""

    name = "pin"

    def found(self) -> None:
        self.active = self.publish(1).version
        holds.change(self.world.bucket, lambda found: replace(found, pins=(self.active,)))

    def prepare(self) -> None:
        self.keep = not holds.read(self.world.bucket).pins

    def command(self, world: World) -> object:
        reached, edit = target(world), cache.pinned(self.active, keep=self.keep)
        return cache.change_holds(
            reached, "cache.pin", lambda: cache.plan_pin(reached, self.active, keep=self.keep), edit, world.said.append
        )

    def again(self) -> None:
        self.command(self.world)
        self.ledger.settle(active=self.active)
        assert holds.read(self.world.bucket).pins == ((self.active,) if self.keep else ())


# The longest ones first, so that none of them is left for the end.
SCENES: tuple[Callable[..., Scene], ...] = (Pruning, Second, LastTask, First, Unchanged, Held, Back, Prune, Mend, Pin)


def on(world: World, bucket: Bucket) -> World:
    """The same world seen through other connections."""
    return replace(world, bucket=bucket, said=[])
