"""RFC 3339 times with up to nanoseconds, as integers that sort."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[Tt](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9})\d*)?)?(Z|z|[+-]\d\d:?\d\d)?)?",
)


def to_nanoseconds(text: str) -> int | None:
    """Nanoseconds since the epoch of a date or date-time (UTC unless it says otherwise); None when it is neither.

    Times before 1677 or after 2262 count as those: what SQLite's 64 bits hold.
    """
    match = _TIME.fullmatch(text.strip())
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        whole = datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=UTC
        )
    except ValueError:
        return None
    offset_s = 0
    if zone and zone not in "Zz":
        digits = zone[1:].replace(":", "")
        offset_s = (int(digits[:2]) * 60 + int(digits[2:])) * 60 * (1 if zone[0] == "+" else -1)
    exact = (int(whole.timestamp()) - offset_s) * 1_000_000_000 + int((fraction or "0").ljust(9, "0"))
    return max(-(2**63), min(exact, 2**63 - 1))
