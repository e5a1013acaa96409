"""Reading JSON from a bucket as if an enemy had written it: every fault is a BadInput that names its place."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from json.encoder import encode_basestring_ascii
from typing import Any, Never

from scripts.errors import BadInput

# RFC 3339 in UTC; what is written here has whole seconds.
_TIME = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(\.\d{1,9})?Z")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# A crc32c as Cloud Storage writes it: four bytes, big-endian, base64; the last digit's four spare bits are zero.
_CRC32C = re.compile(r"[A-Za-z0-9+/]{5}[AQgw]==")
# The largest object Cloud Storage holds (5 TiB).
MAX_OBJECT_BYTES = 5 << 40


@dataclass(frozen=True)
class Reader:
    """Checks values of one document. what: its name in messages; remedy: what to type when it is wrong."""

    what: str
    remedy: str

    def fail(self, place: str, found: str, expected: str) -> Never:
        """Raise BadInput: place, what was found, what was expected."""
        where = f"{self.what}: {place}" if place else self.what
        raise BadInput(f"{where}: found {found}, expected {expected}", self.remedy)

    def load(self, data: bytes, limit_bytes: int) -> Any:
        """Decode JSON of at most limit_bytes; twice the same key, NaN, a byte-order mark or a torn end are refused."""
        if len(data) > limit_bytes:
            self.fail("", f"{len(data)} bytes", f"at most {limit_bytes}")
        try:
            return json.loads(
                data.decode("utf-8"),
                object_pairs_hook=self._unique,
                parse_constant=self._constant,
                parse_float=self._float,
            )
        except UnicodeDecodeError as error:
            self.fail(f"byte {error.start}", "bytes that are not UTF-8", "JSON in UTF-8")
        except json.JSONDecodeError as error:
            place = f"line {error.lineno} column {error.colno}"
            torn = error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated")
            self.fail(
                place, "the end of the data (truncated?)" if torn else f"what is no JSON ({error.msg})", "complete JSON"
            )
        except RecursionError:
            self.fail("", "values nested too deeply", "a flat document")
        except ValueError:  # an integer beyond Python's limit of digits
            self.fail("", "a number with thousands of digits", "a whole number")

    def _unique(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            self.fail("", f"the key {show(twice)} twice in one object", "each key once")
        return value

    def _constant(self, text: str) -> Never:
        self.fail("", text, "a number that JSON knows")

    def _float(self, text: str) -> Never:
        self.fail("", f"the number {text[:40]}", "whole numbers only")

    def record(self, value: Any, place: str, keys: Sequence[str]) -> dict[str, Any]:
        """An object with exactly these keys."""
        if not isinstance(value, dict):
            self.fail(place, kind(value), f"an object with {', '.join(keys)}")
        missing = [key for key in keys if key not in value]
        if missing:
            self.fail(_below(place, missing[0]), "nothing", "a value (missing key)")
        unknown = [key for key in value if key not in keys]
        if unknown:
            self.fail(_below(place, show(unknown[0])), "an unknown key", f"only {', '.join(keys)}")
        return value

    def items(self, value: Any, place: str, *, empty: bool = False) -> list[Any]:
        """A list; not an empty one unless that is allowed."""
        if not isinstance(value, list):
            self.fail(place, kind(value), "a list")
        if not value and not empty:
            self.fail(place, "an empty list", "at least one entry")
        return value

    def text(self, value: Any, place: str, *, limit: int = 1024, empty: bool = False) -> str:
        """A string of printable characters."""
        if not isinstance(value, str):
            self.fail(place, kind(value), "a string")
        if not value and not empty:
            self.fail(place, "an empty string", "some text")
        if len(value) > limit:
            self.fail(place, f"{len(value)} characters", f"at most {limit}")
        if not value.isprintable():  # also refuses lone surrogates
            self.fail(place, show(value), "printable characters")
        return value

    def whole(self, value: Any, place: str, *, least: int = 0, most: int = MAX_OBJECT_BYTES) -> int:
        """A whole number in a range; true and 1.0 are none."""
        if not isinstance(value, int) or isinstance(value, bool):
            self.fail(place, kind(value), "a whole number")
        if not least <= value <= most:
            self.fail(
                place, show(str(value)) if abs(value) > 10**20 else str(value), f"a number from {least} to {most}"
            )
        return value

    def choice(self, value: Any, place: str, choices: Sequence[str]) -> str:
        """One of a few strings."""
        if not isinstance(value, str) or value not in choices:
            self.fail(place, show(value) if isinstance(value, str) else kind(value), f"one of {', '.join(choices)}")
        return value

    def sha256(self, value: Any, place: str) -> str:
        """64 lower-case hex digits."""
        if not isinstance(value, str) or not _SHA256.fullmatch(value):
            self.fail(place, show(value) if isinstance(value, str) else kind(value), "64 lower-case hex digits")
        return value

    def crc32c(self, value: Any, place: str) -> str:
        """Four bytes in base64, as Cloud Storage writes a crc32c."""
        if not isinstance(value, str) or not _CRC32C.fullmatch(value):
            self.fail(place, show(value) if isinstance(value, str) else kind(value), "a crc32c in base64 like AAAAAA==")
        return value

    def time(self, value: Any, place: str) -> str:
        """An RFC 3339 time in UTC."""
        found = _TIME.fullmatch(value) if isinstance(value, str) and value.isascii() else None
        if found is None or not _exists(found[1]):
            self.fail(
                place, show(value) if isinstance(value, str) else kind(value), "a UTC time like 2026-11-20T02:00:00Z"
            )
        return str(value)


def kind(value: Any) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", str: "a string", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def show(text: str) -> str:
    """Text of unknown origin, safe to print: escaped and short."""
    return ascii(text if len(text) <= 120 else text[:119] + "…")


def dump(value: Any) -> bytes:
    """The one way JSON is written to a bucket: keys in the given order, two spaces, ASCII, a final line end."""
    return _dumped(value, "").encode() + b"\n"


def _dumped(value: Any, indent: str) -> str:
    """json.dumps(value, indent=2, allow_nan=False), several times as fast: with an indent the library's is slow.

    Every start of an instance writes its manifest's bytes anew, to compare them with what was signed.
    """
    inner = f"{indent}  "
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    if type(value) is int:
        return str(value)
    if isinstance(value, dict) and value:
        lines = [f"{inner}{encode_basestring_ascii(key)}: {_dumped(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list | tuple) and value:
        return "[\n" + ",\n".join([f"{inner}{_dumped(item, inner)}" for item in value]) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False)


def _below(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _exists(text: str) -> bool:
    try:
        datetime.fromisoformat(f"{text}+00:00")
    except ValueError:
        return False
    return True
