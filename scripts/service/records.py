"""`history`: the audit records of an environment as people read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scripts import audit
from scripts.errors import BadInput
from scripts.service.target import Target

HEADERS = ("when", "command", "outcome", "who", "took", "commit", "what")
MAX_LIMIT = 1000
SHOWN_CHANGES = 3


def read(target: Target, limit: int) -> list[dict[str, Any]]:
    """The newest records, newest first. Raises BadInput for a limit out of range, NotFound without a bucket."""
    if not 1 <= limit <= MAX_LIMIT:
        raise BadInput(f"--limit: found {limit}, expected 1 to {MAX_LIMIT}", "For example: --limit 20")
    return [*audit.latest(target.bucket, limit)]


def rows(records: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The rows of the table."""
    return [
        [
            str(each.get("started_at", ""))[:19],
            str(each.get("command", "")),
            str(each.get("outcome", "")),
            f"{each.get('actor', '')}@{each.get('host', '')}",
            f"{float(each.get('duration_s') or 0):.1f} s",
            str(each.get("commit") or "")[:10],
            what(each),
        ]
        for each in records
    ]


def what(record: Mapping[str, Any]) -> str:
    """What a command did, from its plan: the first changes, and how many more; of a failure its reason."""
    details, plan = _mapping(record.get("details")), _mapping(record.get("plan"))
    if details.get("error"):
        return str(details["error"]).splitlines()[0]
    listed = plan.get("changes")
    changes = [_mapping(each) for each in listed] if isinstance(listed, list) else []
    told = [" ".join(filter(None, (str(each.get("target", "")), _short(each)))) for each in changes[:SHOWN_CHANGES]]
    more = f"and {len(changes) - SHOWN_CHANGES} more" if len(changes) > SHOWN_CHANGES else ""
    return "; ".join(filter(None, [*told, more])) or str(plan.get("title", ""))


def _short(change: Mapping[str, Any]) -> str:
    path = str(change.get("path", "")).rpartition("].")[2].rpartition(".")[2]
    after = change.get("after")
    value = str(after) if isinstance(after, (str, int, float, bool)) else ""
    return f"{path}: {value[:60]}".strip(": ") if value else path


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
