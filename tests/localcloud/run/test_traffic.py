"""Traffic: resolving the specification and sharing requests out."""

from __future__ import annotations

from collections import Counter

import pytest

from scripts.localcloud.run.traffic import Splitter, Target, from_status, resolve, to_status
from scripts.localcloud.run.validation import traffic
from scripts.localcloud.web import ApiError


def test_the_latest_ready_revision_stands_in_for_latest() -> None:
    spec = [{"latestRevision": True, "percent": 90}, {"revisionName": "s-1", "percent": 10, "tag": "old"}]
    targets = resolve(spec, "s-2")
    assert targets == (Target("s-2", 90, "", True), Target("s-1", 10, "old"))
    assert from_status(to_status(targets, lambda tag: f"url-{tag}")) == targets
    assert to_status(targets, lambda tag: f"url-{tag}")[1]["url"] == "url-old"
    assert resolve([], "s-2") == (Target("s-2", 100, "", True),)
    assert resolve([], "") == ()


@pytest.mark.parametrize("weights", [{"a": 100}, {"a": 50, "b": 50}, {"a": 90, "b": 10}, {"a": 1, "b": 33, "c": 66}])
def test_a_hundred_requests_are_shared_exactly(weights: dict[str, int]) -> None:
    splitter = Splitter([Target(name, percent) for name, percent in weights.items()])
    for _ in range(2):
        assert Counter(splitter.next() for _ in range(100)) == weights


def test_shares_are_spread_out_and_tags_get_none() -> None:
    splitter = Splitter([Target("a", 50), Target("b", 50), Target("c", 0, "tagged")])
    turns = [splitter.next() for _ in range(6)]
    assert turns in (["a", "b"] * 3, ["b", "a"] * 3)
    assert Splitter([Target("c", 0, "tagged")]).next() is None


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([{"percent": 99, "latestRevision": True}], "sum to 99"),
        ([{"percent": 100, "latestRevision": False}], "exactly one of"),
        ([{"percent": 100, "latestRevision": True, "revisionName": "s-1"}], "exactly one of"),
        ([{"percent": 101, "latestRevision": True}], "101"),
        ([{"percent": -1, "latestRevision": True}, {"percent": 101, "latestRevision": True}], "percent"),
        ([{"percent": 100, "latestRevision": True, "tag": "No"}], "tag"),
        (
            [{"percent": 50, "latestRevision": True, "tag": "x"}, {"percent": 50, "revisionName": "s-1", "tag": "x"}],
            "tag",
        ),
    ],
)
def test_bad_traffic_is_refused(lines: list[dict[str, object]], words: str) -> None:
    with pytest.raises(ApiError, match=words) as caught:
        traffic(lines)
    assert caught.value.code == 400
