"""The XML API: objects at /BUCKET/OBJECT and lists at /BUCKET, as signed URLs, Terraform and transfer managers use it.

A request is made one of the JSON API (headers become query parameters and a resource), so that both have one set of
rules. cloud.google.com/storage/docs/xml-api/reference-methods
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote

from scripts.localcloud.storage import access, encryption, fields, xml_conditions
from scripts.localcloud.storage.conditions import Conditions, integer
from scripts.localcloud.storage.journal import Journal
from scripts.localcloud.storage.media import media
from scripts.localcloud.storage.names import check_object
from scripts.localcloud.storage.records import Record
from scripts.localcloud.storage.resumable import Sessions
from scripts.localcloud.storage.store import Store
from scripts.localcloud.storage.target import Target, keys
from scripts.localcloud.storage.xml_format import answering, document, element, etag, group, time, trouble
from scripts.localcloud.storage.xml_listing import listed
from scripts.localcloud.storage.xml_multipart import Multiparts
from scripts.localcloud.web import ApiError, Request, Response, Route

_CONDITIONS = {
    "x-goog-if-generation-match": "ifGenerationMatch",
    "x-goog-if-metageneration-match": "ifMetagenerationMatch",
}
_FIELDS = {
    "content-type": "contentType",
    "cache-control": "cacheControl",
    "content-disposition": "contentDisposition",
    "content-encoding": "contentEncoding",
    "content-language": "contentLanguage",
    "x-goog-custom-time": "customTime",
    "x-goog-storage-class": "storageClass",
}
_META = "x-goog-meta-"
_ACLS = {
    "authenticated-read": "authenticatedRead", "bucket-owner-full-control": "bucketOwnerFullControl",
    "bucket-owner-read": "bucketOwnerRead", "private": "private", "project-private": "projectPrivate",
    "public-read": "publicRead",
}  # fmt: skip
# Views of a bucket or an object that are asked for by a parameter without value.
_VIEWS = (
    "acl", "billing", "compose", "cors", "defaultObjectAcl", "encryption", "encryptionConfig", "lifecycle", "location",
    "logging", "object-lock", "policy", "retention", "storageClass", "tagging", "versioning", "website",
)  # fmt: skip


class Xml:
    """The routes of the XML API; whatever no other room's path is is a bucket's."""

    def __init__(self, store: Store, journal: Journal, sessions: Sessions) -> None:
        self._store = store
        self._sessions = sessions
        self.multiparts = Multiparts(store, journal)

    def routes(self) -> list[Route]:
        return [
            Route("*", "/{bucket}", self._bucket, "storage.xml.buckets"),
            Route("*", "/{bucket}/{object*}", self._object, "storage.xml.objects"),
        ]

    @answering
    async def _bucket(self, request: Request) -> Response:
        return await self._of_bucket(request, self._named(request))

    async def _of_bucket(self, request: Request, bucket: str) -> Response:
        if request.method == "HEAD":
            settings = self._store.bucket(bucket).settings
            headers = (("x-goog-bucket-location", str(settings.get("location", "US"))),)
            return Response(200, headers=headers, content_type="application/xml; charset=UTF-8")
        if request.method != "GET":
            raise _not_allowed(request)
        if "uploads" in request.query:
            return self.multiparts.listed(bucket, request)
        view = _view(request)
        return self._seen(bucket, view) if view else listed(self._store, bucket, request)

    @answering
    async def _object(self, request: Request) -> Response:
        _check_age(request, self._store.context.clock())
        bucket, name = self._named(request), request.params["object"]
        if not name:
            return await self._of_bucket(request, bucket)
        check_object(name)
        _translate(request)
        if "uploads" in request.query or "uploadId" in request.query:
            return await self.multiparts.answer(request, resource(request))
        if "upload_id" in request.query:
            return await self._resumed(request)
        if _view(request) not in ("", "acl"):
            raise trouble(400, "InvalidArgument", f"The stand-in does not imitate ?{_view(request)}; use the JSON API.")
        if _view(request):
            return self._acl(self._store.find(bucket, name, integer(request.query, "generation")), request)
        match request.method:
            case "GET" | "HEAD":
                return await self._content(request)
            case "PUT":
                return await self._put(request)
            case "DELETE":
                return self._delete(request)
            case "POST" if request.headers.get("x-goog-resumable", "").lower() == "start":
                return await self._begun(request)
        raise _not_allowed(request)

    def _named(self, request: Request) -> str:
        """The bucket of a request. Raises ApiError 404."""
        bucket = request.params["bucket"]
        if self._store.index.bucket(bucket) is None:
            raise trouble(404, "NoSuchBucket", "The specified bucket does not exist.")
        return bucket

    async def _content(self, request: Request) -> Response:
        where = (request.params["bucket"], request.params["object"], integer(request.query, "generation"))
        record = self._store.find(*where)
        while await self._store.wholes.before_read(record):
            record = self._store.find(*where)
        xml_conditions.check_read(record, request)
        answer = media(self._store, record, request)
        kept = tuple(pair for pair in answer.headers if pair[0] != "etag")
        answer.headers = (*kept, ("etag", f'"{etag(record)}"'), *_metadata(record))
        return _overridden(answer, request)

    async def _begun(self, request: Request) -> Response:
        """A resumable upload; its session's address needs no signature.

        cloud.google.com/storage/docs/xml-api/post-object-resumable
        """
        await request.read()
        key = await self._sessions.open(request, resource(request))
        path = f"/{request.params['bucket']}/{quote(request.params['object'])}?upload_id={key}"
        return Response(201, headers=(("location", request.base_url + path), ("x-guploader-uploadid", key)))

    async def _resumed(self, request: Request) -> Response:
        """Bytes, a question or a cancellation (204 here) of a resumable upload."""
        answer = await self._sessions.carry_on(request.query["upload_id"], request)
        if request.method == "DELETE":
            return Response(204)
        if answer.status != 200 or not isinstance(answer.body, bytes):
            return answer
        made = json.loads(answer.body)
        record = self._store.find(made["bucket"], made["name"], int(made["generation"]))
        return Response(headers=_made(record), content_type="text/html; charset=UTF-8")

    async def _put(self, request: Request) -> Response:
        xml_conditions.for_change(self._store.there(request.params["bucket"], request.params["object"]), request)
        if "x-goog-copy-source" in request.headers:
            return await self._copy(request)
        target = Target.of(self._store, request, resource(request))
        async with self._store.bodies.receive() as sink:
            try:
                async for chunk in request.chunks():
                    await sink.write(chunk)
                record = await target.commit(self._store, sink, request.headers)
            except ApiError as error:
                raise trouble(400, "BadDigest", error.message) if error.code == 400 else error from None
        return Response(headers=_made(record), content_type="text/html; charset=UTF-8")

    async def _copy(self, request: Request) -> Response:
        source = self._source(request)
        while await self._store.wholes.before_copy(source, request.params["bucket"]):
            source = self._source(request)
        bucket = self._store.bucket(request.params["bucket"])
        chosen = {key: value for key, value in source.fields.items() if key not in fields.OF_ONE_GENERATION}
        if bucket.name != source.bucket:
            chosen.pop("storageClass", None)  # the target bucket's default
        if request.headers.get("x-goog-metadata-directive", "COPY").upper() == "REPLACE":
            chosen = fields.given(resource(request))
        elif "x-goog-storage-class" in request.headers:
            chosen.update(fields.given({"storageClass": request.headers["x-goog-storage-class"]}))
        chosen = {**chosen, **keys(request), **access.of_object(bucket, request.query, {})}
        conditions = Conditions.of(request.query)
        record = self._store.copy(source, bucket.name, request.params["object"], chosen, conditions)
        children = [element("LastModified", time(record.updated)), element("ETag", f'"{etag(record)}"')]
        return document("CopyObjectResult", children, headers=_made(record)[1:])

    def _source(self, request: Request) -> Record:
        """What a copy is made of. Raises ApiError 400, 404 or 412."""
        where = unquote(_text(request.headers["x-goog-copy-source"])).lstrip("/")
        bucket, slash, name = where.partition("/")
        if not slash or not name:
            raise trouble(400, "InvalidArgument", f"x-goog-copy-source: expected BUCKET/OBJECT, found {where[:200]!r}")
        if self._store.index.bucket(bucket) is None:
            raise trouble(404, "NoSuchBucket", "The specified bucket does not exist.")
        generation = {"generation": request.headers.get("x-goog-copy-source-generation")}
        source = self._store.find(bucket, name, integer(generation, "generation"))
        xml_conditions.check_source(source, request.headers)
        encryption.check(source, encryption.key_of(request.headers, encryption.SOURCE))
        return source

    def _delete(self, request: Request) -> Response:
        bucket, name = request.params["bucket"], request.params["object"]
        xml_conditions.for_change(self._store.there(bucket, name), request)
        conditions = Conditions.of(request.query)
        self._store.delete(bucket, name, integer(request.query, "generation"), conditions)
        return Response(204)

    def _seen(self, bucket: str, view: str) -> Response:
        """A bucket's settings as far as the XML API's clients ask for them."""
        found = self._store.bucket(bucket)
        match view:
            case "versioning":
                status = "Enabled" if found.versioned else "Suspended"
                return document("VersioningConfiguration", [element("Status", status)])
            case "location":
                text = element("LocationConstraint", found.settings.get("location", "US"))
                return document(
                    "LocationConstraint", [text[len("<LocationConstraint>") : -len("</LocationConstraint>")]]
                )
            case "storageClass":
                return document("StorageClass", [str(found.settings.get("storageClass", "STANDARD"))])
            case "acl" | "defaultObjectAcl":
                return _access(found.project)
        raise trouble(400, "InvalidArgument", f"The stand-in does not imitate ?{view}; use the JSON API.")

    def _acl(self, record: Record, request: Request) -> Response:
        if request.method != "GET" or _view(request) != "acl":
            raise _not_allowed(request)
        return _access(self._store.bucket(record.bucket).project)


def resource(request: Request) -> dict[str, Any]:
    """The resource of the JSON API that an upload's headers describe."""
    described: dict[str, Any] = {key: request.headers[name] for name, key in _FIELDS.items() if name in request.headers}
    described.setdefault("contentType", fields.DEFAULT_TYPE)
    found = {key.removeprefix(_META): _text(value) for key, value in request.headers.items() if key.startswith(_META)}
    if found:
        described["metadata"] = found
    return {**described, "name": request.params["object"]}


