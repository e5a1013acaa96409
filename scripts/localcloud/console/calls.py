"""The panels of what passes through: rates by minute, calls that failed, sums by operation, and the faults."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from scripts.localcloud.console.values import moment

_FAILING = "8"
_SUMMED = "12"
_LATELY_MINUTES = 5
_MOST_LINES = 12
Minutes = Sequence[dict[str, Any]]


class Traffic(Protocol):
    """What is needed of the room of what passes through."""

    async def requests(self, asked: dict[str, str]) -> dict[str, Any]: ...


async def logged(traffic: Traffic) -> dict[str, Any]:
    """{calls, failed, failing: newest first, operations}: what the request log tells, which may take a while."""
    failing = await traffic.requests({"status": "error", "limit": _FAILING})
    sums = await traffic.requests({"summary": "operation", "limit": _SUMMED})
    return {
        "calls": sums["matched"],
        "failed": failing["matched"],
        "failing": failing["requests"],
        "operations": sums["summary"],
    }


def requests(minutes: Minutes, found: dict[str, Any] | None, now: float) -> dict[str, Any]:
    """{rates: [{name, kind, requests, errors, latest, per_minute}], failing, operations, calls, failed}.

    rates are of the last hour, the oldest minute first: all calls, then APIs and services, the busiest first.
    The rest is null while the log is being read for the first time.
    """
    told = found or dict.fromkeys(("calls", "failed", "failing", "operations"))
    failing = told["failing"]
    if failing is not None:
        failing = [{**each, "age_s": now - (moment(each["time"]) or now)} for each in failing]
    return {"rates": rates(minutes), **told, "failing": failing}


def rates(minutes: Minutes) -> list[dict[str, Any]]:
    """A line for all calls of APIs, and one for each API and service that had any in the last hour."""
    every = _line("all APIs", "total", [(each["api"], each["errors"]) for each in minutes])
    parts = []
    for key, kind in (("apis", "API"), ("services", "service")):
        for name in sorted({name for each in minutes for name in each.get(key, ())}):
            counts = [each.get(key, {}).get(name, {}) for each in minutes]
            pairs = [(each.get("requests", 0), each.get("errors", 0)) for each in counts]
            parts.append(_line(name, kind, pairs))
    # services first: they are what is run here
    parts.sort(key=lambda each: (each["kind"] != "service", -each["requests"], each["name"]))
    return [*parts[: _MOST_LINES - 1], every]


def _line(name: str, kind: str, pairs: Sequence[tuple[int, int]]) -> dict[str, Any]:
    counts, failures = [count for count, _ in pairs], [failed for _, failed in pairs]
    return {
        "name": name, "kind": kind, "requests": sum(counts), "errors": sum(failures),
        "errors_lately": sum(failures[-_LATELY_MINUTES:]), "latest": counts[-1] if counts else 0,
        "per_minute": counts, "errors_per_minute": failures,
    }  # fmt: skip


def faults(given: Sequence[dict[str, Any]], kinds: dict[str, str], now: float) -> dict[str, Any]:
    """{faults: [{id, on, kind, seen, fired, missed, left, where, how, …}], kinds}."""
    return {"faults": [_fault(each, now) for each in given], "kinds": kinds}


def _fault(given: dict[str, Any], now: float) -> dict[str, Any]:
    left = "forever" if given["left"] is None else given["left"]
    began = moment(given.get("set_at"))
    where = [f"{key} {given[key]}" for key in ("bucket", "object", "instance") if given.get(key)]
    return {
        **given, "left": left, "where": ", ".join(where), "how": _how(given),
        "age_s": None if began is None else now - began,
    }  # fmt: skip


def _how(given: dict[str, Any]) -> str:
    """When it happens, in a few words."""
    parts = [f"from call {given['nth']}"] if given.get("nth", 1) != 1 else []
    if given.get("every"):
        parts.append(f"every {given['every']} calls")
    if given.get("probability"):
        parts.append(f"{given['probability']:.0%} of calls")
    units = (("after_bytes", "after {} bytes"), ("delay_s", "{:g} s"), ("rate_bytes_s", "{} bytes/s"))
    parts += [text.format(given[key]) for key, text in units if given.get(key) is not None]
    return ", ".join(parts)
