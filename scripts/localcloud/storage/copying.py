"""Server-side copies: compose, rewriteTo, copyTo."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from scripts.localcloud.storage import access, contexts, encryption, fields
from scripts.localcloud.storage.bodies import Body
from scripts.localcloud.storage.conditions import Conditions, integer
from scripts.localcloud.storage.joints import joined
from scripts.localcloud.storage.names import check_object
from scripts.localcloud.storage.records import Bucket, Record
from scripts.localcloud.storage.store import Store
from scripts.localcloud.storage.target import keys
from scripts.localcloud.storage.view import shown
from scripts.localcloud.web import ApiError, Request, Response, Route

MAX_SOURCES = 32
MIB = 1 << 20
# How much of a large object a call of rewrite copies to another location or class, when the client sets no limit.
_BYTES_PER_CALL = 1024 * MIB
_FROM = "/storage/v1/b/{bucket}/o/{object+}"
_TO = "/b/{target_bucket}/o/{target_object+}"


@dataclass(frozen=True)
class _Copy:
    """A copy that a client wants."""

    source: Record
    target: Bucket
    name: str
    fields: dict[str, Any]
    conditions: Conditions

    def progress(self, request: Request, store: Store) -> int:
        """How many bytes have been copied after this call: all, where none have to travel. Raises ApiError 400."""
        asked = integer(request.query, "maxBytesRewrittenPerCall")
        if asked is not None and (asked < MIB or asked % MIB):
            text = "maxBytesRewrittenPerCall must be a multiple of 1 MiB, and at least that."
            raise ApiError(400, text, "invalid")
        token = request.query.get("rewriteToken")
        before = self._known(token) if token else 0
        origin, target = store.bucket(self.source.bucket).settings, self.target.settings
        own = self.fields.get("storageClass", target.get("storageClass"))
        travels = origin.get("location") != target.get("location") or own != self.source.fields.get("storageClass")
        if not travels:
            return self.source.size_bytes
        return min(before + (asked or _BYTES_PER_CALL), self.source.size_bytes)

    def token(self, moved: int) -> str:
        """What a client gives back to go on; the daemon keeps nothing of it."""
        return base64.urlsafe_b64encode(json.dumps([moved, *self._ends()]).encode()).decode()

    def _known(self, token: str) -> int:
        try:
            moved, *ends = json.loads(base64.urlsafe_b64decode(token))
        except (ValueError, TypeError, RecursionError):
            moved, ends = None, []
        if not isinstance(moved, int) or ends != self._ends():
            raise ApiError(400, "The rewriteToken is not one of this copy; begin the copy again.", "invalid")
        return max(moved, 0)

    def _ends(self) -> list[Any]:
        return [self.source.bucket, self.source.name, self.source.generation, self.target.name, self.name]


class Copying:
    """The routes that make objects out of objects."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[Route]:
        return [
            Route("POST", _FROM + "/compose", self._compose, "storage.objects.compose"),
            Route("POST", _FROM + "/rewriteTo" + _TO, self._rewrite, "storage.objects.rewrite"),
            Route("POST", _FROM + "/copyTo" + _TO, self._copy, "storage.objects.copy"),
        ]

    async def _rewrite(self, request: Request) -> Response:
        """A copy in one call, or in several where bytes would travel (rewriteToken says how far it has come)."""
        copy = self._asked(request, await request.json_object())
        size = copy.source.size_bytes
        moved = copy.progress(request, self._store)
        answer: dict[str, Any] = {
            "kind": "storage#rewriteResponse",
            "totalBytesRewritten": str(moved),
            "objectSize": str(size),
            "done": moved == size,
        }
        if moved < size:
            answer["rewriteToken"] = copy.token(moved)
        else:
            answer["resource"] = shown(self._store, await self._made(copy), request)
        return Response.of_json(answer)

    async def _copy(self, request: Request) -> Response:
        record = await self._made(self._asked(request, await request.json_object()))
        return Response.of_json(shown(self._store, record, request))

    def _asked(self, request: Request, body: dict[str, Any]) -> _Copy:
        """The copy that a request wants: the source's metadata, with what the request's body gives instead."""
        overrides = contexts.stamped({}, fields.given(body), self._store.context.now(), merge=False)
        params = request.params
        name = check_object(params["target_object"])
        source = self._store.find(params["bucket"], params["object"], integer(request.query, "sourceGeneration"))
        wanted = Conditions.of(request.query, "ifSource")
        wanted.check(source.generation, source.metageneration, source.etag)
        encryption.check(source, encryption.key_of(request.headers, encryption.SOURCE))
        target = self._store.bucket(params["target_bucket"])
        kept = {key: value for key, value in source.fields.items() if key not in fields.OF_ONE_GENERATION}
        if target.name != source.bucket and "storageClass" not in overrides:
            kept.pop("storageClass", None)  # the target bucket's default
        chosen = {**kept, **overrides, **keys(request), **access.of_object(target, request.query, body)}
        return _Copy(source, target, name, chosen, Conditions.of(request.query))

    async def _made(self, copy: _Copy) -> Record:
        source = copy.source
        while await self._store.wholes.before_copy(source, copy.target.name):
            source = self._store.find(source.bucket, source.name, source.generation)
        return self._store.copy(copy.source, copy.target.name, copy.name, copy.fields, copy.conditions)

    async def _compose(self, request: Request) -> Response:
        body = await request.json_object()
        bucket, name = request.params["bucket"], check_object(request.params["object"])
        conditions = Conditions.of(request.query)
        self._store.check(bucket, name, conditions)
        sources = self._sources(bucket, body.get("sourceObjects"))
        destination = body.get("destination") or {}
        if not isinstance(destination, dict):
            raise ApiError(400, "Invalid value for destination", "invalid")
        chosen = fields.given(destination)
        chosen.setdefault("contentType", fields.DEFAULT_TYPE)
        chosen = contexts.stamped({}, chosen, self._store.context.now(), merge=False)
        key = encryption.key_of(request.headers)
        for source in sources:
            encryption.check(source, key)
        chosen.update({**keys(request), **access.of_object(self._store.bucket(bucket), request.query, destination)})
        chosen["componentCount"] = sum(int(source.fields.get("componentCount", 1)) for source in sources)
        record = await self._composed(
            bucket, name, sources, chosen, conditions, body.get("deleteSourceObjects") is True
        )
        return Response.of_json(shown(self._store, record, request))

    async def _composed(
        self, bucket: str, name: str, sources: list[Record], chosen: dict[str, Any], conditions: Conditions, drop: bool
    ) -> Record:
        store, pieces = self._store, [piece for source in sources for piece in self._store.pieces(source)]

        def create(body: Body) -> Record:
            record = store.create(bucket, name, body, chosen, conditions)
            if drop:
                self._drop(sources, record)
            return record

        if store.wholes.may_join(bucket, sum(piece.size_bytes for piece in pieces)):
            made = joined(store.bodies.next_id(), pieces)
            with store.changing():
                store.index.joints.put(made.id, pieces)  # first: what it replaces may be one of its sources
                return create(made)
        async with store.bodies.receive(md5="never") as sink:
            await store.wholes.gather(sink, pieces)
            body = await sink.finish()
            with store.changing():
                record = create(body)
            sink.kept()
        return record

    def _drop(self, sources: list[Record], made: Record) -> None:
        """Delete what an object was composed of, each once; its own former generation is gone already."""
        for source in {source.name: source for source in sources if source.name != made.name}.values():
            live = self._store.find(source.bucket, source.name, source.generation).live
            wanted = Conditions(generation=source.generation)
            self._store.delete(source.bucket, source.name, None if live else source.generation, wanted)

    def _sources(self, bucket: str, listed: Any) -> list[Record]:
        if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_SOURCES:
            text = f"The number of source components provided must be between 1 and {MAX_SOURCES}."
            raise ApiError(400, text, "invalid")
        found: list[Record] = []
        for entry in listed:
            if not isinstance(entry, dict):
                raise ApiError(400, "Invalid value for sourceObjects", "invalid")
            record = self._store.find(
                bucket, check_object(entry.get("name")), integer(entry, "generation"), hashed=False
            )
            wanted = entry.get("objectPreconditions") or {}
            if not isinstance(wanted, dict):
                raise ApiError(400, "Invalid value for objectPreconditions", "invalid")
            Conditions.of(wanted).check(record.generation, record.metageneration)
            found.append(record)
        return found
