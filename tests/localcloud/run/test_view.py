"""A view mirrors live objects as files, skips what cannot be a path, and never shows what is no longer live."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.localcloud.run.view import Live, View, path_parts


@pytest.fixture
def bodies(tmp_path: Path) -> Path:
    folder = tmp_path / "bodies"
    folder.mkdir()
    return folder


def body(bodies: Path, text: str) -> Path:
    path = bodies / text
    path.write_text(text, encoding="utf-8")
    path.chmod(0o444)
    return path


def seen(view: View) -> dict[str, str]:
    found = {}
    for path in view.folder.rglob("*"):
        name = str(path.relative_to(view.folder))
        found[name] = "folder" if path.is_dir() else path.read_text(encoding="utf-8")
    return found


@pytest.mark.parametrize(
    "name", ["..", "../x", "a/../b", "a//b", "/a", "a//", "", ".", "a/./b", "x" * 256, "a\0b", "bad\ud800"]
)
def test_names_that_cannot_be_paths_are_skipped(name: str, tmp_path: Path, bodies: Path) -> None:
    assert path_parts(name) is None
    view = View(tmp_path / "view")
    view.put(name, Live(1, body(bodies, "one")))
    view.drop(name, 1)
    assert seen(view) == {}


def test_objects_come_change_and_go(tmp_path: Path, bodies: Path) -> None:
    view = View(tmp_path / "view")
    view.put("a/b/c", Live(1, body(bodies, "one")))
    assert (view.folder / "a/b/c").samefile(bodies / "one")
    assert seen(view) == {"a": "folder", "a/b": "folder", "a/b/c": "one"}
    view.put("a/b/c", Live(2, body(bodies, "two")))
    view.drop("a/b/c", 1)  # the end of the old generation is told late
    assert seen(view)["a/b/c"] == "two"
    view.put("a/b/c", Live(1, body(bodies, "late")))
    assert seen(view)["a/b/c"] == "two"
    view.put("a/d", Live(3, bodies / "one"))
    view.drop("a/b/c", 2)
    assert seen(view) == {"a": "folder", "a/d": "one"}
    view.drop("a/d", 3)
    assert seen(view) == {}


def test_an_open_reader_keeps_the_old_content(tmp_path: Path, bodies: Path) -> None:
    view = View(tmp_path / "view")
    view.put("x", Live(1, body(bodies, "old")))
    with (view.folder / "x").open(encoding="utf-8") as reader:
        view.put("x", Live(2, body(bodies, "new")))
        assert reader.read() == "old"


@pytest.mark.parametrize("order", [("a", "a/b"), ("a/b", "a")])
def test_a_folder_hides_a_file_of_its_name(order: tuple[str, str], tmp_path: Path, bodies: Path) -> None:
    view = View(tmp_path / "view")
    for name in order:
        view.put(name, Live(1, body(bodies, name.replace("/", "-"))))
    assert seen(view) == {"a": "folder", "a/b": "a-b"}
    view.drop("a/b", 1)
    assert seen(view) == {"a": "a"}


def test_folder_objects_are_folders(tmp_path: Path, bodies: Path) -> None:
    view = View(tmp_path / "view")
    view.put("empty/", Live(1, body(bodies, "one")))
    view.put("empty/x", Live(1, bodies / "one"))
    view.drop("empty/x", 1)
    assert seen(view) == {"empty": "folder"}
    view.drop("empty/", 1)
    assert seen(view) == {}


def test_a_body_that_is_gone_already_is_not_shown(tmp_path: Path) -> None:
    view = View(tmp_path / "view")
    view.put("y", Live(1, tmp_path / "no-such-body"))
    assert seen(view) == {}


def test_a_sealed_view_has_no_writable_folder(tmp_path: Path, bodies: Path) -> None:
    view = View(tmp_path / "view", sealed=True)
    view.put("a/b", Live(1, body(bodies, "one")))
    view.put("a/c", Live(1, bodies / "one"))
    view.drop("a/b", 1)
    assert seen(view) == {"a": "folder", "a/c": "one"}
    assert {path.stat().st_mode & 0o777 for path in (view.folder, view.folder / "a")} == {0o555}
