"""First program inside an instance's process: shows it its mounts, ties it to the daemon's life, becomes the container.

Run by path as `python -I -S launch.py PLAN -- ARGV…`, so it imports the standard library alone. PLAN is JSON:
{"parent": pid of the daemon, "cwd": folder, "binds": [{"source", "target", "read_only", "number"}], "user_namespace":
bool, "root": an empty folder}.
With binds a private mount namespace is made (mount_namespaces(7), user_namespaces(7), pivot_root(2)): a small tmpfs
becomes the root, every entry of the real root is bound into it, and each source appears READ-ONLY at its target,
which therefore need not exist in the real root. Where source is null a FUSE mount is made instead (fuse(4)), and its
device sent over standard input, a socket, with the bind's number. Exit code 125 means that this could not be done.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import signal
import sys
from pathlib import Path
from typing import Any

CANNOT_MOUNT = 125
_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000
_READ_ONLY, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE, _RELATIVE_TIME = 1, 32, 4096, 16384, 1 << 18, 1 << 21
_NO_SUID, _NO_DEVICES = 2, 4
_KEPT = os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC | os.ST_NOATIME | os.ST_NODIRATIME if sys.platform == "linux" else 0
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_PARENT_DEATH_SIGNAL = 1
_DETACH = 2


def main(arguments: list[str]) -> int:
    """Apply the plan and exec; returns only when it failed."""
    plan = json.loads(arguments[0])
    argv = arguments[arguments.index("--") + 1 :]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            if plan["binds"]:
                _enter(libc, plan)
        except OSError as error:
            print(f"the mounts could not be made: {error}", file=sys.stderr)
            return CANNOT_MOUNT
        libc.prctl(_PARENT_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != plan["parent"]:
            return CANNOT_MOUNT
    if any(bind["source"] is None for bind in plan["binds"]):
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
    os.chdir(plan["cwd"])
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        print(f"cannot start {argv[0]!r}: {error.strerror}", file=sys.stderr)
    return 127


def _enter(libc: ctypes.CDLL, plan: dict[str, object]) -> None:
    uid, gid = os.getuid(), os.getgid()
    user = bool(plan["user_namespace"])
    _check(libc.unshare(_NEW_MOUNTS | (_NEW_USER if user else 0)), "unshare")
    if user:
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", encoding="ascii")
    _mount(libc, None, "/", None, _RECURSIVE | _PRIVATE)
    root = Path(str(plan["root"]))
    _mirror(libc, Path("/"), root)
    owned = {root}
    binds = plan["binds"]
    for bind in binds if isinstance(binds, list) else ():
        target = _expose(libc, root, bind["target"], owned)
        if bind["source"] is None:
            _mount_fuse(libc, target, bind, user)
        else:
            _mount(libc, bind["source"], target, None, _BIND)
            _make_read_only(libc, target)
    _pivot(libc, root)


def _mirror(libc: ctypes.CDLL, real: Path, shown: Path) -> None:
    """Put a tmpfs at `shown` whose entries are those of `real`: folders and files bound, links copied."""
    entries = list(real.iterdir())
    _mount(libc, "tmpfs", shown, "tmpfs", 0, "size=16m,mode=755")
    for entry in entries:
        path = shown / entry.name
        if entry.is_symlink():
            path.symlink_to(entry.readlink())
        elif entry.is_dir():
            path.mkdir()
            _mount(libc, entry, path, None, _BIND | _RECURSIVE)
        elif entry.is_file():
            path.touch()
            _mount(libc, entry, path, None, _BIND)


def _expose(libc: ctypes.CDLL, root: Path, target: str, owned: set[Path]) -> Path:
    """Make the folder `target` exist under the new root without touching the real one; its path there.

    owned are the folders of the new root that live on a tmpfs of ours, where a new entry may be made.
    """
    shown, real = root, Path("/")
    for part in (part for part in target.split("/") if part):
        if not (shown / part).is_dir():
            if shown not in owned:
                _mirror(libc, real, shown)
                owned.add(shown)
            (shown / part).mkdir()
            owned.add(shown / part)
        shown, real = shown / part, real / part
    return shown


def _mount_fuse(libc: ctypes.CDLL, target: Path, bind: dict[str, Any], user_namespace: bool) -> None:
    import socket  # only here: every other start spares the import

    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    data = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()},default_permissions"
    if not user_namespace:  # there nobody else exists, and the same user outside could not look in
        data += ",allow_other"
    flags = _NO_SUID | _NO_DEVICES | (_READ_ONLY if bind["read_only"] else 0)
    _mount(libc, "gcsfuse", target, "fuse.gcsfuse", flags, data)
    with socket.socket(fileno=os.dup(0)) as daemon:
        socket.send_fds(daemon, [str(bind["number"]).encode()], [device])
    os.close(device)


def _make_read_only(libc: ctypes.CDLL, target: Path) -> None:
    # flags that came with the mount are locked in a user namespace and must be repeated
    flags = os.statvfs(target).f_flag
    relative = _RELATIVE_TIME if flags & os.ST_RELATIME else 0
    _mount(libc, None, target, None, _REMOUNT | _BIND | _READ_ONLY | (flags & _KEPT) | relative)


def _pivot(libc: ctypes.CDLL, root: Path) -> None:
    os.chdir(root)
    number = _PIVOT_ROOT.get(platform.machine())
    if number is not None and libc.syscall(number, b".", b".") == 0:
        _check(libc.umount2(b".", _DETACH), "umount of the old root")
    else:  # a root that cannot be pivoted (initramfs, other machines)
        os.chroot(".")
    os.chdir("/")


def _mount(
    libc: ctypes.CDLL,
    source: Path | str | None,
    target: Path | str,
    kind: str | None,
    flags: int,
    data: str | None = None,
) -> None:
    code = libc.mount(
        os.fsencode(source) if source else None,
        os.fsencode(target),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        data.encode() if data else None,
    )
    _check(code, f"mount of {source or kind or 'flags'} at {target}")


def _check(code: int, what: str) -> None:
    if code != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
