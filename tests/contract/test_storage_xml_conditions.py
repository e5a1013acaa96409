"""The XML API's own preconditions, its resumable uploads and its predefined access lists."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

pytestmark = pytest.mark.process
LONG_AGO = "Mon, 01 Jan 2001 00:00:00 GMT"
CHUNK = 256 << 10


@pytest.fixture
def ask(shared_standin: Any, bucket: Any) -> Callable[..., tuple[int, dict[str, str], bytes]]:
    def send(method: str, target: str, body: bytes | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", shared_standin.port, timeout=60)
        path = target if target.startswith("/") else f"/{bucket.name}/{target}"
        connection.request(method, path, body, {key.replace("_", "-"): text for key, text in headers.items()})
        answer = connection.getresponse()
        told = {key.lower(): value for key, value in answer.getheaders()}
        found = answer.status, told, answer.read()
        connection.close()
        return found

    return send


def test_dates_and_tags_of_reads(ask: Any) -> None:
    ask("PUT", "doc", b"hello")
    _, head, _ = ask("HEAD", "doc")
    updated, tag = head["last-modified"], head["etag"]
    assert ask("GET", "doc", if_modified_since=updated)[0] == ask("HEAD", "doc", if_none_match=tag)[0] == 304
    assert ask("GET", "doc", if_unmodified_since=LONG_AGO)[0] == ask("GET", "doc", if_match='"x"')[0] == 412
    for kept in (
        {"if_modified_since": LONG_AGO}, {"if_unmodified_since": updated}, {"if_modified_since": "yesterday"},
        {"if_modified_since": updated, "if_none_match": '"x"'}, {"if_unmodified_since": LONG_AGO, "if_match": tag},
    ):  # fmt: skip
        assert ask("GET", "doc", **kept)[2] == b"hello"
    assert ask("GET", "doc", range="bytes=1-2", if_range=tag)[::2] == (206, b"el")
    assert ask("GET", "doc", range="bytes=1-2", if_range='"other"')[::2] == (200, b"hello")


def test_tags_of_changes(ask: Any) -> None:
    assert ask("PUT", "doc", b"0", if_match='"x"')[0] == ask("PUT", "doc", b"0", if_match="*")[0] == 412
    status, made, _ = ask("PUT", "doc", b"1", if_none_match="*")
    assert status == 200
    assert ask("PUT", "doc", b"2", if_none_match="*")[0] == ask("DELETE", "doc", if_match='"x"')[0] == 412
    assert ask("PUT", "doc", b"2", if_match=made["etag"], x_goog_if_generation_match="1")[0] == 412
    assert ask("GET", "doc")[2] == b"1"
    assert ask("PUT", "doc", b"2", if_match=made["etag"])[0] == 200
    assert ask("DELETE", "doc", if_match=made["etag"])[0] == 412


def test_preconditions_of_a_copy_s_source(ask: Any, bucket: Any) -> None:
    source = f"{bucket.name}/doc"
    _, made, _ = ask("PUT", "doc", b"1")
    updated = ask("HEAD", "doc")[1]["last-modified"]
    tag, generation = made["etag"], made["x-goog-generation"]
    refused = (("match", '"x"'), ("none-match", tag), ("generation-match", "1"), ("metageneration-match", "9"),
               ("modified-since", updated), ("unmodified-since", LONG_AGO))  # fmt: skip
    kept = (("match", tag), ("none-match", '"x"'), ("generation-match", generation), ("metageneration-match", "1"),
            ("modified-since", LONG_AGO), ("unmodified-since", updated))  # fmt: skip
    for brand in ("goog", "amz"):
        for status, cases in ((412, refused), (200, kept)):
            for name, value in cases:
                headers = {f"x-{brand}-copy-source": source, f"x-{brand}-copy-source-if-{name}": value}
                assert ask("PUT", "copy", **headers)[0] == status, (name, value)


def test_every_name_is_copied_from_and_a_missing_bucket_is_named(ask: Any, bucket: Any) -> None:
    for name in ("ü c#1", "100%", "a#?b"):
        ask("PUT", quote(name), name.encode())
        assert ask("PUT", "copy", x_goog_copy_source=quote(f"/{bucket.name}/{name}"))[0] == 200
        assert ask("GET", "copy")[2] == name.encode()
    status, _, body = ask("PUT", "copy", x_goog_copy_source="no-such-bucket/x")
    assert (status, b"NoSuchBucket" in body) == (404, True)


def test_a_copy_has_its_bucket_s_class_unless_another_is_named(ask: Any, bucket: Any, client: Any) -> None:
    cold = client.bucket(f"{bucket.name}-cold")
    cold.storage_class = "COLDLINE"
    cold.create()
    ask("PUT", "doc", b"1", x_goog_storage_class="NEARLINE")
    ask("PUT", f"/{cold.name}/doc", x_goog_copy_source=f"{bucket.name}/doc")
    ask("PUT", f"/{cold.name}/named", x_goog_copy_source=f"{bucket.name}/doc", x_goog_storage_class="ARCHIVE")
    assert [blob.storage_class for blob in client.list_blobs(cold)] == ["COLDLINE", "ARCHIVE"]


def test_predefined_lists_custom_times_and_unknown_views(ask: Any, bucket: Any) -> None:
    ask("PUT", "doc", b"1", x_goog_acl="public-read", x_goog_custom_time="2030-01-01T00:00:00Z")
    ask("PUT", "copy", x_amz_copy_source=f"{bucket.name}/doc", x_amz_acl="authenticated-read")
    for name, entity in (("doc", "allUsers"), ("copy", "allAuthenticatedUsers")):
        acl = bucket.blob(name).acl
        acl.reload()
        assert entity in [entry["entity"] for entry in acl]
    assert ask("HEAD", "doc")[1]["x-goog-custom-time"] == "2030-01-01T00:00:00Z"
    assert ask("PUT", "bad", b"1", x_goog_acl="nonsense")[0] == 400
    assert ask("PUT", "doc?compose", b"<ComposeRequest/>")[0] == ask("PUT", "new?tagging", b"")[0] == 400
    assert [blob.name for blob in bucket.list_blobs()] == ["copy", "doc"]


def test_a_resumable_upload_as_signed_urls_begin_one(ask: Any, bucket: Any) -> None:
    status, told, _ = ask("POST", quote("ü 1"), x_goog_resumable="start", content_type="t/x", x_goog_meta_k="v")
    where = urlsplit(told["location"])
    assert (status, where.path) == (201, f"/{bucket.name}/{quote('ü 1')}")
    session = f"{where.path}?{where.query}"
    assert ask("PUT", session, b"", content_range="bytes */*")[0] == 308
    status, told, _ = ask("PUT", session, b"a" * CHUNK, content_range=f"bytes 0-{CHUNK - 1}/*")
    assert (status, told["range"]) == (308, f"bytes=0-{CHUNK - 1}")
    assert ask("PUT", session, b"bb", content_range=f"bytes {CHUNK}-{CHUNK + 1}/{CHUNK + 2}")[0] == 200
    again = ask("PUT", session, b"", content_range=f"bytes */{CHUNK + 2}")
    blob = bucket.get_blob("ü 1")
    assert (again[0], again[1]["x-goog-generation"]) == (200, str(blob.generation))
    assert (blob.size, blob.content_type, blob.metadata) == (CHUNK + 2, "t/x", {"k": "v"})
    assert ask("POST", quote("ü 1"), x_goog_resumable="start", x_goog_if_generation_match="0")[0] == 412
    begun = urlsplit(ask("POST", "other", x_goog_resumable="start")[1]["location"])
    assert ask("DELETE", f"{begun.path}?{begun.query}")[0] == 204
    assert ask("PUT", f"{begun.path}?{begun.query}", b"x")[0] == 404
    assert ask("POST", "other")[0] == 405
