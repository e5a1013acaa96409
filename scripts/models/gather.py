"""Have every file of a version in the bucket: decide for each content where it comes from, then bring all at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scripts.models import layout, transfer
from scripts.models.arrival import Arrival, Copy, Pull, Recover, Way, Yard
from scripts.models.crew import Crew
from scripts.models.leftovers import Leftovers
from scripts.models.manifest import Manifest
from scripts.models.progress import Pace, Progress
from scripts.models.sources.base import Source
from scripts.models.spans import Span, spans
from scripts.models.transfer import Placed, Wanted
from scripts.settings.types import Kind

if TYPE_CHECKING:
    from scripts.cloud.storage import Bucket
    from scripts.cloud.storage_objects import ObjectInfo


@dataclass(frozen=True)
class Order:
    """What is to be gathered and whom to tell. check: raises when this is not the publisher any more."""

    bucket: Bucket
    version: str
    sources: Mapping[Kind, Source]
    check: Callable[[], None]
    say: Callable[[str], None]
    tell: Callable[[Pace], None]


@dataclass
class Gathered:
    """Where every wanted object is by now, and how many of their bytes were in the bucket already."""

    placed: dict[str, Placed] = field(default_factory=dict)
    reused_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reuse(self, size_bytes: int) -> None:
        """Bytes that did not have to be pulled."""
        with self._lock:
            self.reused_bytes += size_bytes


def contents(wanted: Iterable[Wanted]) -> list[list[Wanted]]:
    """The wanted objects, those of the same content together, largest first: what takes longest begins first."""
    groups: dict[tuple[str, int], list[Wanted]] = {}
    for item in wanted:
        groups.setdefault((item.key, item.file.size_bytes), []).append(item)
    return sorted(groups.values(), key=lambda group: (-group[0].file.size_bytes, group[0].name))


def gather(
    order: Order, groups: Sequence[list[Wanted]], known: Sequence[Manifest], left: Leftovers, gathered: Gathered
) -> None:
    """Bring every content once and give it all its names.

    known: signed versions whose files may be copied. left: what dead runs left.
    gathered tells after a failure, too, what is there. Raises what upstream and bucket raise.
    """
    total = sum(item.file.size_bytes for group in groups for item in group)
    crew, progress = Crew(), Progress(total, order.tell)
    yard = Yard(order.bucket, order.version, crew, progress, order.check, order.say, gathered.reuse)
    there = transfer.published(order.bucket, known)
    tasks = []
    for group in groups:
        first, source = group[0], order.sources[group[0].resolved.spec.kind]
        ways = _ways(first, there, left, order.version)
        arrival = Arrival(yard, first, source, ways, _followed(yard, group, order.sources, left, gathered))
        tasks.append(arrival.tasks())
    crew.add(task for each in tasks for task in each)
    crew.work()


def _followed(
    yard: Yard, group: list[Wanted], sources: Mapping[Kind, Source], left: Leftovers, gathered: Gathered
) -> Callable[[Placed], None]:
    """What happens when a content is there: it gets its other names by copies."""

    def here(placed: Placed) -> None:
        gathered.placed[placed.name] = placed

    def done(placed: Placed) -> None:
        here(placed)
        for item in group[1:]:
            ways = _mine(item, left, yard.version) or [Copy(placed), Pull({})]
            yard.crew.add(Arrival(yard, item, sources[item.resolved.spec.kind], ways, here).tasks())

    return done


def _ways(item: Wanted, there: Mapping[str, Placed], left: Leftovers, version: str) -> list[Way]:
    """Where the bytes of a file may come from, the cheapest first."""
    mine = _mine(item, left, version)
    if mine or not item.digest or item.file.content is not None:
        return mine or [Pull({})]
    found = there.get(item.sha256)
    if found is not None and found.size_bytes == item.file.size_bytes:
        return [Copy(found), Pull({})]
    return [*(Recover(info) for info in _whole(item, left, version)), Pull(_parts(item, left))]


def _mine(item: Wanted, left: Leftovers, version: str) -> list[Way]:
    """What another attempt at this very version has given the final name, which can be given only once."""
    mine = [info for info in _whole(item, left, version) if info.name == item.name and item.digest]
    return [Recover(mine[0]), Pull(_parts(item, left))] if mine else []


def _whole(item: Wanted, left: Leftovers, version: str) -> list[ObjectInfo]:
    own = left.whole.get(layout.without_version(item.name, version), ())
    return [info for info in own if info.size_bytes == item.file.size_bytes or info.name == item.name]


def _parts(item: Wanted, left: Leftovers) -> dict[Span, ObjectInfo]:
    found = left.parts.get(item.digest, {})
    return {span: found[span] for span in spans(item.file.size_bytes) if span in found}
