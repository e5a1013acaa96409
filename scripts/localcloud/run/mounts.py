"""How an instance gets to see a bucket at its mount path: a private mount namespace, else rewritten env values."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts import process
from scripts.errors import OpsError

NAMESPACE = "namespace"
REWRITTEN = "rewritten"
_LAUNCHER = Path(__file__).with_name("launch.py")
_CHECK = (
    "import pathlib, sys; seen = pathlib.Path(sys.argv[1], 'proof')\n"
    "assert seen.read_text() == 'seen'\n"
    "try: seen.with_name('written').write_text('')\n"
    "except OSError: raise SystemExit(0)\n"
    "raise SystemExit(1)"
)


@dataclass(frozen=True)
class Bind:
    """A folder of the daemon's and the absolute path at which the container sees it, read-only."""

    source: Path
    target: str


@dataclass(frozen=True)
class Mounter:
    """The way that works on this machine; found once by detect()."""

    mode: str
    user_namespace: bool = False

    def argv(self, argv: Sequence[str], cwd: Path, binds: Sequence[Bind], root: Path) -> list[str]:
        """The command that shows the binds (in namespace mode) and becomes argv; it dies with this process."""
        shown = binds if self.mode == NAMESPACE else ()
        plan = {
            "parent": os.getpid(),
            "cwd": str(cwd),
            "binds": [{"source": str(bind.source), "target": bind.target} for bind in shown],
            "user_namespace": self.user_namespace,
            "root": str(root),
        }
        return [sys.executable, "-I", "-S", str(_LAUNCHER), json.dumps(plan), "--", *argv]

    def environ(self, declared: Mapping[str, str], binds: Sequence[Bind]) -> dict[str, str]:
        """Declared variables; in rewritten mode values that start with a mount path point at its folder."""
        if self.mode == NAMESPACE:
            return dict(declared)
        return {name: rewrite(value, binds) for name, value in declared.items()}


def rewrite(value: str, binds: Sequence[Bind]) -> str:
    """The value with a leading mount path replaced by the folder behind it (the longest mount path wins)."""
    for bind in sorted(binds, key=lambda each: -len(each.target)):
        if value == bind.target or value.startswith(bind.target + "/"):
            return str(bind.source) + value[len(bind.target) :]
    return value


async def detect() -> Mounter:
    """Try the ways in turn with a real mount at a path that does not exist, and keep the first that works."""
    ways = [Mounter(NAMESPACE, user_namespace=True)]
    if os.getuid() == 0:
        ways.insert(0, Mounter(NAMESPACE))
    if sys.platform == "linux":
        for way in ways:
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
        try:
            result = process.run(way.argv(command, base, [Bind(source, target)], root), timeout_s=20, check=False)
        except OpsError:
            return False
        return result.code == 0
