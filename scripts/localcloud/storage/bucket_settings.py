"""What a bucket's owner may choose: types, values, how a patch or an update changes them, what Google adds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from scripts.localcloud.storage import lifecycle, retention
from scripts.localcloud.storage.fields import STORAGE_CLASSES
from scripts.localcloud.storage.records import times
from scripts.localcloud.web import ApiError

_TYPES: dict[str, type] = {
    "location": str, "storageClass": str, "rpo": str, "defaultEventBasedHold": bool, "labels": dict, "versioning": dict,
    "lifecycle": dict, "iamConfiguration": dict, "encryption": dict, "retentionPolicy": dict, "softDeletePolicy": dict,
    "logging": dict, "website": dict, "billing": dict, "autoclass": dict, "hierarchicalNamespace": dict,
    "customPlacementConfig": dict, "ipFilter": dict, "cors": list,
}  # fmt: skip
# What a PUT leaves alone.
_FIXED = (
    "location", "locationType", "customPlacementConfig", "hierarchicalNamespace", "objectRetention", "storageClass",
    "acl", "defaultObjectAcl", "softDeletePolicy",
)  # fmt: skip
_MULTI_REGIONS = ("US", "EU", "ASIA")
_TERMINAL = ("NEARLINE", "ARCHIVE")
_DUAL_REGIONS = ("ASIA1", "EUR4", "EUR5", "EUR7", "EUR8", "NAM4")
# Within this time after it was switched on, uniform access can be switched off again.
_UNIFORM_LOCK = timedelta(days=90)


def created(body: Mapping[str, Any], now: str) -> dict[str, Any]:
    """The settings of a new bucket. Raises ApiError 400."""
    given = {key: value for key, value in chosen(body).items() if value is not None}
    settings = {"location": "US", "storageClass": "STANDARD", **given}
    settings["locationType"] = _location_type(settings)
    return completed({}, settings, now)


def _location_type(settings: Mapping[str, Any]) -> str:
    """cloud.google.com/storage/docs/locations; a pair of regions is given by customPlacementConfig."""
    if settings["location"] in _DUAL_REGIONS or (settings.get("customPlacementConfig") or {}).get("dataLocations"):
        return "dual-region"
    return "multi-region" if settings["location"] in _MULTI_REGIONS else "region"


def patched(settings: Mapping[str, Any], body: Mapping[str, Any], now: str) -> dict[str, Any]:
    """Settings after a PATCH: objects are merged, null removes. Raises ApiError 400 or 403."""
    _stays(settings, body)
    # Rules are one value, not a set of fields to merge.
    whole = {key: None for key in ("lifecycle", "softDeletePolicy", "retentionPolicy") if key in body}
    merged = _merged({**settings, **whole}, chosen(body))
    return completed(settings, {key: value for key, value in merged.items() if value is not None}, now)


def replaced(settings: Mapping[str, Any], body: Mapping[str, Any], now: str) -> dict[str, Any]:
    """Settings after a PUT: what is not given goes back to its default. Raises ApiError 400 or 403."""
    _stays(settings, body)
    kept = {key: settings[key] for key in _FIXED if key in settings}
    given = {key: value for key, value in chosen(body).items() if value is not None}
    return completed(settings, {**kept, **given}, now)


def chosen(body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a bucket resource that its owner may choose; null stands for "remove". Raises ApiError 400."""
    found: dict[str, Any] = {}
    for key, kind in _TYPES.items():
        if key not in body:
            continue
        value = body[key]
        if value is not None and not isinstance(value, kind):
            raise ApiError(400, f"Invalid value for {key}: expected {kind.__name__}", "invalid")
        found[key] = value
    if isinstance(found.get("location"), str):
        found["location"] = found["location"].upper()
    if found.get("storageClass") not in (None, *STORAGE_CLASSES):
        raise ApiError(400, f"Invalid storage class: {str(found['storageClass'])[:100]!r}", "invalid")
    _check_parts(found)
    return found


