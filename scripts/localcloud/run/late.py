"""Views without FUSE: folders of hard links that follow the bucket as late as the metadata cache would let them.

Such a folder cannot know when an instance looks at a name. So every change of a known name shows ttl_s after it was
made, and a new name negative_ttl_s after that, whether or not the instance has looked before.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from collections.abc import Callable, Iterable
from pathlib import Path

from scripts.localcloud.run.mount_options import Options
from scripts.localcloud.run.view import Live, View
from scripts.localcloud.storage.events import ObjectEvent, StoredObject

_LISTING_STEP = 256


class Shown:
    """Passes on to a view what can be seen: all, or without implicit-dirs what lies in folders that are objects."""

    def __init__(self, view: View, implicit: bool) -> None:
        self._view = view
        self._implicit = implicit
        self._live: dict[str, Live] = {}

    def put(self, name: str, live: Live) -> None:
        """A live generation."""
        known = self._live.get(name)
        if known is not None and known.generation >= live.generation:
            return
        self._live[name] = live
        below = [name] if self._implicit or not name.endswith("/") else self._below(name)
        for each in sorted(below):
            if self._implicit or self._visible(each):
                self._view.put(each, self._live[each])

    def drop(self, name: str, generation: int) -> None:
        """A generation is no longer live."""
        known = self._live.get(name)
        if known is None or known.generation != generation:
            return
        below = [name] if self._implicit or not name.endswith("/") else self._below(name)
        for each in sorted(below, reverse=True):
            self._view.drop(each, self._live[each].generation)
        del self._live[name]

    def knows(self, name: str) -> bool:
        """Whether there is a live generation, seen or not."""
        return name in self._live

    def _below(self, folder: str) -> list[str]:
        return [each for each in self._live if each.startswith(folder)]

    def _visible(self, name: str) -> bool:
        parts = name.removesuffix("/").split("/")[:-1]
        return all("/".join(parts[: depth + 1]) + "/" in self._live for depth in range(len(parts)))


class LateView:
    """One instance's folder, and the changes that it does not show yet."""

    def __init__(self, view: View, options: Options, clock: Callable[[], float]) -> None:
        self.folder = view.folder
        self._shown = Shown(view, options.implicit_dirs)
        self._options = options
        self._clock = clock
        self._coming: list[tuple[float, int, str, int, Live | None]] = []
        self._expected: set[str] = set()
        self._order = itertools.count()
        self._gone: set[tuple[str, int]] | None = None

    async def fill(self, objects: Iterable[StoredObject]) -> None:
        """Show a whole listing at once. What goes meanwhile stays away, what comes meanwhile is newer."""
        self._gone = set()
        listing = [each for each in objects if self._name(each.name) is not None]
        for start in range(0, len(listing), _LISTING_STEP):
            for each in listing[start : start + _LISTING_STEP]:
                if (each.name, each.generation) not in self._gone:
                    self._shown.put(self._name(each.name) or "", Live(each.generation, each.body))
            await asyncio.sleep(0)
        self._gone = None

    def changed(self, event: ObjectEvent) -> None:
        """Show a change, at once or when it is due."""
        name = self._name(event.name)
        if name is None:
            return
        if event.kind == "finalized" and event.body is not None:
            self._come(name, event.generation, Live(event.generation, event.body))
        elif event.kind in ("archived", "deleted"):
            if self._gone is not None:
                self._gone.add((event.name, event.generation))
            # an overwrite tells of the old generation first: wait for the new one, so that the name never vanishes
            asyncio.get_running_loop().call_soon(self._come, name, event.generation, None)

    def next_at(self) -> float | None:
        """When the next change shows."""
        return self._coming[0][0] if self._coming and self._coming[0][0] < math.inf else None

    def show_due(self) -> None:
        """Show what is due."""
        while self._coming and self._coming[0][0] <= self._clock():
            _, _, name, generation, live = heapq.heappop(self._coming)
            self._expected.discard(name)
            self._apply(name, generation, live)

    def _name(self, name: str) -> str | None:
        prefix = self._options.prefix
        return name[len(prefix) :] if name.startswith(prefix) and name != prefix else None

    def _come(self, name: str, generation: int, live: Live | None) -> None:
        if not self._options.cached:
            self._apply(name, generation, live)
            return
        known = self._shown.knows(name) or name in self._expected
        delay_s = self._options.ttl_s if known else self._options.negative_ttl_s
        self._expected.add(name)
        heapq.heappush(self._coming, (self._clock() + delay_s, next(self._order), name, generation, live))
        self.show_due()

    def _apply(self, name: str, generation: int, live: Live | None) -> None:
        if live is None:
            self._shown.drop(name, generation)
        else:
            self._shown.put(name, live)


class Views:
    """The folders of all instances; a timer of the stand-in's clock."""

    def __init__(self, clock: Callable[[], float], moved: Callable[[], None]) -> None:
        self._clock = clock
        self._moved = moved
        self._all: dict[str, list[LateView]] = {}

    async def open(
        self, bucket: str, objects: Iterable[StoredObject], view: View, options: Options
    ) -> LateView:  # fmt: skip
        """A folder that shows a bucket from now on."""
        late = LateView(view, options, self._clock)
        self._all.setdefault(bucket, []).append(late)
        await late.fill(objects)
        return late

    def forget(self, folder: Path) -> None:
        """The folders below this one are gone."""
        for bucket, views in self._all.items():
            self._all[bucket] = [each for each in views if not each.folder.is_relative_to(folder)]

    def changed(self, event: ObjectEvent) -> None:
        """An object has changed."""
        views = self._all.get(event.bucket)
        for view in views or ():
            view.changed(event)
        if views:
            asyncio.get_running_loop().call_soon(self._moved)

    def next_at(self) -> float | None:
        """When the next change shows, in seconds since the epoch."""
        each = (view.next_at() for views in self._all.values() for view in views)
        return min((at for at in each if at is not None), default=None)

    def ring(self) -> None:
        """Show what is due."""
        for views in self._all.values():
            for view in views:
                view.show_due()

    async def settle(self) -> None:
        """Nothing is under way."""
