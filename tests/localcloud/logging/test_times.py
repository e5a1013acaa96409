"""Times of log entries as integers that sort."""

from __future__ import annotations

from scripts.localcloud.logging.times import to_nanoseconds


def test_a_time_is_read_with_its_fraction_and_zone() -> None:
    assert to_nanoseconds("1970-01-01T00:00:01.5Z") == 1_500_000_000
    assert to_nanoseconds("1970-01-01T01:00:00+01:00") == 0
    assert to_nanoseconds("yesterday") is None


def test_times_that_sqlite_cannot_hold_count_as_the_first_and_the_last() -> None:
    assert to_nanoseconds("0001-01-01T00:00:00Z") == -(2**63)
    assert to_nanoseconds("9999-12-31T23:59:59Z") == 2**63 - 1
