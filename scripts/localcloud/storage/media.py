"""Downloads: the content of an object or of a part of it."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

from scripts.localcloud.storage import fields
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
    """200 with all or 206 with a part of the body. Raises ApiError 416."""
    asked = parse_range(request.headers.get("range", ""), record.size_bytes)
    first, count = asked or (0, record.size_bytes)
    headers = list(_headers(record))
    if asked is not None:
        headers.append(("content-range", f"bytes {first}-{first + count - 1}/{record.size_bytes}"))
    content_type = record.fields.get("contentType", fields.DEFAULT_TYPE)
    body = FileBody(store.open(record), first, count)
    return Response(206 if asked is not None else 200, body, tuple(headers), content_type)


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
        ("accept-ranges", "bytes"),
    ]
    return headers + [(header, record.fields[key]) for key, header in _COPIED.items() if key in record.fields]
