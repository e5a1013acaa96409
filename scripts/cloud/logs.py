"""Cloud Logging, v2: list entries with safely quoted filters, and follow them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from scripts.cloud.rest import Access, Api

PAGE_SIZE = 1000
FOLLOW_LIMIT = 100_000
OVERLAP_S = 10.0  # entries may become visible a little after entries that are younger


@dataclass(frozen=True)
class Entry:
    """One log entry. timestamp is RFC 3339; fields is the JSON payload (empty for a text line).

    request: of an entry of the request log, what it says of the request (LogEntry.httpRequest).
    """

    timestamp: str
    severity: str
    message: str
    fields: Mapping[str, Any]
    resource: Mapping[str, str]
    labels: Mapping[str, str]
    insert_id: str
    request: Mapping[str, Any] = field(default_factory=dict)

    @property
    def instance(self) -> str:
        return self.labels.get("instanceId", "")

    @property
    def text(self) -> str:
        """The message, with the error and its remedy where a structured entry has them."""
        extras = [str(self.fields[name]) for name in ("error", "remedy") if self.fields.get(name)]
        return " · ".join([self.message, *(extra for extra in extras if extra not in self.message)])

    @property
    def source(self) -> str:
        """The revision, or the execution of a job, that wrote the entry."""
        return self.resource.get("revision_name", "") or self.labels.get("run.googleapis.com/execution_name", "")

    def as_json(self) -> dict[str, Any]:
        """The entry as one flat JSON object."""
        head = {"timestamp": self.timestamp, "severity": self.severity, "source": self.source}
        where = {"instance": self.instance} if self.instance else {}
        return {**head, **where, "message": self.message, **{k: v for k, v in self.fields.items() if k != "message"}}


def quoted(value: str) -> str:
    """A value as a string literal of the Logging query language: nothing in it can end the literal."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(char if char >= " " else f"\\x{ord(char):02x}" for char in escaped) + '"'


def equal(field: str, value: str) -> str:
    """The comparison `field="value"`."""
    return f"{field}={quoted(value)}"


def both(*conditions: str) -> str:
    """All conditions together; empty ones are left out."""
    return " AND ".join(condition for condition in conditions if condition)


def of_service(service: str, revision: str = "") -> str:
    """What instances of a service (of one revision) wrote."""
    return both(
        equal("resource.type", "cloud_run_revision"),
        equal("resource.labels.service_name", service),
        equal("resource.labels.revision_name", revision) if revision else "",
    )


def of_job(job: str, execution: str = "") -> str:
    """What tasks of a job (of one execution) wrote."""
    name = 'labels."run.googleapis.com/execution_name"'
    return both(
        equal("resource.type", "cloud_run_job"),
        equal("resource.labels.job_name", job),
        equal(name, execution) if execution else "",
    )


class LogsClient:
    """Reads one project's entries. Raises the errors of rest.Api.execute."""

    def __init__(self, project: str, access: Access) -> None:
        self._project = project
        self._api = Api("logging", "v2", access, "https://logging.googleapis.com")

    def entries(
        self, condition: str, *, since: datetime | str = "", limit: int = 100, newest_first: bool = False
    ) -> list[Entry]:
        """At most `limit` entries that meet a condition; with newest_first False the oldest of them come first.

        since: an aware datetime or RFC 3339. Without it Logging itself looks at everything it has kept.
        """
        floor = since if isinstance(since, str) else stamp(since)
        wanted = both(condition, f"timestamp>={quoted(floor)}" if floor else "")
        found: list[Entry] = []
        token = ""
        while len(found) < limit:
            body = {
                "resourceNames": [f"projects/{self._project}"],
                "filter": wanted,
                "orderBy": "timestamp desc" if newest_first else "timestamp asc",
                "pageSize": min(PAGE_SIZE, limit - len(found)),
                **({"pageToken": token} if token else {}),
            }
            page = self._api.execute(self._api.methods.entries().list(body=body), "read the logs")
            found += [entry(item) for item in page.get("entries", [])]
            token = page.get("nextPageToken", "")
            if not token:
                break
        return found[:limit]

    def tail(self, condition: str, *, since: datetime | str = "", limit: int = 20) -> list[Entry]:
        """The youngest `limit` entries, oldest of them first, as people read logs."""
        return self.entries(condition, since=since, limit=limit, newest_first=True)[::-1]

    def follow(
        self, condition: str, *, since: datetime, limit: int = 100, poll_s: float = 1.0,
        go_on: Callable[[], bool] = lambda: True,
    ) -> Iterator[Entry]:  # fmt: skip
        """The youngest `limit` entries since a moment, then those that arrive, each once, until go_on() is False."""
        known = self.tail(condition, since=since, limit=limit + PAGE_SIZE)
        yield from known[-limit:]
        seen = {(item.timestamp, item.insert_id) for item in known}
        floor = stamp(since)
        while go_on():
            time.sleep(poll_s)
            if seen:
                newest = datetime.fromisoformat(max(when for when, _ in seen))
                oldest_known = known[0].timestamp if known else floor
                floor = max(floor, oldest_known, stamp(newest - timedelta(seconds=OVERLAP_S)))
                seen = {(when, name) for when, name in seen if when >= floor}
            for item in self.entries(condition, since=floor, limit=FOLLOW_LIMIT):
                if (item.timestamp, item.insert_id) not in seen:
                    seen.add((item.timestamp, item.insert_id))
                    yield item


def entry(body: Mapping[str, Any]) -> Entry:
    """A LogEntry document as a value."""
    fields = body.get("jsonPayload") or {}
    message = body.get("textPayload") or fields.get("message") or _proto_text(body) or _request_text(body)
    resource = body.get("resource", {})
    return Entry(
        timestamp=str(body.get("timestamp", "")),
        severity=str(body.get("severity", "DEFAULT")),
        message=str(message),
        fields=fields,
        resource=resource.get("labels", {}),
        labels=body.get("labels", {}),
        insert_id=str(body.get("insertId", "")),
        request=body.get("httpRequest") or {},
    )


def stamp(when: datetime) -> str:
    """An aware datetime as Logging compares it: RFC 3339, UTC, microseconds."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _request_text(body: Mapping[str, Any]) -> str:
    """An entry of Cloud Run's request log, which has no text: GET http://…/health 200 4 ms."""
    request = body.get("httpRequest")
    if not request:
        return ""
    latency_ms = float(str(request.get("latency") or "0s").removesuffix("s")) * 1000
    words = (request.get("requestMethod", ""), request.get("requestUrl", ""), request.get("status", ""))
    return f"{' '.join(str(word) for word in words)} {latency_ms:.0f} ms"


def _proto_text(body: Mapping[str, Any]) -> str:
    proto = body.get("protoPayload")
    return str(proto.get("status", {}).get("message") or proto.get("methodName", "")) if proto else ""
