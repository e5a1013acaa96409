"""The metadata that an object's owner chooses: which fields, of which types, and how a patch changes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from scripts.localcloud.storage.contexts import is_contexts
from scripts.localcloud.storage.retention import RELEASED, is_empty, is_retention
from scripts.localcloud.web import ApiError

STORAGE_CLASSES = (
    "STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE", "MULTI_REGIONAL", "REGIONAL", "DURABLE_REDUCED_AVAILABILITY",
)  # fmt: skip
DEFAULT_TYPE = "application/octet-stream"
_MAX_METADATA_BYTES = 8192
# What a copy does not take over from its source, and a restored object not from the deleted one.
OF_ONE_GENERATION = (
    "temporaryHold", "eventBasedHold", "retention", "acl", "customerEncryption", "kmsKeyName",
    "timeStorageClassUpdated", RELEASED,
)  # fmt: skip
# What a PUT leaves alone: only the server or a call of its own sets it.
_KEPT = (
    "storageClass", "componentCount", "customTime", "customerEncryption", "kmsKeyName", "timeStorageClassUpdated",
    "acl", RELEASED, "_policy",
)  # fmt: skip


def given(resource: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a resource that its owner may choose, nulls left out. Raises ApiError 400 for a wrong type."""
    return {key: value for key, value in _checked(resource).items() if value is not None}


def patched(fields: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Fields after a PATCH: null removes a field, and in `metadata` a key. Raises ApiError 400 for a wrong type."""
    result = dict(fields)
    for key, value in _checked(changes).items():
        if key == "metadata" and value is not None:
            value = {**result.get("metadata", {}), **value}
            value = {name: text for name, text in value.items() if text is not None} or None
        result[key] = value
    _check_size(result)
    _check_custom_time(fields, result)
    return {key: value for key, value in result.items() if value is not None}


def replaced(fields: Mapping[str, Any], resource: Mapping[str, Any]) -> dict[str, Any]:
    """Fields after a PUT: what is not given goes, except what only the server sets."""
    kept = {key: fields[key] for key in _KEPT if key in fields}
    result = {**kept, **given(resource)}
    _check_custom_time(fields, result)
    return result


def _checked(resource: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, check in _CHECKS.items():
        if key not in resource:
            continue
        value = resource[key]
        if value is not None and not check(value):
            raise ApiError(400, f"Invalid value for {key}: {str(value)[:200]!r}", "invalid")
        found[key] = value
    if is_empty(found.get("retention")):
        found["retention"] = None
    _check_size(found)
    return found


def _check_size(fields: Mapping[str, Any]) -> None:
    metadata = fields.get("metadata") or {}
    size = sum(len(key.encode()) + len((text or "").encode()) for key, text in metadata.items())
    if size > _MAX_METADATA_BYTES:
        raise ApiError(400, f"The object's metadata has {size} bytes; the limit is {_MAX_METADATA_BYTES}", "invalid")


def _check_custom_time(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Once set it can neither be removed nor go back (cloud.google.com/storage/docs/metadata#custom-time)."""
    before, after = old.get("customTime"), new.get("customTime")
    if before and (not after or datetime.fromisoformat(after) < datetime.fromisoformat(before)):
        raise ApiError(400, "Custom time cannot be removed or set to an earlier time.", "invalid")


def _text(value: Any) -> bool:
    """A header's value: no control characters, and valid as UTF-8."""
    return isinstance(value, str) and not re.search("[\x00-\x1f\x7f\ud800-\udfff]", value)


def _metadata(value: Any) -> bool:
    def fits(text: Any) -> bool:
        return isinstance(text, str) and not re.search("[\ud800-\udfff]", text)

    return isinstance(value, dict) and all(fits(key) and (text is None or fits(text)) for key, text in value.items())


def _time(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "contentType": _text,
    "contentEncoding": _text,
    "contentDisposition": _text,
    "contentLanguage": _text,
    "cacheControl": _text,
    "customTime": _time,
    "metadata": _metadata,
    "temporaryHold": _flag,
    "eventBasedHold": _flag,
    "retention": is_retention,
    "contexts": is_contexts,
    "storageClass": lambda value: value in STORAGE_CLASSES,
}
