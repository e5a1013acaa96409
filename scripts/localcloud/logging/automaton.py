"""An automaton for a parsed regular expression, built as far as the texts lead it: its time grows with the text alone.

The nodes are Thompson's; a state of the automaton is a set of them and what the character before was. Source: Russ Cox,
"Regular Expression Matching Can Be Simple And Fast".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

Test = Callable[[str], bool]
_MOST_NODES = 3_000
_MOST_STATES = 2_000
_MOST_WORK = 3_000_000
_FOREVER = 4294967295  # MAXREPEAT
_START, _LINE, _WORD, _OTHER = range(4)
_CATEGORIES: dict[str, Test] = {
    "CATEGORY_DIGIT": lambda char: "0" <= char <= "9",
    "CATEGORY_WORD": lambda char: char == "_" or (char.isascii() and char.isalnum()),
    "CATEGORY_SPACE": lambda char: char in " \t\n\r\f\v",
}


class NoAutomaton(ValueError):
    """The expression has a part that no automaton can have, or is too large."""


class TooMuchWork(Exception):
    """The expression and the text need more work than anybody should wait for."""


def unbounded(tree: Iterable[Any]) -> tuple[int, bool]:
    """How many repetitions may go on for ever, and whether one repetition lies inside another."""
    count, nested = 0, False
    for name, value in tree:
        kind = str(name)
        inner: list[Any] = []
        if kind in ("MAX_REPEAT", "MIN_REPEAT"):
            least, most, item = value
            within, deeper = unbounded(item)
            count += within + (most > least)
            nested = nested or deeper or (within > 0 and most > 1)
        elif kind == "SUBPATTERN":
            inner = [value[3]]
        elif kind == "BRANCH":
            inner = list(value[1])
        for each in inner:
            within, deeper = unbounded(each)
            count, nested = count + within, nested or deeper
    return count, nested


class _State:
    __slots__ = ("before", "nodes", "then")

    def __init__(self, nodes: frozenset[int], before: int) -> None:
        self.nodes = nodes
        self.before = before
        # by the next character; True where the expression was found before it
        self.then: dict[str, _State | bool] = {}


class Automaton:
    """search(text) for an expression as Python's own parser gives it."""

    def __init__(self, tree: Iterable[Any], flags: int) -> None:
        # a node: (test of a character, or None; condition on the place, or ""; the nodes after it)
        self._nodes: list[tuple[Test | None, str, list[int]]] = []
        self._end = self._node(None, "", [])
        self._first = self._sequence(list(tree), self._end, flags)
        self._states: dict[tuple[frozenset[int], int], _State] = {}
        self._work = 0

    def search(self, text: str) -> bool:
        """Whether the expression occurs anywhere. Raises TooMuchWork."""
        self._work = 0
        state = self._state(frozenset((self._first,)), _START)
        for char in text:
            then = state.then.get(char)
            if then is None:
                then = state.then[char] = self._step(state, char)
            if then is True:
                return True
            assert isinstance(then, _State)
            state = then
        then = state.then.get("")
        if then is None:
            then = state.then[""] = self._end in self._closure(state, "")
        return then is True

    def _state(self, nodes: frozenset[int], before: int) -> _State:
        if len(self._states) > _MOST_STATES:
            self._states.clear()
        return self._states.setdefault((nodes, before), _State(nodes, before))

    def _step(self, state: _State, char: str) -> _State | bool:
        reached = self._closure(state, char)
        if self._end in reached:
            return True
        after = {self._first}
        for number in reached:
            test, _, following = self._nodes[number]
            if test is not None and test(char):
                after.update(following)
        before = _LINE if char == "\n" else _WORD if _CATEGORIES["CATEGORY_WORD"](char) else _OTHER
        return self._state(frozenset(after), before)

    def _closure(self, state: _State, following: str) -> set[int]:
        """All nodes that are reached without a character; following is the next one, "" at the end."""
        reached: set[int] = set()
        waiting = list(state.nodes)
        while waiting:
            number = waiting.pop()
            if number in reached:
                continue
            reached.add(number)
            test, condition, after = self._nodes[number]
            if test is None and _holds(condition, state.before, following):
                waiting += after
        self._work += len(reached)
        if self._work > _MOST_WORK:
            raise TooMuchWork
        return reached

    def _node(self, test: Test | None, condition: str, after: list[int]) -> int:
        if len(self._nodes) >= _MOST_NODES:
            raise NoAutomaton("expression is too large")
        self._nodes.append((test, condition, after))
        return len(self._nodes) - 1

    def _sequence(self, tree: list[Any], after: int, flags: int) -> int:
        """The first node of a sequence, built from its end."""
        for name, value in reversed(tree):
            after = self._part(str(name), value, after, flags)
        return after

    def _part(self, kind: str, value: Any, after: int, flags: int) -> int:
        if kind in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
            return self._node(_test(kind, value, flags), "", [after])
        if kind == "BRANCH":
            return self._node(None, "", [self._sequence(list(each), after, flags) for each in value[1]])
        if kind == "SUBPATTERN":
            _, added, removed, item = value
            return self._sequence(list(item), after, (flags | added) & ~removed)
        if kind in ("MAX_REPEAT", "MIN_REPEAT"):
            return self._repeated(value[0], int(value[1]), list(value[2]), after, flags)
        if kind == "AT":
            name = str(value)
            many = name in ("AT_BEGINNING", "AT_END") and flags & re.MULTILINE
            return self._node(None, f"{name}{'_LINE' if many else ''}", [after])
        raise NoAutomaton(f"invalid or unsupported Perl syntax ({kind.lower()})")

    def _repeated(self, least: int, most: int, item: list[Any], after: int, flags: int) -> int:
        if most >= _FOREVER:
            loop = self._node(None, "", [])
            self._nodes[loop][2].extend((self._sequence(item, loop, flags), after))
            after = loop
        else:
            for _ in range(most - least):
                after = self._node(None, "", [self._sequence(item, after, flags), after])
        for _ in range(least):
            after = self._sequence(item, after, flags)
        return after


