"""Uploads on the wire and through Google's client: media, multipart as different clients write it, resumable."""

from __future__ import annotations

import base64
import concurrent.futures
import gzip
import hashlib
import http.client
import io
import json
import os
import socket
from collections.abc import Iterator
from typing import Any

import google_crc32c
import pytest
from google.api_core import exceptions as google

pytestmark = pytest.mark.process
CHUNK = 256 << 10


class Wire:
    """Plain HTTP to the upload address of a bucket, over one kept connection."""

    def __init__(self, port: int, bucket: str) -> None:
        self.port = port
        self.path = f"/upload/storage/v1/b/{bucket}/o"
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def call(self, method: str, query: str, body: Any = b"", **headers: str) -> tuple[int, dict[str, str], Any]:
        path = query if query.startswith("/") else f"{self.path}?{query}"
        fields = {key.replace("_", "-"): value for key, value in headers.items()}
        self.connection.request(method, path, body, fields)
        answer = self.connection.getresponse()
        raw = answer.read()
        found = {key.lower(): value for key, value in answer.getheaders()}
        return answer.status, found, json.loads(raw) if raw else None

    def begin(self, name: str, query: str = "", **headers: str) -> str:
        body = json.dumps({"name": name})
        status, found, _ = self.call("POST", f"uploadType=resumable{query}", body, **headers)
        assert status == 200
        return found["location"].split(str(self.port), 1)[1]


@pytest.fixture
def wire(shared_standin: Any, bucket: Any) -> Iterator[Wire]:
    opened = Wire(shared_standin.port, bucket.name)
    yield opened
    opened.connection.close()


def _crc32c(data: bytes) -> str:
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


def _multipart(boundary: str, newline: str, media: bytes, resource: str = '{"name": "multi"}') -> bytes:
    lines = (f"--{boundary}", "Content-Type: application/json; charset=UTF-8", "", resource, f"--{boundary}")
    head = newline.join((*lines, "Content-Type: text/plain", "", "")).encode()
    return head + media + f"{newline}--{boundary}--".encode()


def test_media(wire: Wire, bucket: Any) -> None:
    status, _, found = wire.call("POST", "uploadType=media&name=a%2Fb", b"data", content_type="text/x-own")
    assert (status, found["name"], found["contentType"], found["size"]) == (200, "a/b", "text/x-own", "4")
    assert wire.call("POST", "uploadType=media&name=plain", b"")[2]["contentType"] == "application/octet-stream"
    assert wire.call("POST", "uploadType=media", b"data")[0] == 400
    assert wire.call("POST", "uploadType=media&name=%ff", b"data")[0] == 400
    assert wire.call("POST", "name=x", b"data")[0] == 400
    assert wire.call("POST", "uploadType=strange&name=x", b"data")[0] == 400


def test_media_of_unknown_length(wire: Wire, bucket: Any) -> None:
    parts = iter([b"a" * 100_000, b"b" * 3_000_000, b"c"])
    assert wire.call("POST", "uploadType=media&name=chunked", parts)[0] == 200
    assert bucket.blob("chunked").download_as_bytes() == b"a" * 100_000 + b"b" * 3_000_000 + b"c"


@pytest.mark.parametrize("newline", ["\r\n", "\n"])
@pytest.mark.parametrize(
    "content_type", ['boundary="==b d=="', "boundary='==bd=='", "boundary===bd==", "Boundary=x; type=y"]
)
def test_multipart_as_clients_write_it(wire: Wire, bucket: Any, newline: str, content_type: str) -> None:
    boundary = content_type.split("=", 1)[1].split(";")[0].strip("\"'")
    for media in (b"", b"x", b"\r\n", b"\n--", f"{newline}--{boundary}longer".encode(), os.urandom(300_000)):
        body = _multipart(boundary, newline, media)
        status, _, found = wire.call(
            "POST", "uploadType=multipart", body, content_type=f"multipart/related; {content_type}"
        )
        assert (status, found.get("contentType")) == (200, "text/plain"), found
        assert bucket.blob("multi").download_as_bytes() == media


