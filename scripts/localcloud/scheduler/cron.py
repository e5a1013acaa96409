"""When a schedule is due: five fields of unix cron or the English-like format, in a time zone of the tz database.

Cloud Scheduler goes by the wall clock ("Cron job format and time zone"): where clocks are put forward, a time that does
not exist is not run; where they are put back, a time that exists twice is run twice. Day of month and day of week are
joined by OR unless one of them is `*`. The English-like format is english.py's; its intervals count from midnight in
the job's time zone when they divide the day, and from the moment they are asked from otherwise.
"""

from __future__ import annotations

import functools
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from scripts.localcloud.scheduler import english
from scripts.localcloud.scheduler.english import Days, Every

_BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
# 29 February falls on every weekday within 28 years, and 40 covers the century that skips one.
_YEARS = 40


class BadSchedule(ValueError):
    """The schedule cannot be understood, or has no time at all."""


@dataclass(frozen=True)
class Cron:
    """Sets of minutes, hours, days of the month, months, and weekdays (0 is Sunday)."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    def within(self, hour: int) -> tuple[int, ...]:
        """The minutes of an hour."""
        return self.minutes

    def on(self, day: date) -> bool:
        """Whether it is due on a day at all."""
        if day.month not in self.months:
            return False
        in_month, in_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return in_month or in_week if self.either_day else in_month and in_week


@functools.lru_cache(maxsize=256)
def parse(schedule: str) -> Cron | Every | Days:
    """Understand a schedule. Raises BadSchedule."""
    text = " ".join(schedule.split())
    fields = text.split(" ")
    if len(fields) != 5 or ":" in text or " of " in text:
        return _english(schedule)
    sets = [_field(field, place) for place, field in enumerate(fields)]
    either = "*" not in (fields[2], fields[4])
    parsed = Cron(
        tuple(sorted(sets[0])), tuple(sorted(sets[1])), sets[2], sets[3], frozenset(day % 7 for day in sets[4]), either
    )
    # 31 February never comes, and a schedule that never comes is a mistake
    if not parsed.either_day and not any(parsed.on(day) for day in _days(date(2000, 1, 1), 366 * _YEARS)):
        raise BadSchedule(schedule)
    return parsed


@functools.lru_cache(maxsize=1024)
def next_after(schedule: str, zone: str, at: float) -> float:
    """The first due time later than `at`, both in seconds since the epoch. Raises BadSchedule."""
    parsed = parse(schedule)
    place = zoneinfo.ZoneInfo(zone)
    local = datetime.fromtimestamp(at, UTC).astimezone(place)
    if isinstance(parsed, Every):
        return _next_interval(parsed.seconds, at, local)
    for day in _days(local.date(), 366 * _YEARS):
        if not parsed.on(day):
            continue
        due = _first(parsed, day, place, at)
        if due is not None:
            return due
    raise BadSchedule(schedule)


def _first(cron: Cron | Days, day: date, zone: zoneinfo.ZoneInfo, at: float) -> float | None:
    """The first instant of a day after `at`."""
    found: list[float] = []
    hour_found = 24
    for hour in cron.hours:
        # where clocks are put back, an hour's second pass may lie among the next hour's times, and no later
        if hour > hour_found + 1:
            break
        last = datetime(day.year, day.month, day.day, hour, 59, tzinfo=zone, fold=1)
        if last.timestamp() <= at:
            continue
        later = [instant for instant in _instants(cron, day, hour, zone) if instant > at]
        if later:
            found += later
            hour_found = min(hour_found, hour)
    return min(found, default=None)


def _instants(cron: Cron | Days, day: date, hour: int, zone: zoneinfo.ZoneInfo) -> Iterator[float]:
    for minute in cron.within(hour):
        wall = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
        once, again = wall.timestamp(), wall.replace(fold=1).timestamp()
        # both readings of a time that is skipped come back as another wall time
        if datetime.fromtimestamp(once, zone).replace(tzinfo=None) == wall.replace(tzinfo=None):
            yield once
            if again != once:
                yield again


def _next_interval(seconds: int, at: float, local: datetime) -> float:
    if 86400 % seconds:
        return at + seconds
    since_midnight = (local.hour * 60 + local.minute) * 60 + local.second + at % 1
    return at + seconds - since_midnight % seconds


def _days(first: date, count: int) -> Iterator[date]:
    # from the day before: a zone may put its clocks back over midnight
    return (first + timedelta(days=offset) for offset in range(-1, count))


def _english(schedule: str) -> Every | Days:
    try:
        parsed = english.parse(schedule)
    except english.NotEnglish as error:
        raise BadSchedule(schedule) from error
    if isinstance(parsed, Days) and not any(parsed.on(day) for day in _days(date(2000, 1, 1), 366 * _YEARS)):
        raise BadSchedule(schedule)
    return parsed


def _field(field: str, place: int) -> frozenset[int]:
    least, most = _BOUNDS[place]
    found: set[int] = set()
    for part in field.split(","):
        span, slash, step = part.partition("/")
        if slash and (not _is_number(step) or int(step) < 1):
            raise BadSchedule(field)
        if span == "*":
            first, last = least, 6 if place == 4 else most
        else:
            ends = [_number(end, place) for end in span.split("-")]
            first, last = ends[0], ends[-1] if len(ends) == 2 or not slash else most
            if len(ends) > 2 or not least <= first <= last <= most:
                raise BadSchedule(field)
        found.update(range(first, last + 1, int(step) if slash else 1))
    return frozenset(found)


def _number(text: str, place: int) -> int:
    names = {3: english.MONTHS, 4: english.DAYS}.get(place, ())
    if text.lower() in names:
        return names.index(text.lower()) + (1 if place == 3 else 0)
    if not _is_number(text):
        raise BadSchedule(text)
    return int(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 4
