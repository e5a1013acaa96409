"""The English-like format: what it chooses, and what is none of it."""

from __future__ import annotations

from datetime import date

import pytest

from scripts.localcloud.scheduler.english import Days, Every, NotEnglish, parse


def test_intervals_and_windows() -> None:
    assert parse("every 2 hours") == Every(7200) == parse("every 120 minutes")
    window = parse("every 2 hours from 09:00 to 14:00")
    assert isinstance(window, Days) and window.times == (540, 660, 780) and window.hours == (9, 11, 13)
    assert window.within(11) == (0,) and window.within(10) == ()


def test_weekdays_by_number() -> None:
    third = parse("third tuesday of march 17:00")
    assert isinstance(third, Days) and third.times == (1020,)
    assert [day for day in range(1, 32) if third.on(date(2026, 3, day))] == [17]
    assert not third.on(date(2026, 4, 21))


def test_days_of_the_month() -> None:
    found = parse("2,30 of jan,feb 00:00")
    assert isinstance(found, Days)
    assert found.on(date(2026, 1, 30)) and found.on(date(2026, 2, 2)) and not found.on(date(2026, 3, 2))


@pytest.mark.parametrize(
    "text",
    [
        "every", "every 0 minutes", "every 5 days", "every day", "every day 24:00", "every someday 02:00",
        "sixth monday of month 02:00", "32 of month 02:00", "1 of never 02:00", "every 7 hours synchronized",
        "every 5 minutes from 10:00", "at noon", "",
    ],
)  # fmt: skip
def test_what_is_none_of_it(text: str) -> None:
    with pytest.raises(NotEnglish):
        parse(text)
