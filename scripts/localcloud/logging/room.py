"""The Cloud Logging room: POST /v2/entries:write and /v2/entries:list, logs listed and deleted; entries in SQLite."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from scripts.localcloud import schema
from scripts.localcloud.context import Context
from scripts.localcloud.logging import severity
from scripts.localcloud.logging.filters import Filter, FilterError, parse
from scripts.localcloud.logging.logs import Logs
from scripts.localcloud.logging.reading import Matched, Position
from scripts.localcloud.logging.store import Entry, LogStore, Row
from scripts.localcloud.logging.times import to_nanoseconds
from scripts.localcloud.web import ApiError, Request, Response, Route

_LOG_NAME = re.compile(r"(projects|organizations|billingAccounts|folders)/[^/]+/logs/[A-Za-z0-9/_.%-]{1,512}")
_PARENT = re.compile(r"(projects|organizations|billingAccounts|folders)/[^/]+")
_PAYLOADS = ("textPayload", "jsonPayload", "protoPayload")
_LARGEST_PAGE = 1000
_LARGEST_ENTRY_BYTES = 256 * 1024  # "Quotas and limits" of Cloud Logging; as is the next
_LARGEST_WRITE_BYTES = 10 << 20
_DEFAULT_PAGE = 50
_AT_ONCE = 200  # entries, within a few milliseconds


class LoggingRoom:
    """write() is for other rooms; clients use the routes."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = LogStore(context)
        self._flushes: list[Callable[[], None]] = []
        self._logs = Logs(context, self._store, self._flush)

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/v2/entries:write", self._write, "logging.entries.write"),
            Route("POST", "/v2/entries:list", self._list, "logging.entries.list"),
            *self._logs.routes(),
        ]

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""

    def status(self) -> dict[str, Any]:
        self._flush()
        return {"entries": self._store.count()}

    async def search(self, text: str, size: int, *, newest_first: bool = True) -> list[Entry]:
        """Up to size entries of all projects that a filter matches. Raises ApiError 400 for a filter that is wrong."""
        self._flush()
        return (await self._store.page((), _filter(text), newest_first, size, None)).entries

    async def since(
        self,
        parent: str,
        upto: int,
        matches: Callable[[Entry], bool],
        make: Callable[[int, Entry], Any],
        longest_s: float = 1.0,
    ) -> Matched:
        """make(time in nanoseconds, entry) of the matching entries of a parent that were written after the id upto."""
        self._flush()
        return await self._store.reader.since(parent, upto, matches, make, longest_s)

    def newest(self) -> int:
        """The id of the entry that was written last; 0 for none."""
        self._flush()
        return self._store.newest()

    def write(self, entries: Sequence[Entry]) -> None:
        """Keep LogEntry dicts; insertId, timestamp, severity and receiveTimestamp are filled in when missing."""
        now = self._context.now()
        self._store.write([_completed(entry, now) for entry in entries])

    def write_requests(self, rows: Sequence[Row]) -> None:
        """Keep complete entries of Cloud Run's request log."""
        self._store.write_requests(rows)

    def before_reading(self, flush: Callable[[], None]) -> None:
        """Have flush() called before entries are read: it writes what a room still holds back."""
        self._flushes.append(flush)

    def _flush(self) -> None:
        for flush in self._flushes:
            flush()

    async def _write(self, request: Request) -> Response:
        body, size = await request.json_object(), int(request.headers.get("content-length") or _LARGEST_WRITE_BYTES)
        if size > _LARGEST_WRITE_BYTES:
            raise ApiError(400, f"Request payload size exceeds the limit: {_LARGEST_WRITE_BYTES} bytes.")
        given = body.get("entries")
        if not isinstance(given, list) or not given:
            raise ApiError(400, "entries: at least one log entry is required.")
        entries, problems = [], {}
        for index, entry in enumerate(given):
            if index % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)  # others have their turn
            try:
                checked = _checked(entry, body)
                if size > _LARGEST_ENTRY_BYTES:
                    _check_size(checked)
                entries.append(checked)
            except ApiError as error:
                if not body.get("partialSuccess"):
                    raise ApiError(400, f"entries[{index}].{error.message}") from None
                problems[str(index)] = error.message
        for first in range(0, 0 if body.get("dryRun") else len(entries), _AT_ONCE):
            self.write(entries[first : first + _AT_ONCE])
            await asyncio.sleep(0)
        if problems:
            raise ApiError(400, f"{len(problems)} of {len(given)} entries were refused: {problems}")
        return Response.of_json({})

    async def _list(self, request: Request) -> Response:
        body = await request.json_object()
        parents = _parents(body)
        wanted = _filter(body.get("filter") or "")
        newest_first = _newest_first(body.get("orderBy") or "")
        size = _page_size(body.get("pageSize"))
        query = hashlib.sha256(json.dumps([parents, body.get("filter"), newest_first]).encode()).hexdigest()[:12]
        after = _after(body.get("pageToken") or "", query)
        self._flush()
        found = await self._store.page(parents, wanted, newest_first, min(size, _LARGEST_PAGE), after)
        answer: dict[str, Any] = {"entries": found.entries} if found.entries else {}
        if found.next is not None:
            answer["nextPageToken"] = _token(found.next, query)
        return Response.of_json(answer)


