"""A container that takes its mount for a disk: each operation is one that passes on a disk and hurts on Cloud Storage.

POST /OPERATION with a JSON object of its arguments; the answer is {"value": …}, or {"errno": NAME} when it failed.
"""

from __future__ import annotations

import errno
import fcntl
import json
import mmap
import os
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

HELD: dict[str, IO[Any]] = {}
MAPS: dict[str, mmap.mmap] = {}


def read(path: str) -> str:
    """Read the pointer to the active version, right after it was published."""
    return Path(path).read_text(encoding="utf-8")


def size(path: str) -> int:
    """Look at a file's size."""
    return Path(path).stat().st_size


def mode(path: str) -> list[int]:
    """Look at permissions and owner."""
    found = Path(path).stat()
    return [found.st_mode & 0o777, found.st_uid, found.st_gid]


def listing(path: str) -> list[str]:
    """Find the versions by listing a folder."""
    return sorted(each.name + ("/" if each.is_dir() else "") for each in Path(path).iterdir())


def tree(path: str) -> list[str]:
    """Everything below a folder."""
    return sorted(str(each.relative_to(path)) for each in Path(path).rglob("*"))


def save(path: str, text: str) -> int:
    """Write a file beside the models: a lock, a cache, a converted copy."""
    return Path(path).write_text(text, encoding="utf-8")


def append(path: str, text: str) -> int:
    """Add a line to a file."""
    with Path(path).open("a", encoding="utf-8") as stream:
        return stream.write(text)


def cut(path: str, length: int) -> None:
    """Truncate a file without opening it."""
    os.truncate(path, length)


def replace(path: str, text: str) -> None:
    """The disk's way to change a file at once: write another, then rename it."""
    partial = Path(path + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def rename(path: str, to: str) -> None:
    """Publish a folder or file by renaming it."""
    Path(path).rename(to)


def remove(path: str) -> None:
    """Delete a file, or an empty folder."""
    target = Path(path)
    target.rmdir() if target.is_dir() else target.unlink()


def folder(path: str) -> None:
    """Make a folder."""
    Path(path).mkdir()


def link(path: str, to: str) -> None:
    """Make a symbolic link."""
    Path(path).symlink_to(to)


def lock(path: str) -> str:
    """Take a lock by creating a file that must not exist, and keep it open."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    HELD[path] = os.fdopen(descriptor, "w", encoding="utf-8")
    return "mine"


def flock(path: str) -> str:
    """Take an advisory lock."""
    HELD[path] = Path(path).open("rb")  # noqa: SIM115
    fcntl.flock(HELD[path], fcntl.LOCK_EX | fcntl.LOCK_NB)
    return "mine"


def start(path: str, text: str) -> None:
    """Open a file for writing and write; it stays open."""
    HELD[path] = Path(path).open("w", encoding="utf-8")  # noqa: SIM115
    HELD[path].write(text)
    HELD[path].flush()


def sync(path: str) -> None:
    """fsync what is open."""
    os.fsync(HELD[path].fileno())


def finish(path: str) -> None:
    """Close what is open."""
    HELD.pop(path).close()


def hold(path: str, length: int) -> str:
    """Open a file, read its beginning, and keep it open."""
    HELD[path] = Path(path).open("rb", buffering=0)  # noqa: SIM115
    return str(HELD[path].read(length).decode())


def more(path: str, length: int) -> str:
    """Read on in an open file."""
    return str(HELD[path].read(length).decode())


def again(path: str) -> str:
    """Read an open file from its beginning."""
    HELD[path].seek(0)
    return str(HELD[path].read(100).decode())


def through_map(path: str) -> list[float]:
    """Load a model with mmap and touch each page: [bytes, seconds]."""
    began = time.monotonic()
    with Path(path).open("rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as view:
        touched = sum(view[at] for at in range(0, len(view), mmap.PAGESIZE))
        return [len(view), time.monotonic() - began, touched]


def hold_map(path: str) -> int:
    """Map a model and keep it; no page is touched."""
    with Path(path).open("rb") as stream:
        MAPS[path] = mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ)
    return len(MAPS[path])


def touch_map(path: str) -> int:
    """Read the first byte of what is mapped."""
    return MAPS[path][0]


def load(path: str) -> list[float]:
    """Read a model from start to end: [bytes, seconds]."""
    began, count = time.monotonic(), 0
    with Path(path).open("rb", buffering=0) as stream:
        while chunk := stream.read(1 << 20):
            count += len(chunk)
    return [count, time.monotonic() - began]


def environment() -> dict[str, str]:
    """The variables."""
    return dict(os.environ)


OPERATIONS: dict[str, Callable[..., Any]] = {
    each.__name__: each
    for each in (
        read, size, mode, listing, tree, save, append, cut, replace, rename, remove, folder, link, lock, flock, start,
        sync, finish, hold, more, again, through_map, hold_map, touch_map,
        load, environment,
    )
}  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        arguments = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        try:
            answer = {"value": OPERATIONS[self.path.strip("/")](**arguments)}
        except OSError as error:
            answer = {"errno": errno.errorcode[error.errno or 0]}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *details: Any) -> None:
        """Silent."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
