"""One instance's idea of a bucket: names are looked up when they are needed, and remembered as gcsfuse remembers them.

A name that was found is taken for unchanged for ttl_s by the stand-in's clock, one that was not there for
negative_ttl_s. Folders are listed anew each time, and what a listing shows is remembered too (gcsfuse's list cache is
off by default, its stat cache is filled by listings).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import NamedTuple, Protocol

from scripts.localcloud.run.mount_options import Options
from scripts.localcloud.run.view import path_parts
from scripts.localcloud.storage.events import StoredObject

_KEPT_NAMES = 20_000
_PAGE_ENTRIES = 128
_STEPS = 512  # objects that one page looks at, at most: the daemon has others to serve
_ILLEGAL_AT_MOST = 256
_AFTER_SLASH = "0"


class Objects(Protocol):
    """What is needed of the storage room: live objects by name, from `first` on."""

    def live_objects(self, bucket: str, prefix: str = "", first: str = "") -> Iterable[StoredObject]: ...


class Known(NamedTuple):
    """What a path stands for: a folder (generation 0), or a generation of an object with its file."""

    folder: bool
    generation: int = 0
    size_bytes: int = 0
    body: str = ""


class Lens:
    """Paths are relative to the mount: without a slash at the ends, "" for its root."""

    def __init__(self, objects: Objects, bucket: str, options: Options, clock: Callable[[], float]) -> None:
        self.bucket = bucket
        self.options = options
        self._objects = objects
        self._clock = clock
        self._remembered: dict[str, tuple[float, Known | None]] = {}

    def name(self, path: str) -> str:
        """The name of the object at a path."""
        return self.options.prefix + path

    def look(self, path: str, *, fresh: bool = False) -> tuple[Known | None, bool]:
        """What the instance takes a path for, and whether that is only remembered. fresh forgets it first."""
        if not path:
            return Known(True), True
        kept = self._remembered.get(path)
        if kept is not None and not fresh and self._clock() < kept[0]:
            return kept[1], True
        found = self._find(path)
        self._remember(path, found)
        return found, False

    def live(self, path: str, generation: int) -> bool:
        """Whether this generation is the live one."""
        name = self.name(path)
        first = next(iter(self._objects.live_objects(self.bucket, name)), None)
        return first is not None and first.name == name and first.generation == generation

    def entries(self, path: str, after: str) -> tuple[list[tuple[str, bool]], str]:
        """Some entries of a folder as it is now, (name, whether a folder), and where to go on ("" at the end).

        A name may come as a file and later as a folder, which then hides the file.
        """
        prefix = self.name(f"{path}/" if path else "")
        found: list[tuple[str, bool]] = []
        cursor, steps = after or prefix, 0
        while steps < _STEPS and len(found) < _PAGE_ENTRIES:
            jump = ""
            for each in islice(self._objects.live_objects(self.bucket, prefix, cursor), _STEPS - steps):
                steps += 1
                cursor = each.name + "\0"
                name, slash, _ = each.name.removeprefix(prefix).partition("/")
                if not slash:
                    self._take_file(f"{path}/{name}" if path else name, name, each, found)
                elif name:
                    jump = f"{prefix}{name}{_AFTER_SLASH}"
                    if self._folder(prefix + name):
                        found.append((name, True))
                if jump or len(found) >= _PAGE_ENTRIES:
                    break
            else:
                if steps < _STEPS:
                    return found, ""
            cursor = jump or cursor
            steps += 8 if jump else 0
        return found, cursor

    def _take_file(self, path: str, name: str, each: StoredObject, found: list[tuple[str, bool]]) -> None:
        if name and path_parts(name) is not None:
            found.append((name, False))
            self._remember(path, _file(each))

    def _find(self, path: str) -> Known | None:
        name = self.name(path)
        if self._folder(name):
            return Known(True)
        first = next(iter(self._objects.live_objects(self.bucket, name)), None)
        return _file(first) if first is not None and first.name == name else None

    def _folder(self, name: str) -> bool:
        """Whether there is a folder object, or with implicit-dirs anything below that can be shown."""
        if path_parts(name) is None:
            return False
        start = len(self.options.prefix)
        for each in islice(self._objects.live_objects(self.bucket, f"{name}/"), _ILLEGAL_AT_MOST):
            if each.name == f"{name}/":
                return True
            if not self.options.implicit_dirs:
                return False
            if path_parts(each.name[start:]) is not None:
                return True
        return False

    def _remember(self, path: str, found: Known | None) -> None:
        if not self.options.cached:
            return
        self._remembered.pop(path, None)
        ttl_s = self.options.ttl_s if found is not None else self.options.negative_ttl_s
        self._remembered[path] = (self._clock() + ttl_s, found)
        if len(self._remembered) > _KEPT_NAMES:
            del self._remembered[next(iter(self._remembered))]


def _file(each: StoredObject) -> Known:
    return Known(False, each.generation, each.size_bytes, str(each.body))
