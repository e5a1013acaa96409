"""Cloud Monitoring, v3: the alerts that are open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scripts.cloud.rest import Access, Api

PAGE_SIZE = 100
OPEN = 'state="OPEN"'


@dataclass(frozen=True)
class Alert:
    """A violation of an alert policy; policy is its display name, opened_at RFC 3339, labels those of the resource."""

    id: str
    policy: str
    severity: str
    opened_at: str
    labels: Mapping[str, str]


class AlertsClient:
    """Reads one project's alerts. Raises the errors of rest.Api.execute."""

    def __init__(self, project: str, access: Access) -> None:
        self._parent = f"projects/{project}"
        self._api = Api("monitoring", "v3", access, "https://monitoring.googleapis.com")

    def open(self) -> list[Alert]:
        """The alerts that did not end yet, the newest first."""
        found: list[Alert] = []
        token = ""
        while True:
            options = {"parent": self._parent, "filter": OPEN, "pageSize": PAGE_SIZE}
            request = self._api.methods.projects().alerts().list(**options, **({"pageToken": token} if token else {}))
            page = self._api.execute(request, "list the open alerts")
            found += [alert(item) for item in page.get("alerts", [])]
            token = page.get("nextPageToken", "")
            if not token:
                return sorted(found, key=lambda item: item.opened_at, reverse=True)


def alert(body: Mapping[str, Any]) -> Alert:
    """An Alert document as a value."""
    policy, resource = body.get("policy", {}), body.get("resource", {})
    return Alert(
        id=str(body.get("name", "")).rpartition("/")[2],
        policy=str(policy.get("displayName", "")),
        severity=str(policy.get("severity", "")),
        opened_at=str(body.get("openTime", "")),
        labels=dict(resource.get("labels") or {}),
    )
