"""Numbers for people."""

from __future__ import annotations

from datetime import UTC, datetime


def size(size_bytes: int) -> str:
    """Bytes in binary units: 512 B, 86.7 MiB."""
    value = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("GiB ends the loop")


def age(since: str, now: datetime | None = None) -> str:
    """How long ago an RFC 3339 time was, in its largest unit: 42 s, 5 min, 3 h, 12 d."""
    seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(since)).total_seconds()
    for unit, length_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length_s:
            return f"{seconds // length_s:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
