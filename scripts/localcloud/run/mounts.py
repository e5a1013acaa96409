"""How an instance gets to see a bucket at its mount path: FUSE, else a bound folder, else rewritten env values."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from scripts import process
from scripts.errors import OpsError
from scripts.localcloud.run import mount_probe

if TYPE_CHECKING:
    import subprocess

FUSE = "fuse"
NAMESPACE = "namespace"
REWRITTEN = "rewritten"
MODES = (FUSE, NAMESPACE, REWRITTEN)
_LAUNCHER = Path(__file__).with_name("launch.py")
_ROOT = Path(__file__).parents[3]
_PATIENCE_S = 20.0
_CHECK = (
    "import pathlib, sys; seen = pathlib.Path(sys.argv[1], 'proof')\n"
    "assert seen.read_text() == 'seen'\n"
    "try: seen.with_name('written').write_text('')\n"
    "except OSError: raise SystemExit(0)\n"
    "raise SystemExit(1)"
)


@dataclass(frozen=True)
class Bind:
    """A mount: the absolute path at which the container sees it, and the folder behind it (where FUSE stages files).

    number is the mount's place among those of the instance.
    """

    source: Path
    target: str
    read_only: bool = True
    number: int = 0


@dataclass(frozen=True)
class Mounter:
    """The way that works on this machine; found once by detect()."""

    mode: str
    user_namespace: bool = False

    def lowered(self, mode: str) -> Mounter:
        """A simpler way that works where this one does. Raises ValueError for one that may not."""
        if MODES.index(mode) < MODES.index(self.mode):
            raise ValueError(
                f"mounts of kind '{mode}' do not work on this machine; the best kind here is '{self.mode}'"
            )
        return replace(self, mode=mode)

    def argv(self, argv: Sequence[str], cwd: Path, binds: Sequence[Bind], root: Path) -> list[str]:
        """The command that shows the mounts and becomes argv; it dies with this process.

        In fuse mode its standard input is the socket to which it hands the devices.
        """
        shown = binds if self.mode != REWRITTEN else ()
        plan = {
            "parent": os.getpid(),
            "cwd": str(cwd),
            "binds": [
                {
                    "source": None if self.mode == FUSE else str(bind.source),
                    "target": bind.target,
                    "read_only": bind.read_only,
                    "number": bind.number,
                }
                for bind in shown
            ],
            "user_namespace": self.user_namespace,
            "root": str(root),
        }
        return [sys.executable, "-I", "-S", str(_LAUNCHER), json.dumps(plan), "--", *argv]

    def environ(self, declared: Mapping[str, str], binds: Sequence[Bind]) -> dict[str, str]:
        """Declared variables; in rewritten mode values that start with a mount path point at its folder."""
        if self.mode != REWRITTEN:
            return dict(declared)
        return {name: rewrite(value, binds) for name, value in declared.items()}


def rewrite(value: str, binds: Sequence[Bind]) -> str:
    """The value with a leading mount path replaced by the folder behind it (the longest mount path wins)."""
    for bind in sorted(binds, key=lambda each: -len(each.target)):
        if value == bind.target or value.startswith(bind.target + "/"):
            return str(bind.source) + value[len(bind.target) :]
    return value


def serve(connection: int, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start the process that serves an instance's mounts; connection is its end of the socket to the daemon."""
    argv = [sys.executable, "-S", "-E", "-s", "-m", "scripts.localcloud.run.fuse", str(os.getpid())]
    with Path(os.devnull).open("wb") as nowhere:
        return process.spawn(argv, cwd=_ROOT, env=env, stdin=connection, stdout=nowhere, stderr=nowhere)


async def detect() -> Mounter:
    """Try the ways in turn with a real mount at a path that does not exist, and keep the first that works."""
    if sys.platform == "linux":
        spaces = (False, True) if os.getuid() == 0 else (True,)
        for mode in (FUSE, NAMESPACE) if Path("/dev/fuse").exists() else (NAMESPACE,):
            for space in spaces:
                way = Mounter(mode, user_namespace=space)
                if await asyncio.to_thread(_works, way):
                    return way
    return Mounter(REWRITTEN)


def _works(way: Mounter) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder).resolve()
        source, root = base / "source", base / "root"
        source.mkdir()
        root.mkdir()
        (source / "proof").write_text("seen", encoding="ascii")
        target = f"/modelshelf-{base.name}/models"
        command = [sys.executable, "-I", "-S", "-c", _CHECK, target]
        argv = way.argv(command, base, [Bind(source, target)], root)
        try:
            if way.mode == FUSE:
                return mount_probe.works(argv, source / "proof", serve)
            return process.run(argv, timeout_s=_PATIENCE_S, check=False).code == 0
        except (OpsError, OSError):
            return False
