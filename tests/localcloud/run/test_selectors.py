"""Label and field selectors as Kubernetes writes them, and pages that stay in step when objects come and go."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from scripts.localcloud.run import selectors
from scripts.localcloud.web import ApiError


def item(name: str, **labels: str) -> dict[str, Any]:
    metadata = {"name": name, "labels": labels, "creationTimestamp": f"2026-01-01T00:00:{ord(name[0]):03}.000000Z"}
    return {"metadata": metadata, "status": {"index": 1}}


ITEMS = [item("a", env="dev", team="x"), item("b", env="prod"), item("c", team="y"), item("d")]


@pytest.mark.parametrize(
    ("labels", "fields", "expected"),
    [
        ("", "", "abcd"),
        ("env=dev", "", "a"),
        ("env==dev", "", "a"),
        ("env!=dev", "", "bcd"),
        ("env", "", "ab"),
        ("!env", "", "cd"),
        ("env in (dev, prod)", "", "ab"),
        ("env in (dev,prod),team", "", "a"),
        ("env notin (dev,stage)", "", "bcd"),
        ("team in (x), env in (dev)", "", "a"),
        (" env = dev , team = x ", "", "a"),
        ("", "metadata.name=b", "b"),
        ("", "metadata.name!=b", "acd"),
        ("env", "metadata.name!=b", "a"),
        ("", "status.index=1,metadata.name=d", "d"),
        ("", "status.nothing=", "abcd"),
    ],
)
def test_both_selectors_must_hold(labels: str, fields: str, expected: str) -> None:
    assert "".join(each["metadata"]["name"] for each in selectors.select(ITEMS, labels, fields)) == expected


@pytest.mark.parametrize("bad", ["env in dev", "env in (dev", "=dev", "a b", "env in (a) b", "(", "a=b=c"])
def test_a_selector_that_cannot_be_read_is_refused(bad: str) -> None:
    with pytest.raises(ApiError) as caught:
        selectors.select(ITEMS, bad)
    assert caught.value.code == 400
    with pytest.raises(ApiError):
        selectors.select(ITEMS, "", "metadata=x")


def test_pages_neither_lose_nor_repeat_what_stays() -> None:
    first = selectors.page("L", "v1", ITEMS, {"limit": "2"})
    token = first["metadata"]["continue"]
    without_a = selectors.page("L", "v1", ITEMS[1:], {"limit": "2", "continue": token})
    assert [each["metadata"]["name"] for each in without_a["items"]] == ["c", "d"]
    assert without_a["metadata"] == {}
    with_new = selectors.page("L", "v1", [item("new"), *ITEMS], {"limit": "9", "continue": token})
    assert [each["metadata"]["name"] for each in with_new["items"]] == ["c", "d"]
    texts = ("{}", "3", "[1]", "[true, 1, 2]", "[" * 40_000)
    tokens = [{"continue": base64.urlsafe_b64encode(each.encode()).decode()} for each in texts]
    for bad in (*tokens, {"limit": "x"}, {"limit": "-1"}, {"continue": "%%"}, {"watch": "true"}):
        with pytest.raises(ApiError) as caught:
            selectors.page("L", "v1", ITEMS, bad)
        assert caught.value.code == 400


@pytest.mark.parametrize("order", [1, -1])
def test_who_deletes_what_a_page_showed_misses_nothing_of_the_rest(order: int) -> None:
    there = [item(name) for name in "abcdefgh"][::order]
    seen, token = [], ""
    while True:
        found = selectors.page("L", "v1", there, {"limit": "3", "continue": token})
        seen += found["items"]
        token = found["metadata"].get("continue", "")
        if not token:
            break
        there = [each for each in there if each not in found["items"]]
    assert "".join(each["metadata"]["name"] for each in seen) == "abcdefgh"[::order]


def test_an_object_made_anew_under_the_same_name_does_not_end_a_list() -> None:
    token = selectors.page("L", "v1", ITEMS, {"limit": "1"})["metadata"]["continue"]
    again = {**ITEMS[0], "metadata": {**ITEMS[0]["metadata"], "creationTimestamp": "2026-01-02T00:00:00.000000Z"}}
    rest = selectors.page("L", "v1", [*ITEMS[1:], again], {"continue": token})
    assert [each["metadata"]["name"] for each in rest["items"]] == ["b", "c", "d", "a"]
