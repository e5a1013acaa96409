"""The filter language of Cloud Logging; parse() gives a predicate over log entries.

Grammar (NOT binds closest, then OR, then AND, as Google documents it; a newline or a space between terms is AND):
    filter  := any ((AND)? any)*          any   := term (OR term)*        term := (NOT | -) term | ( filter ) | test
    test    := value op VALUE | value op ( VALUES ) | CALL | WORD         op   := = != > >= < <= : =~ !~
    value   := PATH | CALL                CALL  := NAME(argument, …)      VALUES: as filter, of values instead of tests
`:*` asks for existence. Text is compared without regard to case, except by regular expressions, which are RE2's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from scripts.localcloud.logging import compare, functions
from scripts.localcloud.logging.functions import Argument, BadCall, Values
from scripts.localcloud.logging.tokens import FilterError, Token, path_of, pattern_of, tokens, unquoted

__all__ = ["Comparison", "Filter", "FilterError", "parse"]

Entry = Mapping[str, Any]
Predicate = Callable[[Entry], bool]
_KEYWORDS = {"AND", "OR", "NOT"}
_REGEX = ("=~", "!~")
_DEEPEST = 50
_LONGEST = 20_000


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
    if len(text) > _LONGEST:
        raise FilterError(f"The filter is longer than {_LONGEST} characters", _LONGEST)
    found = list(tokens(text))
    if not found:
        return Filter(lambda entry: True, ())
    parser = _Parser(found, len(text))
    required: list[Comparison] = []
    predicate = parser.joined(parser.term, required)
    if parser.here is not None:
        raise FilterError(f"Unexpected {parser.here.text!r}", parser.here.position)
    return Filter(predicate, tuple(required))


class _Parser:
    def __init__(self, found: list[Token], end: int) -> None:
        self._tokens = found
        self._next = 0
        self._end = end
        self._depth = 0

    @property
    def here(self) -> Token | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def joined(self, one: Callable[[], Predicate], required: list[Comparison] | None = None) -> Predicate:
        """What `one` reads, joined by AND, OR or nothing."""
        terms = [self._any(one, required)]
        while self.here is not None and not self._at(")"):
            if self._take_word("AND") and (self.here is None or self._at(")")):
                raise FilterError("Expected a comparison after AND", self._position())
            terms.append(self._any(one, required))
        return terms[0] if len(terms) == 1 else lambda entry: all(term(entry) for term in terms)

    def _any(self, one: Callable[[], Predicate], required: list[Comparison] | None) -> Predicate:
        terms = [one()]
        while self._take_word("OR"):
            terms.append(one())
        if len(terms) > 1:
            return lambda entry: any(term(entry) for term in terms)
        if required is not None and isinstance(terms[0], Comparison):
            required.append(terms[0])
        return terms[0]

    def term(self) -> Predicate:
        """A test, a negation, or a filter in parentheses."""
        return self._negated(self.term, self._test)

    def _negated(self, again: Callable[[], Predicate], plain: Callable[[], Predicate]) -> Predicate:
        token = self.here
        if token is None:
            raise FilterError("Expected a comparison, found the end", self._end)
        if token.kind == "minus" or (token.kind == "word" and token.text == "NOT"):
            self._next += 1
            inner = self._nested(again)
            return lambda entry: not inner(entry)
        if self._at("("):
            self._next += 1
            inner = self._nested(lambda: self.joined(again))
            self._expect(")")
            return inner
        return plain()

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
        if token.kind not in ("word", "string") or (token.kind == "word" and token.text in _KEYWORDS):
            raise FilterError(f"Expected a field, found {token.text!r}", token.position)
        if self._calls(token):
            return self._call(token)
        after = self.here
        if after is None or after.kind != "operator":
            word = unquoted(token.text)
            return lambda entry: compare.contains(entry, word)
        self._next += 1
        path = compare.normal(path_of(token))
        return self._compared(lambda: self._value(path, after))

    def _compared(self, one: Callable[[], Predicate]) -> Predicate:
        """One value, or values in parentheses over which the comparison is distributed."""
        if not self._at("("):
            return one()

        def each() -> Predicate:
            return self._negated(each, one)

        return each()

    def _value(self, path: tuple[str, ...], operator: Token) -> Predicate:
        value, token = self._literal(operator)
        if problem := compare.problem(path, operator.text, value, token.kind == "string"):
            raise FilterError(problem, token.position)
        return Comparison(path, operator.text, value, token.kind == "string")

    def _value_of(self, left: Values, operator: Token) -> Predicate:
        value, token = self._literal(operator)
        quoted = token.kind == "string"
        if problem := compare.mistake(left.kind, operator.text, value, quoted):
            raise FilterError(problem, token.position)
        if operator.text == ":" and value == "*" and not quoted:
            return lambda entry: any(each is not None for each in left.read(entry))
        return lambda entry: compare.decide(left.read(entry), left.kind, operator.text, value, quoted)

    def _literal(self, operator: Token) -> tuple[str, Token]:
        token = self._advance("a value")
        text = token.text
        if token.kind == "minus" and self.here is not None:  # a negative word: -Infinity
            text += self._advance("a value").text
        elif token.kind not in ("word", "string") or (token.kind == "word" and text in _KEYWORDS):
            raise FilterError(f"Expected a value, found {text!r}", token.position)
        # a bare time holds colons, which are operators elsewhere: 2026-11-20T02:00:00Z
        while token.kind == "word" and self.here is not None and self.here.text == ":" and self._touches():
            text += self._advance("a value").text + self._advance("a value").text
        return (pattern_of(text) if operator.text in _REGEX else unquoted(text)), token

    def _calls(self, token: Token) -> bool:
        after = self.here
        touching = after is not None and after.text == "(" and after.position == token.position + len(token.text)
        return touching and token.kind == "word"

    def _call(self, name: Token) -> Predicate:
        """A function that is a test, or one whose values are compared."""
        known = name.text.lower()
        if known in functions.VALUES:
            left = self._values(name)
            operator = self._advance("a comparison")
            if operator.kind != "operator":
                raise FilterError(f"Expected a comparison, found {operator.text!r}", operator.position)
            return self._compared(lambda: self._value_of(left, operator))
        if known not in functions.TESTS:
            raise FilterError(f"Function {name.text!r} is not known", name.position)
        places, given = self._arguments()
        try:
            return functions.test(known, given)
        except BadCall as error:
            raise FilterError(str(error), _place(places, error.index, name)) from None

    def _values(self, name: Token) -> Values:
        places, given = self._arguments()
        try:
            return functions.values(name.text.lower(), given)
        except BadCall as error:
            raise FilterError(str(error), _place(places, error.index, name)) from None

    def _arguments(self) -> tuple[list[int], list[Argument]]:
        self._expect("(")
        self._depth += 1
        if self._depth > _DEEPEST:
            raise FilterError("Nested too deeply", self._position())
        given, places = [], []
        while True:
            token = self._advance("an argument")
            if token.kind not in ("word", "string"):
                raise FilterError(f"Expected an argument, found {token.text!r}", token.position)
            places.append(token.position)
            given.append(self._argument(token))
            if not self._at(","):
                break
            self._next += 1
        self._expect(")")
        self._depth -= 1
        return places, given

    def _argument(self, token: Token) -> Argument:
        if not self._calls(token):
            if token.kind == "string":
                return Argument(pattern_of(token.text), (unquoted(token.text),))
            return Argument(token.text, path_of(token))
        known = token.text.lower()
        if known in functions.VALUES:
            return Argument("", (), self._values(token))
        if known == "timezone":
            return self._arguments()[1][0]
        raise FilterError(f"Function {token.text!r} has no value", token.position)

    def _touches(self) -> bool:
        before, colon = self._tokens[self._next - 1], self._tokens[self._next]
        return before.position + len(before.text) == colon.position and self._next + 1 < len(self._tokens)

    def _at(self, text: str) -> bool:
        return self.here is not None and self.here.kind == "punctuation" and self.here.text == text

    def _take_word(self, word: str) -> Token | None:
        token = self.here
        if token is None or token.kind != "word" or token.text != word:
            return None
        self._next += 1
        return token

    def _advance(self, expected: str) -> Token:
        token = self.here
        if token is None:
            raise FilterError(f"Expected {expected}, found the end", self._end)
        self._next += 1
        return token

    def _expect(self, text: str) -> None:
        token = self._advance(repr(text))
        if token.text != text or token.kind != "punctuation":
            raise FilterError(f"Expected {text!r}, found {token.text!r}", token.position)

    def _position(self) -> int:
        return self.here.position if self.here is not None else self._end


def _place(places: list[int], index: int, name: Token) -> int:
    return places[index] if index < len(places) else name.position
