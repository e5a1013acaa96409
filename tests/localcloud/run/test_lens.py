"""What an instance takes a name for: looked up, remembered, forgotten; folders that are objects or implied."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.localcloud.run.lens import Known, Lens
from scripts.localcloud.run.mount_options import parse
from scripts.localcloud.storage.events import StoredObject


class Bucket:
    """Objects by name, and how often they were asked for."""

    def __init__(self, *names: str) -> None:
        self.generations = {name: number for number, name in enumerate(names, 1)}
        self.asked = 0

    def live_objects(self, bucket: str, prefix: str = "", first: str = "") -> Iterator[StoredObject]:
        self.asked += 1
        for name in sorted(self.generations):
            if name.startswith(prefix) and name >= first:
                yield StoredObject(name, self.generations[name], len(name), "", Path("/bodies") / name)


class Now:
    """A clock."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def lens(bucket: Bucket, options: str = "implicit-dirs", now: Now | None = None) -> Lens:
    return Lens(bucket, "b", parse(options, read_only=True), now or Now())


def everything(seen: Lens, path: str = "") -> list[tuple[str, bool]]:
    found, after = seen.entries(path, "")
    while after:
        more, after = seen.entries(path, after)
        found += more
    return found


def test_names_are_remembered_for_their_time() -> None:
    bucket, now = Bucket("x"), Now()
    seen = lens(bucket, now=now)
    assert seen.look("x") == (Known(False, 1, 1, "/bodies/x"), False) and seen.look("y") == (None, False)
    bucket.generations = {"x": 7, "y": 8}
    now.at += 4.9
    assert seen.look("x")[0] == Known(False, 1, 1, "/bodies/x") and seen.look("y") == (None, True)
    now.at += 0.2
    assert seen.look("y") == (Known(False, 8, 1, "/bodies/y"), False)
    now.at += 54.8
    assert seen.look("x")[1] is True
    now.at += 0.2
    assert seen.look("x") == (Known(False, 7, 1, "/bodies/x"), False)
    bucket.generations["x"] = 9
    assert seen.look("x", fresh=True) == (Known(False, 9, 1, "/bodies/x"), False)
    assert seen.live("x", 9) and not seen.live("x", 7) and not seen.live("z", 1)


@pytest.mark.parametrize("options", ["metadata-cache-ttl-secs=0", "metadata-cache-ttl-secs=0,implicit-dirs"])
def test_nothing_is_remembered_without_a_cache(options: str) -> None:
    bucket = Bucket()
    seen = lens(bucket, options)
    assert seen.look("x") == (None, False)
    bucket.generations["x"] = 1
    assert seen.look("x") == (Known(False, 1, 1, "/bodies/x"), False)


def test_a_listing_refreshes_what_it_shows() -> None:
    bucket = Bucket("x", "d/y")
    seen = lens(bucket)
    assert seen.look("x")[0] == Known(False, 1, 1, "/bodies/x")
    bucket.generations["x"] = 5
    assert everything(seen) == [("d", True), ("x", False)]
    assert seen.look("x") == (Known(False, 5, 1, "/bodies/x"), True)


def test_folders_are_implied_only_by_the_option() -> None:
    bucket = Bucket("a/b/c", "made/", "made/x")
    blind, seeing = lens(bucket, ""), lens(bucket)
    assert everything(blind) == [("made", True)] and everything(seeing) == [("a", True), ("made", True)]
    assert blind.look("a")[0] is None and seeing.look("a")[0] == seeing.look("a/b")[0] == Known(True)
    assert everything(seeing, "made") == [("x", False)] and seeing.look("") == (Known(True), True)


def test_names_that_cannot_be_paths_imply_nothing() -> None:
    seen = lens(Bucket("../up", "a//b", "c/./d", "/e", "f//", "ok/g"))
    assert everything(seen) == [("ok", True)]
    assert [seen.look(each)[0] for each in ("a", "c", "f", "..")] == [None] * 4


def test_a_folder_wins_over_a_file_of_its_name() -> None:
    seen = lens(Bucket("clash", "clash!", "clash/inside"))
    assert seen.look("clash")[0] == Known(True)
    assert dict(everything(seen)) == {"clash": True, "clash!": False}


@pytest.mark.parametrize("count", [0, 1, 127, 128, 129, 700])
def test_long_listings_come_in_pages(count: int) -> None:
    names = [f"n{number:04}" for number in range(count)]
    assert everything(lens(Bucket(*names))) == [(name, False) for name in names]
    assert everything(lens(Bucket(*(f"{name}/deep/x" for name in names)))) == [(name, True) for name in names]
    assert everything(lens(Bucket(*(f"one/{name}" for name in names)))) == ([("one", True)] if count else [])


def test_only_dir_is_the_root() -> None:
    seen = lens(Bucket("a/x", "a/b/y", "top"), "only-dir=a,implicit-dirs")
    assert everything(seen) == [("b", True), ("x", False)]
    assert seen.look("x")[0] == Known(False, 1, 3, "/bodies/a/x") and seen.look("top")[0] is None


def test_what_is_remembered_has_an_end() -> None:
    bucket = Bucket()
    seen = lens(bucket)
    for number in range(20_050):
        seen.look(f"n{number}")
    assert len(seen._remembered) == 20_000 and "n0" not in seen._remembered
