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


def bar(done_bytes: int, total_bytes: int, rate_bytes_per_s: int, left_s: float | None, width: int = 24) -> str:
    """How far a transfer is on one line: bar, per cent, bytes, rate, seconds left (minutes, hours) where known."""
    part = min(1.0, done_bytes / total_bytes) if total_bytes else 1.0
    full = int(part * width)
    pieces = [
        f"{'━' * full}{'─' * (width - full)} {part:4.0%}",
        f"{size(min(done_bytes, total_bytes))} of {size(total_bytes)}",
        f"{size(rate_bytes_per_s)}/s",
    ]
    if left_s is not None:
        pieces.append(f"{_duration(left_s)} left")
    return "  ".join(pieces)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02} h"


def age(since: str, now: datetime | None = None) -> str:
    """How long ago an RFC 3339 time was, in its largest unit: 42 s, 5 min, 3 h, 12 d."""
    seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(since)).total_seconds()
    for unit, length_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length_s:
            return f"{seconds // length_s:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
