"""Numbers for people."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from scripts.units import age, bar, size


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


@pytest.mark.parametrize(
    ("numbers", "shown"),
    [
        ((0, 0, 0, None), "━━━━━━━━━━ 100%  0 B of 0 B  0 B/s"),
        ((1 << 30, 4 << 30, 100 << 20, 30.7), "━━────────  25%  1.0 GiB of 4.0 GiB  100.0 MiB/s  31 s left"),
        ((4, 8, 1, 61.0), "━━━━━─────  50%  4 B of 8 B  1 B/s  1:01 min left"),
        ((9, 8, 1, 7260.0), "━━━━━━━━━━ 100%  8 B of 8 B  1 B/s  2:01 h left"),
    ],
)
def test_a_transfer_fits_a_line(numbers: tuple[int, int, int, float | None], shown: str) -> None:
    assert bar(*numbers, width=10) == shown
