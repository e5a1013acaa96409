"""Bodies on disk: files with random names, never changed once complete (mode 0444), hashed while they arrive."""

from __future__ import annotations

import array
import asyncio
import base64
import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import sys
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import google_crc32c

from scripts.localcloud.context import Database
from scripts.localcloud.storage import checksums

BATCH_BYTES = 1 << 20
# What all uploads together may have in memory, so that clients and hashing do not wait for each other in turns.
BACKLOG_BYTES = 16 << 20
INLINE_BYTES = 64 << 10
# Instead of an MD5 that nobody has asked for yet, and up to which size it may be left out: who asks waits for it.
LATER = ""
LATER_BYTES = 32 << 20
Hashing = Literal["now", "later", "never"]
# Kept free for the index, so that deleting still works on a disk that uploads have filled.
RESERVE_BYTES = 4 << 20
_RESERVE = 64
# From linux/fs.h: FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_TOPDIR_FL.
_GET_FLAGS, _SET_FLAGS, _TOP_FOLDER = 0x80086601, 0x40086602, 0x00020000

_TABLE = "CREATE TABLE IF NOT EXISTS storage_loose_bodies(body TEXT PRIMARY KEY) WITHOUT ROWID"


@dataclass(frozen=True)
class Body:
    """A complete body: its random id, size and checksums (base64 as in the API).

    md5: None for a composed one, LATER while nobody has asked for it.
    """

    id: str
    size_bytes: int
    crc32c: str
    md5: str | None


class Discarded(Exception):
    """Somebody else has given the body up meanwhile: its upload was cancelled, or the daemon stops."""


class Bodies:
    """The folder of bodies. One that no object owns, yet or any more, stands in a table and is removed at start.

    So a body is removed however the daemon ended, without looking through the folder.
    """

    def __init__(self, folder: Path, db: Database) -> None:
        self.folder = folder
        self._root = str(folder)
        self.closed = False
        self.backlog_bytes = 0
        self._db = db
        self._reserve: list[str] = []
        _spread(folder)
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="body")
        db.script(_TABLE)

    def path(self, body: str) -> Path:
        """Where a body lies."""
        return Path(self.name(body))

    def name(self, body: str) -> str:
        """The same as text, which costs a tenth."""
        return f"{self._root}/{body[:2]}/{body[2:]}"

    def sweep(self) -> int:
        """Remove what an earlier daemon left behind; how many bodies."""
        loose = [row["body"] for row in self._db.rows("SELECT body FROM storage_loose_bodies")]
        removed = 0
        for body in loose:
            with contextlib.suppress(FileNotFoundError):  # many an id was only reserved
                self.path(body).unlink()
                removed += 1
        if loose:
            self._db.run("DELETE FROM storage_loose_bodies")
        return removed

    def receive(self, *, md5: Hashing = "now") -> Sink:
        """A place for a new body. Use as `async with`: what is not kept is removed."""
        return Sink(self, self.next_id(), self._pool, md5)

    def md5_of(self, body: str) -> str:
        """The MD5 of a complete body, read anew."""
        with self.path(body).open("rb") as file:
            return _base64(hashlib.file_digest(file, _md5).digest())

    def resume(self, body: str) -> Sink:
        """The place of a body that an earlier daemon had begun: call recover() before anything else."""
        return Sink(self, body, self._pool, "now")

    def next_id(self) -> str:
        """A random id that stands in the table already: many are written down at once, as each costs a transaction."""
        if self._db.changing or not self._reserve:
            fresh = [secrets.token_hex(16) for _ in range(1 if self._db.changing else _RESERVE)]
            marks = ", ".join(["(?)"] * len(fresh))
            self._db.run(f"INSERT INTO storage_loose_bodies VALUES {marks}", *fresh)
            if self._db.changing:  # what is rolled back must not be in the reserve
                return fresh[0]
            self._reserve = fresh
        return self._reserve.pop()

    def keep(self, body: str) -> None:
        """An object owns the body now. Call inside the object's transaction."""
        self._db.run("DELETE FROM storage_loose_bodies WHERE body = ?", body)

    def loosen(self, body: str) -> None:
        """No object owns the body any more. Call inside the object's transaction, and remove() after it."""
        self._db.run("INSERT OR IGNORE INTO storage_loose_bodies VALUES (?)", body)

    def replace(self, body: str, former: str) -> None:
        """Give the file of a body the place of another one."""
        place = self.path(former)
        place.parent.mkdir(mode=0o700, exist_ok=True)
        self.path(body).replace(place)

    def remove(self, body: str) -> None:
        """Delete a loose body. Who has it open reads on."""
        self.path(body).unlink(missing_ok=True)
        with contextlib.suppress(Exception):
            # On a full disk the row may stay: the next start's sweep finds nothing to remove.
            self.keep(body)

    def close(self) -> None:
        """Take no more bytes, and wait for the threads."""
        self.closed = True
        self._pool.shutdown(wait=True)


