"""matchGlob patterns (cloud.google.com/storage/docs/json_api/v1/objects/list#list-objects-and-prefixes-using-glob)."""

from __future__ import annotations

import re

from scripts.localcloud.web import ApiError

_MAX_LENGTH = 1024


def compile_glob(pattern: str) -> re.Pattern[str]:
    """A regular expression for whole names.

    `*` and `?` stay within a path segment, `**` crosses slashes (`**/` also matches nothing), `[a-z]` and `[!a-z]`
    are classes, `{a,b}` alternatives, a backslash takes the next character as it is. Raises ApiError 400.
    """
    if len(pattern) > _MAX_LENGTH:
        raise ApiError(400, f"matchGlob is longer than {_MAX_LENGTH} characters", "invalid")
    out: list[str] = []
    position = depth = 0
    while position < len(pattern):
        piece, position, depth = _piece(pattern, position, depth)
        out.append(piece)
    if depth:
        raise _bad(pattern, "an open '{'")
    try:
        return re.compile("".join(out), re.DOTALL)
    except (re.error, OverflowError, RecursionError):
        raise _bad(pattern, "a bad character class") from None


def _piece(pattern: str, at: int, depth: int) -> tuple[str, int, int]:
    """The expression of what stands at a position, the next position and the depth of alternatives there."""
    if pattern.startswith("**/", at):
        return "(?:.*/)?", at + 3, depth
    stars = re.compile(r"\*+").match(pattern, at)
    if stars is not None:
        return (".*" if len(stars.group()) > 1 else "[^/]*"), stars.end(), depth
    char = pattern[at]
    if char == "[":
        return *_class(pattern, at), depth
    if char == "\\" and at + 1 < len(pattern):
        return re.escape(pattern[at + 1]), at + 2, depth
    if char == "{":
        return "(?:", at + 1, depth + 1
    if char == "}" and depth:
        return ")", at + 1, depth - 1
    if char == "," and depth:
        return "|", at + 1, depth
    return ("[^/]" if char == "?" else re.escape(char)), at + 1, depth


def _class(pattern: str, at: int) -> tuple[str, int]:
    end = pattern.find("]", at + 2)
    if end < 0:
        raise _bad(pattern, "an open '['")
    inside = pattern[at + 1 : end]
    negated = inside[0] in "!^"
    inside = inside[1:] if negated else inside
    safe = re.sub(r"([\\\[\]^&~|])", r"\\\1", inside)
    return ("[^/" + safe if negated else "[" + safe) + "]", end + 1


def _bad(pattern: str, what: str) -> ApiError:
    return ApiError(400, f"Invalid value for matchGlob: {pattern!r} has {what}", "invalidParameter")
