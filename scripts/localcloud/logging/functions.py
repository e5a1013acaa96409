"""The functions of Cloud Logging's filter language: log_id, source, sample, ip_in_net, SEARCH, cast, regexp_extract.

A test stands for itself; a value (cast, regexp_extract) is compared with something. Source: "Logging query language".
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import zoneinfo
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from scripts.localcloud.logging import compare
from scripts.localcloud.logging.regex import BadRegex, compiled
from scripts.localcloud.logging.times import to_nanoseconds

Entry = Mapping[str, Any]
TESTS = ("log_id", "source", "sample", "ip_in_net", "search")
VALUES = ("cast", "regexp_extract")
_TYPES = {
    "STRING": "", "INT64": "number", "FLOAT64": "number", "DOUBLE": "number", "BOOL": "bool", "TIMESTAMP": "time",
    "DURATION": "duration", "SEVERITY": "severity",
}  # fmt: skip
_WORD = re.compile(r"\w+")
_PHRASE = re.compile(r"`([^`]*)`")


class BadCall(ValueError):
    """Arguments that a function cannot have; index is the argument's number from 0."""

    def __init__(self, message: str, index: int = 0) -> None:
        super().__init__(message)
        self.index = index


@dataclass(frozen=True)
class Argument:
    """A path, a text, or another function's values."""

    text: str
    path: tuple[str, ...]
    values: Values | None = None


@dataclass(frozen=True)
class Values:
    """What a value function gives for an entry, and what kind of value that is (see compare.decide)."""

    read: Callable[[Entry], list[Any]]
    kind: str


def test(name: str, given: Sequence[Argument]) -> Callable[[Entry], bool]:
    """The predicate of log_id, source, sample, ip_in_net or SEARCH. Raises BadCall."""
    if name == "search":
        return _search(given)
    _count(name, given, 1 if name in ("log_id", "source") else 2)
    if name == "log_id":
        wanted = given[0].text
        return lambda entry: compare.log_id(entry) == wanted
    if name == "source":
        parent = given[0].text.rstrip("/")
        kinds = ("project", "folder", "organization", "billingAccount")
        if parent.partition("/")[0].rstrip("s") not in kinds or not parent.partition("/")[2]:
            raise BadCall(f"Expected a source such as projects/PROJECT, found {parent!r}")
        plural = f"{parent.partition('/')[0].rstrip('s')}s/{parent.partition('/')[2]}/logs/"
        return lambda entry: str(entry.get("logName", "")).startswith(plural)
    return _sample(given) if name == "sample" else _ip_in_net(given)


def values(name: str, given: Sequence[Argument]) -> Values:
    """What cast or regexp_extract gives. Raises BadCall."""
    return _cast(given) if name == "cast" else _extract(given)


def _count(name: str, given: Sequence[Argument], wanted: int) -> None:
    if len(given) != wanted:
        raise BadCall(f"Function {name!r} takes {wanted} arguments, found {len(given)}", max(len(given) - 1, 0))


def _sample(given: Sequence[Argument]) -> Callable[[Entry], bool]:
    """By a hash of the field, so that the same entries are chosen every time."""
    try:
        share = float(given[1].text)
    except ValueError:
        share = -1.0
    if not 0 < share <= 1:
        raise BadCall(f"Expected a fraction between 0 and 1, found {given[1].text!r}", 1)
    path = _path(given[0])

    def chosen(entry: Entry) -> bool:
        found = next(iter(compare.values(entry, path)), None)
        if found is None:
            return False
        number = int.from_bytes(hashlib.blake2b(str(found).encode(), digest_size=8).digest(), "big")
        return number < share * 2**64

    return chosen


def _ip_in_net(given: Sequence[Argument]) -> Callable[[Entry], bool]:
    try:
        net = ipaddress.ip_network(given[1].text, strict=False)
    except ValueError:
        raise BadCall(f"Expected a network such as 10.0.0.0/8, found {given[1].text!r}", 1) from None
    path = _path(given[0])

    def inside(entry: Entry) -> bool:
        for found in compare.values(entry, path):
            try:
                if ipaddress.ip_address(str(found)) in net:
                    return True
            except ValueError:
                continue
        return False

    return inside


def _search(given: Sequence[Argument]) -> Callable[[Entry], bool]:
    """All words, in any order and case, as words; what stands in backticks as it is."""
    if not 1 <= len(given) <= 2:
        raise BadCall(f"Function 'search' takes 1 or 2 arguments, found {len(given)}")
    text = given[-1].text
    path = _path(given[0]) if len(given) == 2 else ()
    phrases = _PHRASE.findall(text)
    words = {word.lower() for word in _WORD.findall(_PHRASE.sub(" ", text))}

    def holds(entry: Entry) -> bool:
        found = [each for value in compare.values(entry, path) for each in compare.texts(value)]
        if not all(any(phrase in each for each in found) for phrase in phrases):
            return False
        return words <= {word.lower() for each in found for word in _WORD.findall(each)}

    return holds


def _cast(given: Sequence[Argument]) -> Values:
    if not 2 <= len(given) <= 3:
        raise BadCall(f"Function 'cast' takes 2 or 3 arguments, found {len(given)}")
    wanted = given[1].text.upper()
    if wanted not in _TYPES:
        raise BadCall(f"Expected one of {', '.join(_TYPES)}, found {given[1].text!r}", 1)
    read, kind = _reader(given[0]), _TYPES[wanted]
    zone = UTC if len(given) == 2 else _zone(given[2].text)
    if wanted == "STRING":
        return Values(lambda entry: [_string(each, zone) for each in read(entry) if each is not None], kind)
    if wanted == "BOOL":
        return Values(lambda entry: [str(each).lower() == "true" for each in read(entry) if each is not None], "")
    return Values(read, kind)


def _zone(name: str) -> Any:
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        raise BadCall(f"Expected a time zone such as Europe/Berlin, found {name!r}", 2) from None


def _string(value: Any, zone: Any) -> str:
    at = to_nanoseconds(value) if isinstance(value, str) else None
    if at is None or zone is UTC:
        return str(value).lower() if isinstance(value, bool) else str(value)
    return datetime.fromtimestamp(at / 1e9, UTC).astimezone(zone).isoformat()


def _extract(given: Sequence[Argument]) -> Values:
    _count("regexp_extract", given, 2)
    try:
        pattern = compiled(given[1].text)
    except BadRegex as error:
        raise BadCall(f"Invalid regular expression ({error})", 1) from None
    if pattern.groups > 1:
        raise BadCall(f"Expected a regular expression with one group, found {pattern.groups}", 1)
    if pattern.groups == 0:
        pattern = compiled(f"({given[1].text})")
    read = _reader(given[0])

    def extracted(entry: Entry) -> list[Any]:
        found = (pattern.group(str(each)) for each in read(entry) if each is not None)
        return [each for each in found if each is not None]

    return Values(extracted, "")


def _reader(given: Argument) -> Callable[[Entry], list[Any]]:
    if given.values is not None:
        return given.values.read
    path = _path(given)
    return lambda entry: list(compare.values(entry, path))


def _path(given: Argument) -> tuple[str, ...]:
    path = compare.normal(given.path)
    if wrong := compare.problem(path, ":", "*", False):
        raise BadCall(wrong)
    return path