def _spread(folder: Path) -> None:
    """Have ext4 lay the folder's folders far apart, as `chattr +T` does; other file systems do not know how.

    Side by side they share tables of inodes, and where many files were deleted of late a new one's inode is looked for
    long: half a millisecond of the processor's time instead of 0.02 (fs/ext4/ialloc.c, recently_deleted).
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            flags = array.array("l", [0])
            fcntl.ioctl(descriptor, _GET_FLAGS, flags)
            if not flags[0] & _TOP_FOLDER:
                flags[0] |= _TOP_FOLDER
                fcntl.ioctl(descriptor, _SET_FLAGS, flags)
        finally:
            os.close(descriptor)


class Sink:
    """A body on its way to disk. Bytes are gathered to batches, which a thread hashes and writes, in order.

    size_bytes counts what has come, written_bytes what the file has. The client goes on sending meanwhile; it waits
    when all sinks together hold more than BACKLOG_BYTES (each may always hold two batches). Raises OSError when
    the disk refuses (ENOSPC below RESERVE_BYTES).
    """

    def __init__(self, bodies: Bodies, body: str, pool: ThreadPoolExecutor, md5: Hashing) -> None:
        self.id = body
        self.size_bytes = 0
        self.written_bytes = 0
        self._bodies = bodies
        self._pool = pool
        self._crc32c = 0
        self._md5 = _md5() if md5 == "now" else None
        self._without_md5 = LATER if md5 == "later" else None
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._batches: deque[list[bytes]] = deque()
        self._backlog_bytes = 0
        self._job: asyncio.Future[None] | None = None
        self._problem: BaseException | None = None
        self._resting = False
        self._descriptor = -1
        self._gone = False

    async def __aenter__(self) -> Sink:
        return self

    async def __aexit__(self, *problem: object) -> None:
        await self.discard()

    async def write(self, chunk: bytes) -> None:
        """Take more bytes; waits while the disk or the hash is far behind. Raises Discarded."""
        self._pending.append(chunk)
        self._pending_bytes += len(chunk)
        self.size_bytes += len(chunk)
        if self._pending_bytes >= BATCH_BYTES:
            self._submit()
            while self._backlog_bytes > 2 * BATCH_BYTES and self._bodies.backlog_bytes > BACKLOG_BYTES:
                await self._step()

    async def append_bodies(self, bodies: Iterable[tuple[int, int, str]]) -> None:
        """Take whole complete bodies, in order: of each an open descriptor, its size in bytes and its crc32c (base64).

        For a sink without md5: the checksums are combined, not computed again.
        """
        await self.flush()
        self._must_live()
        self._start(self._join, tuple(bodies))
        await self._settle()

    async def recover(self) -> None:
        """Hash what an earlier daemon had written, to go on after it."""
        self._start(self._rehash, None)
        await self._settle()
        self.size_bytes = self.written_bytes

    async def suspend(self) -> None:
        """Take no more and let go of the file, which stays for a later daemon. No error leaves this method."""
        self._gone = True
        with contextlib.suppress(Exception):
            await self._settle()
        self._close()

    def rest(self) -> None:
        """No more bytes for now: what has come is hashed and written in the background, then the file is closed."""
        if self._pending:
            self._submit()
        self._resting = True
        if self._job is None:
            self._close()

    async def flush(self) -> None:
        """Everything taken so far is hashed and written; the file is closed until more comes."""
        await self._write_all()
        self._close()

    async def _write_all(self) -> None:
        if self._pending_bytes > INLINE_BYTES:
            self._submit()
        await self._settle()
        if not self._gone:
            self._absorb(self._take())

    async def finish(self) -> Body:
        """The complete body; from now on its file is read-only. Raises Discarded."""
        await self._write_all()
        try:
            self._must_live()
            os.fchmod(self._open(), 0o444)
        finally:
            self._close()
        md5 = _base64(self._md5.digest()) if self._md5 is not None else self._without_md5
        return Body(self.id, self.size_bytes, checksums.text(self._crc32c), md5)

    def kept(self) -> None:
        """An object owns the body: leaving the context no longer removes it."""
        self._gone = True

    async def discard(self) -> None:
        """Remove the file, unless kept. No error leaves this method: it runs after others."""
        if self._gone:
            return
        self._gone = True
        with contextlib.suppress(Exception):
            await self._settle()
        self._close()
        self._bodies.remove(self.id)

    def _must_live(self) -> None:
        if self._gone or self._bodies.closed:
            raise Discarded

    def _take(self) -> list[bytes]:
        taken, self._pending, self._pending_bytes = self._pending, [], 0
        return taken

    def _submit(self) -> None:
        """Hand what is pending to a thread, after the batches that wait already. Raises what an earlier one raised."""
        self._must_live()
        if self._problem is not None:
            raise self._problem
        self._resting = False
        self._hold(self._pending_bytes)
        self._batches.append(self._take())
        if self._job is None:
            self._start(self._absorb, self._batches[0])

    def _start(self, call: Callable[..., None], argument: object) -> None:
        self._job = asyncio.get_running_loop().run_in_executor(self._pool, call, argument)
        self._job.add_done_callback(self._next)

    def _next(self, job: asyncio.Future[None]) -> None:
        """A thread is done: note its error, start on the next batch."""
        self._job = None
        self._problem = self._problem or job.exception() or (Discarded() if self._bodies.closed else None)
        if self._batches:
            self._hold(-sum(map(len, self._batches.popleft())))
        if self._problem is not None or self._gone:
            self._hold(-self._backlog_bytes)
            self._batches.clear()
        if self._batches:
            self._start(self._absorb, self._batches[0])
        elif self._resting:
            self._close()

    def _hold(self, size_bytes: int) -> None:
        self._backlog_bytes += size_bytes
        self._bodies.backlog_bytes += size_bytes

    async def _step(self) -> None:
        """Wait for the thread, also when several wait or when this task is cancelled: it uses the file."""
        job = self._job
        if job is None:
            return
        try:
            await asyncio.wait([job])
        finally:
            if not job.done():
                await asyncio.wait([job])

    async def _settle(self) -> None:
        """Wait until no batch is left. Raises what a batch raised."""
        while self._job is not None:
            await self._step()
        if self._problem is not None:
            raise self._problem

    def _absorb(self, chunks: list[bytes]) -> None:
        descriptor = self._open()
        self._need(descriptor, sum(map(len, chunks)))
        for chunk in chunks:
            self._crc32c = google_crc32c.extend(self._crc32c, chunk)
            if self._md5 is not None:
                self._md5.update(chunk)
            self._put(descriptor, memoryview(chunk))

    def _need(self, descriptor: int, size_bytes: int) -> None:
        free = os.fstatvfs(descriptor)
        if free.f_bavail * free.f_frsize < size_bytes + RESERVE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._bodies.folder))

    def _put(self, descriptor: int, data: memoryview) -> None:
        self.written_bytes += len(data)
        while data:
            data = data[os.write(descriptor, data) :]

    def _rehash(self, _: object) -> None:
        with contextlib.suppress(FileNotFoundError), self._bodies.path(self.id).open("rb") as file:
            while chunk := file.read(BATCH_BYTES):
                self._crc32c = google_crc32c.extend(self._crc32c, chunk)
                if self._md5 is not None:
                    self._md5.update(chunk)
                self.written_bytes += len(chunk)

    def _join(self, bodies: tuple[tuple[int, int, str], ...]) -> None:
        own, buffer = self._open(), memoryview(bytearray(BATCH_BYTES))
        self._need(own, sum(size for _, size, _ in bodies))
        for descriptor, size, crc32c in bodies:
            offset = 0
            while count := os.preadv(descriptor, [buffer], offset):
                self._put(own, buffer[:count])
                offset += count
            self._crc32c = checksums.combined(self._crc32c, checksums.number(crc32c), size)
            self.size_bytes += size

    def _open(self) -> int:
        if self._descriptor < 0:
            name, flags = self._bodies.name(self.id), os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
            try:
                self._descriptor = os.open(name, flags, 0o600)
            except FileNotFoundError:
                Path(name).parent.mkdir(mode=0o700, exist_ok=True)
                self._descriptor = os.open(name, flags, 0o600)
        return self._descriptor

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _md5() -> Any:
    return hashlib.md5(usedforsecurity=False)


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
