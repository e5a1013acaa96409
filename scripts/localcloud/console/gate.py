"""What an instance's start-up gate decided: hit or miss and the version, read from its first log lines."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scripts.localcloud.console.ledger import Kept
from scripts.localcloud.console.values import moment
from scripts.localcloud.web import ApiError

Search = Callable[..., Awaitable[list[dict[str, Any]]]]
_SETTLED_S = 30.0  # an instance that serves this long and told nothing has no gate
_MOST = 1000
_AT_ONCE = 20
_LINES = 30  # of an instance


@dataclass(frozen=True)
class Verdict:
    """hit is None when the instance has not told (yet)."""

    hit: bool | None = None
    reason: str = ""
    version: str = ""
    source: str = ""


class Gate:
    """Remembers each instance's verdict: the log is searched until it has told one, and not again.

    Some instances at a time are asked for, in one search, those first that were asked for the longest ago.
    """

    def __init__(self, search: Search) -> None:
        self._search = search
        self._known: dict[str, Verdict] = {}
        self._heard: dict[str, Verdict] = {}
        self._answered: set[str] = set()
        self._unknown: dict[str, dict[str, Any]] = {}
        self._asking = Kept(self._ask)

    async def add_to(
        self, instances: Sequence[dict[str, Any]], now: float, patience_s: float | None = None
    ) -> list[dict[str, Any]]:
        """The instances with hit, reason, version and source; waits so long for the log, or (None) for its answer."""
        there = {str(each.get("id", "")): each for each in instances}
        waiting = [each for each in self._unknown if each in there]
        waiting += [each for each in there if each not in self._known and each not in self._unknown]
        self._unknown = {each: there[each] for each in waiting}
        if self._unknown:
            await (self._asking.fresh() if patience_s is None else self._asking.get(patience_s))
        self._settle(now)
        self._heard = {name: found for name, found in self._heard.items() if name in there}
        return [{**each, **asdict(self._told(identity))} for identity, each in there.items()]

    def stop(self) -> None:
        """Ask no more."""
        self._asking.stop()

    def _told(self, identity: str) -> Verdict:
        return self._known.get(identity) or self._heard.get(identity) or Verdict()

    def _settle(self, now: float) -> None:
        """Remember for good what will not change, of those that were asked for."""
        while self._answered:
            identity = self._answered.pop()
            found = self._told(identity)
            instance = self._unknown.get(identity, {})
            age_s = now - (moment(instance.get("started_at")) or now)
            if instance.get("state") == "ready" and (found.version or age_s > _SETTLED_S):
                if len(self._known) >= _MOST:
                    del self._known[next(iter(self._known))]
                self._known[identity] = found
                self._unknown.pop(identity, None)

    async def _ask(self) -> bool:
        """Search for some, who are the last in line afterwards."""
        asked = dict(list(self._unknown.items())[:_AT_ONCE])
        if not asked:
            return True
        since = min(str(each.get("started_at", "")) for each in asked.values())
        names = " OR ".join(json.dumps(each) for each in asked)
        text = (
            f"timestamp>={json.dumps(since)} labels.instanceId=({names})"
            " (jsonPayload.cache_hit:* OR jsonPayload.manifest_version:*)"
        )
        try:
            entries = await self._search(text, _LINES * len(asked), newest_first=False)
        except ApiError:
            entries = []
        for identity in asked:
            own = [each for each in entries if (each.get("labels") or {}).get("instanceId") == identity]
            self._heard[identity] = verdict(own)
            self._answered.add(identity)
            if identity in self._unknown:
                self._unknown[identity] = self._unknown.pop(identity)
        return True


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
