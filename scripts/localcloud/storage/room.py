"""The Cloud Storage room: JSON API with uploads, downloads and batches, and XML API; its parts are beside this one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import unquote_to_bytes

from scripts.localcloud.clock import Clock
from scripts.localcloud.context import Context
from scripts.localcloud.storage.acls import Acls
from scripts.localcloud.storage.batch import Batch
from scripts.localcloud.storage.bodies import Discarded
from scripts.localcloud.storage.buckets import Buckets
from scripts.localcloud.storage.copying import Copying
from scripts.localcloud.storage.enforcement import Expiry, Lifecycle
from scripts.localcloud.storage.events import StoredObject
from scripts.localcloud.storage.extras import Extras
from scripts.localcloud.storage.hmac_keys import HmacKeys
from scripts.localcloud.storage.iam import Iam
from scripts.localcloud.storage.journal import Journal
from scripts.localcloud.storage.managed_folders import ManagedFolders
from scripts.localcloud.storage.notifications import Notifications
from scripts.localcloud.storage.objects import Objects
from scripts.localcloud.storage.records import Record
from scripts.localcloud.storage.store import Store
from scripts.localcloud.storage.uploads import Uploads
from scripts.localcloud.storage.xml import Xml
from scripts.localcloud.web import ApiError, Handler, Request, Response, Route

log = logging.getLogger("localcloud.storage")


class StorageRoom:
    """Buckets and objects, for clients through its routes and for other rooms through live_objects()."""

    def __init__(self, context: Context) -> None:
        self.store = store = Store(context)
        journal = Journal(context.db)
        self._uploads = Uploads(store, journal)
        self._xml = Xml(store, journal, self._uploads.sessions)
        self._lifecycle = Lifecycle(store, self._xml.multiparts)
        folders = ManagedFolders(store)
        self._parts = (
            Objects(store, folders), Copying(store), Buckets(store), Iam(store), Acls(store), Extras(store), folders,
            Notifications(store), HmacKeys(store),
        )  # fmt: skip
        if isinstance(context.clock, Clock):
            context.clock.add(self._lifecycle)
            context.clock.add(Expiry(store))

    def routes(self) -> list[Route]:
        called = [_strict(route) for part in self._parts for route in part.routes()]
        others = [*self._uploads.routes(), *Batch(called).routes(), *self._xml.routes(), *self._lifecycle.routes()]
        return [*called, *map(_strict, others)]

    async def start(self) -> None:
        """Remove the bodies that an earlier daemon had not finished."""
        removed = self.store.bodies.sweep()
        if removed:
            log.info("removed %d unfinished or deleted bodies of an earlier run", removed)

    async def stop(self) -> None:
        """Let go of unfinished uploads; a later daemon can go on with them."""
        await self._uploads.sessions.close()
        self.store.bodies.close()

    def status(self) -> dict[str, Any]:
        return {
            "buckets": self.store.index.totals(),
            "soft_deleted": self.store.index.soft.totals(),
            "uploads_under_way": len(self._uploads.sessions) + len(self._xml.multiparts),
        }

    def bucket_exists(self, name: str) -> bool:
        """Whether there is a bucket of this name."""
        return self.store.index.bucket(name) is not None

    def noncurrent(self, bucket: str, limit: int) -> list[Record]:
        """The generations of a bucket that became noncurrent last, newest first; none when there is no such bucket."""
        return self.store.index.noncurrent(bucket, limit)

    async def mounted(self, bucket: str) -> None:
        """Instances read this bucket's bodies by path from now on. Raises OSError when the disk is full."""
        await self.store.wholes.mounted(bucket)

    def live_objects(self, bucket: str, prefix: str = "", first: str = "") -> Iterator[StoredObject]:
        """The live objects of a bucket by name, from a name on; none when there is no such bucket."""
        for record in self.store.live(bucket, prefix, first):
            path = self.store.bodies.path(record.body)
            yield StoredObject(record.name, record.generation, record.size_bytes, record.crc32c, path)


def _strict(route: Route) -> Route:
    return replace(route, handler=partial(_readable, route.handler))


async def _readable(handler: Handler, request: Request) -> Response:
    """Refuse a query that is not UTF-8 instead of storing objects under other names than asked for.

    A body on its way to disk when the daemon stops is given up: its client is told to come back.
    """
    if "%" in request.raw_query:
        try:
            unquote_to_bytes(request.raw_query).decode()
        except UnicodeDecodeError:
            raise ApiError(400, "The query is not valid UTF-8", "invalid") from None
    try:
        return await handler(request)
    except Discarded:
        raise ApiError(503, "The stand-in is stopping.", "backendError") from None
