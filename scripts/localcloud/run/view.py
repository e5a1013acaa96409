"""One instance's view of a bucket: a folder of hard links to the bodies of the live objects, kept up to date.

Names that cannot be paths are skipped and a folder hides a file of its name, as Cloud Storage FUSE does.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LONGEST_PART_BYTES = 255


@dataclass(frozen=True)
class Live:
    """A live object: its generation and the immutable file with its content."""

    generation: int
    body: Path


def path_parts(name: str) -> tuple[str, ...] | None:
    """The path segments of an object name (a trailing slash names a folder), or None when it cannot be a path."""
    parts = name.removesuffix("/").split("/")
    for part in parts:
        if part in ("", ".", "..") or "\0" in part:
            return None
        try:
            if len(part.encode()) > _LONGEST_PART_BYTES:
                return None
        except UnicodeEncodeError:
            return None
    return tuple(parts)


class View:
    """Mirrors live objects into a folder. sealed removes the write permission of its folders (no read-only mount)."""

    def __init__(self, folder: Path, sealed: bool = False) -> None:
        self.folder = folder
        self._sealed = sealed
        self._live: dict[str, Live] = {}
        self._folders: dict[tuple[str, ...], int] = {}
        folder.mkdir(parents=True, exist_ok=True)
        if sealed:
            folder.chmod(0o555)

    def put(self, name: str, live: Live) -> None:
        """A new live generation. An older generation than the known one changes nothing."""
        parts = path_parts(name)
        known = self._live.get(name)
        if parts is None or (known is not None and known.generation >= live.generation):
            return
        self._live[name] = live
        if known is None:
            self._add_folders(parts if name.endswith("/") else parts[:-1])
        if not name.endswith("/"):
            self._link(parts, live)

    def drop(self, name: str, generation: int) -> None:
        """That generation is no longer live. Another generation than the known one changes nothing."""
        known = self._live.get(name)
        if known is None or known.generation != generation:
            return
        del self._live[name]
        parts = path_parts(name) or ()
        if not name.endswith("/"):
            if parts not in self._folders:
                with self._writable(parts[:-1]), contextlib.suppress(OSError):
                    self._path(parts).unlink()
            self._remove_folders(parts[:-1])
        else:
            self._remove_folders(parts)

    def _add_folders(self, parts: tuple[str, ...]) -> None:
        for depth in range(1, len(parts) + 1):
            at = parts[:depth]
            self._folders[at] = self._folders.get(at, 0) + 1
            if self._folders[at] > 1:
                continue
            path = self._path(at)
            with self._writable(at[:-1]), contextlib.suppress(OSError):
                if path.is_file():
                    path.unlink()
                path.mkdir()
                if self._sealed:
                    path.chmod(0o555)

    def _remove_folders(self, parts: tuple[str, ...]) -> None:
        for depth in range(len(parts), 0, -1):
            at = parts[:depth]
            self._folders[at] -= 1
            if self._folders[at]:
                continue
            del self._folders[at]
            with self._writable(at[:-1]), contextlib.suppress(OSError):
                self._path(at).rmdir()
            hidden = self._live.get("/".join(at))
            if hidden is not None:
                self._link(at, hidden)

    def _link(self, parts: tuple[str, ...], live: Live) -> None:
        if parts in self._folders:
            return
        target = self._path(parts)
        partial = self.folder.with_name(self.folder.name + ".partial")
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
        try:
            os.link(live.body, partial)
        except FileNotFoundError:
            return  # deleted meanwhile: its event follows
        except OSError:  # another file system, or one without hard links
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(live.body, partial)
                partial.chmod(0o444)
        with self._writable(parts[:-1]), contextlib.suppress(OSError):
            partial.replace(target)
        partial.unlink(missing_ok=True)

    def _path(self, parts: tuple[str, ...]) -> Path:
        return self.folder.joinpath(*parts)

    @contextlib.contextmanager
    def _writable(self, parts: tuple[str, ...]) -> Iterator[None]:
        if not self._sealed:
            yield
            return
        path = self._path(parts)
        with contextlib.suppress(OSError):
            path.chmod(0o755)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                path.chmod(0o555)
