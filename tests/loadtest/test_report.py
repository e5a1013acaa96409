"""A report says what was found, what it means and what to do; a failed one is an error."""

from __future__ import annotations

import json

import pytest

from scripts.errors import ExitCode, OpsError
from tests.loadtest.support import measured, proof, report, witness

HITS = (witness("aaaaaaaaaaaaaaaa"), witness("b", cold=True), witness("c"))


def test_a_passed_one() -> None:
    made = report()
    made.check()
    rows = dict(made.rows())
    assert (made.passed, rows["verdict"]) == (True, "passed")
    assert rows["duplicate downloads"] == "none: 3 instances, every start a hit, 0 B pulled"
    assert rows["instances"] == "3 served; 3 hits, 0 misses, 1 cold start"
    assert rows["sent"] == "100 in 1 s: 100 requests a second, 100.0 % of what was due"
    headers, lines = made.table()
    assert lines[0][0] == "aaaaaaaaaaaa" and {len(line) for line in lines} == {len(headers)}


def test_what_the_audit_keeps_is_what_a_promotion_asks_for() -> None:
    kept = report().details()
    assert kept["image_digest"] == "sha256:1"
    assert (kept["revision"], kept["manifest_version"], kept["passed"]) == ("web-00001", "v1", True)
    assert (kept["rate"], kept["duration_s"], kept["errors"]) == (100, 1, 0)
    assert kept["p99_ms"] == pytest.approx(100, rel=0.001)


def test_the_document_is_json() -> None:
    document = json.loads(json.dumps(report().as_json()))
    assert document["latency_ms"]["p99"] == pytest.approx(100, rel=0.001)
    assert document["thresholds"] == [
        {"text": "p99<500ms", "measured": document["latency_ms"]["p99"], "passed": True},
        {"text": "errors<0.1%", "measured": 0.0, "passed": True},
    ]
    assert [each["cache_hit"] for each in document["witnesses"]] == [True] * 3


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (report(measured(*[0.6] * 100)), "p99 is 600 ms, the threshold p99<500ms"),
        (report(measured(*[0.1] * 100, failed=2)), "errors is 2 %, the threshold errors<0.1%"),
        (report(measured(*[0.1] * 100, sent=98)), "the generator sent 98.0 % of what was due in time"),
        (report(measured(*[0.1] * 100, lag_s=0.2)), "the generator sent late"),
        (report(proven=proof(*HITS[:2])), "2 instances served, expected at least 3"),
        (report(measured()), "nothing was measured"),
    ],
)
def test_a_failed_one_is_an_error_with_a_remedy(made: object, expected: str) -> None:
    with pytest.raises(OpsError) as caught:
        made.check()  # type: ignore[attr-defined]
    assert caught.value.exit_code is ExitCode.FAILED
    assert expected in caught.value.message
    assert caught.value.remedy
    assert ("verdict", "failed") in made.rows()  # type: ignore[attr-defined]


def test_errors_are_told_by_kind_and_what_is_asked_wrongly_gets_another_remedy_than_what_is_slow() -> None:
    wrong = report(measured(*[0.1] * 100, failed=2, kind="HTTP 404"))
    assert dict(wrong.rows())["errors"] == "2 of 100 (2 %): 2 × HTTP 404"
    assert all(name for name, _ in wrong.rows())
    for made, remedy in (
        (wrong, "HTTP 404 answers what is asked for: correct --path or --body"),
        (report(measured(*[0.1] * 100, failed=2, kind="HTTP 403")), "HTTP 403 answers what is asked for"),
        (report(measured(*[0.1] * 100, failed=2, kind="HTTP 429")), "Ask for less (--rate)"),
        (report(measured(*[0.1] * 100, failed=2, kind="HTTP 500")), "Ask for less (--rate)"),
    ):
        with pytest.raises(OpsError) as caught:
            made.check()
        assert caught.value.remedy.startswith(remedy)


def test_several_failures_are_all_told_the_generator_first() -> None:
    made = report(measured(*[0.6] * 100, sent=50), proof(*HITS[:1]))
    first, second, third = [what for what, _ in made.failures]
    assert "generator" in first and "p99 is" in second and "1 instances served" in third
    assert made.details()["failures"] == [first, second, third]
