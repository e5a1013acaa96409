"""Starts containers as child processes: a private disk, the buckets at their mount paths, variables, log pumps."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from scripts import process
from scripts.errors import OpsError
from scripts.localcloud.context import Context
from scripts.localcloud.run import images, leftovers
from scripts.localcloud.run.container import CannotRun, Plan
from scripts.localcloud.run.mounting import Buckets, Mounted, Mounting
from scripts.localcloud.run.output import Origin, Output, Write

if TYPE_CHECKING:
    import subprocess

log = logging.getLogger("localcloud")
GRACE_S = 10.0
_KEPT_LOGS = 200


class Child:
    """A running container. gone tells its exit code (negative = signal) at once, exited when its output was read."""

    def __init__(self, identity: str, popen: subprocess.Popen[bytes], output: Output, mount_mode: str) -> None:
        self.id = identity
        self.pid = popen.pid
        self.output = output
        self.mount_mode = mount_mode
        self.gone: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._popen = popen

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._popen.poll() is None

    async def stop(self, grace_s: float = GRACE_S) -> int:
        """SIGTERM, then SIGKILL after the grace time; the exit code."""
        if not self.exited.done():
            process.kill_group(self._popen, signal.SIGTERM)
            done, _ = await asyncio.wait([self.exited], timeout=grace_s)
            if not done:
                self.output.say("WARNING", f"Container did not end within {grace_s:g} s after SIGTERM and was killed.")
                self.kill()
        return await asyncio.shield(self.exited)

    def kill(self) -> None:
        """SIGKILL to the whole group, without waiting."""
        with contextlib.suppress(OSError):
            os.killpg(self.pid, signal.SIGKILL)

    async def wait_gone(self) -> int:
        """Wait until the process ended: its exit code."""
        await _gone(self._popen)
        return self._popen.wait()


class Sandboxes:
    """Makes sandboxes: processes with what Mounting prepares for them."""

    def __init__(self, context: Context, storage: Buckets, write: Write) -> None:
        self._context = context
        self._write = write
        self.mounting = Mounting(context, storage)
        self._watchers: set[asyncio.Task[None]] = set()
        self.children: dict[str, Child] = {}
        self.folder = context.folder("run") / "instances"
        self.logs = context.folder("run") / "logs"

    def clean(self) -> None:
        """Remove what an earlier life left: processes and private disks; keep the newest raw logs."""
        leftovers.kill_all(self._context.db)
        _remove(self.folder)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        for old in sorted(self.logs.iterdir(), key=lambda each: each.stat().st_mtime)[:-_KEPT_LOGS]:
            old.unlink(missing_ok=True)

    async def close(self) -> None:
        """Kill what still runs and wait for it."""
        for child in list(self.children.values()):
            child.kill()
        if self._watchers:
            await asyncio.wait(self._watchers, timeout=GRACE_S)

    async def open(self, identity: str, plan: Plan, platform: Mapping[str, str], origin: Origin) -> Child:
        """Start a container. Raises CannotRun when a bucket is missing or the process cannot be started."""
        folder = self.folder / identity
        try:
            base = self._base_environment(folder)
            if plan.fresh_env is not None:
                plan = replace(plan, env=plan.fresh_env())
            mounted = await self.mounting.open(identity, plan.mounts, folder, base)
            return await self._open(identity, plan, {**base, **self._environment(identity, plan, platform, mounted)},
                                    origin, mounted)  # fmt: skip
        except CannotRun:
            await self._forget(identity)
            raise
        except (OpsError, OSError, sqlite3.Error) as error:
            await self._forget(identity)
            raise CannotRun("ContainerStartFailed", f"The container could not be started: {error}") from None

    def _environment(
        self, identity: str, plan: Plan, platform: Mapping[str, str], mounted: Mounted
    ) -> dict[str, str]:  # fmt: skip
        return {
            **mounted.mounter.environ(plan.env, mounted.binds),
            **platform,
            "MODELSHELF_ENDPOINT": self._context.url,
            "MODELSHELF_MOUNT_MODE": mounted.mounter.mode,
            "MODELSHELF_BIND": "127.0.0.1",  # nobody but the front may reach an instance
            leftovers.ID_VARIABLE: identity,
        }

    async def _open(
        self, identity: str, plan: Plan, env: Mapping[str, str], origin: Origin, mounted: Mounted
    ) -> Child:  # fmt: skip
        root, empty = self._context.project_root, self.folder / identity / "root"
        empty.mkdir(parents=True, exist_ok=True)
        argv = mounted.mounter.argv(images.expand(plan.argv, env), root, mounted.binds, empty)
        # in the loop's own thread: the child's parent-death signal follows the thread that started it
        if mounted.stdin is None:
            popen = process.spawn(argv, cwd=root, env=env)
        else:
            popen = process.spawn(argv, cwd=root, env=env, stdin=mounted.stdin)
        mounted.started()
        leftovers.record(self._context.db, identity, popen.pid)
        output = Output(origin, self._write, self._context.now, self.logs / identity)
        child = Child(identity, popen, output, mounted.mounter.mode)
        self.children[identity] = child
        watcher = asyncio.create_task(self._watch(child))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)
        if popen.stdout is not None and popen.stderr is not None:
            await output.attach(popen.stdout, popen.stderr)
        return child

    async def _watch(self, child: Child) -> None:
        code = await child.wait_gone()
        child.gone.set_result(code)
        child.kill()  # whatever it started and left behind
        await asyncio.to_thread(leftovers.kill_escaped, child.id, self.mounting.servers())
        self.children.pop(child.id, None)
        try:
            leftovers.forget(self._context.db, child.id)
            await child.output.finish()
        except sqlite3.Error as error:  # a full disk: the end of the child must be known all the same
            log.warning("the end of %s was not recorded: %s", child.id, error)
        if not child.exited.done():
            child.exited.set_result(code)
        await self._forget(child.id)

    async def _forget(self, identity: str) -> None:
        folder = self.folder / identity
        await self.mounting.close(identity, folder)
        await asyncio.to_thread(_remove, folder)

    def _base_environment(self, folder: Path) -> dict[str, str]:
        home, scratch = folder / "disk" / "home", folder / "disk" / "tmp"
        for path in (home, scratch):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "HOME": str(home),
            "TMPDIR": str(scratch),
        }


def _remove(folder: Path) -> None:
    for path, _, _ in os.walk(folder):
        with contextlib.suppress(OSError):
            Path(path).chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


async def _gone(popen: subprocess.Popen[bytes]) -> None:
    open_pidfd: Callable[[int], int] | None = getattr(os, "pidfd_open", None)
    if open_pidfd is None:  # not Linux
        while popen.poll() is None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        return
    descriptor = open_pidfd(popen.pid)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
