"""A file for each joined body that somebody is about to read: until then it lies in the bodies of its parts."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from itertools import islice
from typing import TYPE_CHECKING

from scripts.localcloud.storage import joints
from scripts.localcloud.storage.bodies import Sink
from scripts.localcloud.storage.joints import Piece
from scripts.localcloud.storage.records import Record

if TYPE_CHECKING:
    from scripts.localcloud.storage.store import Store


# How many bodies are open at the same time: a tree of composites has thousands.
_OPEN = 128


class Wholes:
    """Makes files of joined bodies. What instances have mounted is read by path, so there nothing stays joined."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._mounted: set[str] = set()
        self._making: dict[str, asyncio.Task[None]] = {}

    def may_join(self, bucket: str, size_bytes: int) -> bool:
        """A new composite of this size may lie in its parts."""
        return size_bytes >= joints.JOINED_BYTES and bucket not in self._mounted

    async def mounted(self, bucket: str) -> None:
        """Instances read this bucket by path from now on. Raises OSError when the disk is full."""
        self._mounted.add(bucket)
        for body in self._store.index.joints.in_bucket(bucket):
            await self._whole(body)

    async def before_copy(self, source: Record, target: str) -> bool:
        """A copy has its source's body, which must be a file in a mounted bucket. See before_read."""
        return target in self._mounted and await self._whole(source.body)

    async def before_read(self, record: Record) -> bool:
        """The content is asked for. True when that took time: the generation is to be looked up again then.

        Raises OSError when the disk is full.
        """
        return await self._whole(record.body)

    async def _whole(self, body: str) -> bool:
        """Whoever asks while it is made waits for the same file, and who goes away meanwhile does not stop it."""
        if not self._store.index.joints.of(body):
            return False
        making = self._making.get(body)
        if making is None:
            making = self._making[body] = asyncio.create_task(self._make(body))
            making.add_done_callback(lambda _: self._making.pop(body, None))
        await asyncio.shield(making)
        return True

    async def _make(self, body: str) -> None:
        pieces = self._store.index.joints.of(body)
        if not pieces:
            return
        async with self._store.bodies.receive(md5="never") as sink:
            try:
                await self.gather(sink, pieces)
            except FileNotFoundError:
                if self._store.index.joints.of(body):
                    raise
                return  # deleted meanwhile, and its parts with it
            made = await sink.finish()
            if not self._store.index.joints.of(body):
                return  # deleted meanwhile
            self._store.bodies.replace(made.id, body)
            self._store.unjoin(body)

    async def gather(self, sink: Sink, pieces: list[Piece]) -> None:
        """The bytes of bodies after each other; the first _OPEN of them may be deleted meanwhile.

        Raises FileNotFoundError when a later one was.
        """
        left = iter(pieces)
        while some := list(islice(left, _OPEN)):
            with ExitStack() as opened:
                files = []
                for piece in some:
                    descriptor = os.open(self._store.bodies.path(piece.body), os.O_RDONLY | os.O_CLOEXEC)
                    opened.callback(os.close, descriptor)
                    files.append((descriptor, piece.size_bytes, piece.crc32c))
                await sink.append_bodies(files)
