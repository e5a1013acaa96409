"""CRC32C of a whole from those of its parts, without looking at a byte."""

from __future__ import annotations

import base64
from functools import lru_cache

# Castagnoli's polynomial with the bits reversed, as RFC 3720, 12.1 has it.
_POLYNOMIAL = 0x82F63B78
# A linear map of 32 bits: what each single bit becomes.
_Map = tuple[int, ...]


def combined(first: int, second: int, second_bytes: int) -> int:
    """The CRC32C of two byte strings after each other, of theirs and of the second one's length.

    A zero byte more is a linear map of the checksum over GF(2), and many of them are that map's power; Mark Adler
    describes this for crc32_combine() of zlib (crc32.c).
    """
    return _applied(_zeros(second_bytes), first) ^ second


@lru_cache(maxsize=256)  # parts of an object have mostly one length
def _zeros(count: int) -> _Map:
    """The map of this many zero bytes."""
    found, power = tuple(1 << bit for bit in range(32)), _one_byte()
    while count:
        if count & 1:
            found = _after(power, found)
        power = _after(power, power)
        count >>= 1
    return found


def _one_byte() -> _Map:
    one_bit = (_POLYNOMIAL, *(1 << bit for bit in range(31)))
    two = _after(one_bit, one_bit)
    four = _after(two, two)
    return _after(four, four)


def _after(later: _Map, earlier: _Map) -> _Map:
    return tuple(_applied(later, value) for value in earlier)


def _applied(step: _Map, value: int) -> int:
    found = 0
    for column in step:
        if value & 1:
            found ^= column
        value >>= 1
    return found


def number(text: str) -> int:
    """A checksum as the API writes it: base64 of its four bytes, the highest first."""
    return int.from_bytes(base64.b64decode(text), "big")


def text(number: int) -> str:
    """The same the other way."""
    return base64.b64encode(number.to_bytes(4, "big")).decode()