MALFORMED = [
    b"",
    b"no boundary at all",
    b"--b\r\n",
    b"--b\r\n\r\n{}\r\n--b--",
    _multipart("b", "\r\n", b"x", "{no json"),
    _multipart("b", "\r\n", b"x", "[1]"),
    _multipart("b", "\r\n", b"x", '{"name": 5}'),
    _multipart("b", "\r\n", b"x")[:-7],
    _multipart("b", "\r\n", b"x")[:-2] + b"\r\nContent-Type: x\r\n\r\nthird\r\n--b--",
]


@pytest.mark.parametrize("body", MALFORMED)
def test_a_malformed_multipart_is_refused(wire: Wire, bucket: Any, body: bytes) -> None:
    status, _, found = wire.call("POST", "uploadType=multipart", body, content_type="multipart/related; boundary=b")
    assert status == 400 and found["error"]["errors"][0]["reason"]
    assert list(bucket.list_blobs()) == []


def test_multipart_needs_a_boundary(wire: Wire) -> None:
    assert wire.call("POST", "uploadType=multipart&name=x", b"x", content_type="multipart/related")[0] == 400
    assert wire.call("POST", "uploadType=multipart&name=x", b"x", content_type="text/plain")[0] == 400


def test_resumable_in_chunks_with_questions(wire: Wire, bucket: Any) -> None:
    data = os.urandom(2 * CHUNK + 1000)
    where = wire.begin("chunks", x_upload_content_type="text/x-big")
    assert wire.call("PUT", where, content_range="bytes */*")[1].get("range") is None
    status, found, _ = wire.call("PUT", where, data[:CHUNK], content_range=f"bytes 0-{CHUNK - 1}/{len(data)}")
    assert (status, found["range"]) == (308, f"bytes=0-{CHUNK - 1}")
    assert wire.call("PUT", where, content_range=f"bytes */{len(data)}")[1]["range"] == f"bytes=0-{CHUNK - 1}"
    again = f"bytes 1000-{2 * CHUNK - 1}/*"  # overlaps what has arrived
    assert wire.call("PUT", where, data[1000 : 2 * CHUNK], content_range=again)[0] == 308
    last = f"bytes {2 * CHUNK}-{len(data) - 1}/{len(data)}"
    status, _, found = wire.call("PUT", where, data[2 * CHUNK :], content_range=last)
    assert (status, found["size"], found["contentType"]) == (200, str(len(data)), "text/x-big")
    assert wire.call("PUT", where, content_range="bytes */*")[2]["generation"] == found["generation"]
    assert bucket.blob("chunks").download_as_bytes() == data


def test_an_interrupted_upload_goes_on_where_it_stopped(wire: Wire, bucket: Any, shared_standin: Any) -> None:
    data = os.urandom(5 << 20)
    where = wire.begin("torn")
    with socket.create_connection(("127.0.0.1", shared_standin.port)) as torn:
        head = f"PUT {where} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(data)}\r\n\r\n"
        torn.sendall(head.encode() + data[: 3 << 20])
    status, found, _ = wire.call("PUT", where, content_range=f"bytes */{len(data)}")
    while status == 308 and found.get("range") != f"bytes=0-{(3 << 20) - 1}":
        status, found, _ = wire.call("PUT", where, content_range=f"bytes */{len(data)}")
    rest = f"bytes {3 << 20}-{len(data) - 1}/{len(data)}"
    assert wire.call("PUT", where, data[3 << 20 :], content_range=rest)[0] == 200
    assert bucket.blob("torn").download_as_bytes() == data


def test_whole_empty_and_open_ended_resumables(wire: Wire, bucket: Any) -> None:
    assert wire.call("PUT", wire.begin("whole"), b"data")[2]["size"] == "4"
    assert wire.call("PUT", wire.begin("empty"), content_range="bytes */0")[2]["size"] == "0"
    assert wire.call("PUT", wire.begin("empty2"), b"")[2]["size"] == "0"
    where = wire.begin("open")
    assert wire.call("PUT", where, b"x" * CHUNK, content_range=f"bytes 0-{CHUNK - 1}/*")[0] == 308
    assert wire.call("PUT", where, content_range=f"bytes */{CHUNK}")[2]["size"] == str(CHUNK)
    assert wire.call("PUT", wire.begin("streamed"), iter([b"ab", b"cd"]))[2]["size"] == "4"


