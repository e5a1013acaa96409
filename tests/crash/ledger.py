"""What must hold of a bucket whatever happened to those who wrote to it, told from one listing of all generations."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from scripts import lease
from scripts.cloud.storage_objects import ObjectInfo, crc32c
from scripts.lease import Holder
from scripts.models import copies, gate, layout
from scripts.models.manifest import Manifest
from scripts.models.shelf import LEASE
from scripts.models.statements import Trusted
from tests.models.support import World


@dataclass
class Ledger:
    """What was acknowledged so far: versions by name as their readers saw them, and the highest serial."""

    world: World
    versions: dict[str, Manifest] = field(default_factory=dict)
    serial: int = 0
    winners: dict[str, str] = field(default_factory=dict)
    listed: list[ObjectInfo] = field(default_factory=list)

    def acknowledge(self, trusted: Trusted) -> None:
        """A command said that this is active."""
        self.versions[trusted.version] = trusted.manifest
        self.serial = max(self.serial, trusted.serial)

    def read(self, *, none: bool = False) -> Trusted | None:
        """What a reader gets right now, after proving that it is one complete version as it is upstream.

        none: nothing was published yet, so that nothing may be found. A reader never goes back in serials.
        """
        trusted = self._take(none=none)
        if trusted is not None:
            self.complete(trusted.manifest, self.world.bucket.list())
        return trusted

    def _take(self, *, none: bool = False) -> Trusted | None:
        reading = gate.read(self.world.bucket, self.world.keys)
        trusted = reading.trusted
        if trusted is None:
            assert none, f"no version serves: {[problem.line() for problem in reading.problems]}"
            return None
        assert trusted.serial >= self.serial, f"serial {trusted.serial} after {self.serial} was acknowledged"
        return trusted

    def complete(self, content: Manifest, listed: Iterable[ObjectInfo]) -> None:
        """Every file of a version is there as its manifest says, and is what one revision upstream has."""
        live = {info.name: info for info in listed if not info.deleted}
        for model in content.models:
            source = self.world.ollama if model.kind == "ollama" else self.world.hub
            upstream = digests(source.home(model.source) / model.revision)
            assert {file.path: file.sha256 for file in model.files} == upstream, f"{content.version} is a mixture"
        for name, file in content.objects().items():
            info = live.get(name)
            assert info is not None, f"{name} is missing"
            assert (info.size_bytes, info.crc32c) == (file.size_bytes, file.crc32c), f"{name} has other bytes"
        for name in (layout.manifest_name(content.version), layout.done_name(content.version)):
            assert name in live, f"{name} is missing"

    def settle(self, *, active: str, pruned: Iterable[str] = ()) -> Trusted:
        """After a command that ended well: what readers take, and that nothing half-made or lost is left."""
        trusted = self._take()
        assert trusted is not None
        assert trusted.version == active, f"{trusted.version} is active, expected {active}"
        for version in pruned:
            self.versions.pop(version, None)
        self.acknowledge(trusted)
        self.listed = self.world.bucket.list(versions=True)
        assert copies.are({info.name: info for info in self.listed if not info.deleted}, trusted), "copies are behind"
        self.tidy(self.listed)
        return trusted

    def strangers(self) -> list[str]:
        """Versions that are recorded, and that nobody acknowledged."""
        names = [info.name for info in self.listed if not info.deleted and info.name.startswith(layout.MANIFESTS)]
        return sorted({name[len(layout.MANIFESTS) :].rpartition(".")[0] for name in names} - set(self.versions))

    def tidy(self, listed: list[ObjectInfo]) -> None:
        """No leftovers, one winner a serial, and every acknowledged version is whole."""
        live = {info.name for info in listed if not info.deleted}
        left = [info.name for info in listed if info.name.startswith(layout.TMP)]
        assert left == [], f"left over: {left}"
        for info in listed:
            store, _, rest = info.name.partition("/")
            version = rest.partition("/")[0]
            if store in layout.STORES.values() and not info.deleted:
                assert layout.manifest_name(version) in live, f"{info.name} belongs to no version"
        self.one_winner(listed)
        for content in self.versions.values():
            self.complete(content, listed)

    def one_winner(self, listed: Iterable[ObjectInfo]) -> None:
        """No statement ever said two things."""
        for info in listed:
            if info.name.startswith(layout.STATEMENTS):
                first = self.winners.setdefault(info.name, info.crc32c)
                assert info.crc32c == first, f"{info.name} was written twice"


def expire(world: World) -> None:
    """Let the lease of a dead process lapse now, not when its time is over."""
    found = world.bucket.read(lease.object_name(LEASE))
    if found is None:
        return
    holder = lease._parse(found[0])
    if holder is not None and holder.alive(datetime.now(UTC)):
        dead = Holder(holder.owner, holder.purpose, "2020-01-01T00:00:00.000000Z", holder.serial)
        lease._write(world.bucket, LEASE, dead, found[1].generation)


@lru_cache(maxsize=512)
def digests(home: Path) -> dict[str, str]:
    """SHA-256 by path of what a revision has upstream; revisions never change."""
    paths = [path for path in home.rglob("*") if path.is_file()]
    return {path.relative_to(home).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def checksums(home: Path, ranges: Iterable[tuple[str, int, int]]) -> dict[tuple[str, int, int], str]:
    """crc32c of ranges (path, start, stop) of files of an upstream revision."""
    return {each: crc32c((home / each[0]).read_bytes()[each[1] : each[2]]) for each in ranges}
