"""The `fields` parameter: what a mask selects, and which masks are refused."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.localcloud.partial import parse, select
from scripts.localcloud.web import ApiError

PAGE = {
    "kind": "list",
    "items": [{"name": "a", "size": "1", "owner": {"entity": "x", "id": "1"}}, {"name": "b", "size": "2"}],
    "nextPageToken": "t",
}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("kind", {"kind": "list"}),
        ("kind, nextPageToken", {"kind": "list", "nextPageToken": "t"}),
        ("items/name", {"items": [{"name": "a"}, {"name": "b"}]}),
        ("items(name,size)", {"items": [{"name": "a", "size": "1"}, {"name": "b", "size": "2"}]}),
        ("items(owner(id)),kind", {"kind": "list", "items": [{"owner": {"id": "1"}}, {}]}),
        ("items/owner/entity", {"items": [{"owner": {"entity": "x"}}, {}]}),
        ("items/name,items/size", {"items": [{"name": "a", "size": "1"}, {"name": "b", "size": "2"}]}),
        ("items,items/name", {"items": PAGE["items"]}),
        ("*", PAGE),
        ("*/name", {"kind": "list", "items": [{"name": "a"}, {"name": "b"}], "nextPageToken": "t"}),
        ("missing", {}),
    ],
)
def test_a_mask_selects(fields: str, expected: Any) -> None:
    assert select(PAGE, parse(fields)) == expected


@pytest.mark.parametrize("fields", ["", ",", "a,", "a(", "a()", "a(b", "a)b", "a/", "/a", "a b", "ä", "a(" * 50])
def test_a_malformed_mask_is_refused(fields: str) -> None:
    with pytest.raises(ApiError) as refused:
        parse(fields)
    assert refused.value.code == 400
