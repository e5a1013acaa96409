"""Monitoring filters: comparisons of labels joined by AND, OR and NOT; parse() gives a predicate over series.

metric.type = "x" AND resource.labels.service_name = "y" AND metric.labels.reason != starts_with("z"); functions:
starts_with, ends_with, has_substring, one_of, monitoring.regex.full_match. Source: "Monitoring filters" of Cloud
Monitoring. project and group selectors are not imitated.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from scripts.localcloud.logging.regex import BadRegex, TooMuchWork, compiled
from scripts.localcloud.monitoring.series import Series

Predicate = Callable[[Series], bool]
_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<operator>!=|=|:)|(?P<mark>[(),-])
      |(?P<word>[A-Za-z_][\w.]*(?:"[^"]*"[\w.]*)*))""",
    re.VERBOSE,
)
_PATH = re.compile(r'(metric|resource)\.(type|labels?\.("[^"]+"|[\w]+))')
_TESTS: dict[str, Callable[[str, list[str]], bool]] = {
    "=": lambda value, given: value == given[0],
    ":": lambda value, given: given[0] in value,
    "starts_with": lambda value, given: value.startswith(given[0]),
    "ends_with": lambda value, given: value.endswith(given[0]),
    "has_substring": lambda value, given: given[0] in value,
    "one_of": lambda value, given: value in given,
    "monitoring.regex.full_match": lambda value, given: _whole(given[0], value),
}
_DEEPEST = 30


def _whole(pattern: str, value: str) -> bool:
    try:
        return compiled(pattern).whole(value)
    except TooMuchWork:
        return False


class BadFilter(ValueError):
    """The filter cannot be understood."""


@dataclass(frozen=True)
class Filter:
    """A predicate over series; metric is the one type that every matching series has, "" when it is not that simple."""

    holds: Predicate
    metric: str

    def __call__(self, series: Series) -> bool:
        return self.holds(series)


def parse(text: str) -> Filter:
    """Raises BadFilter."""
    parser = _Parser(text)
    return Filter(parser.whole(), parser.metric)


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        position, text = 0, text.rstrip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise BadFilter(f"unexpected {text[position : position + 20].strip()!r} at position {position}")
            self._tokens.append((str(match.lastgroup), match[str(match.lastgroup)]))
            position = match.end()
        self._next = 0
        self._depth = 0
        self.metric = ""
        self._type = ""

    def whole(self) -> Predicate:
        if not self._tokens:
            raise BadFilter('required, e.g. metric.type = "storage.googleapis.com/storage/total_bytes"')
        predicate = self._all(top=True)
        if self._next < len(self._tokens):
            raise BadFilter(f"unexpected {self._here()!r}")
        return predicate

    def _here(self) -> str:
        return self._tokens[self._next][1] if self._next < len(self._tokens) else ""

    def _take(self, *wanted: str) -> bool:
        if self._here() in wanted and self._tokens[self._next][0] != "string":
            self._next += 1
            return True
        return False

    def _all(self, top: bool = False) -> Predicate:
        terms = [self._any(top)]
        while self._next < len(self._tokens) and self._here() != ")":
            self._take("AND")
            terms.append(self._any(top))
        return lambda series: all(term(series) for term in terms)

    def _any(self, top: bool) -> Predicate:
        self._type = ""
        terms = [self._term()]
        while self._take("OR"):
            terms.append(self._term())
        if top and len(terms) == 1 and self._type:
            self.metric = self._type
        return lambda series: any(term(series) for term in terms)

    def _term(self) -> Predicate:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise BadFilter("nested too deeply")
        try:
            if self._take("NOT", "-"):
                inner = self._term()
                self._type = ""
                return lambda series: not inner(series)
            if self._take("("):
                inner = self._all()
                if not self._take(")"):
                    raise BadFilter("expected )")
                self._type = ""
                return inner
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Predicate:
        path = self._advance()
        if _PATH.fullmatch(path) is None:
            raise BadFilter(
                f"expected metric.type, metric.labels.X, resource.type or resource.labels.X, found {path!r}"
            )
        operator = self._advance()
        if operator not in ("=", "!=", ":"):
            raise BadFilter(f"expected = != or : after {path}, found {operator!r}")
        test, given = (":" if operator == ":" else "="), [""]
        if self._next < len(self._tokens) and self._tokens[self._next][0] == "word":
            test, given = self._function()
        else:
            given = [self._string()]
        self._type = given[0] if (path, operator, test) == ("metric.type", "=", "=") else ""
        holds = _TESTS[test]

        def predicate(series: Series) -> bool:
            value = series.label(path)
            return (value is not None and holds(value, given)) != (operator == "!=")

        return predicate

    def _function(self) -> tuple[str, list[str]]:
        name = self._advance()
        if name not in _TESTS or not self._take("("):
            raise BadFilter(f"expected text in quotes or one of {', '.join(list(_TESTS)[2:])}, found {name!r}")
        given = [self._string()]
        while self._take(","):
            given.append(self._string())
        if not self._take(")"):
            raise BadFilter(f"expected ) after {name}")
        if name == "monitoring.regex.full_match":
            try:
                compiled(given[0])
            except BadRegex as error:
                raise BadFilter(f"invalid regular expression ({error})") from None
        return name, given

    def _string(self) -> str:
        if self._next >= len(self._tokens) or self._tokens[self._next][0] != "string":
            raise BadFilter(f"expected text in quotes, found {self._here()!r}")
        return re.sub(r"\\(.)", r"\1", self._advance()[1:-1])

    def _advance(self) -> str:
        if self._next >= len(self._tokens):
            raise BadFilter("unexpected end")
        self._next += 1
        return self._tokens[self._next - 1][1]
