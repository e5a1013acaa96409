"""The log tail as values: the newest entries that a filter matches, each as one line for people."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from scripts.localcloud.console.values import moment
from scripts.localcloud.logging.filters import FilterError, parse
from scripts.localcloud.web import ApiError
from scripts.process import redact

Search = Callable[..., Awaitable[list[dict[str, Any]]]]
LINES = 100
_MOST = 500
_LONGEST_FILTER = 2000
_LONGEST_TEXT = 2000
_PATIENCE_S = 2.0
_QUIET = ("message", "severity")


async def tail(search: Search, wanted: str, since: str = "", lines: int = LINES) -> dict[str, Any]:
    """{filter, problem, entries: newest first}; a filter that is wrong or too slow is told in problem, kindly.

    since: an RFC 3339 time; entries from that moment on only (the caller drops those that it has).
    """
    answer: dict[str, Any] = {"filter": wanted, "problem": "", "entries": []}
    if len(wanted) > _LONGEST_FILTER:
        return {**answer, "filter": "", "problem": f"The filter is longer than {_LONGEST_FILTER} characters."}
    bounded = wanted
    if moment(since) is not None:
        # the line breaks end a comment in the filter
        bounded = f"timestamp>={json.dumps(since)}" + (f"\n(\n{wanted}\n)" if wanted.strip() else "")
    try:
        parse(wanted)  # alone, so that a mistake is told by its place in what was typed
        async with asyncio.timeout(_PATIENCE_S):
            found = await search(bounded, max(1, min(lines, _MOST)))
    except FilterError as error:
        return {**answer, "problem": f"This filter cannot be understood: {error}."}
    except ApiError as error:
        return {**answer, "problem": error.message}
    except TimeoutError:
        slow = f"The search took longer than {_PATIENCE_S:g} s and was given up."
        return {**answer, "problem": f'{slow} Narrow it, for example with timestamp>="…" or severity>=WARNING.'}
    return {**answer, "entries": [line(each) for each in found]}


def line(entry: dict[str, Any]) -> dict[str, Any]:
    """{id, timestamp, severity, source, instance, text, fields} of a LogEntry, without what looks like a secret."""
    resource = entry.get("resource") or {}
    labels = resource.get("labels") or {}
    source = labels.get("service_name") or labels.get("job_name") or labels.get("job_id") or resource.get("type")
    text, fields = _text(entry)
    return {
        "id": str(entry.get("insertId") or ""),
        "timestamp": str(entry.get("timestamp") or ""),
        "severity": str(entry.get("severity") or "DEFAULT"),
        "source": str(source or "global"),
        "instance": str((entry.get("labels") or {}).get("instanceId") or "")[:8],
        "text": _short(text),
        "fields": _short(fields),
    }


def _text(entry: dict[str, Any]) -> tuple[str, str]:
    if "textPayload" in entry:
        return str(entry["textPayload"]), ""
    http = entry.get("httpRequest")
    payload = entry.get("jsonPayload") or entry.get("protoPayload") or {}
    if not isinstance(payload, dict):
        return str(payload), ""
    fields = "  ".join(f"{key}={_plain(value)}" for key, value in payload.items() if key not in _QUIET)
    if "message" not in payload and isinstance(http, dict):
        parts = (http.get("requestMethod"), http.get("status"), http.get("requestUrl"), http.get("latency"))
        return " ".join(str(part) for part in parts if part is not None), fields
    return str(payload.get("message") or ""), fields


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _short(text: str) -> str:
    shown = redact(text[: 2 * _LONGEST_TEXT])
    return shown if len(shown) <= _LONGEST_TEXT else shown[:_LONGEST_TEXT] + " …"
