"""The rules of Cloud Storage: one live generation a name, versions, preconditions; every change is one transaction."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from scripts.localcloud.context import Context
from scripts.localcloud.storage.bodies import Bodies, Body
from scripts.localcloud.storage.conditions import Conditions
from scripts.localcloud.storage.events import TOPIC, EventKind, ObjectEvent
from scripts.localcloud.storage.index import Index
from scripts.localcloud.storage.records import Bucket, Record
from scripts.localcloud.web import ApiError


class Store:
    """Buckets, objects and their bodies. Every method runs on the event loop's thread and is atomic there."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.index = Index(context.db)
        self.bodies = Bodies(context.folder("storage"), context.db)

    # Buckets

    def bucket(self, name: str) -> Bucket:
        """Raises ApiError 404 when there is no such bucket."""
        found = self.index.bucket(name)
        if found is None:
            raise ApiError(404, "The specified bucket does not exist.", "notFound")
        return found

    def create_bucket(self, bucket: Bucket) -> Bucket:
        """Raises ApiError 409 when the name is taken."""
        with self.context.db.transaction():
            if self.index.bucket(bucket.name) is not None:
                text = "Your previous request to create the named bucket succeeded and you already own it."
                raise ApiError(409, text, "conflict")
            self.index.put_bucket(bucket)
        return bucket

    def change_bucket(self, bucket: Bucket, **changes: Any) -> Bucket:
        """Save other settings or another policy; the metageneration rises."""
        changed = replace(bucket, metageneration=bucket.metageneration + 1, updated=self.context.now(), **changes)
        self.index.put_bucket(changed)
        return changed

    def delete_bucket(self, name: str, conditions: Conditions) -> None:
        """Raises ApiError 404, 409 (not empty) or 412."""
        with self.context.db.transaction():
            bucket = self.bucket(name)
            conditions.check(0, bucket.metageneration, bucket.etag)
            if not self.index.is_empty(name):
                raise ApiError(409, "The bucket you tried to delete is not empty.", "conflict")
            self.index.drop_bucket(name)

    # Objects

    def find(self, bucket: str, name: str, generation: int | None = None) -> Record:
        """The live or the given generation. Raises ApiError 404."""
        found = self.index.find(bucket, name, generation)
        if found is None:
            self.bucket(bucket)
            shown = f"{bucket}/{name}" + (f"#{generation}" if generation is not None else "")
            raise ApiError(404, f"No such object: {shown}", "notFound")
        return found

    def check(self, bucket: str, name: str, conditions: Conditions) -> Bucket:
        """Whether an object may be written here now. Raises ApiError 404 (bucket), 403 (hold) or 412."""
        found, live = self.bucket(bucket), self.index.find(bucket, name)
        if live is None:
            conditions.check(0, 0)
            return found
        conditions.check(live.generation, live.metageneration, live.etag)
        if live.held:
            raise _on_hold(live)
        return found

    def create(self, bucket: str, name: str, body: Body, fields: dict[str, Any], conditions: Conditions) -> Record:
        """Make a new live generation; the former one becomes noncurrent or goes. Raises ApiError 404, 403 or 412."""
        events: list[ObjectEvent] = []
        with self.context.db.transaction():
            where = self.check(bucket, name, conditions)
            fields = {"storageClass": where.settings.get("storageClass", "STANDARD"), **fields}
            former = self._retire(where, self.index.find(bucket, name), events)
            now = self.context.now()
            record = Record(
                bucket, name, self.index.next_generation(), 1, True, body.id,
                body.size_bytes, body.crc32c, body.md5, now, now, None, fields,
            )  # fmt: skip
            self.index.put(record)
            self.bodies.keep(body.id)
            events.append(self._event("finalized", record))
            loose = self._loosen(former)
        self._finish(loose, events)
        return record

    def delete(self, bucket: str, name: str, generation: int | None, conditions: Conditions) -> None:
        """Without a generation the live one is archived (versioned bucket) or goes; a named generation always goes.

        Raises ApiError 404, 403 (hold) or 412.
        """
        events: list[ObjectEvent] = []
        with self.context.db.transaction():
            record = self.find(bucket, name, generation)
            conditions.check(record.generation, record.metageneration, record.etag)
            if record.held:
                raise _on_hold(record)
            where = self.bucket(bucket)
            loose = self._loosen(self._retire(where, record, events, forever=generation is not None))
        self._finish(loose, events)

    def change(self, record: Record, fields: dict[str, Any]) -> Record:
        """Save other metadata of a generation; its metageneration rises."""
        changed = replace(record, metageneration=record.metageneration + 1, updated=self.context.now(), fields=fields)
        self.index.put(changed)
        self.context.publish(TOPIC, self._event("metadata", changed))
        return changed

    def copy(self, source: Record, bucket: str, name: str, fields: dict[str, Any], conditions: Conditions) -> Record:
        """A new generation elsewhere with the same body: no byte is moved."""
        body = Body(source.body, source.size_bytes, source.crc32c, source.md5)
        return self.create(bucket, name, body, fields, conditions)

    def live(self, bucket: str, prefix: str = "") -> Iterator[Record]:
        """The live objects under a prefix, by name."""
        for record in self.index.live(bucket, prefix):
            if not record.name.startswith(prefix):
                return
            yield record

    def open(self, record: Record) -> int:
        """A descriptor of the body; it stays readable when the object is deleted meanwhile."""
        return os.open(self.bodies.path(record.body), os.O_RDONLY | os.O_CLOEXEC)

    def _retire(
        self, where: Bucket, record: Record | None, events: list[ObjectEvent], forever: bool = False
    ) -> str | None:
        """Archive or drop a generation; a dropped one's body, which copies may still have."""
        if record is None:
            return None
        if where.versioned and not forever:
            archived = replace(record, live=False, deleted=self.context.now())
            self.index.put(archived)
            events.append(self._event("archived", archived))
            return None
        self.index.drop(record)
        events.append(ObjectEvent("deleted", record.bucket, record.name, record.generation, None, record.size_bytes))
        return record.body

    def _loosen(self, body: str | None) -> str | None:
        """The id of a body that no generation has any more, marked for removal after the transaction."""
        if body is None or self.index.owns(body):
            return None
        self.bodies.loosen(body)
        return body

    def _finish(self, loose: str | None, events: list[ObjectEvent]) -> None:
        for event in events:
            self.context.publish(TOPIC, event)
        if loose is not None:
            self.bodies.remove(loose)

    def _event(self, kind: EventKind, record: Record) -> ObjectEvent:
        path = self.bodies.path(record.body)
        return ObjectEvent(kind, record.bucket, record.name, record.generation, path, record.size_bytes)


def _on_hold(record: Record) -> ApiError:
    kind = "Temporary" if record.fields.get("temporaryHold") else "Event-Based"
    text = (
        f"Object '{record.bucket}/{record.name}' is under active {kind} hold and cannot be deleted, "
        "overwritten or archived until hold is removed."
    )
    return ApiError(403, text, "forbidden")
