"""Label extractors of log-based metrics: EXTRACT(field) and REGEXP_EXTRACT(field, "regular expression with one group").

Source: LogMetric.labelExtractors and valueExtractor in the reference of Cloud Logging v2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from scripts.localcloud.logging.regex import BadRegex, TooMuchWork, compiled

_CALL = re.compile(r'\s*(EXTRACT|REGEXP_EXTRACT)\(\s*([\w."/-]+?)\s*(?:,\s*"((?:[^"\\]|\\.)*)"\s*)?\)\s*', re.DOTALL)
_PART = re.compile(r'"((?:[^"\\]|\\.)*)"|([^."]+)')
Extractor = Callable[[Mapping[str, Any]], str]


class BadExtractor(ValueError):
    """The expression cannot be understood."""


def parse(text: str) -> Extractor:
    """A function from a log entry to a label's value ("" when there is none). Raises BadExtractor."""
    call = _CALL.fullmatch(text)
    if call is None or (call[1] == "REGEXP_EXTRACT") != (call[3] is not None):
        raise BadExtractor(f'expected EXTRACT(field) or REGEXP_EXTRACT(field, "regex"), found {text[:200]!r}')
    path = tuple(quoted or plain for quoted, plain in _PART.findall(call[2]))
    if call[1] == "EXTRACT":
        return lambda entry: _value(entry, path)
    try:
        pattern = compiled(re.sub(r"\\([\\\"])", r"\1", call[3]))
    except BadRegex as error:
        raise BadExtractor(f"invalid regular expression ({error})") from None
    if pattern.groups != 1:
        raise BadExtractor(f"the regular expression must have one group, found {pattern.groups}")

    def extract(entry: Mapping[str, Any]) -> str:
        try:
            return pattern.group(_value(entry, path)) or ""
        except TooMuchWork:
            return ""

    return extract


def _value(entry: Mapping[str, Any], path: tuple[str, ...]) -> str:
    value: Any = entry
    while path and isinstance(value, Mapping):
        # a key may itself hold dots: the longest that exists wins
        for length in range(len(path), 0, -1):
            if ".".join(path[:length]) in value:
                value, path = value[".".join(path[:length])], path[length:]
                break
        else:
            return ""
    if path or value is None or isinstance(value, (Mapping, list)):
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
