"""The words of Cloud Logging's filter language, each with its place, and what quoted ones mean."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<space>(?:\s|--[^\n]*)+)
      | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<operator>!=|>=|<=|=~|!~|=|>|<|:)
      | (?P<punctuation>[(),])
      | (?P<minus>-(?=[A-Za-z("']))
      | (?P<word>[^\s"'()=!<>:~,]+(?:"(?:[^"\\]|\\.)*"[^\s"'()=!<>:~,]*)*)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:x(?P<hex>[0-9A-Fa-f]{2})|u(?P<unicode>[0-9A-Fa-f]{4})|(?P<plain>.))", re.DOTALL)
_PART = re.compile(r'"(?:[^"\\]|\\.)*"|[^."]+', re.DOTALL)


class FilterError(ValueError):
    """The filter cannot be understood; position is the 0-based place in its text."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(f"{message} at position {position}")
        self.position = position


@dataclass(frozen=True)
class Token:
    """kind is string, operator, punctuation, minus or word."""

    kind: str
    text: str
    position: int


def tokens(text: str) -> Iterator[Token]:
    """The tokens of a filter, without spaces and comments. Raises FilterError."""
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            what = "Unterminated string" if text[position] in "\"'" else f"Unexpected {text[position]!r}"
            raise FilterError(what, position)
        if match.lastgroup != "space":
            yield Token(str(match.lastgroup), match[0], position)
        position = match.end()


def path_of(token: Token) -> tuple[str, ...]:
    """`labels."run.googleapis.com/x".y` → ("labels", "run.googleapis.com/x", "y"). Raises FilterError."""
    if token.kind != "word":
        return (unquoted(token.text),)
    parts: list[str] = []
    position = 0
    while True:
        part = _PART.match(token.text, position)
        if part is None:
            before = token.text[:position]
            raise FilterError(f"Expected the name of a field after {before!r}", token.position + position)
        parts.append(unquoted(part[0]))
        position = part.end()
        if position == len(token.text):
            return tuple(parts)
        if token.text[position] != ".":
            raise FilterError(f"Expected a dot in {token.text!r}", token.position + position)
        position += 1


def unquoted(text: str) -> str:
    """A text without its quotes and escapes."""
    return _ESCAPE.sub(_unescaped, text[1:-1]) if _is_quoted(text) else text


def pattern_of(text: str) -> str:
    r"""A regular expression without its quotes: \" and \\ are undone, all else is the expression's own, as \d."""
    return re.sub(r'\\(["\'\\])', r"\1", text[1:-1]) if _is_quoted(text) else text


def _is_quoted(text: str) -> bool:
    return len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'"


def _unescaped(found: re.Match[str]) -> str:
    code = found["hex"] or found["unicode"]
    if code:
        return chr(int(code, 16))
    return {"n": "\n", "t": "\t", "r": "\r"}.get(found["plain"], found["plain"])
