"""A bucket, with the few operations that publication is built from: create once, compare-and-swap, list, copy.

On google-cloud-storage. Its own retries are off: what may be repeated, for how long and how a lost reply is recognised
is decided here (storage_calls.py). A write whose reply was lost comes back as 412; it counts as one's own when the
object there carries the random writer id of this very call.
"""

from __future__ import annotations

import io
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

from scripts.cloud.storage_calls import TIMEOUT_S, attempt
from scripts.cloud.storage_objects import FIELDS, WRITER, ObjectInfo, Stretch, crc32c, of_blob, of_json
from scripts.errors import STATUS, AccessDenied, BadInput, Conflict, NotFound

T = TypeVar("T")
# Bucket.list hides the built-in name inside the class.
Names = list[str]
Infos = list[ObjectInfo]
Listings = list[Infos]

READ_LIMIT_BYTES = 16 << 20
CHUNK_BYTES = 8 << 20
TMP_DAYS = 7
NONCURRENT_KEPT = 3
_LISTED_AT_ONCE = 8
_FIELDS = f"items({FIELDS}),prefixes,nextPageToken"
_JSON = "application/json"
_BYTES = "application/octet-stream"


class _Limited(io.BytesIO):
    """Memory for a read that stops a body larger than announced."""

    def __init__(self, name: str, limit_bytes: int) -> None:
        super().__init__()
        self._name = name
        self._limit_bytes = limit_bytes

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > self._limit_bytes:
            text = f"{self._name} is larger than the {self._limit_bytes} bytes that may be read of it"
            raise BadInput(text, "Find out who wrote it; it is not what this program writes.")
        return super().write(data)


