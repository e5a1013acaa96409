"""The request log of Cloud Run: one run.googleapis.com/requests entry and one event for every request to a service.

What a request was is noted in its own time; entries are made and written in batches a moment later, and before anybody
reads the log. Fields as Google writes them (LogEntry.httpRequest, Cloud Logging v2): sizes with headers, latency from
the request's head to the answer's last byte, trace from traceparent (W3C) or X-Cloud-Trace-Context.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from scripts.localcloud.context import Context
from scripts.localcloud.logging.store import Row
from scripts.localcloud.run.events import REQUEST, RequestServed
from scripts.localcloud.run.instance import Identity
from scripts.localcloud.run.output import Write

log = logging.getLogger("localcloud")
LOG = "run.googleapis.com%2Frequests"
_DELAY_S = 0.05
_BATCH = 500
_INFO, _WARNING, _ERROR = 200, 400, 500
_NAMES = {_INFO: "INFO", _WARNING: "WARNING", _ERROR: "ERROR"}
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_CLOUD_TRACE = re.compile(r"([0-9a-fA-F]{32})(?:/(\d{1,20}))?(?:;o=(\d))?")
_quote = json.encoder.encode_basestring_ascii


class Trace(NamedTuple):
    """A request's place in a trace; span is of this request, as 16 hexadecimal digits."""

    id: str
    span: str
    sampled: bool

    def headers(self) -> bytes:
        """The two headers that Cloud Run gives to an instance."""
        flag = int(self.sampled)
        return (
            f"traceparent: 00-{self.id}-{self.span}-0{flag}\r\n"
            f"x-cloud-trace-context: {self.id}/{int(self.span, 16)};o={flag}\r\n"
        ).encode("ascii")


def trace_of(traceparent: str, cloud_trace: str) -> Trace:
    """The trace that a client's headers name ("" = not sent), else a new one that is not sampled."""
    span = f"{random.getrandbits(64) or 1:016x}"
    if traceparent and (found := _TRACEPARENT.fullmatch(traceparent)):
        return Trace(found[1], span, bool(int(found[3], 16) & 1))
    if cloud_trace and (found := _CLOUD_TRACE.fullmatch(cloud_trace)):
        return Trace(found[1].lower(), span, found[3] == "1")
    return Trace(f"{random.getrandbits(128) or 1:032x}", span, False)


class Served(NamedTuple):
    """What is to be logged of one request; note is why the front answered by itself ("" when an instance did)."""

    identity: Identity
    instance: str
    trace: Trace
    at_s: float
    latency_s: float
    method: str
    url: str
    request_bytes: int
    status: int
    response_bytes: int
    agent: str
    referer: str
    remote: str
    protocol: str
    note: str


class Platform:
    """What the platform itself has to say about a revision (varlog/system)."""

    def __init__(self, context: Context, write: Write) -> None:
        self._context = context
        self._write = write

    def say(self, identity: Identity, severity: str, text: str) -> None:
        """One entry, of no instance."""
        entry = identity.origin("").entry("run.googleapis.com%2Fvarlog%2Fsystem", self._context.now())
        entry.pop("labels")
        self._write([{**entry, "severity": severity, "textPayload": text}])


class RequestLog:
    """write takes rows for the log's store; flush() before a read makes every answered request visible."""

    def __init__(self, context: Context, write: Callable[[Sequence[Row]], None]) -> None:
        self._context = context
        self._write = write
        self._waiting: list[Served] = []
        self._timer: asyncio.TimerHandle | None = None
        self._prefix = secrets.token_hex(5)
        self._count = 0
        self._fixed: dict[Identity, str] = {}

    def add(self, served: Served) -> None:
        """A request was answered."""
        identity = served.identity
        event = RequestServed(
            identity.project, identity.service, identity.revision, served.instance, served.status, served.latency_s,
            served.at_s,
        )  # fmt: skip
        self._context.publish(REQUEST, event)
        self._waiting.append(served)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_DELAY_S, self.flush)
        elif len(self._waiting) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        now = self._context.now()
        try:
            self._write([self._row(each, now) for each in waiting])
        except sqlite3.Error as error:  # a full disk must not stop the front
            log.warning("%d request log entries were lost: %s", len(waiting), error)

    def _row(self, served: Served, now: str) -> Row:
        self._count += 1
        insert_id = f"{self._prefix}{self._count:010x}"
        identity, status = served.identity, served.status
        severity = _ERROR if status >= 500 else _WARNING if status >= 400 else _INFO
        parent = f"projects/{identity.project}"
        at = datetime.fromtimestamp(served.at_s, UTC)
        instance = f',"labels":{{"instanceId":"{served.instance}"}}' if served.instance else ""
        note = f',"textPayload":{_quote(served.note)}' if served.note else ""
        sampled = ',"traceSampled":true' if served.trace.sampled else ""
        entry = (
            f'{{"insertId":"{insert_id}","httpRequest":{_http(served)},{self._fixed_part(identity)}'
            f',"timestamp":"{at:%Y-%m-%dT%H:%M:%S.%fZ}","severity":"{_NAMES[severity]}"{instance}'
            f',"trace":{_quote(f"{parent}/traces/{served.trace.id}")},"spanId":"{served.trace.span}"{sampled}'
            f'{note},"receiveTimestamp":"{now}"}}'
        )
        log_name = f"{parent}/logs/{LOG}"
        return Row(_nanoseconds(at), parent, log_name, insert_id, severity, "cloud_run_revision", entry)

    def _fixed_part(self, identity: Identity) -> str:
        """The part of an entry that is the same for all requests to a revision."""
        known = self._fixed.get(identity)
        if known is None:
            if len(self._fixed) > 1000:
                self._fixed.clear()
            entry = identity.origin("").entry(LOG, "")
            chosen = {key: entry[key] for key in ("logName", "resource")}
            known = self._fixed[identity] = json.dumps(chosen, separators=(",", ":"))[1:-1]
        return known


def _http(served: Served) -> str:
    """LogEntry.httpRequest as JSON."""
    agent = f',"userAgent":{_quote(served.agent)}' if served.agent else ""
    referer = f',"referer":{_quote(served.referer)}' if served.referer else ""
    return (
        f'{{"requestMethod":{_quote(served.method)},"requestUrl":{_quote(served.url)}'
        f',"requestSize":"{served.request_bytes}","status":{served.status}'
        f',"responseSize":"{served.response_bytes}"{agent},"remoteIp":{_quote(served.remote)}'
        f',"serverIp":"127.0.0.1"{referer},"latency":"{served.latency_s:.9f}s","protocol":"{served.protocol}"}}'
    )


def _nanoseconds(at: datetime) -> int:
    return (int(at.timestamp()) * 1_000_000 + at.microsecond) * 1000
