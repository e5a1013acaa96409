"""Partial answers: the `fields` parameter of Google's APIs (cloud.google.com/storage/docs/json_api)."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

from scripts.localcloud.web import ApiError, Response

# Which fields are wanted, and of each which part; an empty mask stands for the whole.
Mask = dict[str, "Mask"]

_TOKEN = re.compile(r"\s*([A-Za-z0-9_.@$-]+|\*|[,/()])\s*")
_DEEPEST = 20


@lru_cache(maxsize=256)
def parse(text: str) -> Mask:
    """The mask of e.g. `items(name,owner/entity),nextPageToken`; not to be changed. Raises ApiError 400."""
    tokens, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _invalid(text)
        tokens.append(match[1])
        position = match.end()
    mask = _list(tokens, text, 0)
    if tokens:
        raise _invalid(text)
    return mask


def cut(response: Response, mask: Mask) -> Response:
    """What the client asked for of a JSON answer; errors, media and streams are left alone."""
    body, is_json = response.body, response.content_type.startswith("application/json")
    if response.status != 200 or not isinstance(body, bytes) or not body or not is_json or not mask:
        return response
    value = response.value if response.value is not None else json.loads(body)
    return Response.of_json(select(value, mask), headers=response.headers)


def select(value: Any, mask: Mask) -> Any:
    """What of a JSON value the mask names; lists are looked into."""
    if not mask:
        return value
    if isinstance(value, list):
        return [select(each, mask) for each in value]
    if not isinstance(value, dict):
        return value
    if "*" in mask:
        mask = {key: mask.get(key, mask["*"]) for key in value}
    return {key: select(value[key], inner) if inner else value[key] for key, inner in mask.items() if key in value}


def _list(tokens: list[str], text: str, depth: int) -> Mask:
    mask: Mask = {}
    while True:
        name, inner = _path(tokens, text, depth)
        known = mask.get(name)
        mask[name] = inner if known is None else {**known, **inner} if known and inner else {}
        if not tokens or tokens[0] != ",":
            return mask
        tokens.pop(0)


def _path(tokens: list[str], text: str, depth: int) -> tuple[str, Mask]:
    if not tokens or tokens[0] in ",/()" or depth > _DEEPEST:
        raise _invalid(text)
    name, after = tokens.pop(0), tokens[0] if tokens else ""
    if after == "/":
        tokens.pop(0)
        return name, dict([_path(tokens, text, depth + 1)])
    if after == "(":
        tokens.pop(0)
        inner = _list(tokens, text, depth + 1)
        if not tokens or tokens.pop(0) != ")":
            raise _invalid(text)
        return name, inner
    return name, {}


def _invalid(text: str) -> ApiError:
    return ApiError(400, f"Invalid field selection {text[:200]}", "invalidParameter")
