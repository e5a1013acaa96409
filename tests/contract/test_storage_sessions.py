"""Uploads that go on after the daemon was stopped or killed: resumable sessions and multipart uploads."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.process
CHUNK = 256 << 10


def _call(port: int, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
    answer = connection.getresponse()
    found = answer.status, {key.lower(): value for key, value in answer.headers.items()}, answer.read()
    connection.close()
    return found


def _begin(port: int, name: str, query: str = "") -> str:
    path = f"/upload/storage/v1/b/sessions/o?uploadType=resumable&name={name}{query}"
    _, headers, _ = _call(port, "POST", path, b'{"metadata": {"k": "v"}}', content_type="application/json")
    return headers["location"].split(f":{port}", 1)[1]


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGKILL])
def test_a_resumable_upload_goes_on_after_the_daemon_ended(
    tmp_path: Path, standin_at: Callable[..., Any], connect: Callable[..., Any], sig: signal.Signals
) -> None:
    data = os.urandom(4 * CHUNK + 5)
    first = standin_at(tmp_path / "cloud")
    connect(first.url).create_bucket("sessions")
    where = _begin(first.port, "long", "&ifGenerationMatch=0")
    for at in (0, CHUNK):
        content_range = f"bytes {at}-{at + CHUNK - 1}/{len(data)}"
        assert _call(first.port, "PUT", where, data[at : at + CHUNK], content_range=content_range)[0] == 308
    first.stop(sig)

    second = standin_at(tmp_path / "cloud")
    status, headers, _ = _call(second.port, "PUT", where, content_range=f"bytes */{len(data)}")
    assert (status, headers["range"]) == (308, f"bytes=0-{2 * CHUNK - 1}")
    rest = f"bytes {2 * CHUNK}-{len(data) - 1}/{len(data)}"
    status, _, body = _call(second.port, "PUT", where, data[2 * CHUNK :], content_range=rest)
    made = json.loads(body)
    assert (status, made["metadata"], made["size"]) == (200, {"k": "v"}, str(len(data)))
    blob = connect(second.url).bucket("sessions").blob("long")
    assert blob.download_as_bytes(checksum="md5") == data
    second.stop(sig)

    third = standin_at(tmp_path / "cloud")  # whoever did not hear the answer may ask again
    status, _, body = _call(third.port, "PUT", where, content_range=f"bytes */{len(data)}")
    assert (status, json.loads(body)["generation"]) == (200, made["generation"])


def test_a_cancelled_or_refused_session_stays_gone_after_a_restart(
    tmp_path: Path, standin_at: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    first = standin_at(tmp_path / "cloud")
    bucket = connect(first.url).create_bucket("sessions")
    cancelled, late = _begin(first.port, "cancelled"), _begin(first.port, "late", "&ifGenerationMatch=0")
    _call(first.port, "PUT", cancelled, b"x" * CHUNK, content_range=f"bytes 0-{CHUNK - 1}/*")
    assert _call(first.port, "DELETE", cancelled)[0] == 499
    first.stop(signal.SIGKILL)
    second = standin_at(tmp_path / "cloud")
    assert _call(second.port, "PUT", cancelled, content_range="bytes */*")[0] == 404
    bucket = connect(second.url).bucket("sessions")
    bucket.blob("late").upload_from_string("first")
    assert _call(second.port, "PUT", late, b"second")[0] == 412  # the condition was kept too
    assert _call(second.port, "PUT", late, b"second")[0] == 404
    assert bucket.blob("late").download_as_bytes() == b"first"
    files = [path for path in (second.state / "storage").rglob("*") if path.is_file()]
    assert len(files) == 1


def test_a_session_ends_a_week_after_it_began(standin: Any, connect: Callable[..., Any]) -> None:
    connect(standin.url).create_bucket("sessions")
    where = _begin(standin.port, "slow")
    _call(standin.port, "PUT", where, b"x" * CHUNK, content_range=f"bytes 0-{CHUNK - 1}/*")
    standin.post("/_local/clock", {"advance_s": 7 * 86400 + 1})
    _begin(standin.port, "other")  # whoever begins clears away
    assert _call(standin.port, "PUT", where, content_range="bytes */*")[0] == 404
    assert [path for path in (standin.state / "storage").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGKILL])
def test_a_multipart_upload_goes_on_after_the_daemon_ended(
    tmp_path: Path, standin_at: Callable[..., Any], connect: Callable[..., Any], sig: signal.Signals
) -> None:
    parts = [os.urandom(5 << 20), os.urandom(5 << 20), b"end"]
    first = standin_at(tmp_path / "cloud")
    connect(first.url).create_bucket("sessions")
    _, _, body = _call(first.port, "POST", "/sessions/whole?uploads", x_goog_meta_k="v")
    key = re.search(rb"<UploadId>(.+?)</UploadId>", body)[1].decode()  # type: ignore[index]
    tags = [_part(first.port, key, number, parts[number - 1]) for number in (1, 2)]
    _part(first.port, key, 1, os.urandom(5 << 20))  # replaced below: the last one counts
    tags[0] = _part(first.port, key, 1, parts[0])
    first.stop(sig)
    second = standin_at(tmp_path / "cloud")
    assert _call(second.port, "GET", "/sessions?uploads")[2].count(key.encode()) == 1
    tags.append(_part(second.port, key, 3, parts[2]))
    listed = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>" for number, tag in enumerate(tags, 1)
    )
    complete = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>"
    assert _call(second.port, "POST", f"/sessions/whole?uploadId={key}", complete)[0] == 200
    blob = connect(second.url).bucket("sessions").get_blob("whole")
    assert blob.download_as_bytes() == b"".join(parts) and blob.metadata == {"k": "v"}
    assert _call(second.port, "GET", f"/sessions/whole?uploadId={key}")[0] == 404
    assert len([path for path in (second.state / "storage").rglob("*") if path.is_file()]) == 1


def _part(port: int, key: str, number: int, data: bytes) -> str:
    status, headers, _ = _call(port, "PUT", f"/sessions/whole?partNumber={number}&uploadId={key}", data)
    assert status == 200
    return headers["etag"]
