"""The loop: requests of the kernel for all mounts of one instance, news of the daemon, answers that wait.

It ends when the daemon or the instance is gone. The kernel then answers whoever still looks at a mount with ENOTCONN.
"""

from __future__ import annotations

import errno
import os
import queue
import select
import threading
from collections.abc import Callable
from functools import partial

from scripts.localcloud.run.fuse import wire
from scripts.localcloud.run.fuse.desk import Desk, Lost
from scripts.localcloud.run.fuse.mount import Mount
from scripts.localcloud.run.fuse.pace import Pace
from scripts.localcloud.run.fuse.wire import Call, Refusal
from scripts.localcloud.run.fuse.writing import WritableMount

_AT_ONCE = 64
_NAMES = frozenset({wire.LOOKUP, wire.READDIR})
_ANSWERS: dict[int, Callable[[WritableMount, Call], bytes]] = {
    wire.LOOKUP: WritableMount.lookup,
    wire.GETATTR: WritableMount.getattr,
    wire.SETATTR: WritableMount.setattr,
    wire.MKDIR: WritableMount.mkdir,
    wire.UNLINK: WritableMount.unlink,
    wire.RMDIR: WritableMount.rmdir,
    wire.RENAME: WritableMount.rename,
    wire.RENAME2: WritableMount.rename2,
    wire.OPEN: WritableMount.open,
    wire.CREATE: WritableMount.create,
    wire.WRITE: WritableMount.write,
    wire.FLUSH: WritableMount.flush,
    wire.FSYNC: WritableMount.flush,
    wire.RELEASE: WritableMount.release,
    wire.STATFS: WritableMount.statfs,
    wire.OPENDIR: WritableMount.opendir,
    wire.READDIR: WritableMount.readdir,
    wire.RELEASEDIR: WritableMount.releasedir,
}


class Server:
    """Serves until nobody is left to serve."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._mounts: dict[int, WritableMount] = {}
        self._devices: dict[int, int] = {}
        self._pace = Pace()
        self._poll = select.poll()
        self._poll.register(desk.fileno(), select.POLLIN)
        self._request = memoryview(bytearray(wire.BUFFER_BYTES))
        self._content = memoryview(bytearray(wire.MAX_WRITE_BYTES))
        self._notices: queue.SimpleQueue[tuple[int, bytes]] | None = None

    def run(self) -> None:
        """Serve until the daemon is gone, or until every mount was there and is gone."""
        had = False
        try:
            while self._mounts or not had:
                wait_s = self._pace.wait_s()
                ready = self._poll.poll(None if wait_s is None else wait_s * 1000 + 1)
                self._pace.flush()
                self._hear()
                for descriptor, _ in ready:
                    if descriptor in self._mounts:
                        self._serve(descriptor)
                had = had or bool(self._mounts)
        except Lost:
            return

    def _hear(self) -> None:
        for told, descriptor in self._desk.news():
            if "settings" in told and descriptor is not None:
                mount = WritableMount(Mount.settings_of(told["settings"]), self._desk)
                os.set_blocking(descriptor, False)
                self._mounts[descriptor] = mount
                self._devices[mount.settings.mount] = descriptor
                self._poll.register(descriptor, select.POLLIN)
            elif "gone" in told:
                self._gone(*told["gone"])
            elif "pace" in told:
                self._pace.set(told["pace"])

    def _gone(self, number: int, path: str, generation: int) -> None:
        descriptor = self._devices.get(number)
        if descriptor is None or descriptor not in self._mounts:
            return
        node = self._mounts[descriptor].gone(path, generation)
        if node is not None:
            self._notify(descriptor, wire.invalidate(node))

    def _notify(self, descriptor: int, notice: bytes) -> None:
        # the kernel may first wait for pages that this loop is about to deliver: only another thread may wait with it
        if self._notices is None:
            self._notices = queue.SimpleQueue()
            threading.Thread(target=_send_notices, args=(self._notices,), daemon=True).start()
        self._notices.put((descriptor, notice))

    def _serve(self, descriptor: int) -> None:
        for _ in range(_AT_ONCE):
            try:
                size = os.readv(descriptor, [self._request])
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EINTR, errno.ENOENT):  # a request that was given up
                    continue
                self._end(descriptor)
                return
            call = wire.request(self._request[:size])
            self._hear()
            self._answer(descriptor, self._mounts[descriptor], call)

    def _end(self, descriptor: int) -> None:
        """The mount is gone (ENODEV)."""
        self._poll.unregister(descriptor)
        del self._mounts[descriptor]
        os.close(descriptor)

    def _answer(self, descriptor: int, mount: WritableMount, call: Call) -> None:
        send = partial(_send, descriptor)
        try:
            if call.opcode == wire.READ:
                self._read(descriptor, mount, call)
                return
            if call.opcode in wire.SILENT:
                self._note(mount, call)
                return
            mount.fetched = False
            body = self._body(mount, call)
            told = wire.answer(call.unique, body)
        except Refusal as refusal:
            told = wire.failure(call.unique, refusal.number)
        except OSError as error:
            told = wire.failure(call.unique, error.errno or errno.EIO)
        except Lost:
            raise
        except Exception:
            self._desk.report(_traceback())
            told = wire.failure(call.unique, errno.EIO)
        due = self._pace.due(0, True) if mount.fetched and call.opcode in _NAMES and not self._pace.free else 0.0
        if due:
            self._pace.later(due, call.unique, told, send)
        else:
            send(told)

    def _body(self, mount: WritableMount, call: Call) -> bytes:
        if call.opcode == wire.INIT:
            told, mount.direct = wire.init(call.data)
            return told
        if call.opcode == wire.FSYNCDIR:
            return b""
        answer = _ANSWERS.get(call.opcode)
        if answer is None:
            raise Refusal(errno.ENOSYS)
        return answer(mount, call)

    def _read(self, descriptor: int, mount: WritableMount, call: Call) -> None:
        content, jumped = mount.read_into(call, self._buffer(call))
        limit = mount.settings.bandwidth_bytes_s
        due = 0.0 if self._pace.free and limit is None else self._pace.due(len(content), jumped, limit)
        header = wire.header(call.unique, len(content))
        if due:
            self._pace.later(due, call.unique, header + bytes(content), partial(_send, descriptor))
        else:
            _send(descriptor, header, content)

    def _buffer(self, call: Call) -> memoryview:
        size = wire.READ_IN.unpack_from(call.data)[2]
        if size > len(self._content):
            self._content = memoryview(bytearray(size))
        return self._content

    def _note(self, mount: WritableMount, call: Call) -> None:
        if call.opcode == wire.FORGET:
            mount.nodes.forget(call.node, wire.FORGET_IN.unpack_from(call.data)[0])
        elif call.opcode == wire.BATCH_FORGET:
            for number, times in wire.forgotten(call.data):
                mount.nodes.forget(number, times)
        elif call.opcode == wire.INTERRUPT:
            unique = wire.HANDLE_IN.unpack_from(call.data)[0]
            self._pace.interrupt(unique, wire.failure(unique, errno.EINTR))


def _traceback() -> str:
    import traceback  # seldom needed, and slow to import

    return traceback.format_exc()


def _send(descriptor: int, *parts: bytes | memoryview) -> None:
    try:
        os.writev(descriptor, parts)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EBADF):  # nobody waits for it any more
            raise


def _send_notices(notices: queue.SimpleQueue[tuple[int, bytes]]) -> None:
    while True:
        descriptor, notice = notices.get()
        try:
            os.write(descriptor, notice)
        except OSError:
            continue  # the kernel has forgotten the file, or the mount is gone
