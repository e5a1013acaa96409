"""The ways by which one file comes into the bucket under its final name, tried one after the other.

Copy      from a published version, server-side: no byte travels
Recover   an object that an interrupted run left: read back and hashed before it counts, then copied server-side
Pull      from the upstream: a small file in one piece, a large one in spans that become parts and are composed;
          parts that an interrupted run left are read back instead of pulled

Whatever is found in the bucket unsigned is proven by the digest that the upstream tells, or not used. A final name is
only ever created when the whole is known to be right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scripts.errors import SYNC, OpsError
from scripts.models import layout
from scripts.models.crew import Crew, Task
from scripts.models.progress import Progress
from scripts.models.sources.base import Source
from scripts.models.spans import Passage, Span, Steps, filled, spans
from scripts.models.transfer import Digest, Placed, Wanted, copy_once

if TYPE_CHECKING:
    from scripts.cloud.storage import Bucket
    from scripts.cloud.storage_objects import ObjectInfo, Pieces

_SAID_BYTES = 1_000_000


@dataclass(frozen=True)
class Copy:
    """Bytes of a published version."""

    placed: Placed


@dataclass(frozen=True)
class Recover:
    """An object that an interrupted run left."""

    info: ObjectInfo


@dataclass(frozen=True)
class Pull:
    """The upstream; parts: spans of the file that are in the bucket already."""

    parts: Mapping[Span, ObjectInfo]


Way = Copy | Recover | Pull


@dataclass(frozen=True)
class Yard:
    """What all arrivals share. check: raises when this is not the publisher any more; reused: told of bytes that were
    in the bucket already."""

    bucket: Bucket
    version: str
    crew: Crew
    progress: Progress
    check: Callable[[], None]
    say: Callable[[str], None]
    reused: Callable[[int], None]


class Arrival:
    """One file on its way. done is told where it is; the last of the ways must be a Pull."""

    def __init__(
        self, yard: Yard, item: Wanted, source: Source, ways: list[Way], done: Callable[[Placed], None]
    ) -> None:
        self._yard = yard
        self._item = item
        self._source = source
        self._ways = ways
        self._done = done

    def tasks(self) -> list[Task]:
        """What the next way takes."""
        way = self._ways.pop(0)
        size_bytes = self._item.file.size_bytes
        if isinstance(way, Copy):
            return [Task(0, lambda release: self._copy(way, release))]
        parts = spans(size_bytes)
        if isinstance(way, Recover):
            if way.info.size_bytes != size_bytes:
                self._discard(way.info)
                return self.tasks()
            steps = Steps(lambda span: self._reread(way.info, span), lambda span, data: None, self._recovered(way))
            return Passage(Digest(self._item), parts, steps).tasks()
        if len(parts) == 1 and not way.parts:
            return [Task(size_bytes, self._small)]
        steps = Steps(
            lambda span: self._part(way, span), lambda span, data: self._keep(way, span, data), self._composed(way)
        )
        return Passage(Digest(self._item), parts, steps).tasks()

    def _next(self) -> None:
        """What was found is not what is wanted: its bytes are to be brought by the next way."""
        self._yard.progress.add(-self._item.file.size_bytes)
        self._yard.crew.add(self.tasks())

    def _copy(self, way: Copy, release: Callable[[], None]) -> None:
        self._yard.check()
        placed = copy_once(self._yard.bucket, way.placed, self._item.name)
        self._yard.progress.add(placed.size_bytes)
        self._yard.reused(placed.size_bytes)
        release()
        self._done(placed)

    def _reread(self, info: ObjectInfo, span: Span, offset: int = 0) -> Pieces:
        """A span of a file from an object that has it from this offset on."""
        from scripts.cloud.storage_objects import Pieces

        self._yard.check()
        data = self._yard.bucket.read_range(info, span.start - offset, span.stop - offset)
        self._yard.progress.add(len(data))
        return Pieces([data])

    def _recovered(self, way: Recover) -> Callable[[Digest, list[ObjectInfo | None]], None]:
        def finish(digest: Digest, kept: list[ObjectInfo | None]) -> None:
            if digest.fault():
                self._discard(way.info)
                self._next()
                return
            found = digest.placed(way.info)
            here = found if found.name == self._item.name else copy_once(self._yard.bucket, found, self._item.name)
            self._yard.reused(found.size_bytes)
            self._done(here)

        return finish

    def _discard(self, info: ObjectInfo) -> None:
        """Other bytes than the wanted ones: under the final name they are in the way, elsewhere they do no harm."""
        if info.name == self._item.name:
            self._yard.bucket.delete(info.name, info.generation)

    def _small(self, release: Callable[[], None]) -> None:
        from scripts.cloud.storage_parts import create_part

        span = Span(0, self._item.file.size_bytes)
        data = self._pulled(span)
        digest = Digest(self._item)
        digest.add(data)
        if digest.fault():
            raise digest.refused()
        self._yard.check()
        info = create_part(self._yard.bucket, self._item.name, data)
        release()
        self._done(self._compared(digest, info))

    def _pulled(self, span: Span) -> Pieces:
        """A span from the upstream, or from what came with the metadata."""
        self._yard.check()
        file = self._item.file
        if span.start == 0 and file.size_bytes >= _SAID_BYTES:
            self._yard.say(f"pulling {self._item.resolved.spec.name} {file.path}, {file.size_bytes / 1e6:,.1f} MB")
        return filled(span, self._chunks(span), self._passed)

    def _chunks(self, span: Span) -> Iterator[bytes]:
        file = self._item.file
        if file.content is not None:
            return iter([file.content[span.start : span.stop]] if span.size_bytes else [])
        if not file.size_bytes:
            return iter([])
        return self._source.open(self._item.resolved, file, span.start, span.stop)

    def _passed(self, size_bytes: int) -> None:
        self._yard.crew.check()
        self._yard.progress.add(size_bytes)

    def _part(self, way: Pull, span: Span) -> Pieces:
        left = way.parts.get(span)
        return self._reread(left, span, span.start) if left is not None else self._pulled(span)

    def _keep(self, way: Pull, span: Span, data: Pieces) -> ObjectInfo:
        from scripts.cloud.storage_parts import create_part

        self._yard.check()
        left = way.parts.get(span)
        return left if left is not None else create_part(self._yard.bucket, self._between(span.start, span.stop), data)

    def _between(self, start: int, stop: int) -> str:
        return layout.part_name(self._yard.version, self._item.key, start, stop)

    def _composed(self, way: Pull) -> Callable[[Digest, list[ObjectInfo | None]], None]:
        def finish(digest: Digest, kept: list[ObjectInfo | None]) -> None:
            from scripts.cloud.storage_parts import compose_all

            parts = [info for info in kept if info is not None]
            self._yard.check()
            if digest.fault():
                for part in parts:  # whichever of them is wrong, the next run must not take it up
                    self._yard.bucket.delete(part.name, part.generation)
                if not way.parts:
                    raise digest.refused()
                self._ways.append(Pull({}))
                self._next()
                return
            self._yard.reused(sum(info.size_bytes for info in way.parts.values()))
            info = compose_all(self._yard.bucket, self._item.name, parts, self._between)
            self._done(self._compared(digest, info))

        return finish

    def _compared(self, digest: Digest, info: ObjectInfo) -> Placed:
        """What arrived, if the bucket has the very bytes that were hashed; else it is removed again."""
        if (info.size_bytes, info.crc32c) == (digest.size_bytes, digest.crc32c):
            return digest.placed(info)
        self._yard.bucket.delete(info.name, info.generation)
        found = f"{info.size_bytes} bytes with crc32c {info.crc32c}"
        raise OpsError(
            f"{info.name} arrived as {found}, expected {digest.size_bytes} with {digest.crc32c}; removed", SYNC
        )
