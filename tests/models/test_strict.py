"""The strict reader's own words: a place, what was found, what was expected."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.errors import BadInput
from scripts.models import strict
from scripts.models.strict import Reader, dump

READER = Reader("thing", "Run: something")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: READER.record([], "a", ("x",)), "thing: a: found a list, expected an object with x"),
        (lambda: READER.record({"y": 1}, "a", ("x",)), "thing: a.x: found nothing, expected a value (missing key)"),
        (lambda: READER.text("a\u202eb", "t"), "thing: t: found 'a\\u202eb', expected printable characters"),
        (lambda: READER.text("\ud800", "t"), "thing: t: found '\\ud800', expected printable characters"),
        (lambda: READER.text("x" * 2000, "t"), "thing: t: found 2000 characters, expected at most 1024"),
        (lambda: READER.whole(None, "n"), "thing: n: found null, expected a whole number"),
        (lambda: READER.choice("z", "c", ("a", "b")), "thing: c: found 'z', expected one of a, b"),
        (lambda: READER.time("2026-11-20T02:00:00+00:00", "t"), "thing: t: found '2026-11-20T02:00:00+00:00'"),
        (lambda: READER.load(b"12345", 4), "thing: found 5 bytes, expected at most 4"),
    ],
)  # fmt: skip
def test_what_a_fault_is_called(call: object, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        call()  # type: ignore[operator]
    assert caught.value.message.startswith(message)
    assert caught.value.remedy == "Run: something"


def test_what_is_written_has_one_form() -> None:
    assert strict.dump({"b": 1, "a": "é"}) == b'{\n  "b": 1,\n  "a": "\\u00e9"\n}\n'
    assert READER.load(strict.dump({"b": 1}), 100) == {"b": 1}
    assert READER.time("2026-11-20T02:00:00.25Z", "t") == "2026-11-20T02:00:00.25Z"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_json_is_written_as_the_library_writes_it(value: object) -> None:
    assert dump(value) == json.dumps(value, indent=2).encode() + b"\n"
    with pytest.raises(ValueError):
        dump([value, float("nan")])
