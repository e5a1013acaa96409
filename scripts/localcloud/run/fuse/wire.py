"""The kernel's FUSE protocol as far as it is needed: numbers, structures, answers. Source: linux/fuse.h, 7.31."""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass

MAJOR, MINOR = 7, 31
MAX_WRITE_BYTES = 1 << 20
BUFFER_BYTES = MAX_WRITE_BYTES + (16 << 10)
ROOT = 1

LOOKUP, FORGET, GETATTR, SETATTR, MKDIR, UNLINK, RMDIR, RENAME = 1, 2, 3, 4, 9, 10, 11, 12
OPEN, READ, WRITE, STATFS, RELEASE, FSYNC, FLUSH, INIT = 14, 15, 16, 17, 18, 20, 25, 26
OPENDIR, READDIR, RELEASEDIR, FSYNCDIR, CREATE, INTERRUPT, DESTROY = 27, 28, 29, 30, 35, 36, 38
BATCH_FORGET, RENAME2 = 42, 45
SILENT = frozenset({FORGET, BATCH_FORGET, INTERRUPT, DESTROY})

DIRECT, KEEP_CACHE = 1 << 0, 1 << 1
_NO_REPLACE = 1
_ASYNC_READ, _ATOMIC_O_TRUNC, _BIG_WRITES, _PARALLEL_DIROPS, _MAX_PAGES = 1 << 0, 1 << 3, 1 << 5, 1 << 18, 1 << 22
_EXTENDED, _MORE_DIRECT_MAPS = 1 << 30, 1 << 4
_INVALIDATE_INODE = 2
SET_SIZE = 1 << 3
_FOLDER, _FILE = 0o040000, 0o100000

_IN = struct.Struct("<IIQQIIII")
_OUT = struct.Struct("<IiQ")
_INIT_IN = struct.Struct("<IIII")
_MORE_FLAGS = struct.Struct("<I")
_INIT_OUT = struct.Struct("<IIIIHHIIHHI28x")
_ATTRIBUTES = struct.Struct("<6Q10I")
_ENTRY = struct.Struct("<QQQQII")
_ATTRIBUTES_OUT = struct.Struct("<QII")
OPEN_IN = struct.Struct("<II")
_OPEN_OUT = struct.Struct("<QII")
READ_IN = struct.Struct("<QQIIQII")
WRITE_IN = READ_IN
CREATE_IN = struct.Struct("<IIII")
MKDIR_IN = struct.Struct("<II")
RENAME_IN = struct.Struct("<Q")
RENAME2_IN = struct.Struct("<QII")
HANDLE_IN = struct.Struct("<Q")
SETATTR_IN = struct.Struct("<IIQQ")
FORGET_IN = struct.Struct("<Q")
_BATCH = struct.Struct("<II")
_FORGET_ONE = struct.Struct("<QQ")
_WRITE_OUT = struct.Struct("<II")
_STATFS = struct.Struct("<5Q4I24x")
_ENTRY_OF_FOLDER = struct.Struct("<QQII")
_NOTIFY = struct.Struct("<Qqq")


class Refusal(Exception):
    """An answer that is an errno."""

    def __init__(self, number: int) -> None:
        super().__init__(errno.errorcode.get(number, str(number)))
        self.number = number


@dataclass(frozen=True, slots=True)
class Call:
    """One request of the kernel. data is what follows the header; valid until the next request is read."""

    opcode: int
    unique: int
    node: int
    pid: int
    data: memoryview


@dataclass(frozen=True, slots=True)
class Attributes:
    """What stat(2) shows. mode without the type; at_s is the time of the last change."""

    node: int
    folder: bool
    size_bytes: int
    at_s: float
    mode: int
    uid: int
    gid: int

    def pack(self) -> bytes:
        """struct fuse_attr."""
        seconds, part = divmod(int(self.at_s * 1_000_000), 1_000_000)
        times, parts = (seconds,) * 3, (part * 1000,) * 3
        mode = self.mode | (_FOLDER if self.folder else _FILE)
        blocks = (self.size_bytes + 511) // 512
        return _ATTRIBUTES.pack(
            self.node, self.size_bytes, blocks, *times, *parts, mode, 1, self.uid, self.gid, 0, 4096, 0
        )


