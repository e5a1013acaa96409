"""Label and field selectors as Kubernetes writes them, and pages that stay in step when objects come and go."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.localcloud.run import selectors
from scripts.localcloud.web import ApiError


def item(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}, "status": {"index": 1}}


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
    for bad in ({"limit": "x"}, {"limit": "-1"}, {"continue": "%%"}, {"continue": "e30="}, {"watch": "true"}):
        with pytest.raises(ApiError) as caught:
            selectors.page("L", "v1", ITEMS, bad)
        assert caught.value.code == 400
