"""Multipart uploads of the XML API (cloud.google.com/storage/docs/multipart-uploads): parts, then one object of them.

They live until they are completed or aborted, also over restarts. A finished object has no MD5.
"""

from __future__ import annotations

import os
import secrets
from base64 import b64decode
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from scripts.localcloud.storage.bodies import Body
from scripts.localcloud.storage.journal import Journal, Part
from scripts.localcloud.storage.records import Record
from scripts.localcloud.storage.store import Store
from scripts.localcloud.storage.target import Target, hashes_of
from scripts.localcloud.storage.xml_format import document, element, group, local_name, parsed, time, trouble
from scripts.localcloud.storage.xml_listing import limit
from scripts.localcloud.web import Request, Response

MAX_PARTS = 10_000
MIN_PART_BYTES = 5 << 20


@dataclass
class Upload:
    """An upload under way."""

    id: str
    target: Target
    began: str
    parts: dict[int, Part] = field(default_factory=dict)


class Multiparts:
    """All multipart uploads under way."""

    def __init__(self, store: Store, journal: Journal) -> None:
        self._store = store
        self._journal = journal
        self._open = {kept[0]: Upload(*kept) for kept in journal.multiparts()}

    def __len__(self) -> int:
        return len(self._open)

    async def answer(self, request: Request, resource: Mapping[str, Any]) -> Response:
        """A request with ?uploads or ?uploadId; resource is what its headers say of the object."""
        if "uploads" in request.query and request.method == "POST":
            return await self._begin(request, resource)
        upload = self._open.get(request.query.get("uploadId", ""))
        wanted = (request.params["bucket"], request.params["object"])
        if upload is None or (upload.target.bucket, upload.target.name) != wanted:
            raise trouble(404, "NoSuchUpload", "The specified multipart upload does not exist.")
        match request.method:
            case "PUT":
                return await self._add(upload, request)
            case "POST":
                return await self._complete(upload, request)
            case "DELETE":
                self.abort(upload)
                return Response(204)
            case "GET":
                return _parts(upload, request)
        raise trouble(405, "MethodNotAllowed", f"The method {request.method} is not allowed against this resource.")

    def of_bucket(self, bucket: str) -> list[Upload]:
        """The uploads under way in a bucket."""
        return [upload for upload in self._open.values() if upload.target.bucket == bucket]

    def abort(self, upload: Upload) -> None:
        """Give an upload up."""
        self._open.pop(upload.id, None)
        self._forget(upload)

    def listed(self, bucket: str, request: Request) -> Response:
        """The uploads under way in a bucket."""
        prefix, most = request.query.get("prefix", ""), limit(request.query, "max-uploads")
        after = (request.query.get("key-marker", ""), request.query.get("upload-id-marker") or "\U0010ffff")
        found = sorted(
            (upload.target.name, upload.id, upload) for upload in self._open.values() if upload.target.bucket == bucket
        )
        found = [each for each in found if each[0].startswith(prefix) and (not after[0] or each[:2] > after)]
        more, shown = len(found) > most, found[:most]
        ends = [text for name, key, _ in shown[-1:]
                for text in (element("NextKeyMarker", name), element("NextUploadIdMarker", key))]  # fmt: skip
        children = [
            element("Bucket", bucket),
            element("KeyMarker", after[0]),
            *(ends if more else []),
            element("MaxUploads", most),
            element("IsTruncated", more),
            *(
                group("Upload", element("Key", name), element("UploadId", key), element("Initiated", time(each.began)))
                for name, key, each in shown
            ),
        ]
        return document("ListMultipartUploadsResult", children)

    async def _begin(self, request: Request, resource: Mapping[str, Any]) -> Response:
        await request.read()
        target = Target.of(self._store, request, resource)
        upload = Upload(secrets.token_hex(24), target, self._store.context.now())
        self._journal.begin_multipart(upload.id, target, upload.began)
        self._open[upload.id] = upload
        names = [element("Bucket", target.bucket), element("Key", target.name), element("UploadId", upload.id)]
        return document("InitiateMultipartUploadResult", names)

    async def _add(self, upload: Upload, request: Request) -> Response:
        number = _number(request.query.get("partNumber", ""))
        sink = self._store.bodies.receive()
        try:
            async for chunk in request.chunks():
                await sink.write(chunk)
            body = await sink.finish()
            expected = hashes_of(request.headers)
            for key, found in (("crc32c", body.crc32c), ("md5Hash", body.md5)):
                if expected.get(key) not in (None, found):
                    text = f"The {key} you specified did not match what we received: {expected[key]!r}, not {found!r}."
                    raise trouble(400, "BadDigest", text)
            if upload.id not in self._open:
                raise trouble(404, "NoSuchUpload", "The specified multipart upload does not exist.")
            part = self._keep(upload, number, body)
        except BaseException:
            await sink.discard()
            raise
        sink.kept()
        hashes = f"crc32c={body.crc32c},md5={body.md5}"
        return Response(headers=(("etag", f'"{_etag(part)}"'), ("x-goog-hash", hashes)), content_type="text/html")

    def _keep(self, upload: Upload, number: int, body: Body) -> Part:
        """The part that a complete body is now, perhaps instead of a former one."""
        part, former = Part(body, self._store.context.now()), upload.parts.get(number)
        with self._store.changing() as changes:
            self._journal.put_part(upload.id, number, part)
            self._store.bodies.keep(body.id)
            if former is not None:
                self._store.bodies.loosen(former.body.id)
                changes.loose.append(former.body.id)
        upload.parts[number] = part
        return part

    async def _complete(self, upload: Upload, request: Request) -> Response:
        parts = _chosen(upload, [_listed(node) for node in await parsed(request) if local_name(node) == "Part"])
        with ExitStack() as opened:
            bodies: list[tuple[int, int, str]] = []
            for part in parts:
                descriptor = os.open(self._store.bodies.path(part.body.id), os.O_RDONLY | os.O_CLOEXEC)
                opened.callback(os.close, descriptor)
                bodies.append((descriptor, part.body.size_bytes, part.body.crc32c))
            record = await self._assembled(upload, bodies)
        location = f"{request.base_url}/{record.bucket}/{record.name}"
        children = [element("Location", location), element("Bucket", record.bucket), element("Key", record.name)]
        headers = (("x-goog-hash", f"crc32c={record.crc32c}"), ("x-goog-generation", str(record.generation)))
        children.append(element("ETag", f'"{record.etag}"'))
        return document("CompleteMultipartUploadResult", children, headers=headers)

    async def _assembled(self, upload: Upload, bodies: list[tuple[int, int, str]]) -> Record:
        """The new object. While its bytes are copied nobody else may complete or abort the upload."""
        del self._open[upload.id]
        try:
            async with self._store.bodies.receive(md5="never") as sink:
                await sink.append_bodies(bodies)
                return await upload.target.commit(self._store, sink, {}, lambda _: self._forget(upload))
        except BaseException:
            self._open[upload.id] = upload
            raise

    def _forget(self, upload: Upload) -> None:
        """Remove an upload and its parts, in the transaction under way if there is one."""
        with self._store.changing() as changes:
            self._journal.forget_multipart(upload.id)
            for part in upload.parts.values():
                self._store.bodies.loosen(part.body.id)
                changes.loose.append(part.body.id)


