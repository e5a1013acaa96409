"""What an upload is to become: object, metadata, preconditions and the checksums that the client announced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from scripts.localcloud.storage import access, contexts, encryption, fields
from scripts.localcloud.storage.bodies import Body, Sink
from scripts.localcloud.storage.conditions import Conditions
from scripts.localcloud.storage.names import check_object
from scripts.localcloud.storage.records import Record
from scripts.localcloud.storage.store import Store
from scripts.localcloud.web import ApiError, Request


@dataclass(frozen=True)
class Target:
    """Where an upload goes and what it must hold."""

    bucket: str
    name: str
    fields: dict[str, Any]
    conditions: Conditions
    checksums: dict[str, str]

    @classmethod
    def of(cls, store: Store, request: Request, resource: Mapping[str, Any]) -> Target:
        """From an upload request and the resource it carries; refused at once when it could not be stored now.

        Raises ApiError 400 (name, metadata), 403 (hold, retention), 404 (bucket) or 412.
        """
        encoding = request.query.get("contentEncoding")
        chosen = fields.given({**resource, **({"contentEncoding": encoding} if encoding else {})})
        name = check_object(request.query.get("name") or resource.get("name"))
        bucket = store.bucket(request.params["bucket"])
        if "contexts" in chosen:
            chosen = contexts.stamped({}, chosen, store.context.now(), merge=False)
        chosen.update(access.of_object(bucket, request.query, resource))
        chosen.update(keys(request))
        announced = {key: resource[key] for key in ("crc32c", "md5Hash") if isinstance(resource.get(key), str)}
        target = cls(bucket.name, name, chosen, Conditions.of(request.query), announced)
        store.check(target.bucket, target.name, target.conditions)
        return target

    async def commit(
        self, store: Store, sink: Sink, headers: Mapping[str, str], also: Callable[[Record], None] | None = None
    ) -> Record:
        """Make what has arrived the object's new generation; also: what else belongs into the transaction.

        Raises ApiError 400 when a checksum differs, or 412.
        """
        body = await sink.finish()
        self._compare(body, {**self.checksums, **hashes_of(headers)})
        record = store.create(self.bucket, self.name, body, self.fields, self.conditions, also)
        sink.kept()
        return record

    def _compare(self, body: Body, announced: Mapping[str, str]) -> None:
        for key, found in (("crc32c", body.crc32c), ("md5Hash", body.md5)):
            wanted = announced.get(key)
            if wanted and found and wanted != found:
                label = {"crc32c": "CRC32C", "md5Hash": "MD5 hash"}[key]
                text = f'Provided {label} "{wanted}" doesn\'t match calculated {label} "{found}".'
                raise ApiError(400, text, "invalid")


def keys(request: Request) -> dict[str, Any]:
    """The fields that say with which key an object is encrypted. Raises ApiError 400."""
    own, managed = encryption.key_of(request.headers), request.query.get("kmsKeyName")
    managed = (
        managed or request.query.get("destinationKmsKeyName") or request.headers.get("x-goog-encryption-kms-key-name")
    )
    if own and managed:
        raise ApiError(400, "An object is encrypted by a key of its own or by a Cloud KMS key, not by both.", "invalid")
    if managed:
        return {"kmsKeyName": managed if "/cryptoKeyVersions/" in managed else f"{managed}/cryptoKeyVersions/1"}
    return encryption.described(own)


def hashes_of(headers: Mapping[str, str]) -> dict[str, str]:
    """The checksums in x-goog-hash (`crc32c=…,md5=…`) and content-md5."""
    found: dict[str, str] = {}
    for item in headers.get("x-goog-hash", "").split(","):
        key, _, value = item.strip().partition("=")
        if key in ("crc32c", "md5"):
            found["md5Hash" if key == "md5" else key] = value
    if headers.get("content-md5"):
        found["md5Hash"] = headers["content-md5"]
    return found
