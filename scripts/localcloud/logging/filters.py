"""The filter language of Cloud Logging, as far as operators need it; parse() gives a predicate over log entries.

Grammar (NOT binds closest, then OR, then AND, as Google documents it; a newline or a space between terms is AND):
    filter  := any ((AND)? any)*          any  := term (OR term)*          term := (NOT | -) term | ( filter ) | test
    test    := PATH op VALUE | PATH op ( VALUE (OR VALUE)* ) | WORD        op   := = != > >= < <= : =~ !~
`:*` asks for existence. Text is compared without regard to case, except by regular expressions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scripts.localcloud.logging import compare

Entry = Mapping[str, Any]
Predicate = Callable[[Entry], bool]

_TOKEN = re.compile(
    r"""(?P<space>(?:\s|--[^\n]*)+)
      | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<operator>!=|>=|<=|=~|!~|=|>|<|:)
      | (?P<punctuation>[(),])
      | (?P<minus>-(?=[A-Za-z("]))
      | (?P<word>[^\s"'()=!<>:~,]+(?:"(?:[^"\\]|\\.)*"[^\s"'()=!<>:~,]*)*)""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:x(?P<hex>[0-9A-Fa-f]{2})|u(?P<unicode>[0-9A-Fa-f]{4})|(?P<plain>.))", re.DOTALL)
_KEYWORDS = {"AND", "OR", "NOT"}
_DEEPEST = 50


class FilterError(ValueError):
    """The filter cannot be understood; position is the 0-based place in its text."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(f"{message} at position {position}")
        self.position = position


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    position: int


@dataclass(frozen=True)
class Comparison:
    """One comparison `path operator value`; those that every entry must pass are offered to the store as hints."""

    path: tuple[str, ...]
    operator: str
    value: str
    quoted: bool

    def __call__(self, entry: Entry) -> bool:
        return compare.test(entry, self.path, self.operator, self.value, self.quoted)


@dataclass(frozen=True)
class Filter:
    """A parsed filter: matches(entry), and the tests that are joined by AND at the top."""

    matches: Predicate
    required: tuple[Comparison, ...]


def parse(text: str) -> Filter:
    """Parse a filter. Raises FilterError with the position of what it cannot understand."""
    parser = _Parser(list(_tokens(text)), len(text))
    if not parser.tokens:
        return Filter(lambda entry: True, ())
    required: list[Comparison] = []
    predicate = parser.filter(required)
    if parser.here is not None:
        raise FilterError(f"Unexpected {parser.here.text!r}", parser.here.position)
    return Filter(predicate, tuple(required))


def _tokens(text: str) -> Iterator[_Token]:
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            what = "Unterminated string" if text[position] in "\"'" else f"Unexpected {text[position]!r}"
            raise FilterError(what, position)
        if match.lastgroup != "space":
            yield _Token(str(match.lastgroup), match[0], position)
        position = match.end()


class _Parser:
    def __init__(self, tokens: list[_Token], end: int) -> None:
        self.tokens = tokens
        self._next = 0
        self._end = end
        self._depth = 0

    @property
    def here(self) -> _Token | None:
        return self.tokens[self._next] if self._next < len(self.tokens) else None

    def filter(self, required: list[Comparison] | None = None) -> Predicate:
        terms = [self._any(required)]
        while self.here is not None and self.here.text != ")":
            if self._take_word("AND") and (self.here is None or self.here.text == ")"):
                raise FilterError("Expected a comparison after AND", self._position())
            terms.append(self._any(required))
        return terms[0] if len(terms) == 1 else lambda entry: all(term(entry) for term in terms)

    def _any(self, required: list[Comparison] | None) -> Predicate:
        terms = [self._term()]
        while self._take_word("OR"):
            terms.append(self._term())
        if len(terms) > 1:
            return lambda entry: any(term(entry) for term in terms)
        if required is not None and isinstance(terms[0], Comparison):
            required.append(terms[0])
        return terms[0]

    def _term(self) -> Predicate:
        token = self.here
        if token is None:
            raise FilterError("Expected a comparison, found the end", self._end)
        if token.kind == "minus" or (token.kind == "word" and token.text == "NOT"):
            self._next += 1
            inner = self._nested(self._term)
            return lambda entry: not inner(entry)
        if token.text == "(" and token.kind == "punctuation":
            self._next += 1
            inner = self._nested(self.filter)
            self._expect(")")
            return inner
        return self._test()

    def _nested(self, parse_inner: Callable[[], Predicate]) -> Predicate:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise FilterError("Nested too deeply", self._position())
        try:
            return parse_inner()
        finally:
            self._depth -= 1

    def _test(self) -> Predicate:
        token = self._advance("a field or a word")
        if token.kind not in ("word", "string") or token.text in _KEYWORDS:
            raise FilterError(f"Expected a field, found {token.text!r}", token.position)
        after = self.here
        if after is not None and after.text == "(" and after.position == token.position + len(token.text):
            return self._function(token)
        if after is None or after.kind != "operator":
            word = _unquoted(token.text)
            return lambda entry: compare.contains(entry, word)
        self._next += 1
        path = _path(token)
        if self.here is not None and self.here.text == "(" and self.here.kind == "punctuation":
            return self._values(path, after)
        return self._value(path, after)

    def _values(self, path: tuple[str, ...], operator: _Token) -> Predicate:
        """field = (a OR b): the comparison is distributed."""
        self._expect("(")
        joiner, tests = "", [self._value(path, operator)]
        while (found := self._take_word("OR") or self._take_word("AND")) is not None:
            if joiner and joiner != found.text:
                raise FilterError("AND and OR cannot be mixed in a list of values", found.position)
            joiner = found.text
            tests.append(self._value(path, operator))
        self._expect(")")
        if joiner == "AND":
            return lambda entry: all(test(entry) for test in tests)
        return lambda entry: any(test(entry) for test in tests)

    def _value(self, path: tuple[str, ...], operator: _Token) -> Comparison:
        token = self._advance("a value")
        text = token.text
        if token.kind == "minus" and self.here is not None:  # a negative word: -Infinity
            text += self._advance("a value").text
        elif token.kind not in ("word", "string") or (token.kind == "word" and text in _KEYWORDS):
            raise FilterError(f"Expected a value, found {text!r}", token.position)
        # a bare time holds colons, which are operators elsewhere: 2026-11-20T02:00:00Z
        while token.kind == "word" and self.here is not None and self.here.text == ":" and self._touches():
            text += self._advance("a value").text + self._advance("a value").text
        value = _unquoted(text)
        self._check(path, operator, value, token)
        return Comparison(path, operator.text, value, token.kind == "string")

    def _check(self, path: tuple[str, ...], operator: _Token, value: str, token: _Token) -> None:
        if operator.text in ("=~", "!~"):
            try:
                re.compile(value)
            except (re.error, OverflowError) as error:
                raise FilterError(f"Invalid regular expression ({error})", token.position) from None
        problem = compare.problem(path, operator.text, value)
        if problem:
            raise FilterError(problem, token.position)

    def _function(self, name: _Token) -> Predicate:
        if name.text != "log_id":
            raise FilterError(f"Function {name.text!r} is not imitated by the stand-in", name.position)
        self._expect("(")
        wanted = _unquoted(self._advance("a log id").text)
        self._expect(")")
        return lambda entry: compare.log_id(entry) == wanted

    def _touches(self) -> bool:
        before, colon = self.tokens[self._next - 1], self.tokens[self._next]
        return before.position + len(before.text) == colon.position and self._next + 1 < len(self.tokens)

    def _take_word(self, word: str) -> _Token | None:
        token = self.here
        if token is None or token.kind != "word" or token.text != word:
            return None
        self._next += 1
        return token

    def _advance(self, expected: str) -> _Token:
        token = self.here
        if token is None:
            raise FilterError(f"Expected {expected}, found the end", self._end)
        self._next += 1
        return token

    def _expect(self, text: str) -> None:
        token = self._advance(repr(text))
        if token.text != text:
            raise FilterError(f"Expected {text!r}, found {token.text!r}", token.position)

    def _position(self) -> int:
        return self.here.position if self.here is not None else self._end


def _path(token: _Token) -> tuple[str, ...]:
    """`labels."run.googleapis.com/x".y` → ("labels", "run.googleapis.com/x", "y")."""
    parts = re.findall(r'"(?:[^"\\]|\\.)*"|[^."]+', token.text) if token.kind == "word" else [token.text]
    if not parts:
        raise FilterError(f"Expected a field, found {token.text!r}", token.position)
    return tuple(_unquoted(part) for part in parts)


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return _ESCAPE.sub(_unescaped, text[1:-1])
    return text


def _unescaped(found: re.Match[str]) -> str:
    code = found["hex"] or found["unicode"]
    if code:
        return chr(int(code, 16))
    return {"n": "\n", "t": "\t", "r": "\r"}.get(found["plain"], found["plain"])
