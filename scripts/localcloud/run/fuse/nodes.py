"""What the kernel knows by number: folders, generations of files, drafts that are being written, and open handles."""

from __future__ import annotations

import errno
import itertools
import os
from collections import OrderedDict
from dataclasses import dataclass, field

from scripts.localcloud.run.fuse.desk import Found
from scripts.localcloud.run.fuse.wire import ROOT, Refusal

_KEPT_FILES = 200
_COPY_BYTES = 1 << 20
DROPPED, OVERTAKEN = "dropped", "overtaken"
_NUMBERS = itertools.count(1)


class Draft:
    """A file's content on its way: staged on the instance's disk, an object once it is closed.

    fate is "" while it belongs to its name, DROPPED after an unlink, OVERTAKEN after a rename.
    """

    def __init__(self, folder: str, source: int | None) -> None:
        self.dirty = source is None
        self.fate = ""
        staged = f"{folder}/{next(_NUMBERS)}"
        self.descriptor = os.open(staged, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.unlink(staged)  # noqa: PTH108
        offset = 0
        while source is not None and (chunk := os.pread(source, _COPY_BYTES, offset)):
            offset += os.pwrite(self.descriptor, chunk, offset)

    @property
    def size_bytes(self) -> int:
        return os.fstat(self.descriptor).st_size

    def write(self, data: memoryview, offset: int) -> int:
        """Take bytes; how many."""
        self.dirty = True
        count = 0
        while count < len(data):
            count += os.pwrite(self.descriptor, data[count:], offset + count)
        return count

    def truncate(self, size_bytes: int) -> None:
        """Cut or fill up with zeros."""
        self.dirty = True
        os.ftruncate(self.descriptor, size_bytes)

    def close(self) -> None:
        """The staged file goes."""
        os.close(self.descriptor)


@dataclass(eq=False, slots=True)
class Handle:
    """An open file. stale: what it was opened on is no longer there. next_offset is where a reader goes on."""

    node: Node
    writable: bool
    stale: bool = False
    next_offset: int = 0


@dataclass(eq=False, slots=True)
class Node:
    """A folder, or one generation of a file. found is None for a file that is no object yet."""

    id: int
    path: str
    folder: bool
    found: Found | None
    lookups: int = 0
    draft: Draft | None = None
    handles: set[Handle] = field(default_factory=set)
    watched: int = 0
    descriptor: int = -1

    def content(self) -> int:
        """A descriptor of what it holds. Raises Refusal (ESTALE) when that is gone."""
        if self.draft is not None:
            return self.draft.descriptor
        if self.descriptor < 0:
            if self.found is None:
                raise Refusal(errno.ESTALE)
            try:
                self.descriptor = os.open(self.found.body, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                raise Refusal(errno.ESTALE) from None
        return self.descriptor

    def close(self) -> None:
        """Let go of its content."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class Nodes:
    """All nodes of one mount. A new generation of a file is a new node: what the kernel keeps of one is always true.

    remember: content once opened stays at hand, as a name that is remembered may be opened again when it is gone.
    """

    def __init__(self, remember: bool) -> None:
        self.drafts: dict[str, Node] = {}
        self._remember = remember
        self._all = {ROOT: Node(ROOT, "", True, None, 1)}
        self._folders: dict[str, Node] = {"": self._all[ROOT]}
        self._files: dict[tuple[str, int], Node] = {}
        self._kept: OrderedDict[int, Node] = OrderedDict()
        self._last = ROOT

    def __getitem__(self, number: int) -> Node:
        node = self._all.get(number)
        if node is None:
            raise Refusal(errno.ESTALE)
        return node

    def known(self, path: str, found: Found) -> Node:
        """The node for what was found at a path."""
        node = self._folders.get(path) if found.folder else self._files.get((path, found.generation))
        if node is None:
            node = self._new(path, found.folder, found)
            if found.folder:
                self._folders[path] = node
            else:
                self._files[path, found.generation] = node
        return node

    def generation(self, path: str, generation: int) -> Node | None:
        """The node of a generation, if the kernel knows it."""
        return self._files.get((path, generation))

    def draft(self, path: str, draft: Draft) -> Node:
        """A file that is made just now."""
        node = self._new(path, False, None)
        node.draft = draft
        self.drafts[path] = node
        return node

    def edit(self, node: Node, draft: Draft) -> None:
        """A file that is about to change."""
        node.draft = draft
        self.drafts[node.path] = node

    def published(self, node: Node, found: Found) -> None:
        """The draft has become this generation."""
        self._unname(node)
        node.close()
        node.found = found
        self._files[node.path, found.generation] = node

    def settled(self, node: Node) -> None:
        """Nobody writes to it any more."""
        if node.draft is not None:
            node.draft.close()
            node.draft = None
            if self.drafts.get(node.path) is node:
                del self.drafts[node.path]

    def rest(self, node: Node) -> None:
        """Nobody has it open any more."""
        if not self._remember:
            node.close()
        elif node.descriptor >= 0:
            self._kept[node.id] = node
            self._kept.move_to_end(node.id)
            while len(self._kept) > _KEPT_FILES:
                self._close_idle(self._kept.popitem(last=False)[1])

    def forget(self, number: int, times: int) -> None:
        """The kernel gives back what it was told so many times."""
        node = self._all.get(number)
        if node is None or number == ROOT:
            return
        node.lookups -= times
        if node.lookups <= 0 and not node.handles:
            del self._all[number]
            self._kept.pop(number, None)
            self._unname(node)
            self.settled(node)
            node.close()

    def _new(self, path: str, folder: bool, found: Found | None) -> Node:
        self._last += 1
        node = self._all[self._last] = Node(self._last, path, folder, found)
        return node

    def _unname(self, node: Node) -> None:
        if node.folder:
            self._folders.pop(node.path, None)
        elif node.found is not None and self._files.get((node.path, node.found.generation)) is node:
            del self._files[node.path, node.found.generation]

    def _close_idle(self, node: Node) -> None:
        if not node.handles:
            node.close()