class Bucket:
    """One bucket. Safe to use from several threads; makes its client on first use."""

    def __init__(self, name: str, connect: Callable[[], tuple[Any, Any]], place: str) -> None:
        """connect makes a google.cloud.storage.Client and its requests session; place: who is called, for messages."""
        self.name = name
        self._place = place
        self._connect = connect
        self._connected: tuple[Any, Any] | None = None
        self._lock = threading.Lock()

    def _clients(self) -> tuple[Any, Any]:
        with self._lock:
            if self._connected is None:
                self._connected = self._connect()
            return self._connected

    def call(self, verb: str, name: str, call: Callable[[Any], T]) -> T:
        """Run a repeatable call(bucket of google-cloud-storage): again where that may help, failures translated."""
        return self.send(verb, name, lambda client, http: call(client.bucket(self.name)))

    def send(self, verb: str, name: str, call: Callable[[Any, Any], T]) -> T:
        """The same with the client and its requests session, for what google-cloud-storage has no call for."""
        address = f"gs://{self.name}/{name}" if name else f"bucket {self.name}"
        client, http = self._clients()
        try:
            return attempt(lambda: call(client, http), f"{verb} {address}", self._place)
        except NotFound as error:
            remedy = f"Check that bucket {self.name} exists and that its name is right. {STATUS}"
            raise NotFound(error.message, remedy) from error

    def exists(self) -> bool:
        """Whether the bucket exists. Needs storage.buckets.get, which a mere reader has not: list() tells it too."""
        return bool(self.call("look for", "", lambda bucket: bucket.exists(timeout=TIMEOUT_S, retry=None)))

    def create(self, location: str, labels: Mapping[str, str]) -> bool:
        """Make the bucket (uniform access, versioning, lifecycle); False when it is there already.

        Lifecycle: `.tmp/` goes after 7 days, three noncurrent generations of an object stay. No soft delete: versions
        of many gigabytes that retention has removed shall free their space at once.
        """

        def make(bucket: Any) -> None:
            bucket.iam_configuration.uniform_bucket_level_access_enabled = True
            bucket.versioning_enabled = True
            bucket.soft_delete_policy.retention_duration_seconds = 0
            bucket.labels = dict(labels)
            bucket.add_lifecycle_delete_rule(age=TMP_DAYS, matches_prefix=[".tmp/"])
            bucket.add_lifecycle_delete_rule(number_of_newer_versions=NONCURRENT_KEPT, is_live=False)
            bucket.create(location=location, timeout=TIMEOUT_S, retry=None)

        try:
            self.call("create", "", make)
        except Conflict as error:
            # Bucket names are global: somebody else's is a 403 on looking, and never ours to use.
            try:
                if self.exists():
                    return False
            except AccessDenied:
                remedy = "Choose another name in cache.bucket: bucket names are global."
                raise Conflict(f"the name {self.name} is taken by somebody else", remedy) from error
            raise
        return True

    def stat(self, name: str) -> ObjectInfo | None:
        """What is known of the live object, or None."""

        def look(bucket: Any) -> Any:
            return bucket.get_blob(name, timeout=TIMEOUT_S, retry=None)

        found = self.call("look at", name, look)
        return of_blob(found) if found is not None else None

    def read(
        self, name: str, generation: int | None = None, limit_bytes: int = READ_LIMIT_BYTES
    ) -> tuple[bytes, ObjectInfo] | None:
        """The content of the live object (or of a generation) and its info, in one call; None when there is none.

        Raises BadInput when it is larger than limit_bytes.
        """

        def fetch(bucket: Any) -> tuple[bytes, ObjectInfo]:
            blob = bucket.blob(name, generation=generation)
            target = _Limited(f"gs://{self.name}/{name}", limit_bytes)
            blob.download_to_file(target, raw_download=True, checksum="crc32c", timeout=TIMEOUT_S, retry=None)
            data = target.getvalue()
            return data, ObjectInfo(name, int(blob.generation), len(data), blob.crc32c or "")

        try:
            return self.call("read", name, fetch)
        except NotFound:
            return None

    def read_chunks(self, info: ObjectInfo, size: int = CHUNK_BYTES) -> Iterator[bytes]:
        """The content of exactly this generation, chunk after chunk, memory bounded by one chunk."""
        for start in range(0, info.size_bytes, size):
            yield self.read_range(info, start, min(start + size, info.size_bytes))

    def read_range(self, info: ObjectInfo, start: int, stop: int) -> bytes:
        """The bytes [start, stop) of exactly this generation, in one call (of no bytes: in none)."""
        if start == stop:
            return b""

        def fetch(bucket: Any) -> bytes:
            blob = bucket.blob(info.name, generation=info.generation)
            data: bytes = blob.download_as_bytes(
                start=start, end=stop - 1, raw_download=True, checksum=None, timeout=TIMEOUT_S, retry=None
            )
            if len(data) != stop - start:
                raise ConnectionError(f"{len(data)} bytes came, expected {stop - start}")
            return data

        return self.call("read", info.name, fetch)

    def create_object(self, name: str, data: bytes, metadata: Mapping[str, str] | None = None) -> ObjectInfo:
        """Write a JSON object that must not exist yet; raises Conflict when it does."""
        return self._put(name, data, 0, metadata or {}, _JSON)

    def replace(self, name: str, data: bytes, generation: int, metadata: Mapping[str, str] | None = None) -> ObjectInfo:
        """Write a JSON object if its live generation is this one (0 = there is none); raises Conflict otherwise."""
        return self._put(name, data, generation, metadata or {}, _JSON)

    def _put(
        self, name: str, data: bytes, generation: int, metadata: Mapping[str, str], content_type: str
    ) -> ObjectInfo:
        writer = secrets.token_hex(12)

        def send(bucket: Any) -> ObjectInfo:
            blob = bucket.blob(name)
            blob.metadata = {**metadata, WRITER: writer}
            blob.upload_from_string(
                data,
                content_type=content_type,
                if_generation_match=generation,
                checksum="crc32c",
                timeout=TIMEOUT_S,
                retry=None,
            )
            return of_blob(blob)

        try:
            return self.call("write", name, send)
        except Conflict as error:
            return self.own(name, writer, crc32c(data), error)

    def own(self, name: str, writer: str, expected_crc32c: str, error: Conflict) -> ObjectInfo:
        """The object that this very call wrote before its reply was lost, or the conflict that it really was.

        expected_crc32c: empty where the writer does not know it.
        """
        found = self.stat(name)
        if found is not None and found.metadata.get(WRITER) == writer and expected_crc32c in ("", found.crc32c):
            return found
        raise error

    def list(self, prefix: str = "", versions: bool = False, *, first: str = "", before: str = "") -> Infos:
        """All objects under a prefix, in name order; with versions, noncurrent generations too (`deleted` is set).

        first, before: only names from the one up to, but not including, the other. Raises NotFound when the bucket does
        not exist.
        """

        asked = {"prefix": prefix, "startOffset": first, "endOffset": before, "versions": "true" if versions else ""}
        query = {"fields": _FIELDS} | {key: value for key, value in asked.items() if value}
        found: Infos = []
        while True:
            page = self.send("list", f"{prefix}*", partial(self._page, query))
            found += map(of_json, page.get("items", ()))
            if not page.get("nextPageToken"):
                return found
            query["pageToken"] = page["nextPageToken"]

    def _page(self, query: Mapping[str, str], client: Any, http: Any) -> Any:
        """One page of a list as it comes: of thousands of objects the library's own are slow to make."""
        path = f"/b/{quote(self.name, safe='')}/o"
        return client._connection.api_request("GET", path, query_params=query, timeout=TIMEOUT_S)

    def list_each(self, *stretches: Stretch) -> Listings:
        """list() of several stretches at the same time, in their order."""
        with ThreadPoolExecutor(max_workers=_LISTED_AT_ONCE) as pool:
            return [*pool.map(lambda each: self.list(each.prefix, first=each.first, before=each.before), stretches)]

    def prefixes(self, prefix: str) -> Names:
        """The folders directly below a prefix ("ollama/" → "ollama/<version>/"), in order."""

        def fetch(bucket: Any) -> Names:
            pages = bucket.list_blobs(prefix=prefix, delimiter="/", fields=_FIELDS, timeout=TIMEOUT_S, retry=None)
            for _ in pages:
                pass
            return sorted(pages.prefixes)

        return self.call("list", f"{prefix}*", fetch)

    def copy(
        self, source: str, target: str, *, source_generation: int | None = None, generation: int = 0,
        source_bucket: str = "",
    ) -> ObjectInfo:  # fmt: skip
        """Copy server-side if the target's live generation is this one (0 = there is none).

        source_bucket: where the source is; by default this bucket. Raises Conflict when it is another, NotFound
        without source.
        """
        writer = secrets.token_hex(12)
        token: str | None = None

        def rewrite(bucket: Any) -> ObjectInfo | None:
            nonlocal token
            blob = bucket.blob(target)
            blob.metadata = {WRITER: writer}
            blob.content_type = _BYTES
            origin = bucket.client.bucket(source_bucket) if source_bucket else bucket
            token, _, _ = blob.rewrite(
                origin.blob(source, generation=source_generation),
                token=token,
                if_generation_match=generation,
                timeout=TIMEOUT_S,
                retry=None,
            )
            return of_blob(blob) if token is None else None

        try:
            while True:
                done = self.call("copy", f"{source} to {target}", rewrite)
                if done is not None:
                    return done
        except Conflict as error:
            return self.own(target, writer, "", error)

    def delete(self, name: str, generation: int) -> bool:
        """Remove exactly this generation for good, live or noncurrent; False when it was gone already."""

        def remove(bucket: Any) -> None:
            bucket.blob(name, generation=generation).delete(timeout=TIMEOUT_S, retry=None)

        try:
            self.call("delete", name, remove)
        except NotFound:
            return False
        return True


def open_bucket(project: str, endpoint: str | None, name: str) -> Bucket:
    """A bucket of a project at Google (Application Default Credentials), or at a stand-in's endpoint (none)."""

    def connect() -> tuple[Any, Any]:
        from google.cloud.storage import Client

        from scripts.cloud.credentials import session

        http = session(endpoint)
        options = {"api_endpoint": endpoint} if endpoint else None
        client = Client(project=project, credentials=http.credentials, _http=http, client_options=options)
        # Since 3.17 the client fetches the bucket's metadata for traces nobody asked for, in a thread of its own: a
        # call more, and one that needs storage.buckets.get, which a mere reader has not.
        client._bucket_metadata_cache = None
        return client, http

    return Bucket(name, connect, endpoint or "Cloud Storage")
