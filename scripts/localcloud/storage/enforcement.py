"""What happens by the clock: lifecycle rules once a day, and the end of what was soft-deleted.

POST /_local/lifecycle {"dry_run": true, "bucket": NAME} carries them out at once, or only tells what they would do.
Google looks at its rules "usually within 24 hours"; here it is exactly once in a day of the stand-in's clock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import groupby

from scripts.localcloud.storage import retention
from scripts.localcloud.storage.conditions import Conditions
from scripts.localcloud.storage.lifecycle import Rule, Subject, decide, rules
from scripts.localcloud.storage.records import Bucket, Record
from scripts.localcloud.storage.store import Store
from scripts.localcloud.storage.xml_multipart import Multiparts
from scripts.localcloud.web import ApiError, Request, Response, Route

DAY_S = 86400.0
_SLICE = 500
_SHOWN = 1000
_LONGEST_S = 0.01
_TABLE = "CREATE TABLE IF NOT EXISTS storage_lifecycle(one INTEGER PRIMARY KEY CHECK (one = 1), ran_at REAL NOT NULL)"


@dataclass
class Report:
    """What the rules did to a bucket (or would do): counts, and the first of the changes."""

    bucket: str
    deleted: int = 0
    archived: int = 0
    changed: int = 0
    aborted: int = 0
    kept: int = 0
    changes: list[dict[str, str]] = field(default_factory=list)

    def note(self, what: str, name: str, generation: str, detail: str = "") -> None:
        """Count a change, and remember it unless there are too many."""
        setattr(self, what, getattr(self, what) + 1)
        if len(self.changes) < _SHOWN:
            self.changes.append({"did": what, "name": name, "generation": generation, "detail": detail})


class Lifecycle:
    """A timer that rings once a day, when some bucket has rules; and the route that runs them at once."""

    def __init__(self, store: Store, multiparts: Multiparts) -> None:
        self._store = store
        self._multiparts = multiparts
        self._db = store.context.db
        self._task: asyncio.Task[list[Report]] | None = None
        self._running = asyncio.Lock()
        self._db.script(_TABLE)
        self._db.run("INSERT OR IGNORE INTO storage_lifecycle VALUES (1, ?)", store.context.clock())

    def routes(self) -> list[Route]:
        return [Route("POST", "/_local/lifecycle", self._asked, "local.lifecycle.run")]

    def next_at(self) -> float | None:
        """A day after the last run."""
        if not self._store.index.has_rules():
            return None
        row = self._db.row("SELECT ran_at FROM storage_lifecycle")
        return float(row["ran_at"]) + DAY_S if row is not None else None

    def ring(self) -> None:
        """Begin a run."""
        self._db.run("UPDATE storage_lifecycle SET ran_at = ?", self._store.context.clock())
        self._task = asyncio.create_task(self.run())

    async def settle(self) -> None:
        """Wait for the run."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def run(self, only: str = "", *, dry_run: bool = False) -> list[Report]:
        """Carry the rules of all buckets (or of one) out; a report for each bucket that has rules."""
        async with self._running:
            buckets = [each for each in self._store.index.with_rules() if not only or each.name == only]
            return [await self._of_bucket(bucket, dry_run) for bucket in buckets]

    async def _asked(self, request: Request) -> Response:
        body = await request.json_object()
        only, dry_run = body.get("bucket") or "", body.get("dry_run", False)
        if not isinstance(only, str) or not isinstance(dry_run, bool):
            raise ApiError(400, "expected {bucket: NAME, dry_run: true or false}, both optional")
        if only:
            self._store.bucket(only)
        reports = await self.run(only, dry_run=dry_run)
        return Response.of_json({"dry_run": dry_run, "buckets": [asdict(report) for report in reports]})

    async def _of_bucket(self, bucket: Bucket, dry_run: bool) -> Report:
        report, found = Report(bucket.name), rules(bucket.settings)
        position = ("", -1)
        while records := self._store.index.slice(bucket.name, *position, _SLICE):
            position, began = (records[-1].name, records[-1].generation), time.perf_counter()
            for subject in _subjects(records):
                if time.perf_counter() - began > _LONGEST_S:
                    await asyncio.sleep(0)  # let other requests through
                    began = time.perf_counter()
                rule = decide(found, subject, self._store.moment())
                if rule is not None:
                    self._apply(rule, bucket, subject.record, report, dry_run)
            await asyncio.sleep(0)
        for rule in found:
            if rule.kind == "AbortIncompleteMultipartUpload":
                self._abort(rule, bucket, report, dry_run)
        return report

    def _apply(self, rule: Rule, bucket: Bucket, record: Record, report: Report, dry_run: bool) -> None:
        name, generation = record.name, str(record.generation)
        if self._store.index.find(bucket.name, name, record.generation) != record:
            return  # changed meanwhile: judged anew on the next day
        if rule.kind == "SetStorageClass":
            if not dry_run:
                self._store.change(record, {**record.fields, "storageClass": rule.storage_class})
            former = record.fields.get("storageClass", "STANDARD")
            report.note("changed", name, generation, f"{former} to {rule.storage_class}")
            return
        archiving = record.live and bucket.versioned
        try:
            retention.check_removal(bucket, record, self._store.moment(), archiving=archiving)
            if not dry_run:
                wanted = Conditions(generation=record.generation)
                self._store.delete(bucket.name, name, None if archiving else record.generation, wanted)
        except ApiError as error:
            report.note("kept", name, generation, error.message)
            return
        report.note("archived" if archiving else "deleted", name, generation)

    def _abort(self, rule: Rule, bucket: Bucket, report: Report, dry_run: bool) -> None:
        now = self._store.moment()
        for upload in self._multiparts.of_bucket(bucket.name):
            if rule.matches_upload(upload.target.name, upload.began, now):
                if not dry_run:
                    self._multiparts.abort(upload)
                report.note("aborted", upload.target.name, "", f"upload {upload.id}")


class Expiry:
    """A timer that rings when a soft-deleted generation goes for good."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def next_at(self) -> float | None:
        """When the next one goes."""
        ends = self._store.index.soft.ends()
        return retention.moment(ends).timestamp() if ends is not None else None

    def ring(self) -> None:
        """Remove those that are due; with many of them it rings again."""
        self._store.expire()

    async def settle(self) -> None:
        """Nothing is left under way."""


def _subjects(records: list[Record]) -> Iterator[Subject]:
    """Generations with the number of newer ones; records are whole names, each from its oldest generation on."""
    for _, group in groupby(records, key=lambda record: record.name):
        generations = list(group)
        for place, record in enumerate(generations):
            yield Subject(record, len(generations) - 1 - place)
