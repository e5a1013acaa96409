"""Monitoring filters."""

from __future__ import annotations

import pytest

from scripts.localcloud.monitoring import language
from scripts.localcloud.monitoring.series import DELTA, Series

SERIES = Series(
    "user/hits", {"reason": "no_manifest"}, "cloud_run_revision", {"service_name": "a-b"}, DELTA, "INT64", ()
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('metric.type = "user/hits"', True),
        ('metric.type="user/hits" AND resource.type="cloud_run_revision"', True),
        ('metric.type="user/hits" resource.type="gcs_bucket"', False),
        ('metric.type="x" OR metric.labels.reason:"manifest"', True),
        ('NOT metric.type="x"', True),
        ('-(metric.type="user/hits" AND metric.label.reason!="x")', False),
        ('resource.labels."service_name" = starts_with("a-")', True),
        ('resource.labels.service_name = one_of("x", "a-b")', True),
        ('resource.labels.service_name = monitoring.regex.full_match("a.")', False),
        ('resource.labels.service_name != ends_with("b")', False),
        ('metric.labels.none != "x"', True),
        ('metric.labels.none = ""', False),
    ],
)
def test_filters(text: str, expected: bool) -> None:
    assert language.parse(text)(SERIES) is expected


@pytest.mark.parametrize(
    "text",
    [
        "", "metric.type", "metric.type =", 'type = "x"', 'metric.type > "x"', "metric.type = x", '(metric.type = "x"',
        'metric.type = "x" AND', 'metric.type = f("x")', 'metric.type = monitoring.regex.full_match("(")',
        'metric.type = "x" )', 'metric.type = one_of("x"', "NOT " * 50 + 'metric.type = "x"', "\x00", '"a" = "b"',
    ],
)  # fmt: skip
def test_what_is_no_filter(text: str) -> None:
    with pytest.raises(language.BadFilter):
        language.parse(text)
