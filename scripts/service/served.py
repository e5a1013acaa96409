"""Which revisions of a service have served: what a rollback may go back to.

A revision served when a command that ended well names it in its audit record, or when the request log has a request
to the service's own address that it answered (revisions that others made have no record). One whose deploy failed its
checks is none, whatever it answered meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from scripts import audit
from scripts.cloud.logs import both, of_service, quoted
from scripts.cloud.run import Revision, ServiceState
from scripts.service.target import Target

RECORDS = 200
ENDED_WELL = frozenset({"changed", "promoted"})
# What makes revisions: a failure of theirs is the revision's, that of a rollback may be the day's. So may that of a
# deploy which did not touch the service: its checks look at what serves.
MAKERS = frozenset({"deploy", "promote", "toggle"})
_REQUESTS = "run.googleapis.com/requests"


class History:
    """The audit records of a service's revisions, read newest first and only as far as somebody asks."""

    def __init__(self, target: Target, state: ServiceState) -> None:
        self._target = target
        self._state = state
        self._records = self._read()
        self._verdicts: dict[str, bool] = {}

    def served(self, revision: Revision) -> bool:
        """Whether this revision ever served. Raises what the bucket and the logs raise."""
        if revision.ready is not True:
            return False
        if self._state.percent(revision.name):
            return True
        made = re.sub("[-:]", "", revision.created_at)[:15]
        while revision.name not in self._verdicts:
            record = next(self._records, None)
            if record is not None:
                self._note(record)
            if record is None or str(record["name"]).removeprefix(audit.PREFIX)[:15] < made:
                self._verdicts.setdefault(revision.name, self._answered(revision))
        return self._verdicts[revision.name]

    def _read(self) -> Iterator[Mapping[str, Any]]:
        if self._target.bucket.exists():
            yield from audit.latest(self._target.bucket, RECORDS)

    def _note(self, record: Mapping[str, Any]) -> None:
        """The newest record of a revision counts: what was tried anew and went well served."""
        details = record.get("details") or {}
        if details.get("service") != self._target.name or not details.get("revision"):
            return
        if record.get("outcome") in ENDED_WELL:
            self._verdicts.setdefault(str(details["revision"]), True)
        elif record.get("outcome") != "interrupted" and self._made(record):
            self._verdicts.setdefault(str(details["revision"]), False)

    def _made(self, record: Mapping[str, Any]) -> bool:
        """Whether a command changed the service, so that the revision in its record is its own."""
        changes = (record.get("plan") or {}).get("changes") or ()
        changed = any(change.get("target") == f"service {self._target.name}" for change in changes)
        return changed and record.get("command") in MAKERS

    def _answered(self, revision: Revision) -> bool:
        """Whether the request log has a request to the service's own address, not to a tag's, that it answered."""
        condition = both(
            of_service(self._target.name, revision.name),
            f"log_id({quoted(_REQUESTS)})",
            f"httpRequest.requestUrl:{quoted(self._state.url)}",
        )
        return bool(self._target.logs.entries(condition, since=revision.created_at, limit=1))
