"""Counts by second and by minute."""

from __future__ import annotations

from scripts.localcloud.traffic.rates import API, Rates


def test_rates_of_the_last_seconds_and_minutes() -> None:
    now = 6000.5
    rates = Rates(lambda: now)
    for _ in range(30):
        rates.count(API, False, "storage")
    rates.count("svc", True)
    assert rates.per_second() == 0, "a second that is not over does not count"
    now = 6001
    assert rates.per_second() == 3.1
    now = 6060
    assert rates.per_second() == 0
    rates.count(API, True)
    minutes = rates.per_minute()
    assert len(minutes) == 60
    assert minutes[-2] == {
        "at_s": 6000, "api": 30, "errors": 0, "apis": {"storage": {"requests": 30, "errors": 0}},
        "services": {"svc": {"requests": 1, "errors": 1}},
    }  # fmt: skip
    assert minutes[-1] == {"at_s": 6060, "api": 1, "errors": 1, "apis": {}, "services": {}}
    now = 6060 + 3600
    rates.count(API, False)
    assert [minute["api"] for minute in rates.per_minute()] == [0] * 59 + [1]
