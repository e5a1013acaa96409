"""Any value as one YAML scalar or flow value that every YAML reader takes for the same value.

Source: YAML 1.2.2 section 5.7 (escapes of double-quoted scalars) and 5.1 (characters that must be escaped).
"""

from __future__ import annotations

import json
import re
from typing import Any

# Not printable in YAML, or taken for a line break or a byte order mark by some reader.
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def quoted(value: Any) -> str:
    """A JSON value without fractions as YAML on one line; texts are always in double quotes.

    Raises TypeError for anything else (YAML readers disagree on numbers like 1e+16).
    """
    if isinstance(value, float):
        raise TypeError(f"{value!r} is a fraction")
    return _ESCAPED.sub(_escape, json.dumps(value, ensure_ascii=False))


def comment(value: str) -> str:
    """A text for a comment: it cannot end the comment's line."""
    return _CONTROL.sub(" ", value)


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"
