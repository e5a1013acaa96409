"""When zero duplicate downloads are proven, and why they are not."""

from __future__ import annotations

import pytest

from scripts.loadtest.evidence import Evidence
from tests.loadtest.support import proof, witness


def told(found: Evidence) -> list[str]:
    return [what for what, _ in found.problems()]


def test_three_hits_and_nothing_pulled_is_the_proof() -> None:
    found = proof(witness("a"), witness("b", cold=True), witness("c", cold=True))
    assert told(found) == []
    assert (found.serving, found.hits, found.misses, found.cold_starts, found.copies) == (3, 3, 0, 2, 0)
    assert found.upstream_bytes == 0


def test_instances_that_pulled_for_themselves_are_counted_as_copies() -> None:
    found = proof(*(witness(name, False, pulled=1 << 20) for name in "abc"), pulled=dict.fromkeys("abc", 1 << 20))
    assert told(found) == [
        "3 of 3 instances started on a miss (shared_volume_disabled)",
        "duplicate downloads: 3 instances pulled a copy each of the models, 3.0 MiB in all",
    ]
    assert (found.copies, found.upstream_bytes) == (3, 3 << 20)
    assert all(remedy for _, remedy in found.problems())


def test_what_others_pull_meanwhile_is_told_with_their_names() -> None:
    found = proof(witness("a"), witness("b"), witness("c"), pulled={"tabular-model-sync-x1": 2048})
    assert told(found) == ["2.0 KiB were pulled from the upstreams during the test, by tabular-model-sync-x1"]


def test_too_few_instances_prove_nothing() -> None:
    found = proof(witness("a"), witness("b"), witness("c", requests=0))
    assert told(found) == ["2 instances served, expected at least 3"]
    assert "min_instances" in found.problems()[0][1]


def test_an_instance_that_told_no_decision_proves_nothing() -> None:
    found = proof(witness("a"), witness("b"), witness("0123456789abcdef", None))
    assert told(found) == ["no start entry tells whether these instances started on a hit: 0123456789ab"]


@pytest.mark.parametrize("witnesses", [(), (witness("a", False, pulled=5),)])
def test_without_being_asked_nothing_is_claimed(witnesses: tuple[object, ...]) -> None:
    assert told(proof(*witnesses, expected=0)) == []  # type: ignore[arg-type]
