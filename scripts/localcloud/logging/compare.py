"""Comparing one field of a log entry with a value, as Cloud Logging does it.

A field of the LogEntry itself that is absent has its default; a missing label or payload field fails every comparison.
Numbers, times, durations and severities are compared as such where the field is declared as one; a field of a payload
as what it holds.
"""

from __future__ import annotations

import math
import operator as operators
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from scripts.localcloud.logging import severity
from scripts.localcloud.logging.regex import BadRegex, compiled
from scripts.localcloud.logging.times import to_nanoseconds

Path = tuple[str, ...]
_TIME, _NUMBER, _DURATION, _SEVERITY, _ANY = "time", "number", "duration", "severity", ""
_PAYLOADS = {"jsonPayload", "protoPayload", "labels", "metadata", "errorGroups", "apphub"}
_MESSAGES: dict[str, set[str]] = {
    "resource": {"type", "labels"},
    "httpRequest": {
        "requestMethod", "requestUrl", "requestSize", "status", "responseSize", "userAgent", "remoteIp", "serverIp",
        "referer", "latency", "cacheLookup", "cacheHit", "cacheValidatedWithOriginServer", "cacheFillBytes", "protocol",
    },
    "operation": {"id", "producer", "first", "last"},
    "sourceLocation": {"file", "line", "function"},
    "split": {"uid", "index", "totalSplits"},
}  # fmt: skip
_DEFAULTS: dict[str, Any] = {
    "textPayload": "", "trace": "", "spanId": "", "insertId": "", "logName": "", "traceSampled": False,
    "timestamp": "", "receiveTimestamp": "", "severity": "DEFAULT",
}  # fmt: skip
_KINDS: dict[Path, str] = {
    ("timestamp",): _TIME, ("receiveTimestamp",): _TIME, ("severity",): _SEVERITY,
    ("httpRequest", "latency"): _DURATION,
    **{("httpRequest", name): _NUMBER for name in ("status", "requestSize", "responseSize", "cacheFillBytes")},
    ("sourceLocation", "line"): _NUMBER, ("split", "index"): _NUMBER, ("split", "totalSplits"): _NUMBER,
}  # fmt: skip
_ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    "=": operators.eq, ">": operators.gt, ">=": operators.ge, "<": operators.lt, "<=": operators.le,
}  # fmt: skip
_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_DURATION_TEXT = re.compile(r"-?\d+(?:\.\d+)?(?:h|ms|us|ns|m|s)", re.ASCII)
_NULL = "NULL_VALUE"


def normal(path: Path) -> Path:
    """A path with the LogEntry's own names in the API's spelling: log_name → logName."""
    first = path[0] if path[0] in _PAYLOADS else _camel(path[0])
    if first in _MESSAGES and len(path) > 1:
        return (first, _camel(path[1]), *path[2:])
    return (first, *path[1:])


def problem(path: Path, operator: str, value: str, quoted: bool) -> str:
    """What is wrong with a comparison before any entry is seen; "" when it is fine. The path is a normal() one."""
    field, known = path[0], _MESSAGES.get(path[0], set())
    if field not in _PAYLOADS and field not in _DEFAULTS and not known:
        return f"Field {path[0]!r} is not a field of log entries"
    if known and len(path) > 1 and path[1] not in known:
        return f"Field {path[1]!r} is not a field of {field}"
    if field in _DEFAULTS and len(path) > 1:
        return f"Field {field!r} has no field {path[1]!r}"
    return mistake(_KINDS.get(path, _ANY), operator, value, quoted)


def mistake(kind: str, operator: str, value: str, quoted: bool) -> str:
    """What is wrong with a value of this kind; "" when it is fine."""
    if operator in ("=~", "!~"):
        try:
            compiled(value)
        except BadRegex as error:
            return f"Invalid regular expression ({error})"
        return ""
    if operator == ":" and (kind != _SEVERITY or (value == "*" and not quoted)):
        return ""
    if kind == _TIME and to_nanoseconds(value) is None:
        return f"Expected an RFC 3339 time, found {value!r}"
    if kind == _SEVERITY and severity.number(value) is None:
        return f"Expected a severity such as WARNING, found {value!r}"
    if kind == _DURATION and seconds(value) is None:
        return f"Expected a duration such as 0.5s, found {value!r}"
    if kind == _NUMBER and _number(value) is None:
        return f"Expected a number, found {value!r}"
    return ""