def test_what_contradicts_itself_is_refused(wire: Wire, bucket: Any) -> None:
    bad = {
        "bytes 0-9": b"0123456789",
        "bytes 5-2/10": b"0123",
        "bytes 0-9/5": b"0123456789",
        "bytes 0-99/100": b"short",
        "bytes 0-9/100": b"0123456789",
        "octets 0-9/10": b"0123456789",
    }
    for content_range, body in bad.items():
        status, _, found = wire.call("PUT", wire.begin("bad"), body, content_range=content_range)
        assert status == 400, (content_range, found)
    assert wire.call("PUT", wire.begin("gap"), b"x" * CHUNK, content_range=f"bytes 5-{CHUNK + 4}/*")[0] == 503
    announced = wire.begin("announced", x_upload_content_length="10")
    assert wire.call("PUT", announced, b"0123")[0] == 400
    assert wire.call("PUT", "upload_id=never", b"x")[0] == 404
    assert list(bucket.list_blobs()) == []


def test_a_cancelled_upload_is_gone(wire: Wire, bucket: Any) -> None:
    where = wire.begin("cancelled")
    wire.call("PUT", where, b"x" * CHUNK, content_range=f"bytes 0-{CHUNK - 1}/*")
    assert wire.call("DELETE", where)[0] == 499
    assert wire.call("PUT", where, b"x")[0] == 404
    assert list(bucket.list_blobs()) == []


def test_preconditions_hold_at_begin_and_at_end(wire: Wire, bucket: Any) -> None:
    early = wire.begin("race", "&ifGenerationMatch=0")
    bucket.blob("race").upload_from_string("first")
    assert wire.call("POST", "uploadType=resumable&ifGenerationMatch=0", '{"name": "race"}')[0] == 412
    assert wire.call("PUT", early, b"second")[0] == 412
    assert wire.call("PUT", early, b"second")[0] == 404
    assert bucket.blob("race").download_as_bytes() == b"first"


@pytest.mark.parametrize("algorithm", ["crc32c", "md5"])
def test_checksums_in_headers(wire: Wire, bucket: Any, algorithm: str) -> None:
    data = b"some data"
    good = _crc32c(data) if algorithm == "crc32c" else base64.b64encode(hashlib.md5(data).digest()).decode()
    bad = _crc32c(b"other") if algorithm == "crc32c" else base64.b64encode(hashlib.md5(b"other").digest()).decode()
    status, _, found = wire.call("PUT", wire.begin("sum"), data, x_goog_hash=f"{algorithm}={bad}")
    assert status == 400 and bad in found["error"]["message"]
    assert bucket.get_blob("sum") is None
    assert wire.call("PUT", wire.begin("sum"), data, x_goog_hash=f"{algorithm}={good}")[0] == 200
    assert wire.call("POST", "uploadType=media&name=other", data, x_goog_hash=f"{algorithm}={bad}")[0] == 400


def test_a_compressed_json_body(wire: Wire, bucket: Any) -> None:
    body = gzip.compress(json.dumps({"contentType": "text/z"}).encode())
    bucket.blob("z").upload_from_string("x")
    path = f"/storage/v1/b/{bucket.name}/o/z"
    assert wire.call("PATCH", path, body, content_encoding="gzip")[2]["contentType"] == "text/z"
    assert wire.call("PATCH", path, b"no gzip", content_encoding="gzip")[0] == 400
    assert wire.call("PATCH", path, b"{broken")[2]["error"]["errors"][0]["reason"] == "parseError"


def test_a_refused_upload_leaves_the_connection_usable(wire: Wire, bucket: Any) -> None:
    for _ in range(3):
        assert wire.call("POST", "uploadType=media&name=bad%0Aname", b"x" * 3_000_000)[0] == 400
        assert wire.call("POST", "uploadType=media&name=good", b"data")[0] == 200
    assert wire.call("POST", "/upload/storage/v1/b/never-made/o?uploadType=media&name=x", b"x" * 3_000_000)[0] == 404


def test_expect_continue(shared_standin: Any, bucket: Any) -> None:
    head = "POST /upload/storage/v1/b/{}/o?uploadType=media&name=x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
    with socket.create_connection(("127.0.0.1", shared_standin.port), timeout=60) as waiting:
        waiting.sendall((head.format(bucket.name) + "Expect: 100-continue\r\n\r\n").encode())
        assert waiting.recv(100).startswith(b"HTTP/1.1 100 ")
        waiting.sendall(b"data")
        assert waiting.recv(100).startswith(b"HTTP/1.1 200 ")
    with socket.create_connection(("127.0.0.1", shared_standin.port), timeout=60) as refused:
        refused.sendall((head.format("never-made") + "Expect: 100-continue\r\n\r\n").encode())
        answer = refused.makefile("rb").read()  # to the end: the server closes
        assert answer.startswith(b"HTTP/1.1 404 ") and b"connection: close" in answer.lower()


