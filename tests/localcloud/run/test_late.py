"""Folders that follow a bucket late: in order, with the names that the options let show."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.localcloud.run.late import Views
from scripts.localcloud.run.mount_options import parse
from scripts.localcloud.run.view import View
from scripts.localcloud.storage.events import ObjectEvent, StoredObject


class Scene:
    """A view of one bucket, and a clock that only moves when told."""

    def __init__(self, folder: Path) -> None:
        self.now = 0.0
        self.bodies = folder / "bodies"
        self.bodies.mkdir()
        self.folder = folder / "view"
        self.views = Views(lambda: self.now, lambda: None)

    def body(self, text: str) -> Path:
        path = self.bodies / text
        path.write_text(text, encoding="utf-8")
        return path

    async def open(self, options: str, **objects: str) -> None:
        stored = [StoredObject(name, 1, 1, "", self.body(text)) for name, text in objects.items()]
        await self.views.open("b", stored, View(self.folder), parse(options, read_only=True))

    async def finalized(self, name: str, generation: int, text: str) -> None:
        self.views.changed(ObjectEvent("finalized", "b", name, generation, self.body(text), 1))
        await asyncio.sleep(0)

    async def deleted(self, name: str, generation: int) -> None:
        self.views.changed(ObjectEvent("deleted", "b", name, generation, None, 1))
        await asyncio.sleep(0)

    def at(self, now: float) -> dict[str, str]:
        self.now = now
        self.views.ring()
        files = [each for each in self.folder.rglob("*") if each.is_file()]
        return {str(each.relative_to(self.folder)): each.read_text(encoding="utf-8") for each in files}


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def play(steps: Callable[[], object]) -> None:
    asyncio.run(steps())  # type: ignore[arg-type]


def test_known_names_change_after_the_ttl_and_new_ones_after_the_negative(scene: Scene) -> None:
    async def steps() -> None:
        await scene.open("implicit-dirs", x="one", y="why")
        await scene.finalized("x", 2, "two")
        await scene.finalized("new", 3, "new")
        await scene.deleted("y", 1)
        assert scene.views.next_at() == 5.0
        assert scene.at(4.9) == {"x": "one", "y": "why"}
        assert scene.at(5.0) == {"x": "one", "y": "why", "new": "new"}
        assert scene.at(60.0) == {"x": "two", "new": "new"} and scene.views.next_at() is None

    play(steps)


def test_an_overwrite_never_lets_the_name_vanish(scene: Scene) -> None:
    async def steps() -> None:
        await scene.open("implicit-dirs", x="one")
        scene.views.changed(ObjectEvent("deleted", "b", "x", 1, None, 1))
        scene.views.changed(ObjectEvent("finalized", "b", "x", 2, scene.body("two"), 1))
        await asyncio.sleep(0)
        assert scene.at(59.0) == {"x": "one"} and scene.at(61.0) == {"x": "two"}

    play(steps)


def test_for_ever_and_at_once(scene: Scene) -> None:
    async def steps() -> None:
        await scene.open("metadata-cache-ttl-secs=-1", x="one")
        await scene.finalized("x", 2, "two")
        assert scene.views.next_at() is None and scene.at(1e9) == {"x": "one"}

    async def at_once() -> None:
        scene.folder = scene.folder.with_name("other")
        await scene.open("metadata-cache-ttl-secs=0", x="one")
        await scene.finalized("x", 2, "two")
        await scene.finalized("new", 3, "new")
        assert scene.at(0.0) == {"x": "two", "new": "new"}

    play(steps)
    play(at_once)


def test_explicit_folders_open_and_close_what_is_below(scene: Scene) -> None:
    async def steps() -> None:
        await scene.open("metadata-cache-ttl-secs=0", **{"a/b/x": "deep", "top": "top"})
        assert scene.at(0) == {"top": "top"}
        await scene.finalized("a/b/", 2, "folder")
        assert scene.at(0) == {"top": "top"}
        await scene.finalized("a/", 3, "folder2")
        assert scene.at(0) == {"top": "top", "a/b/x": "deep"}
        await scene.deleted("a/", 3)
        assert scene.at(0) == {"top": "top"} and not (scene.folder / "a").exists()
        await scene.finalized("a/", 4, "folder3")
        await scene.finalized("a/b/y", 5, "why")
        assert scene.at(0) == {"top": "top", "a/b/x": "deep", "a/b/y": "why"}

    play(steps)


def test_views_of_other_buckets_and_gone_instances_stay_as_they_are(scene: Scene) -> None:
    async def steps() -> None:
        await scene.open("metadata-cache-ttl-secs=0", x="one")
        scene.views.changed(ObjectEvent("finalized", "other", "x", 9, scene.body("nine"), 1))
        scene.views.forget(scene.folder.parent)
        await scene.finalized("x", 2, "two")
        assert scene.at(0) == {"x": "one"}

    play(steps)


def test_what_goes_while_the_listing_is_read_stays_away(scene: Scene) -> None:
    async def steps() -> None:
        stored = [StoredObject(f"n{number:03}", 1, 1, "", scene.body("x")) for number in range(600)]
        options = parse("metadata-cache-ttl-secs=0", read_only=True)
        opening = asyncio.create_task(scene.views.open("b", stored, View(scene.folder), options))
        await asyncio.sleep(0)
        scene.views.changed(ObjectEvent("deleted", "b", "n599", 1, None, 1))
        await opening
        assert len(scene.at(0)) == 599 and "n599" not in scene.at(0)

    play(steps)
