"""What a client sees of a generation or a bucket: the resource, with what depends on the bucket and on the request."""

from __future__ import annotations

from typing import Any

from scripts.localcloud import partial
from scripts.localcloud.storage import access, encryption, retention
from scripts.localcloud.storage.bodies import LATER
from scripts.localcloud.storage.records import Bucket, Record, times
from scripts.localcloud.storage.store import Store
from scripts.localcloud.web import Request


def shown(store: Store, record: Record, request: Request) -> dict[str, Any]:
    """An object's resource: checksums of an encrypted one only for who brings a key; lists with projection=full."""
    bucket = store.index.bucket(record.bucket)
    if record.md5 == LATER and wants_md5(request):
        record = store.hashed(record)
    resource = record.resource(request.base_url)
    if "customerEncryption" in record.fields and f"{encryption.OWN}-key" not in request.headers:
        resource.pop("md5Hash", None)
        resource.pop("crc32c", None)
    if bucket is None:
        return resource
    until = retention.expiration(bucket, record)
    if until is not None:
        resource["retentionExpirationTime"] = times(until)
    if request.query.get("projection") == "full" and not bucket.uniform:
        entries = access.object_list(bucket, record)
        resource["acl"] = [access.shown(entry, bucket, record, "acl", request.base_url) for entry in entries]
        resource["owner"] = {"entity": access.predefined("private", bucket, of_object=True)[0]["entity"]}
    return resource


def wants_md5(request: Request) -> bool:
    """Whether the answer to a request may show an object's MD5: `fields` leaves it out where nobody looks at it."""
    if not request.query.get("fields"):
        return True
    mask = partial.parse(request.query["fields"])
    for around in ("items", "resource"):
        mask = mask.get(around, mask)
    return not mask or not mask.keys().isdisjoint(("md5Hash", "*"))


def shown_bucket(bucket: Bucket, request: Request) -> dict[str, Any]:
    """A bucket's resource; its lists with projection=full."""
    resource = bucket.resource(request.base_url)
    if request.query.get("projection") == "full" and not bucket.uniform:
        for key in ("acl", "defaultObjectAcl"):
            entries = access.bucket_list(bucket, key)
            resource[key] = [access.shown(entry, bucket, None, key, request.base_url) for entry in entries]
        resource["owner"] = {"entity": access.predefined("private", bucket, of_object=False)[0]["entity"]}
    return resource