def test_the_client_uploads_in_chunks_and_from_a_stream(bucket: Any) -> None:
    data = os.urandom(3 * CHUNK + 17)
    chunked = bucket.blob("chunked", chunk_size=CHUNK)
    chunked.upload_from_file(io.BytesIO(data), size=len(data), if_generation_match=0)
    with bucket.blob("streamed").open("wb", chunk_size=CHUNK, if_generation_match=0) as stream:
        for start in range(0, len(data), 100_000):
            stream.write(data[start : start + 100_000])
    for name in ("chunked", "streamed"):
        read = bucket.get_blob(name)
        assert (read.size, read.crc32c) == (len(data), _crc32c(data))
        assert read.download_as_bytes() == data
    with pytest.raises(google.PreconditionFailed):
        chunked.upload_from_file(io.BytesIO(data), size=len(data), if_generation_match=0)


def test_gcloud_spells_the_address_differently(wire: Wire, bucket: Any) -> None:
    path = f"/resumable/upload/storage/v1/b/{bucket.name}/o"
    status, found, _ = wire.call("POST", f"{path}?uploadType=resumable&name=spelled", b"")
    assert status == 200
    session = found["location"].split("upload_id=")[1]
    assert wire.call("PUT", f"{path}?upload_id={session}", b"data")[2]["size"] == "4"


def test_many_large_uploads_at_once_keep_every_byte_in_order(connect: Any, shared_standin: Any, bucket: Any) -> None:
    """More than the server may hold in memory, so that it makes the clients wait in turns."""
    contents = [os.urandom(6 << 20) for _ in range(6)]

    def upload(number: int) -> str:
        blob = (
            connect(shared_standin.url)
            .bucket(bucket.name)
            .blob(f"at-once-{number}", chunk_size=(number % 2 << 20) or None)
        )
        blob.upload_from_string(contents[number])
        return str(blob.md5_hash)

    with concurrent.futures.ThreadPoolExecutor(len(contents)) as pool:
        hashes = list(pool.map(upload, range(len(contents))))
    assert hashes == [base64.b64encode(hashlib.md5(content).digest()).decode() for content in contents]
    assert bucket.blob("at-once-3").download_as_bytes() == contents[3]


def test_an_md5_that_nobody_asked_for_is_known_to_who_asks_later(wire: Wire, bucket: Any) -> None:
    data, fields = os.urandom(100_000), "fields=name,generation,crc32c"
    md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
    for name in ("read", "listed", "headed", "copied", "old"):
        status, _, found = wire.call("POST", f"uploadType=media&name={name}&{fields}", data)
        assert (status, found.keys(), found["crc32c"]) == (200, {"name", "generation", "crc32c"}, _crc32c(data))
    assert bucket.get_blob("read").md5_hash == md5
    assert {blob.name: blob.md5_hash for blob in bucket.list_blobs(prefix="l")} == {"listed": md5}
    _, headers, _ = wire.call("HEAD", f"/{bucket.name}/headed")
    assert headers["etag"].strip('"') == base64.b64decode(md5).hex() and f"md5={md5}" in headers["x-goog-hash"]
    assert bucket.copy_blob(bucket.blob("copied"), bucket, "copy").md5_hash == md5
    bucket.versioning_enabled = True
    bucket.patch()
    generation = bucket.get_blob("old").generation
    assert wire.call("POST", f"uploadType=media&name=old&{fields}", b"other")[0] == 200
    assert bucket.get_blob("old", generation=generation).md5_hash == md5
    tag = hashlib.md5(b"other", usedforsecurity=False).hexdigest()
    assert wire.call("PUT", f"/{bucket.name}/old", b"x", if_match=f'"{tag}"')[0] == 200


def test_an_announced_md5_is_compared_whatever_the_answer_shows(wire: Wire) -> None:
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    status, _, found = wire.call("POST", "uploadType=media&name=x&fields=name", b"data", content_md5=wrong)
    assert status == 400 and "MD5" in found["error"]["message"]
