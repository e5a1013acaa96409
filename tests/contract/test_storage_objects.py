"""Objects through Google's client: content, metadata, names, preconditions, checksums."""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import google_crc32c
import pytest
from google.api_core import exceptions as google

pytestmark = pytest.mark.process


def _crc32c(data: bytes) -> str:
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


def test_twenty_racers_one_winner(shared_standin: Any, connect: Any, bucket: Any) -> None:
    def race(number: int) -> str:
        blob = connect(shared_standin.url).bucket(bucket.name).blob("once")
        try:
            blob.upload_from_string(f"racer {number}", if_generation_match=0)
        except google.PreconditionFailed:
            return "lost"
        return f"racer {number}"

    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(race, range(20)))
    winners = [result for result in results if result != "lost"]
    assert len(winners) == 1
    assert bucket.blob("once").download_as_text() == winners[0]


def test_racers_on_one_generation_lose_no_increment(shared_standin: Any, connect: Any, bucket: Any) -> None:
    bucket.blob("count").upload_from_string("0")

    def add(_: int) -> None:
        theirs = connect(shared_standin.url).bucket(bucket.name)
        while True:
            blob = theirs.get_blob("count")
            try:
                value = int(blob.download_as_bytes(if_generation_match=blob.generation))
                return blob.upload_from_string(str(value + 1), if_generation_match=blob.generation)
            except (google.PreconditionFailed, google.NotFound):
                continue  # another was faster

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(12)))
    assert bucket.blob("count").download_as_bytes() == b"12"


def test_an_object_tells_all_about_itself(bucket: Any) -> None:
    data = b"some text"
    blob = bucket.blob("folder/name.txt")
    blob.metadata = {"writer": "me", "größe": "9"}
    blob.cache_control = "no-store"
    blob.content_disposition = "attachment"
    blob.content_language = "de"
    blob.upload_from_string(data, content_type="text/plain")
    read = bucket.get_blob("folder/name.txt")
    assert (read.size, read.content_type, read.metageneration) == (9, "text/plain", 1)
    assert read.crc32c == _crc32c(data)
    assert read.md5_hash == base64.b64encode(hashlib.md5(data).digest()).decode()
    assert read.metadata == {"writer": "me", "größe": "9"}
    assert (read.cache_control, read.content_disposition, read.content_language) == ("no-store", "attachment", "de")
    assert read.id == f"{bucket.name}/folder/name.txt/{read.generation}"
    assert read.storage_class == "STANDARD"
    assert read.time_created == read.updated and read.etag and read.time_deleted is None
    assert "/o/folder%2Fname.txt" in read.self_link and "alt=media" in read.media_link


def test_an_empty_object_has_size_zero(bucket: Any) -> None:
    bucket.blob("empty").upload_from_string(b"")
    read = bucket.get_blob("empty")
    assert read.size == 0
    assert read.crc32c == "AAAAAA=="
    assert read.download_as_bytes() == b""


# fmt: off
NAMES = [
    "plain", "a b", "ü/ö/漢字/😀", "100%", "a%2Fb", "what?", "frag#ment", "a+b&c=d", "/leading", "trailing/", "a//b",
    "..a", "a/../b", "'quote\"", "back\\slash", "tab\there", "[x]*{y}", "compose", "o/b/o", "x" * 1024, "é" * 512,
    ":colon:run", "~tilde", ";semi,comma",
]
# fmt: on


@pytest.mark.parametrize("name", NAMES)
def test_every_legal_name(bucket: Any, client: Any, name: str) -> None:
    blob = bucket.blob(name)
    blob.upload_from_string(name, if_generation_match=0)
    assert bucket.get_blob(name).name == name
    assert bucket.blob(name).download_as_text() == name
    assert [found.name for found in client.list_blobs(bucket)] == [name]
    assert bucket.copy_blob(blob, bucket, new_name=name[:500] + "-2").size == len(name.encode())
    bucket.delete_blob(name)
    assert bucket.get_blob(name) is None


@pytest.mark.parametrize(
    "name", ["a\nb", "a\rb", ".", "..", "x" * 1025, "é" * 513, ".well-known/acme-challenge/x", "nul\0"]
)
def test_every_illegal_name(bucket: Any, name: str) -> None:
    with pytest.raises(google.BadRequest, match="name"):
        bucket.blob(name).upload_from_string("x")


def test_metadata_is_patched_key_by_key_and_replaced_by_update(bucket: Any) -> None:
    blob = bucket.blob("meta")
    blob.metadata = {"a": "1", "b": "2"}
    blob.upload_from_string("x", content_type="text/plain")
    blob.metadata = {"a": None, "c": "3"}
    blob.patch()
    read = bucket.get_blob("meta")
    assert read.metadata == {"b": "2", "c": "3"}
    assert (read.metageneration, read.content_type, read.generation) == (2, "text/plain", blob.generation)
    read.metadata = {"only": "this"}
    read.update()
    assert bucket.get_blob("meta").metadata == {"only": "this"}
    assert bucket.get_blob("meta").updated > bucket.get_blob("meta").time_created


def test_custom_time_only_goes_forward(bucket: Any) -> None:
    blob = bucket.blob("dated")
    blob.custom_time = first = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    blob.upload_from_string("x")
    for refused in (first - timedelta(seconds=1), None):
        blob.custom_time = refused
        with pytest.raises(google.BadRequest):
            blob.patch()
    blob.custom_time = first + timedelta(days=1)
    blob.patch()
    assert bucket.get_blob("dated").custom_time == first + timedelta(days=1)


