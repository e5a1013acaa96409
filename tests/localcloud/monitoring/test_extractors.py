"""Label extractors of log-based metrics."""

from __future__ import annotations

import pytest

from scripts.localcloud.monitoring import extractors

ENTRY = {
    "jsonPayload": {"reason": "no_manifest", "hit": True, "nested": {"n": 3}},
    "labels": {"run.googleapis.com/task_index": "2"},
    "textPayload": 'took 12 ms for "a"',
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("EXTRACT(jsonPayload.reason)", "no_manifest"),
        ("EXTRACT(jsonPayload.hit)", "true"),
        ("EXTRACT(jsonPayload.nested.n)", "3"),
        ("EXTRACT(jsonPayload.nested)", ""),
        ("EXTRACT(jsonPayload.none)", ""),
        ('EXTRACT(labels."run.googleapis.com/task_index")', "2"),
        (r'REGEXP_EXTRACT(textPayload, "took (\\d+) ms")', "12"),
        ('REGEXP_EXTRACT( textPayload , "for \\"(.)\\"" )', "a"),
        ('REGEXP_EXTRACT(textPayload, "(never)")', ""),
    ],
)
def test_values(text: str, expected: str) -> None:
    assert extractors.parse(text)(ENTRY) == expected


@pytest.mark.parametrize(
    "text",
    ["", "jsonPayload.x", "EXTRACT()", 'EXTRACT(a, "(b)")', "REGEXP_EXTRACT(a)", 'REGEXP_EXTRACT(a, "b")',
     'REGEXP_EXTRACT(a, "(")', 'REGEXP_EXTRACT(a, "(b)(c)")'],
)  # fmt: skip
def test_what_is_no_extractor(text: str) -> None:
    with pytest.raises(extractors.BadExtractor):
        extractors.parse(text)
