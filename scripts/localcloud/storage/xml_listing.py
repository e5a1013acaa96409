"""Lists of the XML API: objects (versions 1 and 2 of the list) and generations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from urllib.parse import quote

from scripts.localcloud.storage import listing
from scripts.localcloud.storage.records import Position
from scripts.localcloud.storage.store import Store
from scripts.localcloud.storage.xml_format import document, element, etag, group, time, trouble
from scripts.localcloud.web import ApiError, Request, Response

_LAST = 2**63 - 1


def listed(store: Store, bucket: str, request: Request) -> Response:
    """One page of a bucket. Raises ApiError 400 for a bad number or token."""
    asked = request.query
    versions = "versions" in asked
    query = _query(asked, versions)
    page = listing.page(query, partial(store.index.positions, bucket, versions=versions)) if query.limit else None
    found = page or listing.Page[Position]()
    shown = partial(_url, asked.get("encoding-type") == "url")
    children = [
        element("Name", bucket),
        element("Prefix", shown(query.prefix)),
        *([element("Delimiter", shown(query.delimiter))] if query.delimiter else []),
        *([element("EncodingType", "url")] if asked.get("encoding-type") == "url" else []),
        element("MaxKeys", query.limit),
        *_places(asked, versions, found, shown),
        element("IsTruncated", bool(found.token)),
        *_objects(store, bucket, found, versions, shown),
        *(group("CommonPrefixes", element("Prefix", shown(prefix))) for prefix in found.prefixes),
    ]
    return document("ListBucketResult", children)


def limit(asked: Mapping[str, str], key: str, most: int = listing.MAX_PAGE) -> int:
    """How many are asked for, at most `most`. Raises ApiError 400."""
    text = asked.get(key) or str(most)
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise trouble(400, "InvalidArgument", f"Invalid value for {key}: {text[:100]!r}")
    return min(int(text), most)


def _query(asked: Mapping[str, str], versions: bool) -> listing.Query:
    query = listing.Query.of(
        {
            "prefix": asked.get("prefix", ""),
            "delimiter": asked.get("delimiter", ""),
            "versions": "true" if versions else "",
            "pageToken": asked.get("continuation-token", "") if asked.get("list-type") == "2" else "",
        }
    )
    query = replace(query, limit=limit(asked, "max-keys"))
    if query.after != ("", 0):
        return query
    return replace(query, after=_after(asked, versions, query))


def _after(asked: Mapping[str, str], versions: bool, query: listing.Query) -> tuple[str, int]:
    """Where the list goes on after the marker: after all that a prefix rolls up when the marker is one."""
    if versions:
        key, generation = asked.get("key-marker", ""), asked.get("generation-marker", "")
        if key and generation.isascii() and generation.isdigit() and int(generation[:20]) < _LAST:
            return key, int(generation) + 1
    else:
        key = asked.get("start-after", "") if asked.get("list-type") == "2" else asked.get("marker", "")
    if not key:
        return "", 0
    try:
        key.encode()
    except UnicodeEncodeError:
        raise ApiError(400, "The marker is not valid UTF-8", "invalid") from None
    rolled = query.delimiter and key.startswith(query.prefix) and key.endswith(query.delimiter)
    if rolled and query.delimiter in key[len(query.prefix) :]:
        return listing.successor(key), 0
    return key, _LAST


def _places(asked: Mapping[str, str], versions: bool, found: listing.Page[Position], shown: partial[str]) -> list[str]:
    """Where this page began and where the next one begins."""
    ends = [each.name for each in found.items[-1:]] + found.prefixes[-1:]
    last = max(ends, default="")
    if versions:
        places = [element("KeyMarker", shown(asked.get("key-marker", "")))]
        if found.token:
            places.append(element("NextKeyMarker", shown(last)))
            if found.items and found.items[-1].name == last:
                places.append(element("NextGenerationMarker", found.items[-1].generation))
        return places
    if asked.get("list-type") != "2":
        places = [element("Marker", shown(asked.get("marker", "")))]
        return [*places, element("NextMarker", shown(last))] if found.token else places
    places = [element("KeyCount", len(found))]
    for key, name in (("continuation-token", "ContinuationToken"), ("start-after", "StartAfter")):
        if key in asked:
            places.append(element(name, shown(asked[key])))
    return [*places, element("NextContinuationToken", found.token)] if found.token else places


def _objects(
    store: Store, bucket: str, found: listing.Page[Position], versions: bool, shown: partial[str]
) -> Iterator[str]:
    for position in found.items:
        record = store.find(bucket, *position)
        dates = [element("DeletedTime", time(record.deleted))] if versions and record.deleted else []
        yield group(
            "Version" if versions else "Contents",
            element("Key", shown(record.name)),
            element("Generation", record.generation),
            element("MetaGeneration", record.metageneration),
            *([element("IsLatest", record.live)] if versions else []),
            element("LastModified", time(record.updated)),
            *dates,
            element("ETag", f'"{etag(record)}"'),
            element("Size", record.size_bytes),
            element("StorageClass", record.fields.get("storageClass", "STANDARD")),
        )


def _url(encoded: bool, text: str) -> str:
    return quote(text, safe="/") if encoded else text
