"""YAML text becomes data with lines; what YAML readers take differently stays unclear."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.settings.document import Problem, Unclear, dotted, read


def test_data_and_lines() -> None:
    document = read(b"# head\na:\n  b: [1, x]\n  c: 2.5\nd: true\ne:\n")
    assert document.data == {"a": {"b": (1, "x"), "c": 2.5}, "d": True, "e": None}
    assert [document.line(path) for path in (("a",), ("a", "b", 1), ("a", "c"), ("e",))] == [2, 3, 4, 6]
    assert document.problems == []


def test_what_is_not_written_has_the_line_of_its_parent() -> None:
    document = read(b"\na:\n  b: 1\n")
    assert document.line(("a", "x", "y")) == 2
    assert document.line(("z",)) == 2


@pytest.mark.parametrize(
    "text",
    [
        "yes", "No", "on", "OFF", "True", "NULL", "0123", "+5", "1_000", "0x1F", "0b1", "0o17", "1:30", "1e3", "1.5e3",
        ".5", "5.", ".inf", "-.INF", ".nan", "2026-01-01", "9" * 19, "-0123",
    ],
)  # fmt: skip
def test_unclear_scalars(text: str) -> None:
    assert read(f"a: {text}\n".encode()).data == {"a": Unclear(text)}
    assert read(f'a: "{text}"\n'.encode()).data == {"a": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-7", -7),
        ("12.50", 12.5),
        ("false", False),
        ("null", None),
        ("~", None),
        ("a1", "a1"),
        ("4Gi", "4Gi"),
    ],
)
def test_clear_scalars(text: str, value: object) -> None:
    read_value = read(f"a: {text}\n".encode()).data["a"]
    assert (type(read_value), read_value) == (type(value), value)


def test_block_texts_and_byte_order_mark() -> None:
    assert read("\ufeffa: |\n  x\n  y\n".encode()).data == {"a": "x\ny\n"}
    assert read(b"a: 1\r\nb: 2\r\n").data == {"a": 1, "b": 2}


def test_a_problem_reads_as_one_line() -> None:
    problem = Problem(7, ("models", 0, "files", 2), "nothing", "text")
    assert (
        problem.text("environments/x.yaml") == "environments/x.yaml:7: models[0].files[2]: found nothing, expected text"
    )
    assert dotted(()) == ""


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_data_or_a_problem(content: bytes) -> None:
    read(content)


@given(
    st.recursive(
        st.one_of(st.integers(-(10**17), 10**17), st.booleans(), st.text(max_size=20)),
        lambda inner: st.dictionaries(st.text(max_size=8), inner, max_size=4),
    )
)
@settings(max_examples=100, deadline=None)
def test_what_was_dumped_is_read_back(value: object) -> None:
    document = read(yaml.safe_dump(value, default_style='"' if isinstance(value, str) else None).encode())
    unclear = "Unclear" in repr(document.data)
    assert document.problems or unclear or document.data == value
