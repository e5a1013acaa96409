"""What an instance's start-up gate decided: hit or miss and the version, read from its first log lines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scripts.localcloud.console.values import moment
from scripts.localcloud.web import ApiError

Search = Callable[..., Awaitable[list[dict[str, Any]]]]
_SETTLED_S = 30.0  # an instance that serves this long and told nothing has no gate
_PATIENCE_S = 0.5
_MOST = 1000
_LINES = 50


@dataclass(frozen=True)
class Verdict:
    """hit is None when the instance has not told (yet)."""

    hit: bool | None = None
    reason: str = ""
    version: str = ""
    source: str = ""


class Gate:
    """Remembers each instance's verdict: the log is searched until it has told one, and not again."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._known: dict[str, Verdict] = {}

    async def add_to(self, instance: dict[str, Any], now: float) -> dict[str, Any]:
        """The instance with hit, reason, version and source."""
        identity = str(instance.get("id", ""))
        found = self._known.get(identity)
        if found is None:
            found = await self._ask(identity, str(instance.get("started_at", "")))
            age_s = now - (moment(instance.get("started_at")) or now)
            if instance.get("state") == "ready" and (found.version or age_s > _SETTLED_S):
                self._remember(identity, found)
        return {**instance, **asdict(found)}

    async def _ask(self, identity: str, started_at: str) -> Verdict:
        text = (
            f"timestamp>={json.dumps(started_at)} labels.instanceId={json.dumps(identity)}"
            " (jsonPayload.cache_hit:* OR jsonPayload.manifest_version:*)"
        )
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return verdict(await self._search(text, _LINES, newest_first=False))
        except (ApiError, TimeoutError):
            return Verdict()

    def _remember(self, identity: str, found: Verdict) -> None:
        if len(self._known) >= _MOST:
            del self._known[next(iter(self._known))]
        self._known[identity] = found


def verdict(entries: Sequence[dict[str, Any]]) -> Verdict:
    """The first decision among an instance's log entries (oldest first), and the version that it serves in the end."""
    payloads = [each["jsonPayload"] for each in entries if isinstance(each.get("jsonPayload"), dict)]
    decision: dict[str, Any] = next((each for each in payloads if isinstance(each.get("cache_hit"), bool)), {})
    versions = [each["manifest_version"] for each in payloads if isinstance(each.get("manifest_version"), str)]
    return Verdict(
        decision.get("cache_hit"),
        str(decision.get("reason") or ""),
        versions[-1] if versions else "",
        str(decision.get("source") or ""),
    )