def _etag(part: Part) -> str:
    return b64decode(part.body.md5 or "").hex()


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= MAX_PARTS):
        text = f"Part number must be an integer between 1 and {MAX_PARTS}, inclusive; found {text[:50]!r}"
        raise trouble(400, "InvalidArgument", text)
    return int(text)


def _listed(node: Any) -> tuple[int, str]:
    """Number and tag of a <Part>."""
    found = {local_name(child): (child.text or "").strip() for child in node}
    return _number(found.get("PartNumber", "")), found.get("ETag", "").strip('"')


def _chosen(upload: Upload, listed: list[tuple[int, str]]) -> list[Part]:
    """The parts that a client lists, in order. Raises ApiError 400."""
    numbers = [number for number, _ in listed]
    if not listed:
        raise trouble(400, "MalformedXML", "You must specify at least one part.")
    if numbers != sorted(set(numbers)):
        text = "The list of parts was not in ascending order. The parts list must be specified in order by part number."
        raise trouble(400, "InvalidPartOrder", text)
    parts: list[Part] = []
    for number, etag in listed:
        part = upload.parts.get(number)
        if part is None or (etag and etag != _etag(part)):
            text = "One or more of the specified parts could not be found or had another entity tag"
            raise trouble(400, "InvalidPart", f"{text}: part {number}.")
        parts.append(part)
    for number, part in zip(numbers, parts[:-1], strict=False):
        if part.body.size_bytes < MIN_PART_BYTES:
            text = f"Part {number} has {part.body.size_bytes} bytes; every part but the last needs {MIN_PART_BYTES}."
            raise trouble(400, "EntityTooSmall", text)
    return parts


def _parts(upload: Upload, request: Request) -> Response:
    most, after = limit(request.query, "max-parts"), request.query.get("part-number-marker", "0") or "0"
    first = int(after) if after.isascii() and after.isdigit() and len(after) < 10 else 0
    found = sorted(number for number in upload.parts if number > first)
    more = len(found) > most
    children = [
        element("Bucket", upload.target.bucket),
        element("Key", upload.target.name),
        element("UploadId", upload.id),
        element("StorageClass", upload.target.fields.get("storageClass", "STANDARD")),
        element("PartNumberMarker", first),
        *([element("NextPartNumberMarker", found[most - 1])] if more and most else []),
        element("MaxParts", most),
        element("IsTruncated", more),
        *(_shown(number, upload.parts[number]) for number in found[:most]),
    ]
    return document("ListPartsResult", children)


def _shown(number: int, part: Part) -> str:
    return group(
        "Part",
        element("PartNumber", number),
        element("LastModified", time(part.modified)),
        element("ETag", f'"{_etag(part)}"'),
        element("Size", part.body.size_bytes),
    )
