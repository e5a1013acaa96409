"""Schedules and their times, with the days on which clocks change."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from scripts.localcloud.scheduler import cron


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def following(schedule: str, zone: str, after: str, count: int) -> list[str]:
    moments, now = [], at(after)
    for _ in range(count):
        now = cron.next_after(schedule, zone, now)
        moments.append(datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M"))
    return moments


@pytest.mark.parametrize(
    ("schedule", "zone", "after", "expected"),
    [
        ("0 2 * * *", "Etc/UTC", "2026-11-20T02:00:00", "2026-11-21T02:00"),
        ("0 2 * * *", "Etc/UTC", "2026-11-20T01:59:59.999", "2026-11-20T02:00"),
        ("0 2 * * *", "Europe/Berlin", "2026-11-20T00:30:00", "2026-11-20T01:00"),
        ("*/15 9-17 * * mon-fri", "Etc/UTC", "2026-11-20T17:45:00", "2026-11-23T09:00"),
        ("5/20 * * * *", "Etc/UTC", "2026-11-20T00:26:00", "2026-11-20T00:45"),
        ("0 0 1 * sat", "Etc/UTC", "2026-11-20T00:00:00", "2026-11-21T00:00"),
        ("0 0 31 * *", "Etc/UTC", "2026-11-20T00:00:00", "2026-12-31T00:00"),
        ("0 0 29 feb *", "Etc/UTC", "2026-11-20T00:00:00", "2028-02-29T00:00"),
        ("0 0 * * 7", "Etc/UTC", "2026-11-20T00:00:00", "2026-11-22T00:00"),
        ("30 23 * * *", "Pacific/Kiritimati", "2026-11-20T00:00:00", "2026-11-20T09:30"),
        ("every 15 minutes", "Etc/UTC", "2026-11-20T00:16:00", "2026-11-20T00:30"),
        ("every 24 hours", "Etc/UTC", "2026-11-20T00:16:00", "2026-11-21T00:00"),
        ("every 7 hours", "Etc/UTC", "2026-11-20T00:16:00", "2026-11-20T07:16"),
        ("every day 02:00", "Etc/UTC", "2026-11-20T00:16:00", "2026-11-20T02:00"),
        ("every monday,thu 09:30", "Etc/UTC", "2026-11-20T00:16:00", "2026-11-23T09:30"),
        ("0 0 13 * fri", "Etc/UTC", "2026-11-20T00:00:00", "2026-11-27T00:00"),
        ("0 0 13 * *", "Etc/UTC", "2026-11-20T00:00:00", "2026-12-13T00:00"),
        ("0 0 * * fri", "Etc/UTC", "2026-11-13T00:00:00", "2026-11-20T00:00"),
        ("0,30 0-4/2 1,15 JAN-mar *", "Etc/UTC", "2026-11-20T00:00:00", "2027-01-01T00:00"),
        ("0-59/7 3 * * *", "Etc/UTC", "2026-11-20T03:50:00", "2026-11-20T03:56"),
        ("0 0 * 2-12/5 0,6", "Etc/UTC", "2026-11-20T00:00:00", "2026-12-05T00:00"),
        ("  0   2 * *  * ", "Etc/UTC", "2026-11-20T02:00:00", "2026-11-21T02:00"),
        ("Every 5 Minutes from 10:00 to 10:10", "Etc/UTC", "2026-11-20T10:06:00", "2026-11-20T10:10"),
        ("every 5 minutes from 10:00 to 10:10", "Etc/UTC", "2026-11-20T10:10:00", "2026-11-21T10:00"),
        ("every 90 mins from 22:00 to 02:00", "Etc/UTC", "2026-11-20T23:30:00", "2026-11-21T01:00"),
        ("every 6 hours synchronized", "Asia/Kolkata", "2026-11-20T00:00:00", "2026-11-20T00:30"),
        ("1st monday of sep,oct,nov 17:00", "Etc/UTC", "2026-11-20T00:00:00", "2027-09-06T17:00"),
        ("2nd, fourth tue of month 05:30", "Etc/UTC", "2026-11-20T00:00:00", "2026-11-24T05:30"),
        ("first day of quarter 00:00", "Etc/UTC", "2026-11-20T00:00:00", "2027-01-01T00:00"),
        ("1,15 of month 09:00", "Etc/UTC", "2026-11-20T00:00:00", "2026-12-01T09:00"),
        ("every sunday of december 06:00", "Europe/Berlin", "2026-11-20T00:00:00", "2026-12-06T05:00"),
    ],
)
def test_the_next_time(schedule: str, zone: str, after: str, expected: str) -> None:
    assert following(schedule, zone, after, 1) == [expected]


def test_a_time_that_does_not_exist_is_not_run() -> None:
    # Berlin goes from 02:00 to 03:00 on 2026-03-29
    assert following("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00", 2) == [
        "2026-03-30T00:30", "2026-03-31T00:30",
    ]  # fmt: skip
    assert following("0 3 * * *", "Europe/Berlin", "2026-03-28T12:00:00", 1) == ["2026-03-29T01:00"]


def test_a_time_that_exists_twice_is_run_twice() -> None:
    # Berlin goes from 03:00 back to 02:00 on 2026-10-25
    moments = following("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00", 3)
    assert moments == ["2026-10-25T00:30", "2026-10-25T01:30", "2026-10-26T01:30"]


def test_every_minute_loses_none_and_repeats_none_over_both_changes() -> None:
    for start in ("2026-03-29T00:00:00", "2026-10-25T00:00:00"):
        now = at(start)
        for minute in range(1, 181):
            now = cron.next_after("* * * * *", "Europe/Berlin", now)
            assert now == at(start) + minute * 60


@pytest.mark.parametrize(
    "schedule",
    [
        "", "* * * *", "* * * * * *", "60 * * * *", "5-1 * * * *", "1-2-3 * * * *", "0 0 31 feb *", "0 0 L * *",
        "every blue moon", "every 0 minutes", "every funday 02:00", "*/00 * * * *", "² * * * *", "1, * * * *",
    ],
)  # fmt: skip
def test_what_is_no_schedule(schedule: str) -> None:
    with pytest.raises(cron.BadSchedule):
        cron.parse(schedule)
