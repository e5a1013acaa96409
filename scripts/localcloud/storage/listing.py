"""Lists of objects: prefix, delimiter, offsets, versions, globs and pages. Pure; the index hands in a scan."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from scripts.localcloud.storage.conditions import integer
from scripts.localcloud.storage.globs import compile_glob
from scripts.localcloud.web import ApiError

MAX_PAGE = 1000


class Named(Protocol):
    """What a listing must know of a row."""

    @property
    def name(self) -> str: ...

    @property
    def generation(self) -> int: ...


Row = TypeVar("Row", bound=Named)
# Rows from (name, generation) on, sorted by both.
Scan = Callable[[str, int], Iterator[Row]]


@dataclass(frozen=True)
class Query:
    """What a client asks of a list."""

    prefix: str = ""
    delimiter: str = ""
    start: str = ""
    end: str = ""
    versions: bool = False
    trailing: bool = False
    glob: re.Pattern[str] | None = None
    limit: int = MAX_PAGE
    after: tuple[str, int] = ("", 0)

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Query:
        """From query parameters. Raises ApiError 400 for a bad number, token or glob."""
        glob = query.get("matchGlob", "")
        return cls(
            prefix=query.get("prefix", ""),
            delimiter=query.get("delimiter", ""),
            start=query.get("startOffset", ""),
            end=query.get("endOffset", ""),
            versions=truth(query.get("versions")),
            trailing=truth(query.get("includeTrailingDelimiter")),
            glob=compile_glob(glob) if glob else None,
            limit=page_size(query),
            after=_position(query.get("pageToken", "")),
        )


@dataclass
class Page(Generic[Row]):
    """A page of a list; token is empty on the last one."""

    items: list[Row] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    token: str = ""

    def __len__(self) -> int:
        return len(self.items) + len(self.prefixes)


def page(query: Query, scan: Scan[Row]) -> Page[Row]:
    """The page of a query. A prefix that is rolled up is skipped with one seek, however many objects it hides."""
    found: Page[Row] = Page()
    position = max(query.after, (query.prefix, 0), (query.start, 0))
    for row in _matching(query, scan, position):
        rolled = query.delimiter and _rolled(query, row.name)
        if rolled and found.prefixes and found.prefixes[-1] == rolled:
            if row.name == rolled:  # another generation of the object named like the prefix
                found.items.append(row)
            continue
        if len(found.items) + len(found.prefixes) >= query.limit:
            found.token = _token(position)
            break
        if rolled:
            found.prefixes.append(rolled)
            if query.trailing and row.name == rolled:
                found.items.append(row)
            position = (successor(rolled), 0)
        else:
            found.items.append(row)
            position = (row.name, row.generation + 1)
    return found


def successor(prefix: str) -> str:
    """The smallest name after every name with this prefix, in UTF-8 order; names end at U+10FFFF."""
    for at in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[at])
        if code < 0x10FFFF:
            # 0xD800 to 0xDFFF are surrogates: no character has such a number.
            return prefix[:at] + chr(0xE000 if code == 0xD7FF else code + 1)
    return "\U0010ffff" * 1024


def truth(value: str | None) -> bool:
    """A boolean query parameter; clients write true, True, 1."""
    return (value or "").lower() in ("true", "1")


def page_size(query: Mapping[str, str]) -> int:
    """maxResults, at most 1000 as at Google; 0 stands for no wish. Raises ApiError 400."""
    return min(integer(query, "maxResults") or MAX_PAGE, MAX_PAGE)


def _matching(query: Query, scan: Scan[Row], position: tuple[str, int]) -> Iterator[Row]:
    """The rows that count, of a rolled-up prefix only the first (and with `trailing` those named like it)."""
    while True:
        for row in scan(*position):
            if not row.name.startswith(query.prefix) or (query.end and row.name >= query.end):
                return
            rolled = query.delimiter and _rolled(query, row.name)
            if query.glob is not None and not (
                query.glob.fullmatch(row.name) or (rolled and query.glob.fullmatch(rolled))
            ):
                continue
            yield row
            if rolled and not (query.trailing and row.name == rolled):
                position = (successor(rolled), 0)
                break
        else:
            return


def _rolled(query: Query, name: str) -> str:
    if not query.delimiter:
        return ""
    at = name.find(query.delimiter, len(query.prefix))
    return name[: at + len(query.delimiter)] if at >= 0 else ""


def _token(position: tuple[str, int]) -> str:
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode()


def _position(token: str) -> tuple[str, int]:
    if not token:
        return "", 0
    try:
        name, generation = json.loads(base64.urlsafe_b64decode(token))
        name.encode()
    except (ValueError, TypeError, AttributeError, RecursionError):
        name, generation = None, None
    if not isinstance(name, str) or not isinstance(generation, int) or not 0 <= generation < 2**63:
        raise ApiError(400, f"Invalid value for pageToken: {token[:100]!r}", "invalidParameter")
    return name, generation