def _holds(condition: str, before: int, following: str) -> bool:
    if condition in ("AT_BEGINNING", "AT_BEGINNING_STRING"):
        return before == _START
    if condition == "AT_BEGINNING_LINE":
        return before in (_START, _LINE)
    if condition in ("AT_END", "AT_END_STRING"):
        return following == ""
    if condition == "AT_END_LINE":
        return following in ("", "\n")
    if condition in ("AT_BOUNDARY", "AT_NON_BOUNDARY"):
        word = following != "" and _CATEGORIES["CATEGORY_WORD"](following)
        return ((before == _WORD) != word) == (condition == "AT_BOUNDARY")
    return True


def _test(kind: str, value: Any, flags: int) -> Test:
    if kind == "ANY":
        return (lambda char: True) if flags & re.DOTALL else (lambda char: char != "\n")
    if kind == "IN":
        inner, negated = _set(value), any(str(name) == "NEGATE" for name, _ in value)
        if flags & re.IGNORECASE:
            return lambda char: (inner(char.lower()) or inner(char.upper())) != negated
        return lambda char: inner(char) != negated
    wanted, equal = chr(value), kind == "LITERAL"
    if flags & re.IGNORECASE:
        folded = wanted.lower()
        return lambda char: (char.lower() == folded) == equal
    return lambda char: (char == wanted) == equal


def _set(parts: Iterable[Any]) -> Test:
    ranges: list[tuple[str, str]] = []
    tests: list[Test] = []
    for name, value in parts:
        kind = str(name)
        if kind == "LITERAL":
            ranges.append((chr(value), chr(value)))
        elif kind == "RANGE":
            ranges.append((chr(value[0]), chr(value[1])))
        elif kind == "CATEGORY":
            tests.append(_category(str(value)))
    return lambda char: any(low <= char <= high for low, high in ranges) or any(test(char) for test in tests)


def _category(name: str) -> Test:
    plain = _CATEGORIES[name.replace("_NOT", "")]
    return (lambda char: not plain(char)) if "_NOT" in name else plain
