"""Batches through google-cloud-storage and as gcloud writes them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from google.api_core import exceptions as google

pytestmark = pytest.mark.process


def test_a_client_deletes_and_patches_in_one_request(client: Any, bucket: Any) -> None:
    blobs = [bucket.blob(f"folder/{number} ä") for number in range(100)]
    for blob in blobs:
        blob.upload_from_string("x")
    with client.batch():
        for blob in blobs[1:]:
            blob.delete()
        blobs[0].metadata = {"k": "ü"}
        blobs[0].patch()
    left = list(bucket.list_blobs())
    assert [(blob.name, blob.metadata) for blob in left] == [("folder/0 ä", {"k": "ü"})]


def test_one_failure_keeps_no_other_call_from_happening(client: Any, bucket: Any) -> None:
    for name in ("one", "two"):
        bucket.blob(name).upload_from_string("x")
    with pytest.raises(google.NotFound), client.batch():
        bucket.delete_blob("one")
        bucket.delete_blob("missing")
        bucket.delete_blob("two")
    assert list(bucket.list_blobs()) == []
    with client.batch(raise_exception=False) as calls:
        bucket.delete_blob("missing")
    assert [answer.status_code for answer in calls._responses] == [404]


def post(url: str, body: bytes, content_type: str) -> tuple[int, bytes]:
    request = urllib.request.Request(url, body, {"Content-Type": content_type})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def batch(*calls: str) -> bytes:
    """Parts as apitools writes them: line feeds only, an id for each."""
    parts = [
        f"--===b==\nContent-Type: application/http\nContent-ID: <x+{n}>\n\n{call}\n" for n, call in enumerate(calls)
    ]
    return "".join([*parts, "--===b==--"]).encode()


def test_parts_are_answered_by_their_ids(shared_standin: Any, bucket: Any) -> None:
    bucket.blob("here").upload_from_string("x")
    get = f"GET /storage/v1/b/{bucket.name}/o/here?alt=json HTTP/1.1\nHost: storage.gcp.internal\n\n"
    absolute = f"GET http://storage.gcp.internal/storage/v1/b/{bucket.name} HTTP/1.1\naccept: */*\n\n"
    calls = batch(get, absolute, "GET /_local/status HTTP/1.1\n\n", "nonsense", "GET http://[/x\n\n")
    status, told = post(f"{shared_standin.url}/batch/storage/v1", calls, 'multipart/mixed; boundary="===b=="')
    assert status == 200
    parts = told.decode().split("--batch_")[1:-1]
    assert [part.split("HTTP/1.1 ")[1][:3] for part in parts] == ["200", "200", "400", "400", "400"]
    assert all(f"Content-ID: <response-x+{number}>" in part for number, part in enumerate(parts))
    assert json.loads(parts[0].rpartition("\r\n\r\n")[2])["name"] == "here"


def test_batches_that_are_too_large_or_malformed_are_refused(shared_standin: Any) -> None:
    url, kind = f"{shared_standin.url}/batch/storage/v1", "multipart/mixed; boundary====b=="
    status, told = post(url, batch(*["GET /storage/v1/b/x HTTP/1.1\n\n"] * 101), kind)
    assert status == 400
    assert "the limit is 100" in json.loads(told)["error"]["message"]
    assert post(url, b"--===b==\nno end", kind)[0] == 400
    assert post(url, b"{}", "application/json")[0] == 400
