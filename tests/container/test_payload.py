from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.container import payload
from scripts.errors import BadInput


def test_texts_come_back_as_sent() -> None:
    sent = ["a cat", "", "naïve \u0000 🚀", "x" * payload.MAX_TEXT_LENGTH]
    assert payload.texts(json.dumps({"texts": sent}).encode()) == sent
    assert payload.texts(json.dumps({"texts": ["y"] * payload.MAX_TEXTS, "more": 1}).encode()) == ["y"] * 256


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "the body is empty"),
        (b"  \n", "the body is empty"),
        (b"{", "not JSON: line 1 column 2"),
        (b"texts=a", "not JSON"),
        (b"\xff\xfe{}", "JSON"),
        (b'{"texts": ["\xff"]}', "not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"texts": [' + b"9" * 5000 + b"]}", "not acceptable JSON"),
        (b"[]", "the body is a list, expected an object"),
        (b"null", "the body is null"),
        (b'"texts"', "the body is a string"),
        (b"{}", "texts is missing"),
        (b'{"text": ["a"]}', "texts is missing"),
        (b'{"texts": null}', "texts is null"),
        (b'{"texts": "a cat"}', "texts is a string, expected a list"),
        (b'{"texts": {"0": "a"}}', "texts is an object"),
        (b'{"texts": []}', "texts is empty"),
        (b'{"texts": ["a", 1]}', "texts[1] is a number"),
        (b'{"texts": [true]}', "texts[0] is a boolean"),
        (b'{"texts": [["a"]]}', "texts[0] is a list"),
        (b'{"texts": [null]}', "texts[0] is null"),
        (b'{"texts": ["a", "\\ud800"]}', "texts[1] has a lone surrogate at character 0"),
        (json.dumps({"texts": ["a"] * 257}).encode(), "257 entries, at most 256"),
        (json.dumps({"texts": ["a", "b" * 32_769]}).encode(), "texts[1] has 32769 characters"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_body_is_refused_with_the_place_and_an_example(body: bytes, told: str) -> None:
    with pytest.raises(BadInput) as caught:
        payload.texts(body)
    assert told in caught.value.message
    assert caught.value.remedy


@given(st.binary(max_size=60) | st.recursive(st.none() | st.text(), st.lists).map(lambda v: json.dumps(v).encode()))
def test_no_body_leads_to_another_error(body: bytes) -> None:
    try:
        found = payload.texts(body)
    except BadInput:
        return
    assert all(isinstance(text, str) for text in found)
