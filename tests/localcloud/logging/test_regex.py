"""Regular expressions: RE2's language, and no text on which they take long."""

from __future__ import annotations

import random

import pytest

from scripts.localcloud.logging.regex import BadRegex, compiled


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("^Loaded v[0-9]+$", "Loaded v12"),
        ("(?i)HELLO", "say hello"),
        (r"time(out)?=\d{2,3} ms\b", "a timeout=250 ms."),
        ("[[:alpha:]]+[[:digit:]]", "x1"),
        (r"\Qa.b\E", "a.b"),
        ("(?m)^second$", "first\nsecond\nthird"),
        ("(?s)a.b", "a\nb"),
        (r"a\z", "ba"),
        ("[]x]", "]"),
        ("a|", ""),
        ("ü", "Grüße"),
        ("(?i)größe äöü", "GRÖßE ÄÖÜ"),
        ("(?i:[à-ü]+x)", "ÀÉX"),
        (r"^\p{L}+ \pN$", "Größe 7"),
        (r"^[\p{Lu}\s]+$", "Ä Ö"),
        (r"^\P{L}+$", "12-3"),
        (r"\p{^L}", "a1"),
        (r"\x{65e5}\x{672c}", "日本"),
        (r"(?<count>\d+) ms", "12 ms"),
        (r"^[^\W\d]+$", "ab_c"),
        (r"\bstart\b", "ästartö"),
        (r"^[\S]+$", "a~\x7fé"),
    ],
)
def test_it_is_found(pattern: str, text: str) -> None:
    assert compiled(pattern).found(text)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("^a", "ba"), ("a$", "a\n"), ("(?m)^c$", "ab\nd"), ("[^]a]", "]a"), (r"\Qa.b\E", "axb"), (r"^\w+$", "größe"),
        (r"\d", "٣"), (r"\s", "\u2003"), (r"\p{Lu}", "äß1"), (r"[\D]", "123"), (r"\Bb", "äb"), (r"\bé", "é"),
    ],
)  # fmt: skip
def test_it_is_not_found(pattern: str, text: str) -> None:
    assert not compiled(pattern).found(text)


@pytest.mark.parametrize(
    "pattern",
    [
        "(?=a)",
        "(?!a)",
        "(?<=a)b",
        r"(a)\1",
        "a++",
        "(?>a)",
        "(",
        "[",
        "*a",
        "(?P<n",
        "[[:nonsense:]]",
        r"\p{Nonsense}",
        r"\x{110000}",
        "x" * 20_000,
    ],
)
def test_what_re2_does_not_know_is_refused(pattern: str) -> None:
    with pytest.raises(BadRegex):
        compiled(pattern)


@pytest.mark.parametrize(
    ("pattern", "text", "there"),
    [
        ("(a+)+b", "a" * 200_000, False),
        ("(a|a)*b", "a" * 100_000, False),
        ("a*a*a*a*a*b", "a" * 200_000, False),
        ("(x+x+)+y", "x" * 200_000 + "y", True),
        ("([a-z]+)*[0-9]", "q" * 200_000, False),
        (".*.*=.*;", "=" * 100_000, False),
    ],
)
def test_no_text_takes_long(pattern: str, text: str, there: bool) -> None:
    """Python's own engine would need years for these."""
    assert compiled(pattern).found(text) is there


PATTERNS = (
    "(a|b)*c{2,3}[^x-z]", "^a.*b$", "a+b+c+", r"(?i)H\w+o", "x{0,3}y?", r"\Ba", "^$", "a|bc|", "(ab?)+$", "(?m)^b$",
    r"a.{1,5}?b\b", "(?s)a.b", "(?:a(?:b|c))*z", r"[\s\d]+\D",
)  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_automaton_finds_what_pythons_engine_finds(pattern: str) -> None:
    regex, chance = compiled(pattern), random.Random(1)
    for _ in range(500):
        text = "".join(chance.choice("abcxyzHo \n19]") for _ in range(chance.randrange(9)))
        assert regex._automaton.search(text) == (regex._plain.search(text) is not None), text


def test_a_group_is_taken_out() -> None:
    assert compiled("v([0-9]+)").group("a v12 v13") == "12"
    assert compiled("v([0-9]+)").group("none") is None
    assert compiled("(v)?x").group("x") == ""