def _completed(entry: Entry, now: str) -> Entry:
    filled = dict(entry)
    filled["severity"] = severity.name(filled.get("severity", 0)) or "DEFAULT"
    for key, value in (("timestamp", now), ("receiveTimestamp", now), ("insertId", "")):
        filled[key] = filled.get(key) or value or secrets.token_hex(10)
    return filled


def _checked(given: Any, body: dict[str, Any]) -> Entry:
    """An entry with the request's defaults. Raises ApiError 400 with the field first."""
    if not isinstance(given, dict):
        raise ApiError(400, ": expected an object.")
    entry = dict(given)
    entry["logName"] = entry.get("logName") or body.get("logName") or ""
    entry["resource"] = entry.get("resource") or body.get("resource") or {}
    for key in ("labels", "resource"):
        for holder in (body, entry):
            if not isinstance(holder.get(key) or {}, dict):
                raise ApiError(400, f"{key}: expected an object.")
    labels = {**(body.get("labels") or {}), **(entry.get("labels") or {})}
    if labels:
        entry["labels"] = labels
    if not isinstance(entry["logName"], str) or _LOG_NAME.fullmatch(entry["logName"]) is None:
        raise ApiError(400, f"log_name: expected projects/PROJECT/logs/LOG, found {entry['logName']!r}.")
    if not isinstance(entry["resource"], dict) or not entry["resource"].get("type"):
        raise ApiError(400, "resource.type: required; use 'global' when there is none.")
    if entry.get("severity") is not None and severity.number(entry["severity"]) is None:
        raise ApiError(400, f"severity: unknown severity {entry['severity']!r}.")
    value = entry.get("timestamp")
    if value is not None and (not isinstance(value, str) or to_nanoseconds(value) is None):
        raise ApiError(400, f"timestamp: expected an RFC 3339 time, found {value!r}.")
    # severities travel as numbers too, which the schema does not say
    schema.check("logging.v2", "LogEntry", {key: item for key, item in entry.items() if key != "severity"}, "entry")
    if sum(1 for key in _PAYLOADS if key in entry) > 1:
        raise ApiError(400, "payload: only one of text_payload, json_payload, proto_payload may be set.")
    return entry


def _check_size(entry: Entry) -> None:
    size = len(json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode(errors="replace"))
    if size > _LARGEST_ENTRY_BYTES:
        raise ApiError(400, f"size: Log entry with size {size / 1024:.2f}K exceeds maximum size of 256.0K.")


def _parents(body: dict[str, Any]) -> list[str]:
    names = body.get("resourceNames")
    if not names and isinstance(body.get("projectIds"), list):
        names = [f"projects/{each}" for each in body["projectIds"]]
    if not isinstance(names, list) or not names:
        raise ApiError(400, "resource_names: at least one is required, e.g. projects/PROJECT.")
    for name in names:
        if not isinstance(name, str) or not _PARENT.match(name):
            raise ApiError(400, f"resource_names: expected projects/PROJECT, found {name!r}.")
    return ["/".join(name.split("/")[:2]) for name in names]


def _page_size(given: Any) -> int:
    """Numbers may travel as text."""
    size = int(given) if isinstance(given, str) and given.isascii() and given.isdigit() and len(given) < 10 else given
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
        raise ApiError(400, f"page_size: expected a positive number, found {given!r}.")
    return size or _DEFAULT_PAGE


def _filter(text: Any) -> Filter:
    if not isinstance(text, str):
        raise ApiError(400, "filter: expected text.")
    try:
        return parse(text)
    except FilterError as error:
        raise ApiError(400, f"Unparseable filter: {error} in {text!r}") from None


def _newest_first(order: Any) -> bool:
    words = order.split() if isinstance(order, str) else [""]
    if words in ([], ["timestamp"], ["timestamp", "asc"]):
        return False
    if words == ["timestamp", "desc"]:
        return True
    raise ApiError(400, f"order_by: expected 'timestamp asc' or 'timestamp desc', found {order!r}.")


def _token(position: Position, query: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([position.at, position.id, query]).encode()).decode()


def _after(token: Any, query: str) -> Position | None:
    if not token:
        return None
    try:
        at, identity, made_for = json.loads(base64.urlsafe_b64decode(token))
        position = Position(int(at), int(identity))
    except (ValueError, TypeError, RecursionError):
        raise ApiError(400, "page_token: invalid.") from None
    if made_for != query:
        raise ApiError(400, "page_token: it belongs to another filter, order or resource.")
    return position
