"""Which objects a list shows: labelSelector and fieldSelector in Kubernetes' notation, and pages.

A label selector is a list of `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, `a`, `!a`, all of which must hold; a
field selector of `metadata.name=x` and `!=`. As in Kubernetes an absent label is "not equal" and "not in".
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from scripts.localcloud.web import ApiError

Document = dict[str, Any]
_WORD = r"[A-Za-z0-9_./-]+"
_SET = re.compile(rf"(?P<key>{_WORD})\s+(?P<how>in|notin)\s*\(\s*(?P<values>[^()]*)\)", re.ASCII)
_EQUAL = re.compile(rf"(?P<key>{_WORD})\s*(?P<how>==?|!=)\s*(?P<value>[A-Za-z0-9_.-]*)", re.ASCII)
_EXISTS = re.compile(rf"(?P<how>!?)\s*(?P<key>{_WORD})", re.ASCII)
_FIELD = re.compile(r"(?P<path>[A-Za-z]\w*(?:\.[A-Za-z]\w*)*)\s*(?P<how>==?|!=)\s*(?P<value>[^,]*)", re.ASCII)


def select(documents: Iterable[Document], labels: str = "", fields: str = "") -> list[Document]:
    """The documents that both selectors choose. Raises ApiError 400 for one that cannot be read."""
    tests = [_label_test(part) for part in _parts(labels)]
    places = [_field_test(part) for part in _parts(fields)]
    return [
        each
        for each in documents
        if all(_by_label(each["metadata"].get("labels") or {}, *test) for test in tests)
        and all(_by_field(each, *place) for place in places)
    ]


def page(kind: str, api: str, documents: Iterable[Document], query: Mapping[str, str]) -> Document:
    """A list answer: labelSelector, fieldSelector, limit and continue applied. Raises ApiError 400."""
    if query.get("watch", "").lower() not in ("", "false"):
        raise ApiError(400, "watch: not supported by Cloud Run.")
    chosen = select(documents, query.get("labelSelector", ""), query.get("fieldSelector", ""))
    limit = query.get("limit", "")
    if limit and not (limit.isascii() and limit.isdigit()):
        raise ApiError(400, f"Invalid value at 'limit' (TYPE_INT32), {json.dumps(limit[:40])}")
    window, following = cut(chosen, query.get("continue", ""), int(limit or 0), _name)
    metadata = {"continue": following} if following else {}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, "items": window}


def cut(items: list[Document], token: str, size: int, name: Any) -> tuple[list[Document], str]:
    """One page of a list and the next page's token ("" = this is the last); size 0 takes all. name(item) tells apart.

    A token names the item before the page, and when that was made, so that what comes and goes between two calls moves
    no other item. Raises ApiError 400 for a token that is none.
    """
    start = 0
    if token:
        try:
            newest_first, made, last = json.loads(base64.urlsafe_b64decode(token.encode("ascii")))
            there = (at + 1 for at, each in enumerate(items) if (_made(each), name(each)) == (made, last))
            start = next(there, -1)
            if start < 0:
                start = sum(1 for each in items if (_made(each) >= made if newest_first else _made(each) <= made))
        except (ValueError, TypeError, RecursionError):
            raise ApiError(400, f"The continue token {token[:80]!r} is not valid.") from None
    window = items[start : start + size] if size else items[start:]
    if not window or len(items) <= start + len(window):
        return window, ""
    mark = json.dumps([_made(items[0]) > _made(items[-1]), _made(window[-1]), name(window[-1])])
    return window, base64.urlsafe_b64encode(mark.encode()).decode()


def _made(document: Document) -> str:
    return str(document["metadata"]["creationTimestamp"])


def _name(document: Document) -> str:
    return str(document["metadata"]["name"])


def _parts(selector: str) -> list[str]:
    """The selector's parts: commas within parentheses do not part."""
    found, depth, part = [], 0, ""
    for letter in selector:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            found.append(part)
            part = ""
        else:
            part += letter
    return [each.strip() for each in [*found, part] if each.strip()]


def _label_test(part: str) -> tuple[str, str, tuple[str, ...]]:
    """Key, in | notin | has | lacks, and values."""
    if match := _SET.fullmatch(part):
        return match["key"], match["how"], tuple(each.strip() for each in match["values"].split(","))
    if match := _EQUAL.fullmatch(part):
        return match["key"], "notin" if match["how"] == "!=" else "in", (match["value"],)
    if match := _EXISTS.fullmatch(part):
        return match["key"], "lacks" if match["how"] else "has", ()
    raise ApiError(400, f"Invalid label selector: unable to parse requirement: {part[:200]!r}")


def _by_label(labels: Mapping[str, str], key: str, how: str, values: tuple[str, ...]) -> bool:
    if how in ("has", "lacks"):
        return (key in labels) is (how == "has")
    return (labels.get(key) in values) is (how == "in")


def _field_test(part: str) -> tuple[str, str, str]:
    match = _FIELD.fullmatch(part)
    if match is None:
        raise ApiError(400, f"Invalid field selector: unable to parse requirement: {part[:200]!r}")
    return match["path"], match["how"], match["value"].strip()


def _by_field(document: Document, path: str, how: str, value: str) -> bool:
    found: Any = document
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    if isinstance(found, dict | list):
        raise ApiError(400, f"Invalid field selector: {path!r} is no field with a value.")
    return (str("" if found is None else found) == value) is (how != "!=")
