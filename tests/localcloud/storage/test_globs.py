"""matchGlob patterns."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.localcloud.storage.globs import compile_glob
from scripts.localcloud.web import ApiError


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("foo*bar", ["foobar", "foobazbar"], ["foo/bar", "foobar2"]),
        ("foo**bar", ["foobar", "foo/1/bar"], ["bar"]),
        ("**/bar", ["bar", "x/bar", "x/y/bar"], ["xbar"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["ab"]),
        ("?at", ["cat"], ["/at", "at"]),
        ("[abc]at", ["bat"], ["dat"]),
        ("[!abc]at", ["dat"], ["bat", "/at"]),
        ("[a-c]at", ["bat"], ["dat", "-at"]),
        ("*.{yml,mp4}", ["x.yml", "x.mp4"], ["x.txt", "a/x.yml"]),
        ("{a,b{1,2}}", ["a", "b1", "b2"], ["b", "{a,b"]),
        ("a.b", ["a.b"], ["axb"]),
        ("a,b}", ["a,b}"], ["a"]),
        (r"\*\{x", ["*{x"], ["a{x"]),
        ("[]]", ["]"], ["["]),
        ("[\\]x", ["\\x"], ["x"]),
        ("line*", ["line\n2"], []),
    ],
)
def test_a_pattern(pattern: str, yes: list[str], no: list[str]) -> None:
    glob = compile_glob(pattern)
    assert [name for name in yes if not glob.fullmatch(name)] == []
    assert [name for name in no if glob.fullmatch(name)] == []


@pytest.mark.parametrize("pattern", ["{a", "[a", "[z-a]", "*" * 1025])
def test_a_bad_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ApiError, match="matchGlob"):
        compile_glob(pattern)


@given(st.text(alphabet="ab*?[]{}!,-^\\/.&|~#", max_size=25))
def test_any_pattern_compiles_or_is_refused(pattern: str) -> None:
    try:
        compile_glob(pattern)
    except ApiError as error:
        assert error.code == 400


@given(st.text(max_size=20))
def test_an_escaped_name_matches_itself(name: str) -> None:
    assert compile_glob(re.sub(r"([*?\[\]{},\\])", r"\\\1", name)).fullmatch(name)
