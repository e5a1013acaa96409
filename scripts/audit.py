"""Audit: one immutable record in the bucket for every command that changed something, or tried to.

audit/<time>-<id>.json is {schema_version, command, environment, actor, host, plan, outcome, started_at, duration_s,
commit, details}. Written once, never changed; what looks like a secret is redacted before it is written.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from scripts.plan import Plan
from scripts.process import redact
from scripts.settings.project import ROOT

if TYPE_CHECKING:
    from scripts.cloud.storage import Bucket

SCHEMA_VERSION = 1
PREFIX = "audit/"
LIMIT_BYTES = 1 << 20
_READ_AT_ONCE = 8
_NAME = re.compile(r"audit/(\d{8}T\d{6}Z)-[0-9a-f]{8}\.json")
_STAMP = "%Y%m%dT%H%M%SZ"
_COMMIT = re.compile(r"[0-9a-f]{40,64}")


def record(
    bucket: Bucket,
    *,
    command: str,
    environment: str,
    plan: Plan | Mapping[str, Any] | None,
    outcome: str,
    started_at: datetime | float,
    details: Mapping[str, Any] | None = None,
) -> str:
    """Write the record of a command and return its object name.

    started_at: an aware datetime or seconds since the epoch. outcome: a word (changed, failed, refused …). Raises what
    the bucket raises.
    """
    began = started_at if isinstance(started_at, datetime) else datetime.fromtimestamp(started_at, UTC)
    now = datetime.now(UTC)
    value = {
        "schema_version": SCHEMA_VERSION,
        "command": command,
        "environment": environment,
        "actor": actor(),
        "host": socket.gethostname(),
        "plan": plan.as_json() if isinstance(plan, Plan) else plan,
        "outcome": outcome,
        "started_at": began.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "duration_s": round(max((now - began).total_seconds(), 0.0), 3),
        "commit": commit(),
        "details": dict(details or {}),
    }
    name = f"{PREFIX}{now.strftime(_STAMP)}-{secrets.token_hex(4)}.json"
    bucket.create_object(name, json.dumps(_clean(value), indent=2, default=str).encode() + b"\n")
    return name


def recent(bucket: Bucket, since: datetime | float) -> list[dict[str, Any]]:
    """The records written since a time, oldest first, each with its object name under "name"; torn ones left out."""
    start = since.timestamp() if isinstance(since, datetime) else since
    first = time.strftime(_STAMP, time.gmtime(max(start, 0)))
    found: list[dict[str, Any]] = []
    for info in bucket.list(PREFIX):
        match = _NAME.fullmatch(info.name)
        if match is not None and match[1] >= first:
            found += _read(bucket, info.name)
    return found


def latest(bucket: Bucket, limit: int) -> Iterator[dict[str, Any]]:
    """At most `limit` records, newest first, each with its object name under "name"; read as far as the caller goes."""
    names = sorted((info.name for info in bucket.list(PREFIX) if _NAME.fullmatch(info.name)), reverse=True)[:limit]
    with ThreadPoolExecutor(max_workers=_READ_AT_ONCE) as pool:
        for start in range(0, len(names), _READ_AT_ONCE):
            batch = pool.map(lambda name: _read(bucket, name), names[start : start + _READ_AT_ONCE])
            # A name tells the second; within one, what began later comes first.
            records = [record for records in batch for record in records]
            yield from sorted(records, key=lambda each: (each["name"][:23], str(each.get("started_at"))), reverse=True)


def _read(bucket: Bucket, name: str) -> list[dict[str, Any]]:
    """The record with this name in a list; nothing where it is torn."""
    data = bucket.read(name, limit_bytes=LIMIT_BYTES)
    with contextlib.suppress(ValueError, TypeError, RecursionError):
        if data is not None:
            return [{**json.loads(data[0]), "name": name}]
    return []


def actor() -> str:
    """Who runs this: the login name, else the user id."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a uid without a passwd entry, as in containers
        return f"uid {os.getuid()}"


def commit() -> str:
    """The commit of this checkout, read from .git without starting git; empty outside of one."""
    with contextlib.suppress(OSError, ValueError):
        git = ROOT / ".git"
        if git.is_file():  # a linked worktree: "gitdir: PATH"
            git = ROOT / git.read_text(encoding="utf-8").partition(":")[2].strip()
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if _COMMIT.fullmatch(head):
            return head
        name = head.partition(":")[2].strip()
        common = git / "commondir"
        base = git / common.read_text(encoding="utf-8").strip() if common.exists() else git
        if (base / name).is_file():
            return (base / name).read_text(encoding="utf-8").strip()
        for line in (base / "packed-refs").read_text(encoding="utf-8").splitlines():
            digest, _, ref = line.partition(" ")
            if ref == name:
                return digest
    return ""


def _clean(value: Any) -> Any:
    """The same value with secrets redacted in every string."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {str(key): _clean(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(entry) for entry in value]
    return value
