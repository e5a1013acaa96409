"""Preconditions."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.localcloud.storage.conditions import Conditions, integer
from scripts.localcloud.web import ApiError


def _code(conditions: Conditions, generation: int, metageneration: int, *, reading: bool = False) -> int:
    try:
        conditions.check(generation, metageneration, "tag", reading=reading)
    except ApiError as error:
        return error.code
    return 200


@pytest.mark.parametrize(
    ("query", "writing", "reading"),
    [
        ({}, 200, 200),
        ({"ifGenerationMatch": "5"}, 200, 200),
        ({"ifGenerationMatch": "0"}, 412, 412),
        ({"ifGenerationNotMatch": "5"}, 412, 304),
        ({"ifGenerationNotMatch": "6"}, 200, 200),
        ({"ifMetagenerationMatch": "2"}, 200, 200),
        ({"ifMetagenerationMatch": "1"}, 412, 412),
        ({"ifMetagenerationNotMatch": "2"}, 412, 304),
        ({"ifMetaGenerationNotMatch": "2"}, 412, 304),
        ({"ifGenerationNotMatch": "5", "ifMetagenerationMatch": "1"}, 412, 412),
    ],
)
def test_against_generation_5_2(query: dict[str, Any], writing: int, reading: int) -> None:
    assert _code(Conditions.of(query), 5, 2) == writing
    assert _code(Conditions.of(query), 5, 2, reading=True) == reading


def test_against_nothing() -> None:
    assert _code(Conditions.of({"ifGenerationMatch": "0"}), 0, 0) == 200
    assert _code(Conditions.of({"ifGenerationMatch": "5"}), 0, 0) == 412
    assert _code(Conditions.of({"ifGenerationNotMatch": "0"}), 0, 0) == 412


@pytest.mark.parametrize(
    ("headers", "code"),
    [({"if-match": '"tag"'}, 200), ({"if-match": "other"}, 412), ({"if-match": "*"}, 200),
     ({"if-none-match": "tag"}, 304), ({"if-none-match": 'W/"tag", x'}, 304), ({"if-none-match": "*"}, 304),
     ({"if-none-match": "other"}, 200)],
)  # fmt: skip
def test_etags(headers: dict[str, str], code: int) -> None:
    assert _code(Conditions.of({}, headers=headers), 5, 2, reading=True) == code


def test_a_source_has_its_own() -> None:
    query = {"ifSourceGenerationMatch": "5", "ifGenerationMatch": "0"}
    assert _code(Conditions.of(query, "ifSource"), 5, 2) == 200
    assert _code(Conditions.of(query), 5, 2) == 412


@pytest.mark.parametrize("value", ["", "-1", "1.5", "x", "٣", "9" * 19, "1" * 20, True, 1.5, [], {}])
def test_what_is_no_whole_number_is_refused(value: object) -> None:
    with pytest.raises(ApiError, match="whole number"):
        integer({"key": value}, "key")


def test_whole_numbers() -> None:
    assert [integer({"key": value}, "key") for value in ("0", 7, str(2**63 - 1))] == [0, 7, 2**63 - 1]
    assert integer({}, "key") is None
