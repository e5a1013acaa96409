"""Object contexts: keys and values with times of their own, and the filter of lists that looks at them.

cloud.google.com/storage/docs/object-contexts
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from scripts.localcloud.web import ApiError

MAX_CONTEXTS = 50
_MAX_BYTES = 256
_FILTER = re.compile(r"""\s*(-|NOT\s+)?contexts\.("(?:[^"\\]|\\.)*")\s*(?:(:)\s*\*|(=)\s*("(?:[^"\\]|\\.)*"))\s*""")


def is_contexts(value: Any) -> bool:
    """{"custom": {KEY: {"value": VALUE}}}; null removes a key, or all."""
    if not isinstance(value, dict) or not isinstance(value.get("custom", {}), (dict, type(None))):
        return False
    return all(_fits(key, payload) for key, payload in (value.get("custom") or {}).items())


def stamped(old: Mapping[str, Any], new: Mapping[str, Any], now: str, *, merge: bool) -> dict[str, Any]:
    """New fields whose contexts have their times; merge: keys that are not named stay, as with a PATCH."""
    if not new.get("contexts"):
        return {key: value for key, value in new.items() if key != "contexts"}
    before = ((old.get("contexts") or {}).get("custom")) or {}
    asked = new["contexts"].get("custom")
    custom = dict(before) if merge and asked is not None else {}
    for key, payload in (asked or {}).items():
        if payload is None:
            custom.pop(key, None)
            continue
        known = before.get(key)
        if known is not None and known["value"] == payload["value"]:
            custom[key] = known
        else:
            created = known["createTime"] if known is not None else now
            custom[key] = {"value": payload["value"], "createTime": created, "updateTime": now}
    if len(custom) > MAX_CONTEXTS:
        raise ApiError(400, f"An object has at most {MAX_CONTEXTS} contexts, not {len(custom)}.", "invalid")
    rest = {key: value for key, value in new.items() if key != "contexts"}
    return {**rest, "contexts": {"custom": custom}} if custom else rest


def compile_filter(text: str) -> Callable[[Mapping[str, Any]], bool]:
    """A test of an object's fields: contexts."KEY":* or contexts."KEY"="VALUE", each with - or NOT before it.

    Raises ApiError 400 for anything else.
    """
    match = _FILTER.fullmatch(text)
    if match is None:
        raise ApiError(
            400, f'Invalid filter {text[:200]!r}; expected contexts."KEY"="VALUE" or contexts."KEY":*', "invalid"
        )
    key = json.loads(match[2])
    value = json.loads(match[5]) if match[5] else None
    negated = bool(match[1])

    def matches(fields: Mapping[str, Any]) -> bool:
        found = ((fields.get("contexts") or {}).get("custom") or {}).get(key)
        hit = found is not None and (value is None or found["value"] == value)
        return hit is not negated

    return matches


def _fits(key: Any, payload: Any) -> bool:
    if not isinstance(key, str) or not key or len(key.encode(errors="replace")) > _MAX_BYTES:
        return False
    if payload is None:
        return True
    value = payload.get("value") if isinstance(payload, dict) else None
    return isinstance(value, str) and len(value.encode(errors="replace")) <= _MAX_BYTES
