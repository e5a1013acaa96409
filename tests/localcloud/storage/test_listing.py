"""Lists against a plain model of what they should hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.localcloud.storage import listing
from scripts.localcloud.storage.globs import compile_glob
from scripts.localcloud.web import ApiError


@dataclass(frozen=True, order=True)
class Row:
    name: str
    generation: int = 1


class Rows:
    """A sorted index that counts what was read from it."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = sorted(rows, key=lambda row: (row.name.encode(), row.generation))
        self.read = 0

    def __call__(self, name: str, generation: int) -> Iterator[Row]:
        for row in self.rows:
            if (row.name.encode(), row.generation) >= (name.encode(), generation):
                self.read += 1
                yield row


def _all(query: listing.Query, rows: Rows) -> tuple[list[Row], list[str]]:
    """Every page until the last."""
    items: list[Row] = []
    prefixes: list[str] = []
    while True:
        page = listing.page(query, rows)
        items += page.items
        prefixes += page.prefixes
        if not page.token:
            return items, prefixes
        assert len(page) >= query.limit
        after = listing.Query.of({"pageToken": page.token}).after
        query = listing.Query(**{**vars(query), "after": after})


NAMES = st.text(alphabet="ab/é\ud7ff\ue000\U0010ffff", min_size=1, max_size=6)
ROWS = st.lists(st.builds(Row, NAMES, st.integers(1, 3)), max_size=25, unique=True)
SHORT = st.text(alphabet="ab/é", max_size=2)


@given(ROWS, SHORT, st.sampled_from(["", "/", "ab", "é", "\U0010ffff"]), SHORT, SHORT, st.integers(1, 5), st.booleans())
def test_pages_together_are_the_list(
    rows: list[Row], prefix: str, delimiter: str, start: str, end: str, limit: int, trailing: bool
) -> None:
    query = listing.Query(prefix, delimiter, start, end, True, trailing, None, limit)
    items: list[Row] = []
    prefixes: list[str] = []
    for row in Rows(rows).rows:
        raw = row.name.encode()
        if not row.name.startswith(prefix) or raw < start.encode() or (end and raw >= end.encode()):
            continue
        at = row.name.find(delimiter, len(prefix)) if delimiter else -1
        if at < 0:
            items.append(row)
            continue
        rolled = row.name[: at + len(delimiter)]
        if rolled not in prefixes:
            prefixes.append(rolled)
        if trailing and row.name == rolled:
            items.append(row)
    assert _all(query, Rows(rows)) == (items, prefixes)


def test_a_rolled_up_prefix_is_not_read_through() -> None:
    rows = Rows([Row(f"{folder}/{number:04}") for folder in "abc" for number in range(500)])
    page = listing.page(listing.Query(delimiter="/"), rows)
    assert page.prefixes == ["a/", "b/", "c/"]
    assert rows.read <= 4


def test_a_glob_filters() -> None:
    rows = Rows([Row("a.txt"), Row("b/c.txt"), Row("d.md")])
    assert [row.name for row in listing.page(listing.Query(glob=compile_glob("**.txt")), rows).items] == [
        "a.txt",
        "b/c.txt",
    ]


@given(st.text(min_size=1, max_size=5), st.text(max_size=5))
def test_the_successor_is_above_every_name_with_the_prefix(prefix: str, rest: str) -> None:
    after = listing.successor(prefix)
    assert (prefix + rest).encode() < after.encode()
    assert not after.startswith(prefix) or prefix.strip("\U0010ffff") == ""


@given(st.text(max_size=40))
def test_any_token_is_answered(token: str) -> None:
    try:
        name, generation = listing.Query.of({"pageToken": token}).after
    except ApiError as error:
        assert error.code == 400
        return
    assert isinstance(name, str) and generation >= 0


@pytest.mark.parametrize(("wish", "size"), [("", 1000), ("0", 1000), ("7", 7), ("1001", 1000)])
def test_page_sizes(wish: str, size: int) -> None:
    assert listing.page_size({"maxResults": wish} if wish else {}) == size
