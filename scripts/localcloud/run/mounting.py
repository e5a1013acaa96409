"""Prepares what an instance sees of its buckets: a FUSE process with its desk, or folders that follow the buckets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from scripts import process
from scripts.localcloud.clock import Clock
from scripts.localcloud.context import Context
from scripts.localcloud.run import leftovers, mounts
from scripts.localcloud.run.container import CannotRun, Mount
from scripts.localcloud.run.late import Views
from scripts.localcloud.run.lens import Lens
from scripts.localcloud.run.mount_desk import MountDesk, settings
from scripts.localcloud.run.view import View
from scripts.localcloud.storage.events import TOPIC, ObjectEvent, StoredObject

if TYPE_CHECKING:
    import subprocess

UNHURRIED: dict[str, Any] = {"bandwidth_bytes_s": None, "latency_ms": 0.0}


class Buckets(Protocol):
    """What is needed of the storage room."""

    def bucket_exists(self, name: str) -> bool: ...

    async def mounted(self, bucket: str) -> None: ...

    def live_objects(self, bucket: str, prefix: str = "", first: str = "") -> Iterable[StoredObject]: ...


@dataclass
class Mounted:
    """One instance's mounts. stdin is what its first program needs as standard input (None for nothing)."""

    mounter: mounts.Mounter
    binds: list[mounts.Bind]
    desk: MountDesk | None = None
    server: subprocess.Popen[bytes] | None = None

    @property
    def stdin(self) -> int | None:
        return None if self.desk is None else self.desk.launcher.fileno()

    def started(self) -> None:
        """The instance's first program runs."""
        if self.desk is not None:
            self.desk.spawned()


class Mounting:
    """Makes the mounts of all instances, keeps them up to date, and takes them away."""

    def __init__(self, context: Context, storage: Buckets) -> None:
        self.pace = dict(UNHURRIED)
        self.mode: str | None = None  # what was asked for instead of the best that works
        self._context = context
        self._storage = storage
        self._detected: asyncio.Task[mounts.Mounter] | None = None
        self._mounted: dict[str, Mounted] = {}
        clock = context.clock
        self._views = Views(clock, clock.changed if isinstance(clock, Clock) else lambda: None)
        if isinstance(clock, Clock):
            clock.add(self._views)
        context.listen(TOPIC, self._changed)

    async def best(self) -> mounts.Mounter:
        """The best way to mount that works here; found on first use."""
        if self._detected is None:
            self._detected = asyncio.create_task(mounts.detect())
        return await asyncio.shield(self._detected)

    async def choose(self, mode: str | None) -> mounts.Mounter:
        """Mount in this mode from now on, None for the best. Raises ValueError for one that does not work here."""
        best = await self.best()
        chosen = best if mode is None else best.lowered(mode)
        self.mode = mode
        return chosen

    async def open(self, identity: str, wanted: Sequence[Mount], folder: Path, env: Mapping[str, str]) -> Mounted:
        """The mounts of an instance whose private disk is `folder`. Raises CannotRun."""
        for mount in wanted:
            self._check(mount)
            await self._storage.mounted(mount.bucket)
        best = await self.best()
        mounter = best if self.mode is None else best.lowered(self.mode)
        if mounter.mode == mounts.FUSE:
            made = self._with_fuse(identity, mounter, wanted, folder, env)
        else:
            made = await self._with_folders(mounter, wanted, folder)
        self._mounted[identity] = made
        return made

    async def close(self, identity: str, folder: Path) -> None:
        """The instance has ended, or was never started."""
        self._views.forget(folder)
        made = self._mounted.pop(identity, None)
        if made is None or made.desk is None:
            return
        made.desk.close()
        if made.server is not None and made.server.poll() is None:
            await asyncio.to_thread(process.kill_group, made.server)

    def set_pace(self, pace: dict[str, Any]) -> None:
        """How fast all instances read from now on."""
        self.pace = pace
        for made in self._mounted.values():
            if made.desk is not None:
                made.desk.set_pace(pace)

    def _check(self, mount: Mount) -> None:
        if not self._storage.bucket_exists(mount.bucket):
            raise CannotRun(
                "VolumeMountFailed",
                f"Bucket '{mount.bucket}' of the mount at {mount.path} does not exist. Create it, then deploy again.",
            )

    def _with_fuse(
        self, identity: str, mounter: mounts.Mounter, wanted: Sequence[Mount], folder: Path, env: Mapping[str, str]
    ) -> Mounted:
        binds = [mounts.Bind(folder, each.path, each.options.read_only, at) for at, each in enumerate(wanted)]
        made = Mounted(mounter, binds)
        if not wanted:
            return made
        lenses = [Lens(self._storage, each.bucket, each.options, self._context.clock) for each in wanted]
        staging = folder / "staging"
        staging.mkdir(mode=0o700, parents=True, exist_ok=True)
        told = [settings(at, lens, self._context.url, identity, staging) for at, lens in enumerate(lenses)]
        made.desk = MountDesk(identity, lenses, told, self.pace)
        self._mounted[identity] = made  # from here on close() has something to take away
        made.server = mounts.serve(made.desk.server.fileno(), {**env, leftovers.ID_VARIABLE: identity})
        made.desk.ended = made.server.poll  # one that is killed must not stay as a zombie while its instance lives
        return made

    async def _with_folders(self, mounter: mounts.Mounter, wanted: Sequence[Mount], folder: Path) -> Mounted:
        binds = []
        for number, mount in enumerate(wanted):
            if not mount.options.read_only:
                raise CannotRun(
                    "VolumeUnsupported",
                    f"The mount at {mount.path} is writable, which the stand-in imitates through /dev/fuse alone; here"
                    f" mounts are of kind '{mounter.mode}'. Set csi.readOnly: true, or run where /dev/fuse opens.",
                )
            view = View(folder / f"mount-{number}", sealed=mounter.mode == mounts.REWRITTEN)
            await self._views.open(mount.bucket, self._storage.live_objects(mount.bucket), view, mount.options)
            binds.append(mounts.Bind(view.folder, mount.path, number=number))
        return Mounted(mounter, binds)

    def servers(self) -> set[int]:
        """The FUSE processes of all instances."""
        return {made.server.pid for made in self._mounted.values() if made.server is not None}

    def _changed(self, event: ObjectEvent) -> None:
        self._views.changed(event)
        for made in self._mounted.values():
            if made.desk is not None:
                made.desk.changed(event)

    def describe(self) -> dict[str, Any]:
        """What GET /_local/mounts shows."""
        served = ((each, made.server) for each, made in self._mounted.items())
        processes = {each: server.pid for each, server in served if server is not None and server.poll() is None}
        best = self._detected.result().mode if self._detected is not None and self._detected.done() else None
        return {"mode": self.mode or best, "best": best, **self.pace, "fuse_processes": processes}
