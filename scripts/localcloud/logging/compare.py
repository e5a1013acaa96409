"""Comparing one field of a log entry with a value, as Cloud Logging does it.

A field of the LogEntry itself that is absent has its default; a missing label or payload field fails every comparison.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from scripts.localcloud.logging import severity
from scripts.localcloud.logging.times import to_nanoseconds

_TIMES = {"timestamp", "receiveTimestamp"}
_FREE = {"jsonPayload", "protoPayload", "labels", "resource", "httpRequest", "operation", "sourceLocation"}
_FREE |= {"metadata", "split", "errorGroups", "apphub"}
_DEFAULTS: dict[str, Any] = {
    "textPayload": "", "trace": "", "spanId": "", "insertId": "", "logName": "", "traceSampled": False,
    "timestamp": "", "receiveTimestamp": "", "severity": "DEFAULT",
}  # fmt: skip
_SNAKE = {"log_name": "logName", "insert_id": "insertId", "text_payload": "textPayload", "json_payload": "jsonPayload"}
_SNAKE |= {"receive_timestamp": "receiveTimestamp", "http_request": "httpRequest", "span_id": "spanId"}


def problem(path: tuple[str, ...], operator: str, value: str) -> str:
    """What is wrong with a comparison before any entry is seen; "" when it is fine."""
    field = _SNAKE.get(path[0], path[0])
    if field not in _FREE and field not in _DEFAULTS:
        return f"Field {path[0]!r} is not a field of log entries"
    if operator == ":" and value == "*":
        return ""
    if field in _TIMES and operator in ("=", "!=", ">", ">=", "<", "<=") and to_nanoseconds(value) is None:
        return f"Expected an RFC 3339 time, found {value!r}"
    if field == "severity" and operator in ("=", "!=", ">", ">=", "<", "<=") and severity.number(value) is None:
        return f"Expected a severity such as WARNING, found {value!r}"
    return ""


def test(entry: Mapping[str, Any], path: tuple[str, ...], operator: str, value: str, quoted: bool) -> bool:
    """Whether a comparison holds for an entry; for a repeated field, whether it holds for one of its values."""
    path = (_SNAKE.get(path[0], path[0]), *path[1:])
    found = list(_values(entry, path))
    if operator == ":" and value == "*" and not quoted:
        return bool(found)
    if not found and len(path) == 1 and path[0] in _DEFAULTS:
        found = [_DEFAULTS[path[0]]]
    if operator in ("!=", "!~"):
        positive = {"!=": "=", "!~": "=~"}[operator]
        return bool(found) and not any(_holds(path, each, positive, value) for each in found)
    return any(_holds(path, each, operator, value) for each in found)


def contains(value: Any, word: str) -> bool:
    """Whether a text occurs in any value (or key of a payload) of an entry, in whatever case."""
    wanted = word.lower()
    return any(wanted in text.lower() for text in _texts(value))


def log_id(entry: Mapping[str, Any]) -> str:
    """The part of logName after /logs/, unescaped."""
    return unquote(str(entry.get("logName", "")).partition("/logs/")[2])


def _values(value: Any, path: tuple[str, ...]) -> Iterator[Any]:
    if isinstance(value, list):
        for each in value:
            yield from _values(each, path)
    elif not path:
        if value is not None:
            yield value
    elif isinstance(value, Mapping):
        # a key may itself hold dots: the longest that exists wins
        for length in range(len(path), 0, -1):
            key = ".".join(path[:length])
            if key in value:
                yield from _values(value[key], path[length:])
                return


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield str(key)
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, bool):
        yield "true" if value else "false"
    elif value is not None:
        yield str(value)


def _holds(path: tuple[str, ...], found: Any, operator: str, value: str) -> bool:
    if operator == "=~":
        return isinstance(found, str) and re.search(value, found) is not None
    if operator == ":":
        return contains(found, value) if isinstance(found, (str, Mapping)) else _holds(path, found, "=", value)
    left: Any
    right: Any
    if path[0] in _TIMES:
        left, right = to_nanoseconds(str(found)), to_nanoseconds(value)
    elif path == ("severity",):
        left, right = severity.number(found), severity.number(value)
    elif isinstance(found, bool):
        left, right = str(found).lower(), value.lower()
    elif isinstance(found, (int, float)):
        left, right = float(found), _number(value)
    elif isinstance(found, str):
        left, right = found.lower(), value.lower()
    else:
        return False
    return left is not None and right is not None and _compared(left, operator, right)


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _compared(left: Any, operator: str, right: Any) -> bool:
    if operator == "=":
        return bool(left == right)
    if operator == ">":
        return bool(left > right)
    if operator == ">=":
        return bool(left >= right)
    if operator == "<":
        return bool(left < right)
    return bool(left <= right)
