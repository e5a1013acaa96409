"""How much goes on: calls of the APIs and requests to services, by second for `local.status`, by minute for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_WINDOW_S = 10
_MINUTES = 60
API = "api"


class Rates:
    """Counts of the last hour, kept in memory; clock is the machine's."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seconds: dict[int, int] = {}
        self._minutes: dict[int, dict[str, list[int]]] = {}

    def count(self, name: str, failed: bool, part: str = "") -> None:
        """One request that was answered now: `api` and which of them (`storage`), or the name of a service."""
        second = int(self._clock())
        if second not in self._seconds:
            self._forget(second)
        self._seconds[second] = self._seconds.get(second, 0) + 1
        kinds = self._minutes.setdefault(second // 60, {})
        for key in (name, f"{API}.{part}") if part else (name,):  # no service has a dot in its name
            numbers = kinds.setdefault(key, [0, 0])
            numbers[0] += 1
            numbers[1] += failed

    def per_second(self) -> float:
        """Requests a second, over the last ten whole seconds."""
        now = int(self._clock())
        return sum(count for second, count in self._seconds.items() if now - _WINDOW_S <= second < now) / _WINDOW_S

    def per_minute(self) -> list[dict[str, Any]]:
        """The last hour, a minute each and the oldest first: {at_s, api, errors, apis, services}.

        apis and services are {NAME: {requests, errors}}.
        at_s is the minute's beginning in seconds since the epoch; minutes in which nothing happened are there, too.
        """
        last = int(self._clock()) // 60
        return [self._minute(minute) for minute in range(last - _MINUTES + 1, last + 1)]

    def _minute(self, minute: int) -> dict[str, Any]:
        kinds = self._minutes.get(minute, {})
        calls, errors = kinds.get(API, (0, 0))
        named = {name: {"requests": numbers[0], "errors": numbers[1]} for name, numbers in sorted(kinds.items())}
        named.pop(API, None)
        apis = {name.partition(".")[2]: each for name, each in named.items() if "." in name}
        services = {name: each for name, each in named.items() if "." not in name}
        return {"at_s": minute * 60, "api": calls, "errors": errors, "apis": apis, "services": services}

    def _forget(self, second: int) -> None:
        for old in [each for each in self._seconds if each < second - _WINDOW_S]:
            del self._seconds[old]
        for old in [each for each in self._minutes if each <= second // 60 - _MINUTES]:
            del self._minutes[old]
