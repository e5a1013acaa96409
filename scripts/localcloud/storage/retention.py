"""Holds and retention: until when a generation may neither be deleted nor replaced. Pure.

cloud.google.com/storage/docs/object-holds, …/bucket-lock, …/object-lock
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from scripts.localcloud.storage.conditions import integer
from scripts.localcloud.storage.records import Bucket, Record
from scripts.localcloud.web import ApiError

LONGEST = timedelta(days=36525)  # 100 years
# Soft delete is off, or keeps for 7 to 90 days.
SOFT_DELETE_S = (7 * 86400, 90 * 86400)
# A field of the index that no client sees: when an event-based hold was taken off.
RELEASED = "_released"
_MODES = ("Unlocked", "Locked")


def expiration(bucket: Bucket, record: Record) -> datetime | None:
    """When the bucket's policy lets the generation go: None without policy or while an event-based hold delays it."""
    policy = bucket.settings.get("retentionPolicy")
    period_s = int(policy.get("retentionPeriod", 0)) if policy else 0
    if not period_s or record.fields.get("eventBasedHold"):
        return None
    return moment(record.fields.get(RELEASED) or record.created) + timedelta(seconds=period_s)


def retained_until(bucket: Bucket, record: Record) -> datetime | None:
    """The later of the bucket's and the object's own retention."""
    own = (record.fields.get("retention") or {}).get("retainUntilTime")
    found = [each for each in (expiration(bucket, record), moment(own) if own else None) if each is not None]
    return max(found, default=None)


def check_removal(bucket: Bucket, record: Record, now: datetime, *, archiving: bool = False) -> None:
    """Raises ApiError 403 when the generation is on hold or, unless it is only archived, still retained."""
    if record.held:
        kind = "Temporary" if record.fields.get("temporaryHold") else "Event-Based"
        text = (
            f"Object '{record.bucket}/{record.name}' is under active {kind} hold and cannot be deleted, "
            "overwritten or archived until hold is removed."
        )
        raise ApiError(403, text, "forbidden")
    until = None if archiving else retained_until(bucket, record)
    if until is not None and until > now:
        text = (
            f"Object '{record.bucket}/{record.name}' is subject to bucket's retention policy or object retention "
            f"and cannot be deleted or overwritten until {until.isoformat()}"
        )
        raise ApiError(403, text, "retentionPolicyNotMet")


def check_object(bucket: Bucket, old: Mapping[str, Any], new: Mapping[str, Any], now: datetime, override: bool) -> None:
    """Whether an object's own retention may become what `new` fields say. Raises ApiError 400 or 403."""
    before, after = old.get("retention"), new.get("retention")
    if after == before:
        return
    if (bucket.settings.get("objectRetention") or {}).get("mode") != "Enabled":
        text = f"Object retention is not enabled for bucket '{bucket.name}'; create it with enableObjectRetention=true."
        raise ApiError(400, text, "invalid")
    if after is not None and moment(after["retainUntilTime"]) > now + LONGEST:
        raise ApiError(400, "retention.retainUntilTime cannot be more than 100 years in the future.", "invalid")
    if before is None or not _weaker(before, after):
        if after is not None and moment(after["retainUntilTime"]) <= now:
            raise ApiError(400, "retention.retainUntilTime must be in the future.", "invalid")
        return
    if before["mode"] == "Locked":
        text = "A locked retention can neither be removed nor unlocked nor be given an earlier retainUntilTime."
        raise ApiError(403, text, "forbidden")
    if not override:
        text = "To remove, shorten or lock an object's retention set overrideUnlockedRetention=true."
        raise ApiError(403, text, "forbidden")


def _weaker(before: Mapping[str, Any], after: Mapping[str, Any] | None) -> bool:
    """Removed, shortened, or of another mode."""
    if after is None or after["mode"] != before["mode"]:
        return True
    return moment(after["retainUntilTime"]) < moment(before["retainUntilTime"])


def is_empty(value: Any) -> bool:
    """An object without values, as google-cloud-storage writes "none"."""
    return isinstance(value, dict) and all(each is None for each in value.values())


def is_retention(value: Any) -> bool:
    """{mode, retainUntilTime}, or nothing in it for none."""
    if is_empty(value):
        return True
    if not isinstance(value, dict) or value.get("mode") not in _MODES:
        return False
    try:
        return moment(value.get("retainUntilTime", "")).tzinfo is not None
    except (TypeError, ValueError):
        return False


def bucket_policy(old: Mapping[str, Any], new: Mapping[str, Any], now: str) -> dict[str, Any] | None:
    """The retentionPolicy of changed settings as Google shows it. Raises ApiError 400 (values) or 403 (locked)."""
    before, after = old.get("retentionPolicy"), new.get("retentionPolicy")
    locked = bool((before or {}).get("isLocked"))
    period_s = integer(after or {}, "retentionPeriod")
    if after and (not period_s or period_s > LONGEST.total_seconds()):
        text = f"Invalid retentionPolicy.retentionPeriod: {after.get('retentionPeriod')!r}; expected 1 s to 100 years"
        raise ApiError(400, text, "invalid")
    if locked and before and (period_s is None or period_s < int(before["retentionPeriod"])):
        text = f"Cannot reduce retention duration of a locked Retention Policy for bucket '{old.get('name', '')}'."
        raise ApiError(403, text.replace(" for bucket ''", ""), "forbidden")
    if period_s is None:
        return None
    same = before is not None and int(before["retentionPeriod"]) == period_s
    kept = {"isLocked": True} if locked else {}
    since = before["effectiveTime"] if same and before else now
    return {"retentionPeriod": str(period_s), "effectiveTime": since, **kept}


def soft_delete_policy(old: Mapping[str, Any], new: Mapping[str, Any], now: str) -> dict[str, Any]:
    """The softDeletePolicy of changed settings as Google shows it; 7 days by default. Raises ApiError 400."""
    before, after = old.get("softDeletePolicy"), new.get("softDeletePolicy")
    first, last = SOFT_DELETE_S
    asked_s = integer(after, "retentionDurationSeconds") if after else first
    if asked_s is None or (asked_s and not first <= asked_s <= last):
        found = (after or {}).get("retentionDurationSeconds")
        text = f"Invalid softDeletePolicy.retentionDurationSeconds: {found!r}; expected 0 or {first} to {last}"
        raise ApiError(400, text, "invalid")
    same = before is not None and int(before["retentionDurationSeconds"]) == asked_s
    since = before["effectiveTime"] if same and before else now
    return {"retentionDurationSeconds": str(asked_s), "effectiveTime": since}


def moment(text: str) -> datetime:
    """An RFC 3339 time."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