def completed(old: Mapping[str, Any], settings: dict[str, Any], now: str) -> dict[str, Any]:
    """With what Google always shows: both names of uniform access, public access prevention, soft delete, times."""
    settings = {**settings, "iamConfiguration": _access(old, settings, now)}
    if isinstance(settings.get("labels"), dict):
        settings["labels"] = {key: value for key, value in settings["labels"].items() if value is not None}
    policy = retention.bucket_policy(old, settings, now)
    settings["retentionPolicy"] = policy
    settings["softDeletePolicy"] = retention.soft_delete_policy(old, settings, now)
    autoclass = settings.get("autoclass")
    if autoclass and autoclass.get("enabled") is not (old.get("autoclass") or {}).get("enabled"):
        settings["autoclass"] = {"terminalStorageClass": "NEARLINE", **autoclass, "toggleTime": now}
    return {key: value for key, value in settings.items() if value not in (None, {}, [])}


def _access(old: Mapping[str, Any], settings: Mapping[str, Any], now: str) -> dict[str, Any]:
    access = {"publicAccessPrevention": "inherited", **(settings.get("iamConfiguration") or {})}
    if access["publicAccessPrevention"] == "unspecified":
        access["publicAccessPrevention"] = "inherited"
    if access["publicAccessPrevention"] not in ("inherited", "enforced"):
        raise ApiError(
            400, "Invalid iamConfiguration.publicAccessPrevention; expected inherited or enforced", "invalid"
        )
    before = (old.get("iamConfiguration") or {}).get("uniformBucketLevelAccess") or {}
    # A client may know either name; the one that changes something counts.
    names = [access.get(key) or {} for key in ("uniformBucketLevelAccess", "bucketPolicyOnly")]
    wanted = next((name for name in names if name and name.get("enabled") != before.get("enabled", False)), names[0])
    uniform: dict[str, Any] = {"enabled": bool((wanted or names[1]).get("enabled"))}
    if uniform["enabled"]:
        ends = datetime.fromisoformat(now) + _UNIFORM_LOCK
        uniform["lockedTime"] = before["lockedTime"] if before.get("enabled") else times(ends)
    elif before.get("enabled") and datetime.fromisoformat(before["lockedTime"]) < datetime.fromisoformat(now):
        text = "Uniform bucket-level access has been on for 90 days and cannot be switched off any more."
        raise ApiError(412, text, "conditionNotMet")
    access["uniformBucketLevelAccess"] = uniform
    access["bucketPolicyOnly"] = dict(uniform)
    return access


def _check_parts(found: Mapping[str, Any]) -> None:
    labels = found.get("labels") or {}
    for key, value in labels.items():
        fits = isinstance(value, (str, type(None))) and re.fullmatch(r"[\w-]{0,63}", value or "")
        if (
            not fits
            or not re.fullmatch(r"[^\W\d_][\w-]{0,62}", key)
            or (key + (value or "")) != (key + (value or "")).lower()
        ):
            raise ApiError(400, f"Invalid label: {key[:100]!r}", "invalid")
    if len(labels) > 64:
        raise ApiError(400, f"A bucket has at most 64 labels, not {len(labels)}.", "invalid")
    enabled = (found.get("versioning") or {}).get("enabled")
    if not isinstance(enabled, (bool, type(None))):
        raise ApiError(400, "Invalid value for versioning.enabled: expected true or false", "invalid")
    if found.get("lifecycle"):
        lifecycle.check(found["lifecycle"])
    for key in ("uniformBucketLevelAccess", "bucketPolicyOnly"):
        access = (found.get("iamConfiguration") or {}).get(key)
        if not isinstance(access, (dict, type(None))):
            raise ApiError(400, f"Invalid value for iamConfiguration.{key}", "invalid")
    for key, value, known in (
        ("rpo", found.get("rpo"), ("DEFAULT", "ASYNC_TURBO")),
        ("autoclass.terminalStorageClass", (found.get("autoclass") or {}).get("terminalStorageClass"), _TERMINAL),
    ):
        if value not in (None, *known):
            raise ApiError(
                400, f"Invalid value for {key}: {str(value)[:50]!r}; expected {' or '.join(known)}", "invalid"
            )
    if any(not isinstance(each, dict) for each in found.get("cors") or []):
        raise ApiError(400, "Invalid value for cors: expected a list of {origin, method, …}", "invalid")


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(old)
    for key, value in new.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = _merged(result[key], value)
        else:
            result[key] = value
    return result


def _stays(settings: Mapping[str, Any], body: Mapping[str, Any]) -> None:
    location = body.get("location")
    if isinstance(location, str) and location.upper() != settings.get("location"):
        raise ApiError(400, "A bucket's location cannot be changed.", "invalid")
