"""Lifecycle rules as values: which are valid, and what they say of a generation. Pure.

cloud.google.com/storage/docs/lifecycle
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

from scripts.localcloud.storage.fields import STORAGE_CLASSES
from scripts.localcloud.storage.records import Record
from scripts.localcloud.storage.retention import moment
from scripts.localcloud.web import ApiError

Kind = Literal["Delete", "SetStorageClass", "AbortIncompleteMultipartUpload"]
MAX_RULES = 100
_NUMBERS = ("age", "numNewerVersions", "daysSinceNoncurrentTime", "daysSinceCustomTime")
_DATES = ("createdBefore", "noncurrentTimeBefore", "customTimeBefore")
_LISTS = ("matchesPrefix", "matchesSuffix", "matchesStorageClass")
# Of an upload under way no more is known.
_OF_UPLOADS = ("age", "matchesPrefix", "matchesSuffix")
# The cheapest at rest wins when several rules name a class.
_CHEAPEST = ("ARCHIVE", "COLDLINE", "NEARLINE")


@dataclass(frozen=True)
class Subject:
    """What the conditions look at: a generation and how many newer ones its name has."""

    record: Record
    newer: int


@dataclass(frozen=True)
class Rule:
    """One rule: an action, and conditions that all must hold."""

    kind: Kind
    storage_class: str
    conditions: Mapping[str, Any]

    def matches(self, subject: Subject, now: datetime) -> bool:
        """Whether the rule applies to a generation now."""
        record = subject.record
        if self.kind == "SetStorageClass" and not _colder(record, self.storage_class):
            return False
        return all(_holds(key, value, subject, now) for key, value in self.conditions.items())

    def matches_upload(self, name: str, began: str, now: datetime) -> bool:
        """Whether the rule gives up an upload under way."""
        found = self.conditions
        if "age" in found and now < moment(began) + timedelta(days=found["age"]):
            return False
        return _named(found, name)


def _colder(record: Record, wanted: str) -> bool:
    """Rules never make an object warmer (cloud.google.com/storage/docs/lifecycle#setstorageclass)."""
    now = record.fields.get("storageClass", "STANDARD")
    ranks = {name: rank for rank, name in enumerate(reversed(_CHEAPEST), 1)}
    return bool(wanted != now and ranks.get(wanted, 0) >= ranks.get(now, 0))


def rules(settings: Mapping[str, Any]) -> list[Rule]:
    """The rules of a bucket."""
    return [_rule(each) for each in (settings.get("lifecycle") or {}).get("rule", [])]


def decide(found: list[Rule], subject: Subject, now: datetime) -> Rule | None:
    """The rule that is carried out: a deletion before any change of class, then the cheapest class."""
    matching = [rule for rule in found if rule.kind != "AbortIncompleteMultipartUpload" and rule.matches(subject, now)]
    deletions = [rule for rule in matching if rule.kind == "Delete"]
    if deletions:
        return deletions[0]
    ranks = {name: rank for rank, name in enumerate(_CHEAPEST)}
    return min(matching, key=lambda rule: ranks.get(rule.storage_class, len(ranks)), default=None)


def check(lifecycle: Any) -> None:
    """Raises ApiError 400 for what is no list of valid rules."""
    if not isinstance(lifecycle, dict):
        raise _invalid("lifecycle: expected {rule: [...]}")
    listed = lifecycle.get("rule") or []
    if not isinstance(listed, list) or len(listed) > MAX_RULES:
        raise _invalid(f"lifecycle.rule: expected a list of at most {MAX_RULES} rules")
    for number, rule in enumerate(listed):
        problem = _problem(rule)
        if problem:
            raise _invalid(f"lifecycle.rule[{number}]: {problem}")


def _problem(rule: Any) -> str:
    """What is wrong with a rule; "" when nothing is."""
    action, condition = (rule.get("action"), rule.get("condition")) if isinstance(rule, dict) else (None, None)
    if not isinstance(action, dict) or not isinstance(condition, dict):
        return "expected {action, condition}"
    kind = action.get("type")
    if kind not in ("Delete", "SetStorageClass", "AbortIncompleteMultipartUpload"):
        return f"unknown action {str(kind)[:50]!r}; expected Delete, SetStorageClass or AbortIncompleteMultipartUpload"
    if kind == "SetStorageClass" and action.get("storageClass") not in STORAGE_CLASSES:
        return f"invalid storageClass {str(action.get('storageClass'))[:50]!r}"
    if kind != "SetStorageClass" and action.get("storageClass"):
        return f"{kind} takes no storageClass"
    given = {key: value for key, value in condition.items() if value is not None}
    if not given:
        return "at least one condition is required"
    for key, value in given.items():
        if not _is_valid(key, value):
            return f"invalid condition {key[:50]}: {str(value)[:100]!r}"
        if kind == "AbortIncompleteMultipartUpload" and key not in _OF_UPLOADS:
            return f"{kind} takes only the conditions {', '.join(_OF_UPLOADS)}"
    return ""


def _is_valid(key: str, value: Any) -> bool:
    if key in _NUMBERS:
        return _number(value) is not None
    if key in _DATES:
        return _date(value) is not None
    if key in _LISTS:
        good = isinstance(value, list) and value and all(isinstance(each, str) and each for each in value)
        return bool(good) and (key != "matchesStorageClass" or all(each in STORAGE_CLASSES for each in value))
    return key == "isLive" and isinstance(value, bool)


def _number(value: Any) -> int | None:
    """Google's clients send numbers, Terraform's sometimes their text."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return None
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _date(value: Any) -> date | None:
    try:
        return date.fromisoformat(value[:10]) if isinstance(value, str) else None
    except ValueError:
        return None


def _rule(rule: Mapping[str, Any]) -> Rule:
    action = rule["action"]
    conditions: dict[str, Any] = {}
    for key, value in rule["condition"].items():
        if key in _NUMBERS:
            conditions[key] = _number(value)
        elif key in _DATES and (day := _date(value)) is not None:
            conditions[key] = datetime(day.year, day.month, day.day, tzinfo=UTC)
        elif value is not None:
            conditions[key] = value
    known = {key: value for key, value in conditions.items() if value is not None}
    return Rule(action["type"], action.get("storageClass", ""), known)


def _holds(key: str, value: Any, subject: Subject, now: datetime) -> bool:
    record = subject.record
    custom: str | None = record.fields.get("customTime")
    match key:
        case "age":
            return now >= moment(record.created) + timedelta(days=value)
        case "createdBefore":
            return bool(moment(record.created) < value)
        case "isLive":
            return record.live is value
        case "numNewerVersions":
            return bool(subject.newer >= value)
        case "daysSinceNoncurrentTime":
            return record.deleted is not None and now >= moment(record.deleted) + timedelta(days=value)
        case "noncurrentTimeBefore":
            return record.deleted is not None and moment(record.deleted) < value
        case "daysSinceCustomTime":
            return custom is not None and now >= moment(custom) + timedelta(days=value)
        case "customTimeBefore":
            return custom is not None and moment(custom) < value
        case "matchesStorageClass":
            return bool(record.fields.get("storageClass", "STANDARD") in value)
    return _named({key: value}, record.name)


def _named(conditions: Mapping[str, Any], name: str) -> bool:
    prefixes, suffixes = conditions.get("matchesPrefix"), conditions.get("matchesSuffix")
    return (not prefixes or name.startswith(tuple(prefixes))) and (not suffixes or name.endswith(tuple(suffixes)))


def _invalid(what: str) -> ApiError:
    return ApiError(400, f"Invalid argument. {what}", "invalid")
