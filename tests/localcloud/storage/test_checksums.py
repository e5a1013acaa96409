"""The checksum of a whole from those of its parts."""

from __future__ import annotations

import google_crc32c
from hypothesis import given
from hypothesis import strategies as st

from scripts.localcloud.storage.checksums import combined


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_the_whole_has_the_checksum_of_its_bytes(first: bytes, second: bytes) -> None:
    whole = combined(google_crc32c.value(first), google_crc32c.value(second), len(second))
    assert whole == google_crc32c.value(first + second)


def test_long_parts_combine_too() -> None:
    part = bytes(range(256)) * 16384
    crc32c = google_crc32c.value(part)
    assert combined(combined(0, crc32c, len(part)), crc32c, len(part)) == google_crc32c.value(part + part)
