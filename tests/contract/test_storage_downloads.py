"""Downloads: ranges, headers and what the client checks."""

from __future__ import annotations

import concurrent.futures
import http.client
import io
import os
import socket
from typing import Any

import pytest
from google.api_core import exceptions as google

pytestmark = pytest.mark.process
DATA = bytes(range(256)) * 40


def _get(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, headers={key.replace("_", "-"): value for key, value in headers.items()})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, {key.lower(): value for key, value in answer.getheaders()}, body


@pytest.fixture
def path(bucket: Any) -> str:
    bucket.blob("data").upload_from_string(DATA, content_type="application/x-own")
    return f"/storage/v1/b/{bucket.name}/o/data?alt=media"


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("0-0", 0, 0), ("0-", 0, 10239), ("10-19", 10, 19), ("-5", 10235, 10239), ("10239-", 10239, 10239),
     ("-99999", 0, 10239), ("100-99999", 100, 10239)],
)  # fmt: skip
def test_a_range(shared_standin: Any, path: str, asked: str, first: int, last: int) -> None:
    status, headers, body = _get(shared_standin.port, path, range=f"bytes={asked}")
    assert (status, body) == (206, DATA[first : last + 1])
    assert headers["content-range"] == f"bytes {first}-{last}/{len(DATA)}"
    assert headers["content-length"] == str(last - first + 1)


@pytest.mark.parametrize("asked", ["bytes=10240-", "bytes=99999-100000", "bytes=-0"])
def test_a_range_outside_cannot_be_satisfied(shared_standin: Any, path: str, asked: str) -> None:
    status, headers, _ = _get(shared_standin.port, path, range=asked)
    assert (status, headers["content-range"]) == (416, f"bytes */{len(DATA)}")


@pytest.mark.parametrize("asked", ["bytes=5-2", "bytes=a-b", "lines=1-2", "bytes=0-1,5-6", "bytes=-"])
def test_a_senseless_range_gives_the_whole(shared_standin: Any, path: str, asked: str) -> None:
    status, _, body = _get(shared_standin.port, path, range=asked)
    assert (status, body) == (200, DATA)


def test_headers_and_head(shared_standin: Any, bucket: Any, path: str) -> None:
    blob = bucket.get_blob("data")
    for method in ("GET", "HEAD"):
        status, headers, body = _get(shared_standin.port, path, method)
        assert (status, body) == (200, DATA if method == "GET" else b"")
        assert headers["content-type"] == "application/x-own"
        assert headers["content-length"] == str(len(DATA))
        assert headers["x-goog-generation"] == str(blob.generation)
        assert headers["x-goog-hash"] == f"crc32c={blob.crc32c},md5={blob.md5_hash}"
        assert headers["etag"] == blob.etag and headers["accept-ranges"] == "bytes"
    status, headers, body = _get(shared_standin.port, f"/download{path.split('?')[0]}")
    assert (status, body) == (200, DATA)
    assert _get(shared_standin.port, path, if_none_match=blob.etag)[0] == 304
    assert _get(shared_standin.port, path, if_match='"other"')[0] == 412


def test_an_empty_object_and_ranges(shared_standin: Any, bucket: Any) -> None:
    bucket.blob("empty").upload_from_string("")
    path = f"/storage/v1/b/{bucket.name}/o/empty?alt=media"
    assert _get(shared_standin.port, path)[0::2] == (200, b"")
    assert _get(shared_standin.port, path, range="bytes=0-")[0] == 416
    assert bucket.blob("empty").download_as_bytes() == b""


def test_the_client_reads_parts_chunks_and_streams(bucket: Any, path: str) -> None:
    blob = bucket.blob("data")
    assert blob.download_as_bytes(start=5, end=9) == DATA[5:10]
    assert blob.download_as_bytes(start=10_000) == DATA[10_000:]
    with pytest.raises(google.RequestRangeNotSatisfiable):
        blob.download_as_bytes(start=20_000, end=20_001)
    big = os.urandom(3 << 20)
    bucket.blob("big").upload_from_string(big)
    target = io.BytesIO()
    bucket.blob("big", chunk_size=1 << 20).download_to_file(target)
    assert target.getvalue() == big
    with bucket.blob("big").open("rb", chunk_size=1 << 19) as stream:
        stream.seek(1 << 20)
        assert stream.read(1000) == big[1 << 20 : (1 << 20) + 1000]


def test_a_reader_keeps_what_it_opened_while_the_object_is_deleted(shared_standin: Any, bucket: Any) -> None:
    data = os.urandom(24 << 20)
    bucket.blob("going").upload_from_string(data)
    connection = http.client.HTTPConnection("127.0.0.1", shared_standin.port, timeout=60)
    connection.request("GET", f"/storage/v1/b/{bucket.name}/o/going?alt=media")
    answer = connection.getresponse()
    head = answer.read(1000)
    bucket.delete_blob("going")
    assert head + answer.read() == data
    assert bucket.get_blob("going") is None


def test_readers_that_stop_reading_hold_nobody_up(shared_standin: Any, bucket: Any) -> None:
    bucket.blob("large").upload_from_string(os.urandom(24 << 20))
    request = f"GET /storage/v1/b/{bucket.name}/o/large?alt=media HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    stuck = [socket.create_connection(("127.0.0.1", shared_standin.port)) for _ in range(12)]
    for connection in stuck:
        connection.sendall(request)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        sizes = list(pool.map(lambda _: len(bucket.blob("large").download_as_bytes()), range(2)))
    assert sizes == [24 << 20] * 2
    for connection in stuck:
        connection.close()
    assert shared_standin.get("/_local/health")["pid"] == shared_standin.process.pid


def test_a_range_is_of_what_the_client_has_a_part_of(shared_standin: Any, bucket: Any, path: str) -> None:
    tag = bucket.get_blob("data").etag
    for asked in (tag, f'"{tag}"'):
        assert _get(shared_standin.port, path, range="bytes=1-2", if_range=asked)[::2] == (206, DATA[1:3])
    bucket.blob("data").upload_from_string(b"other")
    assert _get(shared_standin.port, path, range="bytes=1-2", if_range=tag)[::2] == (200, b"other")
