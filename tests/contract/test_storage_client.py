"""What else google-cloud-storage can do: streams, transfer manager, transcoding, keys, contexts, classes, odd names."""

from __future__ import annotations

import base64
import datetime
import gzip
import hashlib
import http.client
import io
import json
import os
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from google.api_core import exceptions as google
from google.cloud.storage import transfer_manager

pytestmark = pytest.mark.process
CHUNK = 256 << 10
KEY, OTHER = b"k" * 32, b"o" * 32


class Stream:
    """A source that can be read once and not sought."""

    def __init__(self, data: bytes) -> None:
        self._rest = io.BytesIO(data)

    def read(self, count: int = -1) -> bytes:
        return self._rest.read(count)

    def tell(self) -> int:
        return self._rest.tell()


def _raw(standin: Any, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """A GET of a client that names what it accepts itself."""
    connection = http.client.HTTPConnection("127.0.0.1", standin.port, timeout=30)
    connection.putrequest("GET", path, skip_accept_encoding=True)
    for key, value in headers.items():
        connection.putheader(key.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, {key.lower(): value for key, value in answer.headers.items()}, answer.read()
    connection.close()
    return found


# Streams and transfer manager


def test_files_are_written_and_read_as_streams(bucket: Any) -> None:
    data = os.urandom(3 * CHUNK + 11)
    with bucket.blob("bytes").open("wb", chunk_size=CHUNK, content_type="a/b") as out:
        for start in range(0, len(data), 77_777):
            out.write(data[start : start + 77_777])
    with bucket.blob("bytes").open("rb", chunk_size=CHUNK) as source:
        assert source.read(10) == data[:10]
        source.seek(CHUNK - 5)
        assert source.read() == data[CHUNK - 5 :]
    with bucket.blob("text").open("w", encoding="utf-8") as out:
        out.write("grüße\nzwei\n")
    with bucket.blob("text").open("r", encoding="utf-8") as source:
        assert source.readlines() == ["grüße\n", "zwei\n"]
    with bucket.blob("nothing").open("wb"):
        pass
    assert bucket.get_blob("nothing").size == 0


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_a_stream_that_cannot_be_sought_is_uploaded_in_chunks(bucket: Any, size: int) -> None:
    data = os.urandom(size)
    bucket.blob("stream", chunk_size=CHUNK).upload_from_file(Stream(data))
    assert bucket.blob("stream").download_as_bytes() == data


@pytest.mark.parametrize("checksum", ["crc32c", "md5", "auto", None])
def test_checksums_of_uploads_and_downloads(bucket: Any, checksum: str | None) -> None:
    for chunk_size in (None, CHUNK):
        data = os.urandom(2 * CHUNK + 3)
        blob = bucket.blob("sum", chunk_size=chunk_size)
        blob.upload_from_file(io.BytesIO(data), checksum=checksum)
        assert blob.download_as_bytes(checksum=checksum) == data
        assert blob.md5_hash == base64.b64encode(hashlib.md5(data).digest()).decode()


def test_a_wrong_checksum_leaves_nothing_behind(bucket: Any) -> None:
    for field in ("md5_hash", "crc32c"):
        blob = bucket.blob("wrong")
        setattr(blob, field, "AAAAAA==" if field == "crc32c" else "AAAAAAAAAAAAAAAAAAAAAA==")
        with pytest.raises(google.BadRequest, match="doesn't match"):
            blob.upload_from_string("data", checksum=None)
    assert bucket.get_blob("wrong") is None


def test_the_transfer_manager_moves_many_files(bucket: Any, tmp_path: Path) -> None:
    source, target = tmp_path / "from", tmp_path / "to"
    source.mkdir()
    target.mkdir()
    names = [f"file-{number}" for number in range(12)]
    for name in names:
        (source / name).write_bytes(os.urandom(5000))
    done = transfer_manager.upload_many_from_filenames(
        bucket, names, source_directory=str(source), worker_type="thread", max_workers=4, raise_exception=True
    )
    assert done == [None] * 12
    transfer_manager.download_many_to_path(
        bucket, names, destination_directory=str(target), worker_type="thread", max_workers=4, raise_exception=True
    )
    assert all((source / name).read_bytes() == (target / name).read_bytes() for name in names)


def test_the_transfer_manager_moves_one_file_in_chunks(bucket: Any, tmp_path: Path) -> None:
    source, target = tmp_path / "from", tmp_path / "to"
    source.write_bytes(os.urandom(11 << 20))
    blob = bucket.blob("large")
    transfer_manager.upload_chunks_concurrently(str(source), blob, chunk_size=5 << 20, worker_type="thread")
    transfer_manager.download_chunks_concurrently(blob, str(target), chunk_size=3 << 20, worker_type="thread")
    assert target.read_bytes() == source.read_bytes()


# Transcoding


@pytest.fixture
def packed(bucket: Any) -> Any:
    blob = bucket.blob("packed")
    blob.content_encoding = "gzip"
    blob.upload_from_string(gzip.compress(b"plain text " * 50_000), content_type="text/plain")
    return blob


def test_gzip_is_unpacked_for_who_does_not_accept_it(packed: Any, shared_standin: Any) -> None:
    plain = b"plain text " * 50_000
    path = f"/storage/v1/b/{packed.bucket.name}/o/packed?alt=media"
    status, headers, body = _raw(shared_standin, path, range="bytes=0-3")
    assert (status, body) == (200, plain)  # a range of what is not stored cannot be had
    assert "content-encoding" not in headers and "content-length" not in headers
    assert headers["x-goog-stored-content-encoding"] == "gzip"
    assert headers["x-goog-stored-content-length"] == str(packed.size)
    assert "gunzipped" in headers["warning"] and headers["content-type"] == "text/plain"
    assert _raw(shared_standin, path, accept_encoding="gzip;q=0")[2] == plain
    assert _raw(shared_standin, f"/{packed.bucket.name}/packed")[2] == plain  # XML API


def test_gzip_is_sent_as_stored_to_who_accepts_it(packed: Any, shared_standin: Any) -> None:
    path = f"/storage/v1/b/{packed.bucket.name}/o/packed?alt=media"
    status, headers, body = _raw(shared_standin, path, accept_encoding="gzip, deflate")
    assert (status, len(body), headers["content-encoding"]) == (200, packed.size, "gzip")
    assert _raw(shared_standin, path, accept_encoding="gzip", range="bytes=0-1")[2] == b"\x1f\x8b"
    assert packed.download_as_bytes() == b"plain text " * 50_000
    assert gzip.decompress(packed.download_as_bytes(raw_download=True)) == b"plain text " * 50_000


def test_no_transform_and_false_gzip_are_left_alone(packed: Any, bucket: Any, shared_standin: Any) -> None:
    packed.cache_control = "no-transform"
    packed.patch()
    path = f"/storage/v1/b/{bucket.name}/o/packed?alt=media"
    assert len(_raw(shared_standin, path)[2]) == packed.size
    wrong = bucket.blob("wrong")
    wrong.content_encoding = "gzip"
    wrong.upload_from_string("not packed at all")
    assert _raw(shared_standin, f"/storage/v1/b/{bucket.name}/o/wrong?alt=media")[2] == b"not packed at all"


# Keys


def test_a_customer_s_key_is_needed_to_read(bucket: Any) -> None:
    blob = bucket.blob("secret", encryption_key=KEY)
    blob.upload_from_string("text")
    assert blob.download_as_bytes() == b"text"
    without, wrong = bucket.blob("secret"), bucket.blob("secret", encryption_key=OTHER)
    for reader in (without, wrong):
        with pytest.raises(google.BadRequest):
            reader.download_as_bytes()
    seen = bucket.get_blob("secret")
    assert seen.md5_hash is None and seen.crc32c is None
    assert seen._properties["customerEncryption"]["encryptionAlgorithm"] == "AES256"
    bucket.blob("open").upload_from_string("x")
    with pytest.raises(google.BadRequest):
        bucket.blob("open", encryption_key=KEY).download_as_bytes()


def test_a_key_is_rotated_and_taken_off_by_a_rewrite(bucket: Any) -> None:
    old = bucket.blob("rotated", encryption_key=KEY)
    old.upload_from_string("text")
    new = bucket.blob("rotated", encryption_key=OTHER)
    assert new.rewrite(old)[0] is None
    assert new.download_as_bytes() == b"text"
    with pytest.raises(google.BadRequest):
        bucket.blob("rotated", encryption_key=KEY).download_as_bytes()
    plain = bucket.blob("plain")
    plain.rewrite(new)
    assert plain.download_as_bytes() == b"text"
    with pytest.raises(google.BadRequest):
        bucket.blob("copy").rewrite(bucket.blob("rotated"))


def test_a_resumable_upload_with_a_key(bucket: Any) -> None:
    data = os.urandom(2 * CHUNK + 1)
    blob = bucket.blob("secret", chunk_size=CHUNK, encryption_key=KEY)
    blob.upload_from_file(io.BytesIO(data))
    assert blob.download_as_bytes() == data


def test_names_of_kms_keys_are_kept(client: Any, bucket: Any) -> None:
    key = "projects/p/locations/europe-west1/keyRings/r/cryptoKeys/k"
    blob = bucket.blob("own", kms_key_name=key)
    blob.upload_from_string("x")
    assert blob.kms_key_name == f"{key}/cryptoKeyVersions/1"
    bucket.default_kms_key_name = key
    bucket.patch()
    bucket.blob("default").upload_from_string("x")
    assert bucket.get_blob("default").kms_key_name == f"{key}/cryptoKeyVersions/1"


# Metadata


def test_contexts_have_times_and_filter_lists(bucket: Any) -> None:
    from google.cloud.storage.blob import ObjectContexts, ObjectCustomContextPayload

    for name, value in (("a", "raw"), ("b", "done"), ("c", "")):
        blob = bucket.blob(name)
        if value:
            blob.contexts = ObjectContexts(blob, custom={"state": ObjectCustomContextPayload(value=value)})
        blob.upload_from_string("x")
    payload = bucket.get_blob("a").contexts.custom["state"]
    assert payload.value == "raw" and payload["createTime"] == payload["updateTime"]
    listed = {
        text: [blob.name for blob in bucket.list_blobs(filter_=text)]
        for text in ('contexts."state"="raw"', 'contexts."state":*', '-contexts."state":*')
    }
    assert list(listed.values()) == [["a"], ["a", "b"], ["c"]]
    with pytest.raises(google.BadRequest):
        list(bucket.list_blobs(filter_="size > 3"))


def test_custom_times_only_go_forward(bucket: Any) -> None:
    blob = bucket.blob("x")
    blob.custom_time = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    blob.upload_from_string("x")
    blob.custom_time = datetime.datetime(2023, 1, 1, tzinfo=datetime.UTC)
    with pytest.raises(google.BadRequest):
        blob.patch()
    blob.custom_time = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
    blob.patch()
    assert bucket.get_blob("x").custom_time.year == 2025


def test_a_storage_class_changes_with_a_new_generation(bucket: Any) -> None:
    blob = bucket.blob("x")
    blob.metadata = {"k": "v"}
    blob.upload_from_string("x")
    before = blob.generation
    blob.update_storage_class("NEARLINE")
    found = bucket.get_blob("x")
    assert (found.storage_class, found.metadata) == ("NEARLINE", {"k": "v"}) and found.generation > before
    with pytest.raises((google.BadRequest, ValueError)):
        blob.update_storage_class("FAST")


def test_a_rewrite_across_classes_takes_several_calls(bucket: Any, client: Any) -> None:
    data = os.urandom(3 << 20)
    bucket.blob("from").upload_from_string(data)
    path = f"/b/{bucket.name}/o/from/rewriteTo/b/{bucket.name}/o/to"
    asked: dict[str, Any] = {"maxBytesRewrittenPerCall": 1 << 20}
    steps: list[int] = []
    while True:
        found = client._connection.api_request(
            method="POST", path=path, query_params=asked, data={"storageClass": "NEARLINE"}
        )
        steps.append(int(found["totalBytesRewritten"]))
        if found["done"]:
            break
        assert bucket.get_blob("to") is None
        asked["rewriteToken"] = found["rewriteToken"]
    assert steps == [1 << 20, 2 << 20, 3 << 20]
    assert bucket.blob("to").download_as_bytes() == data
    other = f"/b/{bucket.name}/o/from/rewriteTo/b/{bucket.name}/o/elsewhere"
    for query in (asked, {"maxBytesRewrittenPerCall": 1000}):
        with pytest.raises(google.BadRequest):
            client._connection.api_request(
                method="POST", path=other, query_params=query, data={"storageClass": "NEARLINE"}
            )


# Lists


def test_managed_folders_show_as_prefixes(bucket: Any, client: Any) -> None:
    bucket.iam_configuration.uniform_bucket_level_access_enabled = True
    bucket.patch()
    call = client._connection.api_request
    path = f"/b/{bucket.name}/managedFolders"
    for name in ("empty/", "full"):
        made = call(method="POST", path=path, data={"name": name})
        assert made["name"].endswith("/")
    with pytest.raises(google.Conflict):
        call(method="POST", path=path, data={"name": "empty"})
    bucket.blob("full/x").upload_from_string("x")
    bucket.blob("plain/x").upload_from_string("x")
    listed = bucket.list_blobs(delimiter="/", include_folders_as_prefixes=True)
    assert (list(listed), listed.prefixes) == ([], {"empty/", "full/", "plain/"})
    listed = bucket.list_blobs(delimiter="/")
    assert (list(listed), listed.prefixes) == ([], {"full/", "plain/"})
    with pytest.raises(google.Conflict):
        call(method="DELETE", path=f"{path}/full%2F")
    call(method="DELETE", path=f"{path}/empty%2F")
    assert [each["name"] for each in call(method="GET", path=path)["items"]] == ["full/"]


def test_lists_tell_only_the_fields_asked_for(bucket: Any) -> None:
    for name in ("a", "b", "c"):
        bucket.blob(name).upload_from_string("x")
    listed = list(bucket.list_blobs(fields="items(name),nextPageToken", start_offset="b", end_offset="c"))
    assert [(blob.name, blob.size) for blob in listed] == [("b", None)]


@pytest.mark.parametrize("name", ["a?b#c%d", "ü/日本/😀", "a//b/", " lead", "*[x]", "%2F", "a;b=c&d+e", "é" * 512])
def test_every_legal_name_goes_through_every_call(bucket: Any, name: str, shared_standin: Any) -> None:
    blob = bucket.blob(name)
    blob.upload_from_string("x")
    blob.metadata = {"k": "v"}
    blob.patch()
    bucket.copy_blob(blob, bucket, "copy")
    bucket.rename_blob(bucket.blob("copy"), "renamed")
    assert [each.name for each in bucket.list_blobs(prefix=name)] == [name]
    assert blob.download_as_bytes() == b"x" and blob.exists()
    with urllib.request.urlopen(f"{shared_standin.url}/{bucket.name}/{quote(name, safe='')}") as answer:
        assert answer.read() == b"x"
    blob.delete()
    assert bucket.get_blob(name) is None


@pytest.mark.parametrize("name", ["a\nb", "a\rb", ".", "..", ".well-known/acme-challenge/x", "é" * 513])
def test_an_illegal_name_is_refused(bucket: Any, name: str) -> None:
    with pytest.raises(google.BadRequest):
        bucket.blob(name).upload_from_string("x")


def test_signed_addresses_serve_content_until_they_end(bucket: Any, standin: Any, connect: Callable[..., Any]) -> None:
    from google.auth.credentials import AnonymousCredentials, Signing

    class Signer(AnonymousCredentials, Signing):  # type: ignore[misc]
        signer_email = "robot@example.com"
        signer = None

        def sign_bytes(self, message: bytes) -> bytes:
            return hashlib.sha256(message).digest()

    made = connect(standin.url).create_bucket("signed")
    made.blob("x y").upload_from_string("text", content_type="text/plain")
    lasting = datetime.timedelta(minutes=10)
    address = made.blob("x y").generate_signed_url(
        expiration=lasting, credentials=Signer(), version="v4", api_access_endpoint=standin.url, method="GET"
    )
    with urllib.request.urlopen(address) as answer:
        assert (answer.read(), answer.headers["content-type"]) == (b"text", "text/plain")
    standin.post("/_local/clock", {"advance_s": 601})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(address)


def test_watching_is_refused_with_a_remedy(bucket: Any, client: Any) -> None:
    with pytest.raises(google.BadRequest, match="notifications"):
        client._connection.api_request(method="POST", path=f"/b/{bucket.name}/o/watch", data=json.loads("{}"))
