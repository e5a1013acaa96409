"""compose, rewrite and copy through Google's client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions as google

pytestmark = pytest.mark.process


def _parts(bucket: Any, *texts: str) -> list[Any]:
    blobs = []
    for number, text in enumerate(texts):
        blobs.append(bucket.blob(f"part-{number:02}"))
        blobs[-1].upload_from_string(text)
    return blobs


def test_compose_joins_in_order(bucket: Any) -> None:
    parts = _parts(bucket, "first ", "", "second ", "third")
    whole = bucket.blob("whole")
    whole.content_type = "text/plain"
    whole.compose([parts[0], parts[2], parts[1], parts[3], parts[0]])
    read = bucket.get_blob("whole")
    assert read.download_as_text() == "first second thirdfirst "
    assert read.component_count == 5
    assert read.md5_hash is None and read.crc32c
    assert read.content_type == "text/plain"


def test_compose_appends_to_itself_and_counts_components(bucket: Any) -> None:
    parts = _parts(bucket, "a", "b")
    whole = bucket.blob("whole")
    whole.compose(parts)
    whole.compose([whole, parts[0]], if_generation_match=whole.generation)
    read = bucket.get_blob("whole")
    assert (read.download_as_bytes(), read.component_count) == (b"aba", 3)


def test_compose_has_limits(bucket: Any) -> None:
    parts = _parts(bucket, *("x" for _ in range(33)))
    bucket.blob("most").compose(parts[:32])
    assert bucket.get_blob("most").size == 32
    with pytest.raises(google.BadRequest, match="between 1 and 32"):
        bucket.blob("more").compose(parts)
    with pytest.raises(google.BadRequest):
        bucket.blob("none").compose([])
    with pytest.raises(google.NotFound):
        bucket.blob("gone").compose([parts[0], bucket.blob("absent")])
    assert bucket.get_blob("more") is None and bucket.get_blob("gone") is None


def test_compose_respects_source_generations(bucket: Any) -> None:
    parts = _parts(bucket, "a", "b")
    with pytest.raises(google.PreconditionFailed):
        bucket.blob("whole").compose(parts, if_source_generation_match=[parts[0].generation, 1])
    generations = [part.generation for part in parts]
    bucket.blob("whole").compose(parts, if_generation_match=0, if_source_generation_match=generations)
    assert bucket.blob("whole").download_as_bytes() == b"ab"


def test_rewrite_copies_everything_or_what_is_given(bucket: Any, versioned: Any) -> None:
    source = bucket.blob("source")
    source.metadata = {"a": "1"}
    source.upload_from_string("data", content_type="text/plain")
    target = versioned.blob("target")
    assert target.rewrite(source) == (None, 4, 4)
    assert (target.metadata, target.content_type, target.crc32c) == ({"a": "1"}, "text/plain", source.crc32c)
    other = versioned.blob("other")
    other.metadata = {"b": "2"}
    other.rewrite(source, if_generation_match=0)
    assert versioned.get_blob("other").metadata == {"b": "2"}


def test_the_storage_class_is_changed_by_rewriting(bucket: Any) -> None:
    blob = bucket.blob("cold")
    blob.upload_from_string("data")
    blob.update_storage_class("COLDLINE")
    read = bucket.get_blob("cold")
    assert (read.storage_class, read.download_as_bytes()) == ("COLDLINE", b"data")
    with pytest.raises(google.BadRequest, match="storageClass"):
        blob.update_storage_class("FAST")


def test_copy_and_rename(bucket: Any) -> None:
    blob = bucket.blob("from")
    blob.upload_from_string("data")
    assert bucket.copy_blob(blob, bucket, "to").download_as_bytes() == b"data"
    bucket.rename_blob(blob, "moved/to")
    assert bucket.get_blob("from") is None
    assert bucket.blob("moved/to").download_as_bytes() == b"data"


def test_an_object_copied_onto_itself_keeps_its_content(bucket: Any) -> None:
    blob = bucket.blob("self")
    blob.upload_from_string("data")
    first = blob.generation
    assert bucket.copy_blob(blob, bucket, "self").generation > first
    assert bucket.blob("self").download_as_bytes() == b"data"


def test_missing_sources_and_targets(bucket: Any, client: Any) -> None:
    blob = bucket.blob("there")
    blob.upload_from_string("x")
    with pytest.raises(google.NotFound):
        bucket.blob("to").rewrite(bucket.blob("absent"))
    with pytest.raises(google.NotFound):
        client.bucket("never-made").blob("to").rewrite(blob)
    with pytest.raises(google.BadRequest):
        bucket.copy_blob(blob, bucket, "new\nline")


def test_copies_share_a_body_until_the_last_is_deleted(bucket: Any, shared_standin: Any) -> None:
    def bodies() -> int:
        return sum(path.is_file() for path in Path(shared_standin.state / "storage").rglob("*"))

    bucket.soft_delete_policy.retention_duration_seconds = 0
    bucket.patch()
    before = bodies()
    blob = bucket.blob("original")
    blob.upload_from_string("data")
    bucket.copy_blob(blob, bucket, "copy")
    assert bodies() == before + 1
    bucket.delete_blob("original")
    assert bucket.blob("copy").download_as_bytes() == b"data"
    bucket.delete_blob("copy")
    assert bodies() == before


def test_compose_deletes_its_sources_when_asked_to(bucket: Any, versioned: Any) -> None:
    for where in (bucket, versioned):
        parts = [where.blob(name) for name in ("a", "b", "whole")]
        for part in parts:
            part.upload_from_string(part.name)
        where.blob("whole").compose([parts[2], parts[0], parts[1], parts[0]], delete_source_objects=True)
        assert {blob.name: blob.download_as_bytes() for blob in where.list_blobs()} == {"whole": b"wholeaba"}
    assert [blob.name for blob in versioned.list_blobs(versions=True)] == ["a", "b", "whole", "whole"]
    held = bucket.blob("held")
    held.upload_from_string("h")
    held.temporary_hold = True
    held.patch()
    with pytest.raises(google.Forbidden):
        bucket.blob("other").compose([held], delete_source_objects=True)
    assert not bucket.blob("other").exists() and held.exists()
