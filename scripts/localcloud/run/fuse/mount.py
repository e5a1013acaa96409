"""One mount's answers to the kernel: names and reading. Writing is in writing.py."""

from __future__ import annotations

import errno
import itertools
import os
import time
from dataclasses import dataclass
from typing import Any

from scripts.localcloud.run.fuse import wire
from scripts.localcloud.run.fuse.desk import Bucket, Desk
from scripts.localcloud.run.fuse.nodes import Draft, Handle, Node, Nodes
from scripts.localcloud.run.fuse.wire import Attributes, Call, Refusal

_SPREAD_BYTES = 1 << 20
_DIRECT_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Settings:
    """What the daemon tells of a mount. staging is a folder for files that are being written."""

    mount: int
    bucket: str
    prefix: str
    endpoint: str
    instance: str
    staging: str
    uid: int
    gid: int
    file_mode: int
    dir_mode: int
    cached: bool
    rename_dir_limit: int
    bandwidth_bytes_s: float | None


@dataclass(slots=True)
class Listing:
    """An open folder: what was in it when it was read from the start."""

    node: Node
    entries: list[tuple[bytes, bool]] | None = None


class Mount:
    """The state of one mount. Methods named after the kernel's requests answer with the body, or raise Refusal."""

    def __init__(self, settings: Settings, desk: Desk) -> None:
        self.settings = settings
        self.desk = desk
        self.nodes = Nodes(settings.cached)
        self.bucket = Bucket(settings.endpoint, settings.bucket, settings.prefix, settings.instance)
        self.fetched = False  # whether the last request had to ask the bucket and not the cache
        self.direct = False  # whether the page cache can be bypassed without making mmap impossible
        self._handles: dict[int, Handle | Listing] = {}
        self._numbers = itertools.count(1)
        self._mounted_at_s = time.time()

    # Names

    def lookup(self, call: Call) -> bytes:
        """What a name in a folder is."""
        return wire.entry(self.attributes(self.named(self.child(call.node, wire.name(call.data)))))

    def named(self, path: str) -> Node:
        """The node at a path, counted as told to the kernel. Raises Refusal (ENOENT)."""
        node = self.nodes.drafts.get(path)
        if node is None:
            found, cached = self.desk.look(self.settings.mount, path)
            self.fetched = not cached
            if found is None:
                raise Refusal(errno.ENOENT)
            node = self.nodes.known(path, found)
        node.lookups += 1
        return node

    def child(self, parent: int, name: str) -> str:
        """The path of a name in a folder. Raises Refusal for a name that is too long."""
        if len(name.encode()) > 255:
            raise Refusal(errno.ENAMETOOLONG)
        folder = self.nodes[parent].path
        return f"{folder}/{name}" if folder else name

    def getattr(self, call: Call) -> bytes:
        """What stat shows."""
        return wire.attributes_out(self.attributes(self.nodes[call.node]))

    def attributes(self, node: Node) -> Attributes:
        """The attributes of a node as they are known."""
        size_bytes, at_s = 0, self._mounted_at_s
        if node.draft is not None:
            now = os.fstat(node.draft.descriptor)
            size_bytes, at_s = now.st_size, now.st_mtime
        elif node.found is not None and not node.folder:
            size_bytes, at_s = node.found.size_bytes, node.found.at_s
        mode = self.settings.dir_mode if node.folder else self.settings.file_mode
        return Attributes(node.id, node.folder, size_bytes, at_s, mode, self.settings.uid, self.settings.gid)

    # Folders

    def opendir(self, call: Call) -> bytes:
        """A handle for reading a folder."""
        return wire.opened(self.keep(Listing(self.nodes[call.node])))

    def readdir(self, call: Call) -> bytes:
        """As many entries from a position on as fit."""
        number, offset, size, *_ = wire.READ_IN.unpack_from(call.data)
        listing = self._handles.get(number)
        if not isinstance(listing, Listing):
            raise Refusal(errno.EBADF)
        if listing.entries is None or offset == 0:
            listing.entries = self._entries(listing.node)
        found, length = [], 0
        for position in range(offset, len(listing.entries)):
            record = wire.folder_entry(position + 1, *listing.entries[position])
            length += len(record)
            if length > size:
                break
            found.append(record)
        return b"".join(found)

    def _entries(self, node: Node) -> list[tuple[bytes, bool]]:
        self.fetched = True
        seen: dict[str, bool] = {}
        for name, folder in self.desk.entries(self.settings.mount, node.path):
            seen[name] = folder or seen.get(name, False)  # a folder hides a file of its name
        for path in self.nodes.drafts:
            folder_path, _, name = path.rpartition("/")
            if folder_path == node.path:
                seen.setdefault(name, False)
        return [(b".", True), (b"..", True), *((name.encode(), folder) for name, folder in seen.items())]

    def releasedir(self, call: Call) -> bytes:
        """The folder is closed."""
        self._handles.pop(wire.HANDLE_IN.unpack_from(call.data)[0], None)
        return b""

    # Files

    def open(self, call: Call) -> bytes:
        """A handle for reading, or for writing a draft."""
        flags, _ = wire.OPEN_IN.unpack_from(call.data)
        node = self.nodes[call.node]
        if node.folder:
            raise Refusal(errno.EISDIR)
        writable = flags & os.O_ACCMODE != os.O_RDONLY or bool(flags & os.O_TRUNC)
        if writable:
            self.edit(node, empty=bool(flags & os.O_TRUNC))
        # what goes through the page cache is told late, by its pages being dropped, that its object is gone
        small = node.found is not None and node.found.size_bytes <= _DIRECT_BYTES
        direct = self.direct and small and node.draft is None
        return wire.opened(self.handle(node, writable), wire.DIRECT if direct else wire.KEEP_CACHE)

    def edit(self, node: Node, *, empty: bool) -> Draft:
        """The draft of a file that is about to change; empty throws the present content away."""
        if node.draft is None:
            self.nodes.edit(node, Draft(self.settings.staging, None if empty else node.content()))
        draft = node.draft
        assert draft is not None
        if empty:
            draft.truncate(0)
        return draft

    def handle(self, node: Node, writable: bool) -> int:
        """The number of a new handle; the daemon tells when what it was opened on goes."""
        if not node.handles:
            self.watch(node)
        handle = Handle(node, writable)
        node.handles.add(handle)
        if node.draft is None and node.descriptor < 0:
            try:
                node.content()
            except Refusal:
                handle.stale = True  # gone since the name was looked up: the first read tells
        return self.keep(handle)

    def watch(self, node: Node) -> None:
        """Ask to be told when the generation of an open file goes."""
        if node.found is not None and node.watched != node.found.generation:
            self.unwatch(node)
            node.watched = node.found.generation
            self.desk.watch(self.settings.mount, node.path, node.watched)

    def unwatch(self, node: Node) -> None:
        """Nobody has the file open."""
        if node.watched:
            self.desk.unwatch(self.settings.mount, node.path, node.watched)
            node.watched = 0

    def read_into(self, call: Call, buffer: memoryview) -> tuple[memoryview, bool]:
        """The bytes at an offset, and whether the reader has jumped there. Raises Refusal (ESTALE)."""
        number, offset, size, *_ = wire.READ_IN.unpack_from(call.data)
        handle = self.opened(number)
        if handle.stale and handle.node.draft is None:
            raise Refusal(errno.ESTALE)
        descriptor = handle.node.content()
        view, count = buffer[:size], 0
        while count < size:
            got = os.preadv(descriptor, [view[count:]], offset + count)
            if not got:
                break
            count += got
        # the kernel reads ahead, and not always in order
        jumped = offset == 0 or abs(offset - handle.next_offset) > _SPREAD_BYTES
        handle.next_offset = offset + count
        return view[:count], jumped

    def gone(self, path: str, generation: int) -> int | None:
        """A generation is no longer live: who has it open reads on no more. The node whose pages are no longer true."""
        node = self.nodes.generation(path, generation)
        if node is None or node.found is None or node.found.generation != generation:
            return None
        node.watched = 0
        for handle in node.handles:
            handle.stale = True
        return node.id if node.handles and node.draft is None else None

    def opened(self, number: int) -> Handle:
        """The open file with this number. Raises Refusal (EBADF)."""
        handle = self._handles.get(number)
        if not isinstance(handle, Handle):
            raise Refusal(errno.EBADF)
        return handle

    def release(self, call: Call) -> bytes:
        """The file is closed for good."""
        handle = self._handles.pop(wire.HANDLE_IN.unpack_from(call.data)[0], None)
        if not isinstance(handle, Handle):
            return b""
        node = handle.node
        node.handles.discard(handle)
        if not any(each.writable for each in node.handles):
            self.nodes.settled(node)
        if not node.handles:
            self.unwatch(node)
            self.nodes.rest(node)
        return b""

    def keep(self, handle: Handle | Listing) -> int:
        """A number for something open."""
        number = next(self._numbers)
        self._handles[number] = handle
        return number

    def statfs(self, call: Call) -> bytes:
        """Room without end."""
        return wire.statfs()

    @staticmethod
    def settings_of(told: dict[str, Any]) -> Settings:
        """Settings as the daemon sends them."""
        return Settings(**told)
