"""Lifecycle rules as values: what each condition says at its very moment, and which of several rules wins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scripts.localcloud.storage.lifecycle import Subject, check, decide, rules
from scripts.localcloud.storage.records import Record, times
from scripts.localcloud.web import ApiError

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def _subject(
    *,
    age: timedelta = timedelta(days=5),
    gone: timedelta | None = None,
    newer: int = 0,
    name: str = "a/b.log",
    **fields: Any,
) -> Subject:
    created = times(NOW - age)
    deleted = times(NOW - gone) if gone is not None else None
    record = Record("b", name, 1, 1, gone is None, "body", 1, "", None, created, created, deleted, fields)
    return Subject(record, newer)


def _rule(kind: str = "Delete", storage_class: str = "", **condition: Any) -> dict[str, Any]:
    action = {"type": kind, **({"storageClass": storage_class} if storage_class else {})}
    return {"action": action, "condition": condition}


def _matches(subject: Subject, **condition: Any) -> bool:
    return decide(rules({"lifecycle": {"rule": [_rule(**condition)]}}), subject, NOW) is not None


DAYS = timedelta(days=1)
OLD = "2026-03-01T00:00:00Z"


@pytest.mark.parametrize(
    ("subject", "condition", "expected"),
    [
        (_subject(age=3 * DAYS), {"age": 3}, True),
        (_subject(age=3 * DAYS - SECOND), {"age": 3}, False),
        (_subject(age=3 * DAYS), {"age": "3"}, True),
        (_subject(), {"age": 0}, True),
        (_subject(age=10 * DAYS), {"createdBefore": "2026-03-01"}, True),
        (_subject(age=9 * DAYS + timedelta(hours=12)), {"createdBefore": "2026-03-01"}, False),
        (_subject(), {"isLive": True}, True),
        (_subject(gone=DAYS), {"isLive": True}, False),
        (_subject(gone=DAYS), {"isLive": False}, True),
        (_subject(gone=DAYS, newer=2), {"numNewerVersions": 2}, True),
        (_subject(gone=DAYS, newer=1), {"numNewerVersions": 2}, False),
        (_subject(gone=2 * DAYS), {"daysSinceNoncurrentTime": 2}, True),
        (_subject(gone=2 * DAYS - SECOND), {"daysSinceNoncurrentTime": 2}, False),
        (_subject(), {"daysSinceNoncurrentTime": 0}, False),
        (_subject(gone=10 * DAYS), {"noncurrentTimeBefore": "2026-03-01"}, True),
        (_subject(), {"noncurrentTimeBefore": "2027-01-01"}, False),
        (_subject(customTime=OLD), {"daysSinceCustomTime": 9}, True),
        (_subject(customTime=OLD), {"daysSinceCustomTime": 10}, False),
        (_subject(), {"daysSinceCustomTime": 0}, False),
        (_subject(customTime=OLD), {"customTimeBefore": "2026-03-02"}, True),
        (_subject(customTime=OLD), {"customTimeBefore": "2026-03-01"}, False),
        (_subject(), {"matchesPrefix": ["x", "a/"]}, True),
        (_subject(), {"matchesPrefix": ["b"]}, False),
        (_subject(), {"matchesSuffix": [".log"]}, True),
        (_subject(), {"matchesSuffix": [".txt"]}, False),
        (_subject(storageClass="NEARLINE"), {"matchesStorageClass": ["NEARLINE"]}, True),
        (_subject(), {"matchesStorageClass": ["NEARLINE"]}, False),
        (_subject(age=3 * DAYS), {"age": 3, "matchesPrefix": ["b"]}, False),
    ],
)
def test_every_condition_at_its_moment(subject: Subject, condition: dict[str, Any], expected: bool) -> None:
    assert _matches(subject, **condition) is expected


def test_deletion_comes_first_then_the_cheapest_class() -> None:
    classes = [_rule("SetStorageClass", name, age=0) for name in ("NEARLINE", "ARCHIVE", "COLDLINE")]
    chosen = decide(rules({"lifecycle": {"rule": classes}}), _subject(), NOW)
    assert chosen is not None and chosen.storage_class == "ARCHIVE"
    chosen = decide(rules({"lifecycle": {"rule": [*classes, _rule(age=0)]}}), _subject(), NOW)
    assert chosen is not None and chosen.kind == "Delete"
    already = decide(rules({"lifecycle": {"rule": [classes[1]]}}), _subject(storageClass="ARCHIVE"), NOW)
    assert already is None


def test_uploads_go_by_age_and_name_alone() -> None:
    (rule,) = rules({"lifecycle": {"rule": [_rule("AbortIncompleteMultipartUpload", age=2, matchesPrefix=["a"])]}})
    assert rule.matches_upload("a/b", times(NOW - 2 * DAYS), NOW)
    assert not rule.matches_upload("a/b", times(NOW - 2 * DAYS + SECOND), NOW)
    assert not rule.matches_upload("b", times(NOW - 3 * DAYS), NOW)
    assert decide([rule], _subject(), NOW) is None


def test_a_refusal_names_the_rule_and_what_is_wrong() -> None:
    check({"rule": [_rule(age=1), _rule("SetStorageClass", "NEARLINE", isLive=False)]})
    with pytest.raises(ApiError) as refused:
        check({"rule": [_rule(age=1), _rule(age=1, colour="red")]})
    assert refused.value.code == 400 and "rule[1]: invalid condition colour: 'red'" in refused.value.message
    with pytest.raises(ApiError):
        check({"rule": [_rule(age=1)] * 101})