def _translate(request: Request) -> None:
    """Amazon's names of headers become Google's, and preconditions the query parameters of the JSON API."""
    for key in [name for name in request.headers if name.startswith("x-amz-")]:
        request.headers.setdefault(key.replace("x-amz-", "x-goog-", 1), request.headers[key])
    request.query = {key: value for key, value in request.query.items() if key != "name"}
    for header, key in _CONDITIONS.items():
        if header in request.headers:
            request.query[key] = request.headers[header]
    wanted = request.headers.get("x-goog-acl")
    if wanted is not None:
        if wanted not in _ACLS:
            text = f"x-goog-acl: {wanted[:100]!r} is no predefined ACL of objects; expected one of {', '.join(_ACLS)}"
            raise trouble(400, "InvalidArgument", text)
        request.query["predefinedAcl"] = _ACLS[wanted]


def _check_age(request: Request, now_s: float) -> None:
    """Refuse a signed URL (version 4 or 2) that is too old; who signed it is not looked at. Raises ApiError 400."""
    asked = request.query
    for brand in ("X-Goog", "X-Amz"):
        date, lasts_s = asked.get(f"{brand}-Date", ""), asked.get(f"{brand}-Expires", "")
        if f"{brand}-Signature" in asked and date and lasts_s:
            try:
                ends_s = datetime.strptime(f"{date}+0000", "%Y%m%dT%H%M%SZ%z").timestamp() + int(lasts_s[:12])
            except ValueError:
                raise trouble(400, "AuthenticationRequired", "The URL's date or expiry is malformed.") from None
            if now_s > ends_s:
                raise trouble(400, "ExpiredToken", "The provided token has expired.")
    ends = asked.get("Expires", "")
    if "Signature" in asked and ends.isascii() and ends.isdigit() and now_s > int(ends[:12]):
        raise trouble(400, "ExpiredToken", "The provided token has expired.")


