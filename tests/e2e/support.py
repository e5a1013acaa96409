"""Ways into trouble that need no particular user: a small disk, no network, and no power over permissions."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

# Whoever is root gives its capabilities up, so that file modes bind it like anybody else.
WITHOUT_POWER = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()


@functools.cache
def namespace(kind: str) -> tuple[str, ...]:
    """Arguments that run what follows in a namespace of its own: kind is unshare's letter, m(ount) or n(et).

    Empty where neither root's way nor a user namespace is allowed.
    """
    for enter in (("unshare", f"-{kind}"), ("unshare", f"-Ur{kind}")):
        try:
            if subprocess.run([*enter, "true"], capture_output=True, check=False).returncode == 0:
                return enter
        except FileNotFoundError:
            break
    return ()


def on_small_disk(place: Path, size_mib: int, *argv: str) -> list[str]:
    """argv with a file system of this size at place; where none can be mounted, no file may grow beyond the size.

    The file system is there for argv's processes alone.
    """
    if enter := namespace("m"):
        script = 'mount -t tmpfs -o "size=$0m,mode=700" none "$1" && shift && exec "$@"'
        return [*enter, "sh", "-c", script, str(size_mib), str(place), *argv]
    return ["prlimit", f"--fsize={size_mib << 20}", *argv]


def seal(folder: Path) -> None:
    """Take the right to write from a tree."""
    for each in (folder, *folder.rglob("*")):
        if not each.is_symlink():
            each.chmod(each.stat().st_mode & ~0o222)


def unseal(folder: Path) -> None:
    """Give it back to the owner, so that the tree can be removed."""
    for each in (folder, *folder.rglob("*")):
        if each.is_dir() and not each.is_symlink():
            each.chmod(each.stat().st_mode | 0o700)
