"""The way to the daemon: names are asked for over a socket, changes are made through Cloud Storage's own API.

Messages are JSON, one a packet (SOCK_SEQPACKET). A question carries "ask", and its answer the same number as "answer";
everything else that comes is news, kept until it is asked for.
"""

from __future__ import annotations

import array
import errno
import json
import os
import select
import socket
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from scripts.localcloud.run.fuse.wire import Refusal

PACKET_BYTES = 256 << 10
_PATIENCE_S = 30.0
_TRIES = 3
_COPY_BYTES = 1 << 20
_ERRNO = {400: errno.EINVAL, 401: errno.EACCES, 403: errno.EACCES, 404: errno.ENOENT, 412: errno.EEXIST}
_ERRNO |= {409: errno.EEXIST, 413: errno.EFBIG, 429: errno.EIO, 507: errno.ENOSPC}


class Lost(Exception):
    """The daemon is gone."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a name stands for: a folder, or a generation of an object and the file with its content."""

    folder: bool
    generation: int
    size_bytes: int
    body: str

    @property
    def at_s(self) -> float:
        return self.generation / 1_000_000


class Desk:
    """Questions to the daemon, one at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._news: deque[tuple[dict[str, Any], int | None]] = deque()
        self._asked = 0

    def fileno(self) -> int:
        return self._socket.fileno()

    def look(self, mount: int, path: str, *, fresh: bool = False) -> tuple[Found | None, bool]:
        """What the instance takes a path for, and whether it only remembers that. fresh forgets it first."""
        told = self._ask({"op": "look", "mount": mount, "path": path, "fresh": fresh})
        found = told["found"]
        return (None if found is None else Found(*found)), bool(told["cached"])

    def entries(self, mount: int, path: str) -> Iterator[tuple[str, bool]]:
        """(name, whether it is a folder) of what is in a folder now."""
        after = ""
        while True:
            told = self._ask({"op": "list", "mount": mount, "path": path, "after": after})
            yield from map(tuple, told["entries"])
            after = told["next"]
            if not after:
                return

    def watch(self, mount: int, path: str, generation: int) -> bool:
        """Ask to be told when this generation goes; whether it is still the live one."""
        return bool(self._ask({"op": "watch", "mount": mount, "path": path, "generation": generation})["live"])

    def unwatch(self, mount: int, path: str, generation: int) -> None:
        """Nobody has it open any more."""
        self._send({"op": "unwatch", "mount": mount, "path": path, "generation": generation})

    def report(self, problem: str) -> None:
        """Have something written to the daemon's log."""
        self._send({"op": "problem", "text": problem[-4000:]})

    def news(self) -> Iterator[tuple[dict[str, Any], int | None]]:
        """What came unasked, with the descriptor that came along. Raises Lost."""
        while select.select([self._socket], [], [], 0)[0]:
            self._news.append(self._receive())
        while self._news:
            yield self._news.popleft()

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        self._asked += 1
        self._send({**question, "ask": self._asked})
        while True:
            if not select.select([self._socket], [], [], _PATIENCE_S)[0]:
                raise Refusal(errno.EIO)
            message, descriptor = self._receive()
            if message.get("answer") == self._asked:
                return message
            if "answer" not in message:  # an answer that was given up came late
                self._news.append((message, descriptor))

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._socket.sendall(json.dumps(message, ensure_ascii=False).encode())
        except OSError as error:
            raise Lost from error

    def _receive(self) -> tuple[dict[str, Any], int | None]:
        size = array.array("i").itemsize
        try:
            data, extra, _, _ = self._socket.recvmsg(PACKET_BYTES, socket.CMSG_SPACE(size))
        except OSError as error:
            raise Lost from error
        if not data:
            raise Lost
        descriptor = None
        for level, kind, content in extra:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptor = array.array("i", content[:size])[0]
        message: dict[str, Any] = json.loads(data)
        return message, descriptor


class Bucket:
    """Writes of one mount, as requests to Cloud Storage's JSON API. Refusal with the errno that fits the answer."""

    def __init__(self, endpoint: str, bucket: str, prefix: str, instance: str) -> None:
        self._address = endpoint.removeprefix("http://")
        self._name = bucket
        self._prefix = prefix
        self._instance = instance

    def upload(self, path: str, descriptor: int, size_bytes: int) -> int:
        """A new generation with a file's content, whatever was there: its number. The last writer wins."""
        told = self._call("POST", self._upload_path(path), (descriptor, size_bytes))
        return int(told["generation"])

    def make_folder(self, path: str) -> None:
        """A folder object; EEXIST when there is one."""
        self._call("POST", self._upload_path(path + "/") + "&ifGenerationMatch=0")

    def remove(self, path: str) -> None:
        """Delete the live object; the path of a folder object ends with a slash."""
        self._call("DELETE", self._object_path(path))

    def copy(self, source: str, target: str) -> None:
        """A new generation of target with the content of source."""
        path = f"{self._object_path(source)}/rewriteTo{self._object_path(target).removeprefix('/storage/v1')}"
        token = ""
        while True:
            told = self._call("POST", path + (f"?rewriteToken={_quoted(token)}" if token else ""))
            if told.get("done", True):
                return
            token = told["rewriteToken"]

    def _object_path(self, path: str) -> str:
        return f"/storage/v1/b/{_quoted(self._name)}/o/{_quoted(self._prefix + path)}"

    def _upload_path(self, path: str) -> str:
        return f"/upload/storage/v1/b/{_quoted(self._name)}/o?uploadType=media&name={_quoted(self._prefix + path)}"

    def _call(self, method: str, path: str, body: tuple[int, int] | None = None) -> dict[str, Any]:
        status, told = 0, b""
        for _ in range(_TRIES):
            try:
                status, told = self._once(method, path, body)
            except OSError:
                status = 0
            if status not in (0, 429) and status < 500:
                break
        if not 200 <= status < 300:
            raise Refusal(_ERRNO.get(status, errno.EIO))
        found: dict[str, Any] = json.loads(told) if told else {}
        return found

    def _once(self, method: str, path: str, body: tuple[int, int] | None) -> tuple[int, bytes]:
        from http.client import HTTPConnection, HTTPException

        connection = HTTPConnection(self._address, timeout=_PATIENCE_S)
        try:
            connection.putrequest(method, path)
            connection.putheader("User-Agent", f"gcsfuse/stand-in instance/{self._instance}")
            connection.putheader("Content-Type", "application/octet-stream")
            connection.putheader("Content-Length", str(body[1] if body else 0))
            connection.endheaders()
            for chunk in _chunks(body):
                connection.send(chunk)
            response = connection.getresponse()
            return response.status, response.read()
        except HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()


def _quoted(text: str) -> str:
    from urllib.parse import quote  # a mount that nobody writes to spares the import

    return quote(text, safe="")


def _chunks(body: tuple[int, int] | None) -> Iterator[bytes]:
    descriptor, size_bytes = body or (-1, 0)
    offset = 0
    while offset < size_bytes:
        chunk = os.pread(descriptor, min(_COPY_BYTES, size_bytes - offset), offset)
        if not chunk:
            return
        offset += len(chunk)
        yield chunk
