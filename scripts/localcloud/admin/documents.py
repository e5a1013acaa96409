"""Resources kept as JSON documents by full name, and what all of Google's APIs do with them: pages, masks, ids."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from scripts.localcloud import schema
from scripts.localcloud.context import Database
from scripts.localcloud.web import ApiError, Request

Document = dict[str, Any]
_TABLE = "CREATE TABLE IF NOT EXISTS admin_documents (name TEXT PRIMARY KEY, document TEXT NOT NULL);"
_LARGEST_PAGE = 1000


class Documents:
    """Names look like projects/P/secrets/S; kind is what errors call such a resource."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._db.script(_TABLE)

    def read(self, name: str) -> Document | None:
        """The document of this name."""
        row = self._db.row("SELECT document FROM admin_documents WHERE name = ?", name)
        return json.loads(row["document"]) if row else None

    def need(self, name: str, kind: str) -> Document:
        """The document of this name. Raises ApiError 404."""
        found = self.read(name)
        if found is None:
            raise ApiError(404, f"{kind} [{name}] not found.")
        return found

    def create(self, name: str, document: Document, kind: str) -> Document:
        """Keep a new document. Raises ApiError 409 when there is one."""
        if self.read(name) is not None:
            raise ApiError(409, f"{kind} [{name}] already exists.")
        return self.save(name, document)

    def save(self, name: str, document: Document) -> Document:
        """Keep a document."""
        text = json.dumps(document, separators=(",", ":"))
        self._db.run("INSERT OR REPLACE INTO admin_documents (name, document) VALUES (?, ?)", name, text)
        return document

    def delete(self, name: str) -> None:
        """Remove a document and all that lie under it."""
        self._db.run(
            "DELETE FROM admin_documents WHERE name = ? OR substr(name, 1, ?) = ?", name, len(name) + 1, f"{name}/"
        )

    def children(self, collection: str) -> list[Document]:
        """The documents directly in a collection (projects/P/secrets) by name."""
        prefix = f"{collection}/"
        rows = self._db.rows(
            "SELECT document FROM admin_documents WHERE substr(name, 1, ?) = ? AND instr(substr(name, ?), '/') = 0"
            " ORDER BY name",
            len(prefix), prefix, len(prefix) + 1,
        )  # fmt: skip
        return [json.loads(row["document"]) for row in rows]

    def matching(self, pattern: str) -> list[Document]:
        """The documents whose name fits a pattern with `*` (which spans slashes too)."""
        rows = self._db.rows("SELECT document FROM admin_documents WHERE name GLOB ? ORDER BY name", pattern)
        return [json.loads(row["document"]) for row in rows]

    def count(self) -> int:
        """How many documents there are."""
        row = self._db.row("SELECT COUNT(*) AS n FROM admin_documents")
        return int(row["n"]) if row else 0


def page(items: Sequence[Document], request: Request, key: str, *, total: bool = False, most: int = 100) -> Document:
    """The part of a list that pageSize and pageToken ask for, under `key` as the API calls it. Raises ApiError 400."""
    size, start = _number(request, "pageSize"), _number(request, "pageToken")
    size = min(size or most, _LARGEST_PAGE)
    answer: Document = {key: list(items[start : start + size])}
    if start + size < len(items):
        answer["nextPageToken"] = str(start + size)
    if total:
        answer["totalSize"] = len(items)
    return answer


async def body(request: Request, api: str, name: str, root: str) -> Document:
    """The request's body, checked against schema `name` of an API. Raises ApiError 400."""
    given: Document = schema.without_nulls(await request.json_object())
    schema.check(api, name, given, root)
    return given


def new_id(request: Request, parameter: str, pattern: str) -> str:
    """The id that a create request chooses. Raises ApiError 400."""
    found = request.query.get(parameter, "")
    if re.fullmatch(pattern, found, re.ASCII) is None:
        raise ApiError(400, f"{parameter}: expected {pattern}, found {found[:300]!r}.")
    return found


def masked(old: Document, given: Document, mask: str, allowed: Sequence[str]) -> Document:
    """The document with the fields of an update mask replaced. Raises ApiError 400 for another field than allowed."""
    paths = [_camel(path) for path in mask.split(",") if path]
    if not paths:
        raise ApiError(400, "updateMask: required.")
    changed = dict(old)
    for path in paths:
        if path not in allowed:
            raise ApiError(400, f"updateMask: {path!r} cannot be updated; expected {', '.join(allowed)}.")
        if path in given:
            changed[path] = given[path]
        else:
            changed.pop(path, None)
    return changed


def _number(request: Request, name: str) -> int:
    text = request.query.get(name) or "0"
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ApiError(400, f"Invalid value at '{name}', {text[:50]!r}")
    return int(text)


def _camel(path: str) -> str:
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), path.strip())