def test(entry: Mapping[str, Any], path: Path, operator: str, value: str, quoted: bool) -> bool:
    """Whether a comparison holds for an entry; for a repeated field, whether it holds for one of its values."""
    found = list(values(entry, path))
    if operator == ":" and value == "*" and not quoted:
        return any(each is not None for each in found)
    if not found and len(path) == 1 and path[0] in _DEFAULTS:
        found = [_DEFAULTS[path[0]]]
    return decide(found, _KINDS.get(path, _ANY), operator, value, quoted)


def decide(found: list[Any], kind: str, operator: str, value: str, quoted: bool) -> bool:
    """Whether a comparison holds for what was found; kind is what the values are declared to be ("" for anything)."""
    null = value == _NULL and not quoted
    if operator in ("!=", "!~"):
        positive = {"!=": "=", "!~": "=~"}[operator]
        return bool(found) and not any(_holds(kind, each, positive, value, null) for each in found)
    return any(_holds(kind, each, operator, value, null) for each in found)


def contains(value: Any, word: str) -> bool:
    """Whether a text occurs in any value (or key of a payload) of an entry, in whatever case."""
    wanted = word.lower()
    return any(wanted in text.lower() for text in texts(value))


def log_id(entry: Mapping[str, Any]) -> str:
    """The part of logName after /logs/, unescaped."""
    return unquote(str(entry.get("logName", "")).partition("/logs/")[2])


def values(value: Any, path: Path) -> Iterator[Any]:
    """What lies at a path; lists are gone through. A null is found as None."""
    if isinstance(value, list):
        for each in value:
            yield from values(each, path)
    elif not path:
        yield value
    elif isinstance(value, Mapping):
        # a key may itself hold dots: the longest that exists wins
        for length in range(len(path), 0, -1):
            key = ".".join(path[:length])
            if key in value:
                yield from values(value[key], path[length:])
                return


def texts(value: Any) -> Iterator[str]:
    """Every text in a value, numbers and keys included."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield str(key)
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)
    elif isinstance(value, bool):
        yield "true" if value else "false"
    elif value is not None:
        yield str(value)


def seconds(text: Any) -> float | None:
    """A duration such as 0.5s, 100ms or 2m in seconds; None for anything else."""
    if not isinstance(text, str) or _DURATION_TEXT.fullmatch(text) is None:
        return None
    unit = text.lstrip("-0123456789.")
    return float(text.removesuffix(unit)) * _UNITS_S[unit]


def _holds(kind: str, found: Any, operator: str, value: str, null: bool) -> bool:
    if found is None or null:
        return null and found is None and operator in ("=", ":")
    if operator == "=~":
        return isinstance(found, str) and compiled(value).found(found)
    if operator == ":" and isinstance(found, (str, Mapping)):
        return contains(found, value)
    left, right = _pair(kind, found, value)
    if left is None or right is None:
        return False
    return _ORDERED["=" if operator == ":" else operator](left, right)


def _pair(kind: str, found: Any, value: str) -> tuple[Any, Any]:
    """Both sides as values that can be compared; None for a side that cannot."""
    if kind == _TIME:
        return to_nanoseconds(str(found)), to_nanoseconds(value)
    if kind == _SEVERITY:
        return severity.number(found), severity.number(value)
    if kind == _DURATION:
        return seconds(found), seconds(value)
    if kind == _NUMBER:
        return _number(found), _number(value)
    if isinstance(found, bool):
        return str(found).lower(), value.lower()
    if isinstance(found, (int, float)):
        return _number(found), _number(value)  # as a payload holds them: doubles
    return (found.lower(), value.lower()) if isinstance(found, str) else (None, None)


def _number(value: Any) -> float | None:
    try:
        found = float(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return None if math.isnan(found) else found


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name)
