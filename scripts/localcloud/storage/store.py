"""The rules of Cloud Storage: one live generation a name, versions, preconditions; every change is one transaction."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from scripts.localcloud.context import Context
from scripts.localcloud.storage import retention
from scripts.localcloud.storage.bodies import LATER, Bodies, Body
from scripts.localcloud.storage.conditions import Conditions
from scripts.localcloud.storage.events import TOPIC, EventKind, ObjectEvent
from scripts.localcloud.storage.index import Index
from scripts.localcloud.storage.joints import Piece
from scripts.localcloud.storage.records import Bucket, Record
from scripts.localcloud.storage.wholes import Wholes
from scripts.localcloud.web import ApiError

# How many soft-deleted generations are removed in one go.
_SLICE = 200


@dataclass
class Changes:
    """What a transaction has to tell and to remove once it is committed."""

    events: list[ObjectEvent] = field(default_factory=list)
    loose: list[str] = field(default_factory=list)


class Store:
    """Buckets, objects and their bodies. Every method runs on the event loop's thread and is atomic there."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.index = Index(context.db)
        self.bodies = Bodies(context.folder("storage"), context.db)
        self.wholes = Wholes(self)
        self._changes: Changes | None = None

    @contextlib.contextmanager
    def changing(self) -> Iterator[Changes]:
        """A transaction (nested ones join it) after whose commit the listeners are told and loose bodies removed."""
        if self._changes is not None:
            yield self._changes
            return
        self._changes = changes = Changes()
        try:
            with self.context.db.transaction():
                yield changes
        except BaseException:
            self.index.rolled_back()
            raise
        finally:
            self._changes = None
        for event in changes.events:
            self.context.publish(TOPIC, event)
        for body in changes.loose:
            self.bodies.remove(body)

    def moment(self) -> datetime:
        """The time by the stand-in's clock."""
        return datetime.fromtimestamp(self.context.clock(), UTC)

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
            taken = self.index.bucket(bucket.name)
            if taken is not None:
                text = "Your previous request to create the named bucket succeeded and you already own it."
                if taken.project != bucket.project:
                    text = "The requested bucket name is not available. Please select a different name and try again."
                raise ApiError(409, text, "conflict")
            self.index.put_bucket(bucket)
        return bucket

    def change_bucket(self, bucket: Bucket, **changes: Any) -> Bucket:
        """Save other settings or another policy; the metageneration rises."""
        changed = replace(bucket, metageneration=bucket.metageneration + 1, updated=self.context.now(), **changes)
        self.index.put_bucket(changed)
        return changed

    def delete_bucket(self, name: str, conditions: Conditions) -> None:
        """What was soft-deleted in it goes with it. Raises ApiError 404, 409 (not empty) or 412."""
        with self.changing():
            bucket = self.bucket(name)
            conditions.check(0, bucket.metageneration, bucket.etag)
            if not self.index.is_empty(name):
                raise ApiError(409, "The bucket you tried to delete is not empty.", "conflict")
            self.index.soft.abandon(name, self.context.now())
            self.index.drop_bucket(name)
        self.expire()

    # Objects

    def find(self, bucket: str, name: str, generation: int | None = None, *, hashed: bool = True) -> Record:
        """The live or the given generation; hashed=False: its MD5 may be LATER. Raises ApiError 404."""
        found = self.index.find(bucket, name, generation)
        if found is None:
            self.bucket(bucket)
            shown = f"{bucket}/{name}" + (f"#{generation}" if generation is not None else "")
            raise ApiError(404, f"No such object: {shown}", "notFound")
        return self.hashed(found) if hashed else found

    def there(self, bucket: str, name: str) -> Record | None:
        """The live generation, if there is one."""
        found = self.index.find(bucket, name)
        return self.hashed(found) if found is not None else None

    def hashed(self, record: Record) -> Record:
        """A generation with its MD5, computed now if nobody has asked for it before."""
        if record.md5 != LATER:
            return record
        md5 = self.bodies.md5_of(record.body)
        self.index.note_md5(record.body, md5)
        return replace(record, md5=md5)

    def check(self, bucket: str, name: str, conditions: Conditions) -> Bucket:
        """Whether an object may be written here now. Raises ApiError 404 (bucket), 403 (hold, retention) or 412."""
        found = self.bucket(bucket)
        self._check(found, self.index.find(bucket, name), conditions)
        return found

    def _check(self, where: Bucket, live: Record | None, conditions: Conditions) -> None:
        if live is None:
            conditions.check(0, 0)
            return
        conditions.check(live.generation, live.metageneration, live.etag)
        retention.check_removal(where, live, self.moment(), archiving=where.versioned)

    def create(
        self, bucket: str, name: str, body: Body, fields: dict[str, Any], conditions: Conditions,
        also: Callable[[Record], None] | None = None,
    ) -> Record:  # fmt: skip
        """Make a new live generation; the former one becomes noncurrent or goes. Raises ApiError 404, 403 or 412.

        also: what else belongs into the transaction.
        """
        with self.changing() as changes:
            where, live = self.bucket(bucket), self.index.find(bucket, name)
            self._check(where, live, conditions)
            fields = {**_defaults(where), **fields}
            retention.check_object(where, {}, fields, self.moment(), override=False)
            if live is not None:
                self._retire(where, live, changes)
            now = self.context.now()
            record = Record(
                bucket, name, self.index.next_generation(), 1, True, body.id,
                body.size_bytes, body.crc32c, body.md5, now, now, None, fields,
            )  # fmt: skip
            self.index.put(record)
            self.bodies.keep(body.id)
            changes.events.append(self._event("finalized", record))
            if also is not None:
                also(record)
        return record

    def delete(self, bucket: str, name: str, generation: int | None, conditions: Conditions) -> Record:
        """Without a generation the live one is archived (versioned bucket) or goes; a named generation always goes.

        Raises ApiError 404, 403 (hold, retention) or 412.
        """
        with self.changing() as changes:
            record = self.find(bucket, name, generation, hashed=False)
            conditions.check(record.generation, record.metageneration, record.etag)
            where = self.bucket(bucket)
            archiving = where.versioned and generation is None
            retention.check_removal(where, record, self.moment(), archiving=archiving)
            self._retire(where, record, changes, forever=generation is not None)
        return record

    def change(self, record: Record, fields: dict[str, Any], *, override: bool = False) -> Record:
        """Save other metadata of a generation; its metageneration rises. Raises ApiError 400 or 403 (retention).

        override: an object's unlocked retention may become weaker.
        """
        retention.check_object(self.bucket(record.bucket), record.fields, fields, self.moment(), override)
        now = self.context.now()
        if record.fields.get("eventBasedHold") and not fields.get("eventBasedHold"):
            fields = {**fields, retention.RELEASED: now}
        if fields.get("storageClass") != record.fields.get("storageClass"):
            fields = {**fields, "timeStorageClassUpdated": now}
        changed = replace(record, metageneration=record.metageneration + 1, updated=now, fields=fields)
        with self.changing() as changes:
            self.index.put(changed)
            changes.events.append(self._event("metadata", changed))
        return changed

    def copy(self, source: Record, bucket: str, name: str, fields: dict[str, Any], conditions: Conditions) -> Record:
        """A new generation elsewhere with the same body: no byte is moved."""
        body = Body(source.body, source.size_bytes, source.crc32c, source.md5)
        return self.create(bucket, name, body, fields, conditions)

    def pieces(self, record: Record) -> list[Piece]:
        """The files that have a generation's content: one, or those of a joined body's parts."""
        return self.index.joints.of(record.body) or [Piece(record.body, record.size_bytes, record.crc32c)]

    def unjoin(self, body: str) -> None:
        """A joined body has a file of its own now: let go of its parts."""
        with self.changing() as changes:
            for part in self.index.joints.drop(body):
                self._loosen(part, changes)

    def move(self, source: Record, name: str, conditions: Conditions) -> Record:
        """The same object under another name of the bucket: nobody sees both names or none."""
        with self.changing():
            moved = self.copy(source, source.bucket, name, source.fields, conditions)
            self.delete(source.bucket, source.name, None, Conditions(generation=source.generation))
        return moved

    # Soft-deleted generations

    def soft_deleted(self, bucket: str, name: str, generation: int) -> Record:
        """A generation that can be restored. Raises ApiError 404."""
        found = self.index.soft.find(bucket, name, generation)
        if found is None:
            self.bucket(bucket)
            raise ApiError(404, f"No such object: {bucket}/{name}#{generation}", "notFound")
        return self.hashed(found)

    def restore(self, gone: Record, conditions: Conditions) -> Record:
        """Make a soft-deleted generation live again, as a new one. Raises ApiError 403 or 412."""
        fields = {key: value for key, value in gone.fields.items() if key not in ("retention", retention.RELEASED)}
        with self.changing():
            restored = self.copy(gone, gone.bucket, gone.name, fields, conditions)
            self.index.soft.drop(gone)
        return restored

    def expire(self, limit: int = _SLICE) -> int:
        """Remove soft-deleted generations whose time has come, at most `limit`; how many."""
        with self.changing() as changes:
            due = self.index.soft.due(self.context.now(), limit)
            for record in due:
                self._forget(record, changes)
        return len(due)

    def live(self, bucket: str, prefix: str = "", first: str = "") -> Iterator[Record]:
        """The live objects under a prefix, by name, from a name on."""
        for record in self.index.live(bucket, max(prefix, first)):
            if not record.name.startswith(prefix):
                return
            yield record

    def open(self, record: Record) -> int:
        """A descriptor of the body (wholes.before_read it); it stays readable when the object is deleted meanwhile."""
        return os.open(self.bodies.path(record.body), os.O_RDONLY | os.O_CLOEXEC)

    def _retire(self, where: Bucket, record: Record, changes: Changes, forever: bool = False) -> None:
        """Archive, soft-delete or drop a generation; a dropped one's body copies may still have."""
        now = self.context.now()
        if where.versioned and not forever:
            archived = replace(record, live=False, deleted=now)
            self.index.put(archived)
            changes.events.append(self._event("archived", archived))
            return
        self.index.drop(record)
        changes.events.append(
            ObjectEvent("deleted", record.bucket, record.name, record.generation, None, record.size_bytes)
        )
        if where.soft_delete_s:
            self.index.soft.put(record, now, where.soft_delete_s)
        else:
            self._loosen(record.body, changes)

    def _forget(self, record: Record, changes: Changes) -> None:
        self.index.soft.drop(record)
        self._loosen(record.body, changes)

    def _loosen(self, body: str, changes: Changes) -> None:
        """Mark a body that no generation has any more for removal after the transaction."""
        if not self.index.owns(body):
            self.bodies.loosen(body)
            changes.loose.append(body)
            for part in self.index.joints.drop(body):
                self._loosen(part, changes)

    def _event(self, kind: EventKind, record: Record) -> ObjectEvent:
        path = self.bodies.path(record.body)
        return ObjectEvent(kind, record.bucket, record.name, record.generation, path, record.size_bytes)


def _defaults(bucket: Bucket) -> dict[str, Any]:
    """What a new object has from its bucket."""
    found: dict[str, Any] = {"storageClass": bucket.settings.get("storageClass", "STANDARD")}
    if bucket.settings.get("defaultEventBasedHold"):
        found["eventBasedHold"] = True
    key = (bucket.settings.get("encryption") or {}).get("defaultKmsKeyName")
    if key:
        found["kmsKeyName"] = f"{key}/cryptoKeyVersions/1"
    return found