def test_wrong_types_are_refused(bucket: Any, client: Any) -> None:
    bucket.blob("typed").upload_from_string("x")
    path = f"{bucket.path}/o/typed"
    bad = (
        {"metadata": 5},
        {"metadata": {"a": 1}},
        {"contentType": ["x"]},
        {"contentType": "a\r\nb"},
        {"temporaryHold": "yes"},
    )
    for body in bad:
        with pytest.raises(google.BadRequest):
            client._connection.api_request(method="PATCH", path=path, data=body)
    for query in ({"generation": "x"}, {"ifGenerationMatch": "-1"}, {"ifMetagenerationMatch": "1.5"}):
        with pytest.raises(google.BadRequest):
            client._connection.api_request(method="GET", path=path, query_params=query)
    assert bucket.get_blob("typed").metageneration == 1


def test_preconditions_on_every_call(bucket: Any) -> None:
    blob = bucket.blob("guarded")
    blob.upload_from_string("1")
    now, never = blob.generation, blob.generation + 1
    other = bucket.blob("guarded")
    refused = [
        lambda: other.upload_from_string("x", if_generation_match=0),
        lambda: other.upload_from_string("x", if_generation_match=never),
        lambda: other.upload_from_string("x", if_generation_not_match=now),
        lambda: other.upload_from_string("x", if_metageneration_match=9),
        lambda: other.upload_from_string("x", if_metageneration_not_match=1),
        lambda: other.reload(if_generation_match=never),
        lambda: other.reload(if_metageneration_match=9),
        lambda: other.reload(if_etag_match="other"),
        lambda: other.download_as_bytes(if_generation_match=never),
        lambda: other.patch(if_generation_match=never),
        lambda: other.patch(if_metageneration_match=9),
        lambda: other.update(if_metageneration_not_match=1),
        lambda: other.delete(if_generation_match=never),
        lambda: other.delete(if_metageneration_match=9),
        lambda: other.compose([blob], if_generation_match=never),
        lambda: bucket.blob("target").rewrite(blob, if_source_generation_match=never),
        lambda: bucket.blob("target").rewrite(blob, if_generation_match=now),
        lambda: bucket.copy_blob(blob, bucket, "target", if_source_metageneration_match=9),
    ]
    for number, call in enumerate(refused):
        with pytest.raises(google.PreconditionFailed):
            call()
            pytest.fail(f"call {number} was let through")
    assert bucket.get_blob("guarded").generation == now
    assert bucket.get_blob("target") is None


def test_a_read_of_what_one_has_is_not_modified(bucket: Any, client: Any) -> None:
    blob = bucket.blob("same")
    blob.upload_from_string("1")
    for condition in ({"if_generation_not_match": blob.generation}, {"if_metageneration_not_match": 1}):
        with pytest.raises(google.NotModified):
            blob.reload(**condition)
        with pytest.raises(google.NotModified):
            blob.download_as_bytes(**condition)
    blob.reload(if_generation_not_match=1)
    with pytest.raises(google.NotModified):
        blob.reload(if_etag_not_match=blob.etag)
    assert blob.exists(if_generation_match=blob.generation)


def test_kept_preconditions_succeed(bucket: Any) -> None:
    blob = bucket.blob("swap")
    blob.upload_from_string("1", if_generation_match=0)
    first = blob.generation
    blob.upload_from_string("2", if_generation_match=first)
    assert blob.generation > first
    assert bucket.get_blob("swap").download_as_bytes(if_generation_match=blob.generation) == b"2"
    blob.delete(if_generation_match=blob.generation)
    assert not blob.exists()


@pytest.mark.parametrize("field", ["crc32c", "md5_hash"])
def test_a_wrong_checksum_is_refused(bucket: Any, field: str) -> None:
    blob = bucket.blob("sum")
    setattr(
        blob,
        field,
        _crc32c(b"other") if field == "crc32c" else base64.b64encode(hashlib.md5(b"other").digest()).decode(),
    )
    with pytest.raises(google.BadRequest, match="match"):
        blob.upload_from_string("content", checksum=None)
    assert bucket.get_blob("sum") is None


def test_right_checksums_are_accepted(bucket: Any) -> None:
    for checksum in ("md5", "crc32c", "auto", None):
        blob = bucket.blob(f"sum-{checksum}")
        blob.upload_from_string("content", checksum=checksum)
        assert blob.download_as_bytes(checksum=checksum or "md5") == b"content"


def test_a_missing_object_is_not_found(bucket: Any) -> None:
    blob = bucket.blob("absent")
    for call in (blob.reload, blob.delete, blob.patch, blob.download_as_bytes):
        with pytest.raises(google.NotFound):
            call()
    assert bucket.get_blob("absent") is None
    assert bucket.get_blob("absent", generation=1) is None


def test_a_held_object_stays(bucket: Any) -> None:
    blob = bucket.blob("held")
    blob.upload_from_string("1")
    blob.temporary_hold = True
    blob.patch()
    for call in (blob.delete, lambda: bucket.blob("held").upload_from_string("2")):
        with pytest.raises(google.Forbidden, match="hold"):
            call()
    blob.temporary_hold = False
    blob.patch()
    blob.delete()


def test_gzip_content_is_marked_so(bucket: Any) -> None:
    import gzip

    blob = bucket.blob("packed")
    blob.content_encoding = "gzip"
    packed = gzip.compress(b"text " * 100)
    blob.upload_from_string(packed, content_type="text/plain")
    assert bucket.blob("packed").download_as_bytes(raw_download=True) == packed
    assert bucket.blob("packed").download_as_bytes() == b"text " * 100
