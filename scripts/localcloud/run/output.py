"""What an instance writes: stdout and stderr become log entries, in order; nothing is lost.

A line that is a JSON object gives its severity and becomes jsonPayload (without severity, and without timestamp when
that is a valid time); any other line is textPayload. Lines are cut at 256 KiB, Cloud Logging's limit for an entry.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

log = logging.getLogger("localcloud")
LONGEST_LINE_BYTES = 256 << 10
LARGEST_FILE_BYTES = 8 << 20
_TAIL_LINES = 20
_FLUSH_S = 0.05
_LINES_AT_ONCE = 200  # some 5 ms of the daemon's thread
_PAUSE_S = 0.002
_SEVERITIES = {"DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY"}
_ALIASES = {"WARN": "WARNING", "FATAL": "CRITICAL", "TRACE": "DEBUG"}

Entry = dict[str, Any]
Write = Callable[[list[Entry]], None]


@dataclass(frozen=True)
class Origin:
    """Where lines come from, as their entries say: project, monitored resource and labels."""

    project: str
    resource: Mapping[str, Any]
    labels: Mapping[str, str]

    def entry(self, log: str, now: str) -> Entry:
        """An empty entry of this origin; log is e.g. run.googleapis.com%2Fstdout."""
        return {
            "logName": f"projects/{self.project}/logs/{log}",
            "resource": dict(self.resource),
            "labels": dict(self.labels),
            "timestamp": now,
        }


def parse_line(line: str, entry: Entry) -> Entry:
    """Fill an entry from one line of output."""
    payload = _json_object(line)
    if payload is None:
        return {**entry, "severity": "DEFAULT", "textPayload": line}
    given = str(payload.get("severity", "")).upper()
    severity = _ALIASES.get(given, given)
    if severity in _SEVERITIES:
        payload.pop("severity")
    else:
        severity = "DEFAULT"
    filled = {**entry, "severity": severity, "jsonPayload": payload}
    for key in ("timestamp", "time"):
        if _is_time(payload.get(key)):
            filled["timestamp"] = payload.pop(key)
            break
    return filled


def _json_object(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _is_time(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


class Output:
    """Reads both streams of one child; last_lines() serves messages about its failure."""

    def __init__(self, origin: Origin, write: Write, now: Callable[[], str], raw: Path) -> None:
        self.origin = origin
        self._write = write
        self._now = now
        self._raw = raw
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._waiting: list[Entry] = []
        self._timer: asyncio.TimerHandle | None = None
        self._closed: list[asyncio.Future[None]] = []

    async def attach(self, stdout: IO[bytes], stderr: IO[bytes]) -> None:
        """Begin to read."""
        loop = asyncio.get_running_loop()
        for name, stream in (("stdout", stdout), ("stderr", stderr)):
            done: asyncio.Future[None] = loop.create_future()
            self._closed.append(done)
            pipe = _Pipe(self, name, self._raw.with_name(f"{self._raw.name}.{name}.log"), done)
            await loop.connect_read_pipe(lambda pipe=pipe: pipe, stream)  # type: ignore[misc]

    async def finish(self, timeout_s: float = 2.0) -> None:
        """Wait until both streams ended (a grandchild may hold one open), then hand over what is left."""
        if self._closed:
            await asyncio.wait(self._closed, timeout=timeout_s)
        self._flush()

    def last_lines(self) -> str:
        """The newest lines, for a person."""
        return "\n".join(self._tail)

    def say(self, severity: str, text: str) -> None:
        """An entry of the platform's own about this instance (varlog/system)."""
        entry = self.origin.entry("run.googleapis.com%2Fvarlog%2Fsystem", self._now())
        self._add({**entry, "severity": severity, "textPayload": text})

    def line(self, name: str, raw: bytes) -> None:
        """One line of output, without its end."""
        text = raw[:LONGEST_LINE_BYTES].decode(errors="replace").rstrip("\r")
        if not text:
            return
        entry = parse_line(text, self.origin.entry(f"run.googleapis.com%2F{name}", self._now()))
        self._tail.append(_readable(entry))
        self._add(entry)

    def _add(self, entry: Entry) -> None:
        self._waiting.append(entry)
        if len(self._waiting) >= _LINES_AT_ONCE:
            self._flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_S, self._flush)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        if waiting:
            try:
                self._write(waiting)
            except sqlite3.Error as error:  # a full disk must not stop an instance
                log.warning("%d log entries were lost: %s", len(waiting), error)


def _readable(entry: Entry) -> str:
    payload = entry.get("jsonPayload")
    if payload is None:
        return str(entry["textPayload"])[:500]
    return str(payload.get("message") or json.dumps(payload))[:500]


class _Pipe(asyncio.Protocol):
    """Cuts a stream into lines of bounded length and keeps the raw bytes (bounded too) in a file.

    A flood is read in small steps: what is not read yet waits in the pipe, and the daemon serves others in between.
    """

    def __init__(self, output: Output, name: str, raw: Path, done: asyncio.Future[None]) -> None:
        self._output = output
        self._name = name
        self._done = done
        self._transport: asyncio.ReadTransport | None = None
        self._lines: deque[bytes] = deque()
        self._rest = b""
        self._cutting = False
        self._ended = False
        self._next: asyncio.TimerHandle | None = None
        self._room = LARGEST_FILE_BYTES
        self._file = raw.open("ab", buffering=0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self._room > 0:
            with contextlib.suppress(OSError):  # a full disk must not stop the instance
                self._file.write(data[: self._room])
            self._room -= len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        if lines and self._cutting:
            del lines[0]
            self._cutting = False
        self._lines.extend(lines)
        if len(self._rest) > LONGEST_LINE_BYTES:
            if not self._cutting:
                self._lines.append(self._rest)
            self._cutting, self._rest = True, b""
        if self._next is None:
            self._step()

    def connection_lost(self, error: Exception | None) -> None:
        self._ended = True
        if self._rest and not self._cutting:
            self._lines.append(self._rest)
        self._file.close()
        if self._next is None:
            self._step()

    def _step(self) -> None:
        """Hand over some lines, then let others have their turn."""
        self._next = None
        for _ in range(min(_LINES_AT_ONCE, len(self._lines))):
            self._output.line(self._name, self._lines.popleft())
        if self._lines:
            if self._transport is not None and not self._ended:
                self._transport.pause_reading()
            self._next = asyncio.get_running_loop().call_later(_PAUSE_S, self._step)
        elif self._ended:
            if not self._done.done():
                self._done.set_result(None)
        elif self._transport is not None:
            self._transport.resume_reading()
