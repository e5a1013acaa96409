"""Contexts of objects: their times, and the filter of lists."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.localcloud.storage.contexts import compile_filter, is_contexts, stamped
from scripts.localcloud.web import ApiError


def _of(**values: str | None) -> dict[str, Any]:
    custom = {key: None if value is None else {"value": value} for key, value in values.items()}
    return {"contexts": {"custom": custom}}


def test_times_tell_when_a_value_came_and_changed() -> None:
    first = stamped({}, _of(a="1", b="2"), "t1", merge=False)
    assert first["contexts"]["custom"]["a"] == {"value": "1", "createTime": "t1", "updateTime": "t1"}
    second = stamped(first, _of(a="1", b="3", c="4"), "t2", merge=True)["contexts"]["custom"]
    assert second["a"]["updateTime"] == "t1"
    assert second["b"] == {"value": "3", "createTime": "t1", "updateTime": "t2"}
    assert second["c"]["createTime"] == "t2"


def test_a_patch_merges_and_null_removes_while_an_update_replaces() -> None:
    first = stamped({}, _of(a="1", b="2"), "t1", merge=False)
    assert set(stamped(first, _of(b=None), "t2", merge=True)["contexts"]["custom"]) == {"a"}
    assert set(stamped(first, _of(c="3"), "t2", merge=False)["contexts"]["custom"]) == {"c"}
    assert "contexts" not in stamped(first, _of(a=None, b=None), "t2", merge=True)
    with pytest.raises(ApiError):
        stamped({}, _of(**{f"k{number}": "v" for number in range(51)}), "t1", merge=False)


@pytest.mark.parametrize(
    "bad", [[], {"custom": []}, {"custom": {"": {"value": "x"}}}, {"custom": {"a": "x"}}, {"custom": {"a": {}}}]
)
def test_what_is_no_context(bad: Any) -> None:
    assert not is_contexts(bad)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('contexts."a"="1"', True),
        ('contexts."a"="2"', False),
        ('contexts."a":*', True),
        ('NOT contexts."a":*', False),
        ('-contexts."z":*', True),
    ],
)
def test_filters(text: str, expected: bool) -> None:
    assert compile_filter(text)(stamped({}, _of(a="1"), "t", merge=False)) is expected


@pytest.mark.parametrize("text", ["", "name=x", 'contexts."a"', 'contexts.a="1"', 'contexts."a"="1" OR x'])
def test_other_filters_are_refused(text: str) -> None:
    with pytest.raises(ApiError):
        compile_filter(text)
