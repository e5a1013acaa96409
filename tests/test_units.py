"""Numbers for people."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from scripts.units import age, size


@pytest.mark.parametrize(
    ("size_bytes", "expected"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (90_900_000, "86.7 MiB"), (5 << 40, "5120.0 GiB")],
)
def test_sizes_have_a_unit(size_bytes: int, expected: str) -> None:
    assert size(size_bytes) == expected


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        ("2026-11-20T11:59:30Z", "30 s"), ("2026-11-20T11:50:00Z", "10 min"), ("2026-11-20T09:00:00+00:00", "3 h"),
        ("2026-11-08T12:00:00Z", "12 d"), ("2026-11-20T12:00:05Z", "0 s"),
    ],
)  # fmt: skip
def test_an_age_has_its_largest_unit(since: str, expected: str) -> None:
    assert age(since, datetime(2026, 11, 20, 12, tzinfo=UTC)) == expected
