"""Values for people: sizes, ages, durations, times; and what may not be shown. Pure functions."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from scripts.process import redact

HIDDEN = "[redacted]"
# The names that plans hide too; MODEL_TRUSTED_KEYS and the like hold public keys, hence no plain "key".
_SECRET_NAME = re.compile(r"(?i)token|secret|passw|credential|api_?key|private|authorization")
_LINK = re.compile(r"https?://[^\s<>\"'`\\]{1,2000}")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size(size_bytes: int | None) -> str:
    """151.3 MiB; an en dash for None."""
    if size_bytes is None:
        return "–"
    value = float(size_bytes)
    for unit in _UNITS:
        if value < 1024 or unit == _UNITS[-1]:
            return f"{int(value)} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("the last unit ends the loop")


def duration(seconds: float | None) -> str:
    """0.4 s, 12 s, 3 min 20 s, 2 h 5 min, 3 d 4 h; an en dash for None."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    for big, small, low, unit in (("min", "s", 60, 3600), ("h", "min", 3600, 86400)):
        if whole < unit:
            rest = whole % low // (low // 60)
            return f"{whole // low} {big} {rest} {small}" if rest else f"{whole // low} {big}"
    hours = whole % 86400 // 3600
    return f"{whole // 86400} d {hours} h" if hours else f"{whole // 86400} d"


def latency(ms: float | None) -> str:
    """0.4 ms, 12 ms, 3.1 s; an en dash for None."""
    if ms is None:
        return "–"
    if ms >= 1000:
        return duration(ms / 1000)
    return f"{ms:.1f} ms" if ms < 10 else f"{ms:.0f} ms"


def number(count: int | None) -> str:
    """12,345; an ellipsis for what has not been counted yet."""
    return "…" if count is None else f"{count:,}"


def age(seconds: float | None) -> str:
    """A duration that changes seldom: by 5 s below a minute, by minutes below an hour."""
    if seconds is None:
        return "–"
    if seconds < 5:
        return "just now"
    if seconds < 60:
        return f"{int(seconds) // 5 * 5} s"
    if seconds < 3600:
        return f"{int(seconds) // 60} min"
    return duration(seconds)


def badges(settings: dict[str, Any]) -> list[str]:
    """A bucket's settings that decide what is kept and for how long, in a few words each."""
    found = ["versions"] if (settings.get("versioning") or {}).get("enabled") else []
    soft_s = _whole((settings.get("softDeletePolicy") or {}).get("retentionDurationSeconds"))
    if soft_s:
        found.append(f"soft delete {duration(soft_s)}")
    rules = (settings.get("lifecycle") or {}).get("rule") or []
    if rules:
        found.append(f"{len(rules)} lifecycle rule{'' if len(rules) == 1 else 's'}")
    policy = settings.get("retentionPolicy") or {}
    if policy:
        locked = ", locked" if policy.get("isLocked") else ""
        found.append(f"retention {duration(_whole(policy.get('retentionPeriod')))}{locked}")
    if (settings.get("objectRetention") or {}).get("mode"):
        found.append("object retention")
    if settings.get("defaultEventBasedHold"):
        found.append("event-based holds")
    return found


def _whole(given: Any) -> float:
    """A number that Google writes as text, too."""
    try:
        return float(int(given or 0))
    except (TypeError, ValueError):
        return 0.0


def web_link(text: Any) -> str:
    """The first address of a web page in a text; empty for none. Others (javascript:, data:) are never given."""
    found = _LINK.search(str(text)[:20_000])
    return found[0].rstrip(".,;:!?)]}>'\"*_`") if found else ""


def moment(text: Any) -> float | None:
    """Seconds since the epoch of an RFC 3339 time; None for anything else."""
    if not isinstance(text, str):
        return None
    # fromisoformat takes at most six digits of a fraction
    cut = re.sub(r"(\.\d{6})\d+", r"\1", text)
    try:
        found = datetime.fromisoformat(cut)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def clock_time(text: str) -> str:
    """14:37:00.798 of an RFC 3339 time in UTC; the text itself when it is none."""
    return _written(text, "%H:%M:%S.%f", -3) or text


def day_time(text: str | None) -> str:
    """2026-11-20 14:37 UTC of an RFC 3339 time; an en dash for None."""
    return _written(text, "%Y-%m-%d %H:%M UTC") or text or "–"


def _written(text: Any, form: str, end: int | None = None) -> str:
    seconds = moment(text)
    if seconds is None:
        return ""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime(form)[:end]
    except (ValueError, OverflowError, OSError):  # the year 0 or 10000, by its time zone
        return ""


def between(start: Any, end: Any) -> float | None:
    """Seconds from one RFC 3339 time to another; None when one is missing."""
    first, last = moment(start), moment(end)
    return None if first is None or last is None else last - first


def variable(given: dict[str, Any]) -> dict[str, str]:
    """One environment variable as {name, value}: without what looks like a secret, with the reference of a real one."""
    name = str(given.get("name", ""))
    source = given.get("valueFrom")
    reference = source.get("secretKeyRef") if isinstance(source, dict) else None
    if isinstance(reference, dict):
        return {"name": name, "value": f"secret {reference.get('name', '?')}:{reference.get('key', '?')}"}
    if _SECRET_NAME.search(name):
        return {"name": name, "value": HIDDEN}
    return {"name": name, "value": redact(str(given.get("value") or ""))}


def pairs(given: Any) -> dict[str, str]:
    """Labels or annotations as text, without what looks like a secret."""
    if not isinstance(given, dict):
        return {}
    return {str(key): variable({"name": key, "value": value})["value"] for key, value in sorted(given.items())}
