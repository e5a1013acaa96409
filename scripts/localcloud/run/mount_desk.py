"""The daemon's end of an instance's mounts: answers the FUSE process's questions, tells it what it must know at once.

Messages are described in fuse/desk.py. Every answer is computed at once, on the event loop; the descriptors of
/dev/fuse come from the instance's first program (launch.py) and are handed on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scripts.localcloud.run.lens import Lens
from scripts.localcloud.storage.events import ObjectEvent

log = logging.getLogger("localcloud")
_PACKET_BYTES = 64 << 10
_AT_ONCE = 32
_REAPED_S = 0.1
_SUSPICIOUS_S = 2.0  # the FUSE process may notice an instance's end before the daemon does


def settings(mount: int, lens: Lens, endpoint: str, instance: str, staging: Path) -> dict[str, Any]:
    """What the FUSE process is told of a mount (fuse/mount.py, Settings). staging: a folder for files being written."""
    options = lens.options
    return {
        "mount": mount,
        "bucket": lens.bucket,
        "prefix": options.prefix,
        "endpoint": endpoint,
        "instance": instance,
        "staging": str(staging),
        "uid": os.getuid() if options.uid is None else options.uid,
        "gid": os.getgid() if options.gid is None else options.gid,
        "file_mode": options.file_mode,
        "dir_mode": options.dir_mode,
        "cached": options.cached,
        "rename_dir_limit": options.rename_dir_limit,
        "bandwidth_bytes_s": options.bandwidth_bytes_s,
    }


class MountDesk:
    """Serves one FUSE process. settings[n] is what it is told of the mount whose names lenses[n] looks up."""

    def __init__(
        self, identity: str, lenses: Sequence[Lens], settings: Sequence[dict[str, Any]], pace: dict[str, Any]
    ) -> None:
        self._identity = identity
        self._lenses = lenses
        self._settings = settings
        self._watched: dict[tuple[str, str, int], set[tuple[int, str]]] = {}
        self._waiting: deque[tuple[bytes, list[int]]] = deque()
        self.ours, self.server = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.launch, self.launcher = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ended: Callable[[], object] = lambda: None  # called soon after the FUSE process has left, however it did
        self._closed = False
        self._loop = asyncio.get_running_loop()
        for end, call in ((self.ours, self._asked), (self.launch, self._mounted)):
            end.setblocking(False)
            self._loop.add_reader(end.fileno(), call)
        self.set_pace(pace)

    def spawned(self) -> None:
        """The two programs have their ends: let go of ours of them, so that the end of one is noticed."""
        self.server.close()
        self.launcher.close()

    def set_pace(self, pace: dict[str, Any]) -> None:
        """Tell how fast to read from now on."""
        self._tell({"pace": pace})

    def changed(self, event: ObjectEvent) -> None:
        """A generation is no longer live: those who have it open are told."""
        if event.kind not in ("archived", "deleted"):
            return
        for mount, path in self._watched.pop((event.bucket, event.name, event.generation), ()):
            self._tell({"gone": [mount, path, event.generation]})

    def close(self) -> None:
        """The instance has ended: no more questions. The FUSE process ends by that, if it has not before."""
        self._closed = True
        self._leave()

    def _complain(self) -> None:
        if not self._closed:
            log.warning("the mounts of instance %s are no longer served", self._identity[:12])

    def _leave(self) -> None:
        for end in (self.ours, self.launch):
            if end.fileno() >= 0:
                self._loop.remove_reader(end.fileno())
                self._loop.remove_writer(end.fileno())
                end.close()
        self.spawned()

    def _mounted(self) -> None:
        """The instance's first program hands over a descriptor with the number of its mount."""
        try:
            number, descriptors, _, _ = socket.recv_fds(self.launch, 16, 1)
        except BlockingIOError:
            return
        except OSError:
            number, descriptors = b"", []
        if not number:
            self._loop.remove_reader(self.launch.fileno())
            self.launch.close()
            return
        self._tell({"settings": self._settings[int(number)]}, descriptors)

    def _asked(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                packet = self.ours.recv(_PACKET_BYTES)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if not packet:
                self._loop.call_later(_REAPED_S, self.ended)
                self._loop.call_later(_SUSPICIOUS_S, self._complain)
                self._leave()
                return
            question = json.loads(packet)
            told = self._answer(question)
            if "ask" in question:
                self._tell({**told, "answer": question["ask"]})

    def _answer(self, question: dict[str, Any]) -> dict[str, Any]:
        if question["op"] == "problem":
            log.error("the mounts of instance %s: %s", self._identity[:12], question["text"])
            return {}
        lens, path = self._lenses[question["mount"]], question["path"]
        if question["op"] == "look":
            found, cached = lens.look(path, fresh=question["fresh"])
            return {"found": found, "cached": cached}
        if question["op"] == "list":
            entries, after = lens.entries(path, question["after"])
            return {"entries": entries, "next": after}
        key = (lens.bucket, lens.name(path), question["generation"])
        if question["op"] == "watch":
            live = lens.live(path, question["generation"])
            if live:
                self._watched.setdefault(key, set()).add((question["mount"], path))
            return {"live": live}
        watchers = self._watched.get(key, set())
        watchers.discard((question["mount"], path))
        if not watchers:
            self._watched.pop(key, None)
        return {}

    def _tell(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        if self.ours.fileno() < 0:
            _close(descriptors)
            return
        self._waiting.append((json.dumps(message, ensure_ascii=False).encode(), list(descriptors)))
        if len(self._waiting) == 1:
            self._flush()

    def _flush(self) -> None:
        while self._waiting:
            packet, descriptors = self._waiting[0]
            try:
                if descriptors:
                    socket.send_fds(self.ours, [packet], descriptors)
                else:
                    self.ours.send(packet)
            except BlockingIOError:
                self._loop.add_writer(self.ours.fileno(), self._flush)
                return
            except OSError:  # it has ended, which the reader notices
                pass
            self._waiting.popleft()
            _close(descriptors)
        with contextlib.suppress(ValueError, OSError):
            self._loop.remove_writer(self.ours.fileno())


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
