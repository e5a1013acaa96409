"""Downloads: the content of an object or of a part of it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from email.utils import format_datetime

from scripts.localcloud.storage import encryption, fields, transcoding
from scripts.localcloud.storage.ranges import parse_range
from scripts.localcloud.storage.records import Record
from scripts.localcloud.storage.store import Store
from scripts.localcloud.web import FileBody, Request, Response

_COPIED = {
    "contentEncoding": "content-encoding",
    "contentDisposition": "content-disposition",
    "contentLanguage": "content-language",
    "cacheControl": "cache-control",
}


def media(store: Store, record: Record, request: Request) -> Response:
    """200 with all or 206 with a part of the body; unpacked for a client that does not accept gzip.

    Raises ApiError 416, or 400 for another encryption key than the object's.
    """
    encryption.check(record, encryption.key_of(request.headers))
    record = store.hashed(record)
    content_type = record.fields.get("contentType", fields.DEFAULT_TYPE)
    descriptor = store.open(record)
    try:
        if transcoding.wanted(record.fields, request.headers) and transcoding.begins(descriptor):
            return _unpacked(descriptor, record, request, content_type)
        asked = parse_range(request.headers.get("range", ""), record.size_bytes)
    except BaseException:
        os.close(descriptor)
        raise
    first, count = asked or (0, record.size_bytes)
    request.facts.update({"generation": record.generation, "range": f"{first}-{first + count - 1}" if asked else ""})
    headers = [*_headers(record), ("accept-ranges", "bytes")]
    if asked is not None:
        headers.append(("content-range", f"bytes {first}-{first + count - 1}/{record.size_bytes}"))
    body = FileBody(descriptor, first, count)
    return Response(206 if asked is not None else 200, body, tuple(headers), content_type)


def _unpacked(descriptor: int, record: Record, request: Request, content_type: str) -> Response:
    """The whole content without its compression: its length is not known, and a range of it cannot be asked for."""
    file = os.fdopen(descriptor, "rb", buffering=0)
    headers = [pair for pair in _headers(record) if pair[0] != "content-encoding"]
    headers.append(("warning", "214 UploadServer gunzipped"))
    if request.method == "HEAD":
        file.close()  # nobody will ask for the body
    return Response(200, transcoding.unpacked(file), tuple(headers), content_type)


def _headers(record: Record) -> list[tuple[str, str]]:
    hashes = f"crc32c={record.crc32c}" + (f",md5={record.md5}" if record.md5 else "")
    updated = datetime.fromisoformat(record.updated).astimezone(UTC)
    headers = [
        ("x-goog-generation", str(record.generation)),
        ("x-goog-metageneration", str(record.metageneration)),
        ("x-goog-hash", hashes),
        ("x-goog-storage-class", str(record.fields.get("storageClass", "STANDARD"))),
        ("x-goog-stored-content-length", str(record.size_bytes)),
        ("x-goog-stored-content-encoding", str(record.fields.get("contentEncoding", "identity"))),
        ("etag", record.etag),
        ("last-modified", format_datetime(updated, usegmt=True)),
    ]
    if record.fields.get("contentEncoding") == "gzip":
        headers.append(("vary", "Accept-Encoding"))
    if "customerEncryption" in record.fields:
        described = record.fields["customerEncryption"]
        headers.append(("x-goog-encryption-algorithm", described["encryptionAlgorithm"]))
        headers.append(("x-goog-encryption-key-sha256", described["keySha256"]))
    return headers + [(header, record.fields[key]) for key, header in _COPIED.items() if key in record.fields]
