"""The English-like format of schedules, which Cloud Scheduler knows beside unix cron ("groc").

    every 15 minutes | every 2 hours | every 5 minutes from 10:00 to 14:00 | every 12 hours synchronized
    every day 02:00 | every monday,thursday 09:30 | every mon of jan,jul 10:00
    first sunday of month 05:00 | 2nd,third tue of march 17:00 | 1,15 of month 09:00
Source: "Defining the cron job schedule" of App Engine's cron.yaml, of which it is the format.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONG_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
_LONG_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_ORDINALS = (("1st", "first"), ("2nd", "second"), ("3rd", "third"), ("4th", "fourth"), ("5th", "fifth"))
_TIME = r"([01]?\d|2[0-3]):([0-5]\d)"
_INTERVAL = re.compile(
    rf"every (\d{{1,5}}) ?(minutes?|mins?|hours?|h|m)(?: (?:from {_TIME} to {_TIME}|(synchronized)))?", re.ASCII
)
_DAILY = re.compile(rf"(every|[a-z0-9,]+) ([a-z,]+)(?: of ([a-z,]+))? {_TIME}", re.ASCII)
_MONTHLY = re.compile(rf"([0-9,]+) of ([a-z,]+) {_TIME}", re.ASCII)
_DAY_MINUTES = 24 * 60


class NotEnglish(ValueError):
    """The schedule is not of this format."""


@dataclass(frozen=True)
class Every:
    """A fixed interval."""

    seconds: int


@dataclass(frozen=True)
class Days:
    """Times (minutes since midnight) on days chosen by month, by day of the month or by weekday and its number."""

    times: tuple[int, ...]
    months: frozenset[int] = frozenset(range(1, 13))
    days: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset(range(7))
    numbers: frozenset[int] = frozenset(range(1, 6))

    @property
    def hours(self) -> tuple[int, ...]:
        """The hours that have a time."""
        return tuple(sorted({time // 60 for time in self.times}))

    def within(self, hour: int) -> tuple[int, ...]:
        """The minutes of an hour."""
        return tuple(time % 60 for time in self.times if time // 60 == hour)

    def on(self, day: date) -> bool:
        """Whether it is due on a day at all."""
        if day.month not in self.months:
            return False
        if self.days:
            return day.day in self.days
        return day.isoweekday() % 7 in self.weekdays and (day.day - 1) // 7 + 1 in self.numbers


def parse(schedule: str) -> Every | Days:
    """Understand a schedule in this format. Raises NotEnglish."""
    text = re.sub(r" *, *", ",", " ".join(schedule.lower().split()))
    if (interval := _INTERVAL.fullmatch(text)) is not None:
        return _interval(interval)
    if (monthly := _MONTHLY.fullmatch(text)) is not None:
        days = frozenset(int(each) if each.isdigit() else 0 for each in monthly[1].split(","))
        if not days or not all(1 <= day <= 31 for day in days):
            raise NotEnglish(schedule)
        return Days((_minutes(monthly[3], monthly[4]),), _months(monthly[2]), days)
    if (daily := _DAILY.fullmatch(text)) is not None:
        numbers = frozenset(range(1, 6)) if daily[1] == "every" else frozenset(map(_ordinal, daily[1].split(",")))
        weekdays = frozenset(range(7)) if daily[2] == "day" else frozenset(map(weekday, daily[2].split(",")))
        if daily[2] == "day" and daily[1] != "every":  # the first day of a month, and not its first seven
            return Days((_minutes(daily[4], daily[5]),), _months(daily[3] or "month"), numbers)
        months = _months(daily[3] or "month")
        return Days((_minutes(daily[4], daily[5]),), months, frozenset(), weekdays, numbers)
    raise NotEnglish(schedule)


def weekday(name: str) -> int:
    """0 for Sunday. Raises NotEnglish."""
    return _place(name, DAYS, _LONG_DAYS)


def _interval(found: re.Match[str]) -> Every | Days:
    step = int(found[1]) * (60 if found[2].startswith("h") else 1)
    if step == 0:
        raise NotEnglish(found[0])
    if found[3] is None:
        if found[7] and _DAY_MINUTES % step:
            raise NotEnglish(f"{found[0]}: a day is no multiple of it")
        return Every(step * 60)
    first, last = _minutes(found[3], found[4]), _minutes(found[5], found[6])
    last += _DAY_MINUTES if last < first else 0
    return Days(tuple(sorted(time % _DAY_MINUTES for time in range(first, last + 1, step))))


def _months(text: str) -> frozenset[int]:
    if text == "month":
        return frozenset(range(1, 13))
    if text == "quarter":
        return frozenset((1, 4, 7, 10))
    return frozenset(_place(each, MONTHS, _LONG_MONTHS) + 1 for each in text.split(","))


def _ordinal(text: str) -> int:
    for number, names in enumerate(_ORDINALS, 1):
        if text in names:
            return number
    raise NotEnglish(text)


def _place(name: str, *known: tuple[str, ...]) -> int:
    for names in known:
        if name in names:
            return names.index(name)
    raise NotEnglish(name)


def _minutes(hour: str, minute: str) -> int:
    return int(hour) * 60 + int(minute)