def request(buffer: memoryview) -> Call:
    """The request in what was read from the device."""
    _, opcode, unique, node, _, _, pid, _ = _IN.unpack_from(buffer)
    return Call(opcode, unique, node, pid, buffer[_IN.size :])


def header(unique: int, length: int) -> bytes:
    """The header of an answer with so many bytes."""
    return _OUT.pack(_OUT.size + length, 0, unique)


def answer(unique: int, body: bytes = b"") -> bytes:
    """A whole answer."""
    return _OUT.pack(_OUT.size + len(body), 0, unique) + body


def failure(unique: int, number: int) -> bytes:
    """The answer that is an errno."""
    return _OUT.pack(_OUT.size, -number, unique)


def init(data: memoryview) -> tuple[bytes, bool]:
    """What the two sides agree on, and whether files that bypass the page cache can be mapped (Linux 6.6).

    Raises Refusal for a kernel that is too old.
    """
    major, minor, readahead, offered = _INIT_IN.unpack_from(data)
    if major != MAJOR or minor < 28:
        raise Refusal(errno.EPROTO)
    flags = offered & (_ASYNC_READ | _ATOMIC_O_TRUNC | _BIG_WRITES | _PARALLEL_DIROPS | _MAX_PAGES | _EXTENDED)
    more = _MORE_FLAGS.unpack_from(data, _INIT_IN.size)[0] & _MORE_DIRECT_MAPS if offered & _EXTENDED else 0
    pages = MAX_WRITE_BYTES // 4096
    told = _INIT_OUT.pack(
        MAJOR, MINOR, max(readahead, MAX_WRITE_BYTES), flags, 64, 48, MAX_WRITE_BYTES, 1, pages, 0, more
    )  # fmt: skip
    return told, bool(more)


def entry(attributes: Attributes) -> bytes:
    """struct fuse_entry_out; the kernel remembers neither the name nor the attributes: that is the cache's business."""
    return _ENTRY.pack(attributes.node, 0, 0, 0, 0, 0) + attributes.pack()


def attributes_out(attributes: Attributes) -> bytes:
    """struct fuse_attr_out."""
    return _ATTRIBUTES_OUT.pack(0, 0, 0) + attributes.pack()


def opened(handle: int, flags: int = 0) -> bytes:
    """struct fuse_open_out."""
    return _OPEN_OUT.pack(handle, flags, 0)


def written(count: int) -> bytes:
    """struct fuse_write_out."""
    return _WRITE_OUT.pack(count, 0)


def statfs() -> bytes:
    """struct fuse_statfs_out: as good as endless."""
    return _STATFS.pack(1 << 33, 1 << 33, 1 << 33, 1 << 50, 1 << 50, 1 << 12, 255, 1 << 12, 0)


def folder_entry(position: int, name: bytes, folder: bool) -> bytes:
    """struct fuse_dirent, padded to eight bytes; position is where the next one begins."""
    kind = (_FOLDER if folder else _FILE) >> 12
    record = _ENTRY_OF_FOLDER.pack(0xFFFFFFFF, position, len(name), kind) + name
    return record + bytes(-len(record) % 8)


def invalidate(node: int) -> bytes:
    """The notice that the pages of a file are no longer true."""
    body = _NOTIFY.pack(node, 0, 0)
    return _OUT.pack(_OUT.size + len(body), _INVALIDATE_INODE, 0) + body


def forgotten(data: memoryview) -> list[tuple[int, int]]:
    """(node, times) of a BATCH_FORGET."""
    count, _ = _BATCH.unpack_from(data)
    return [_FORGET_ONE.unpack_from(data, _BATCH.size + each * _FORGET_ONE.size) for each in range(count)]


def name(data: memoryview) -> str:
    """The one name at the end of a request. Raises Refusal for one that no object can have."""
    return names(data)[0]


def names(data: memoryview) -> list[str]:
    """The names at the end of a request. Raises Refusal."""
    try:
        return [part.decode() for part in bytes(data).rstrip(b"\0").split(b"\0")]
    except UnicodeDecodeError:
        raise Refusal(errno.EILSEQ) from None


def no_replace(flags: int) -> bool:
    """Whether renameat2's flags ask to keep an existing target; other flags raise Refusal."""
    if flags & ~_NO_REPLACE:
        raise Refusal(errno.EINVAL)
    return bool(flags & _NO_REPLACE)
