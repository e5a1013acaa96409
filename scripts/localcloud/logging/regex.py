"""Regular expressions of Cloud Logging: RE2's, in time that grows with the text and not with its combinations.

Python's engine is used where it cannot need more than a moment: expressions without a repetition inside a repetition,
on texts that are short enough for the number of repetitions. All others run as an automaton that is built as far as the
text leads it. What RE2 does not know (look-around, back references, possessive repetition) is refused.
"""

from __future__ import annotations

import functools
import importlib
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from scripts.localcloud.logging.automaton import Automaton, NoAutomaton, TooMuchWork, unbounded

_PARSER: Any = importlib.import_module("re._parser")
# Steps that Python's engine may need at worst.
_AFFORDABLE_STEPS = 4_000_000
_LONGEST = 10_000
_POSIX = {
    "alpha": "A-Za-z", "digit": "0-9", "alnum": "A-Za-z0-9", "upper": "A-Z", "lower": "a-z", "space": r"\t-\r ",
    "xdigit": "0-9A-Fa-f", "word": "0-9A-Za-z_", "punct": r"!-/:-@\[-`{-~", "blank": r" \t", "cntrl": r"\x00-\x1f\x7f",
    "print": " -~", "graph": "!-~",
}  # fmt: skip
_ASCII = {
    "d": "0-9", "w": "0-9A-Za-z_", "s": r"\t\n\f\r ", "D": r"\x00-/:-\U0010ffff",
    "W": r"\x00-/:-@\[-^`{-\U0010ffff", "S": r"\x00-\x08\x0b\x0e-\x1f!-\U0010ffff",
}  # fmt: skip
_PLACES = {r"\z": r"\Z", r"\b": r"(?a:\b)", r"\B": r"(?a:\B)"}
_BEYOND = 0x10000  # letters beyond the first plane are in no class

__all__ = ["BadRegex", "Regex", "TooMuchWork", "compiled"]


class BadRegex(ValueError):
    """An expression that RE2 does not understand."""


class Regex:
    """found(text): whether it occurs in a text; group(text): its first group there. Use compiled()."""

    def __init__(self, pattern: str) -> None:
        if len(pattern) > _LONGEST:
            raise BadRegex(f"longer than {_LONGEST} characters")
        try:
            translated = _translated(pattern)
            self._plain = re.compile(translated)
            tree = _PARSER.parse(translated)
            self._repeats, nested = unbounded(tree)
            self._automaton = Automaton(tree, self._plain.flags)
        except (re.error, OverflowError, RecursionError) as error:
            raise BadRegex(str(error)) from None
        except NoAutomaton as error:
            raise BadRegex(str(error)) from None
        self._only_automaton = nested
        self.groups = self._plain.groups

    def found(self, text: str) -> bool:
        """Whether the expression occurs. Raises TooMuchWork."""
        if self._quick(text):
            return self._plain.search(text) is not None
        return self._automaton.search(text)

    def whole(self, text: str) -> bool:
        """Whether the expression is the whole text. Raises TooMuchWork for a long text, and for nested repetitions."""
        if self._quick(text):
            return self._plain.fullmatch(text) is not None
        raise TooMuchWork

    def group(self, text: str) -> str | None:
        """What the first group holds where the expression occurs first, in as much of a text as can be searched."""
        while not self._quick(text):
            if self._only_automaton:
                raise TooMuchWork
            text = text[: len(text) // 2]
        found = self._plain.search(text)
        return (found[1] or "") if found else None

    def _quick(self, text: str) -> bool:
        return not self._only_automaton and len(text) ** (self._repeats + 1) <= _AFFORDABLE_STEPS


@functools.lru_cache(maxsize=256)
def compiled(pattern: str) -> Regex:
    """The expression, ready to be searched for. Raises BadRegex."""
    return Regex(pattern)


def _translated(pattern: str) -> str:
    r"""What RE2 writes differently: \z, \Q…\E, [[:alpha:]], \p{L}, \x{65E5}, (?<name>…), and $, which is no place
    before a last line break; \d, \w, \s and \b are ASCII's, while (?i) knows all letters.
    """
    flags = re.match(r"\(\?([a-z]+)\)", pattern)
    many_lines = flags is not None and "m" in flags[1]
    return "".join(_pieces(pattern, "$" if many_lines else r"\Z"))


def _pieces(pattern: str, end: str) -> Iterable[str]:
    position, in_class = 0, False
    while position < len(pattern):
        here, pair = pattern[position], pattern[position : position + 2]
        width = 1
        if pair == r"\Q":
            quoted, _, _ = pattern[position + 2 :].partition(r"\E")
            width = 2 + len(quoted) + 2
            here = re.escape(quoted)
        elif here == "\\":
            here, width = _escape(pattern, position, in_class)
        elif in_class and pair == "[:" and (name := re.match(r"\[:(\w+):\]", pattern[position:])):
            if name[1] not in _POSIX:
                raise BadRegex(f"invalid character class range: `{name[0]}`")
            here, width = _POSIX[name[1]], len(name[0])
        elif in_class:
            in_class = here != "]"
            here = r"\[" if here == "[" else here
        elif here == "[":
            opened = re.match(r"\[\^?\]?", pattern[position:])
            assert opened is not None
            here, width, in_class = opened[0], len(opened[0]), True
        elif here == "$":
            here = end
        elif named := re.match(r"\(\?<(?=\w+>)", pattern[position : position + 100]):
            here, width = "(?P<", len(named[0])
        yield here
        position += width


def _escape(pattern: str, position: int, in_class: bool) -> tuple[str, int]:
    """What an escape means to Python, and its length."""
    pair, rest = pattern[position : position + 2], pattern[position : position + 40]
    if pair[1:] in _ASCII and pair[1:]:
        return (_ASCII[pair[1]] if in_class else f"[{_ASCII[pair[1]]}]"), 2
    if code := re.match(r"\\x\{([0-9A-Fa-f]{1,6})\}", rest):
        if int(code[1], 16) > 0x10FFFF:
            raise BadRegex(f"invalid escape sequence: `{code[0]}`")
        return re.escape(chr(int(code[1], 16))), len(code[0])
    if kind := re.match(r"\\([pP])(?:\{(\^?)(\w+)\}|([A-Z]))", rest):
        inverted = (kind[1] == "P") != bool(kind[2])
        ranges = _category(kind[3] or kind[4], inverted)
        return (ranges if in_class else f"[{ranges}]"), len(kind[0])
    return (pair if in_class else _PLACES.get(pair, pair)), 2


@functools.lru_cache(maxsize=64)
def _category(name: str, inverted: bool) -> str:
    r"""The ranges of a general category of Unicode (L, Lu, Nd, P), as they stand in a class. Raises BadRegex."""
    inside = [unicodedata.category(chr(code)).startswith(name) for code in range(_BEYOND)]
    if not any(inside) or len(name) > 2:
        raise BadRegex(f"invalid character class range: `\\p{{{name}}}`")
    ranges, first = list[str](), -1
    for code, found in enumerate([*(each != inverted for each in inside), False]):
        if found and first < 0:
            first = code
        elif not found and first >= 0:
            ranges.append(rf"\u{first:04x}-\u{code - 1:04x}")
            first = -1
    return "".join(ranges) + (r"\U00010000-\U0010ffff" if inverted else "")