def _overridden(answer: Response, request: Request) -> Response:
    """The answer with what a signed URL may say of it: response-content-type and response-content-disposition."""
    chosen = fields.given(
        {
            "contentType": request.query.get("response-content-type") or None,
            "contentDisposition": request.query.get("response-content-disposition") or None,
        }
    )
    answer.content_type = chosen.get("contentType", answer.content_type)
    if "contentDisposition" in chosen:
        kept = tuple(pair for pair in answer.headers if pair[0] != "content-disposition")
        answer.headers = (*kept, ("content-disposition", chosen["contentDisposition"]))
    return answer


def _view(request: Request) -> str:
    return next((view for view in _VIEWS if view in request.query), "")


def _text(value: str) -> str:
    """Headers are read as Latin-1; clients send UTF-8."""
    try:
        return value.encode("latin-1").decode()
    except (UnicodeDecodeError, UnicodeEncodeError):
        return value


def _metadata(record: Record) -> list[tuple[str, str]]:
    given = {key: str(value) for key, value in (record.fields.get("metadata") or {}).items()}
    fit = {
        key: text for key, text in given.items() if key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    }
    found = [(_META + key, text.encode().decode("latin-1")) for key, text in fit.items() if text.isprintable()]
    for key, header in (("customTime", "x-goog-custom-time"), ("componentCount", "x-goog-component-count")):
        if key in record.fields:
            found.append((header, str(record.fields[key])))
    return found


def _made(record: Record) -> tuple[tuple[str, str], ...]:
    hashes = f"crc32c={record.crc32c}" + (f",md5={record.md5}" if record.md5 else "")
    return (
        ("etag", f'"{etag(record)}"'),
        ("x-goog-generation", str(record.generation)),
        ("x-goog-metageneration", str(record.metageneration)),
        ("x-goog-hash", hashes),
        ("x-goog-stored-content-length", str(record.size_bytes)),
    )


def _access(project: str) -> Response:
    """Who may do what is not enforced: the project's owners have it all."""
    owner = group("Owner", element("ID", f"project-owners-{project}"))
    scope = f"<Scope type='GroupById'>{element('ID', f'project-owners-{project}')}</Scope>"
    entry = group("Entry", scope, element("Permission", "FULL_CONTROL"))
    return document("AccessControlList", [owner, group("Entries", entry)])


def _not_allowed(request: Request) -> ApiError:
    return trouble(405, "MethodNotAllowed", f"The method {request.method} is not allowed against this resource.")
