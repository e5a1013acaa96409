"""Versioning through Google's client."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions as google

pytestmark = pytest.mark.process


def _put(bucket: Any, name: str, text: str) -> int:
    blob = bucket.blob(name)
    blob.upload_from_string(text)
    return int(blob.generation)


def test_noncurrent_versions_list_read_and_restore(versioned: Any, client: Any) -> None:
    first, second = _put(versioned, "doc", "one"), _put(versioned, "doc", "two")
    versioned.delete_blob("doc")
    assert versioned.get_blob("doc") is None
    assert [blob.name for blob in client.list_blobs(versioned)] == []
    versions = list(client.list_blobs(versioned, versions=True))
    assert [blob.generation for blob in versions] == [first, second]
    assert all(blob.time_deleted is not None for blob in versions)
    assert versioned.blob("doc", generation=first).download_as_text() == "one"
    assert versioned.get_blob("doc", generation=second).size == 3
    restored = versioned.copy_blob(versioned.blob("doc"), versioned, "doc", source_generation=first)
    assert restored.generation > second
    assert versioned.blob("doc").download_as_text() == "one"
    assert len(list(client.list_blobs(versioned, versions=True))) == 3


def test_rewrite_restores_a_generation_with_its_metadata(versioned: Any) -> None:
    blob = versioned.blob("doc")
    blob.metadata = {"kept": "yes"}
    blob.upload_from_string("old", content_type="text/x-old")
    _put(versioned, "doc", "new")
    token, done, total = versioned.blob("doc").rewrite(versioned.blob("doc", generation=blob.generation))
    assert (token, done, total) == (None, 3, 3)
    read = versioned.get_blob("doc")
    assert (read.metadata, read.content_type, read.download_as_text()) == ({"kept": "yes"}, "text/x-old", "old")


def test_a_named_generation_is_deleted_for_ever(versioned: Any, client: Any) -> None:
    first, second = _put(versioned, "doc", "one"), _put(versioned, "doc", "two")
    versioned.delete_blob("doc", generation=first)
    assert [blob.generation for blob in client.list_blobs(versioned, versions=True)] == [second]
    versioned.delete_blob("doc", generation=second)
    assert list(client.list_blobs(versioned, versions=True)) == []
    with pytest.raises(google.NotFound):
        versioned.delete_blob("doc", generation=second)


def test_a_create_after_a_delete_counts_as_new(versioned: Any) -> None:
    first = _put(versioned, "doc", "one")
    versioned.delete_blob("doc")
    blob = versioned.blob("doc")
    blob.upload_from_string("two", if_generation_match=0)
    assert blob.generation > first


def test_metadata_of_a_noncurrent_version_can_be_changed(versioned: Any) -> None:
    first = _put(versioned, "doc", "one")
    _put(versioned, "doc", "two")
    old = versioned.get_blob("doc", generation=first)
    old.metadata = {"note": "old"}
    old.patch()
    assert versioned.get_blob("doc", generation=first).metadata == {"note": "old"}
    assert versioned.get_blob("doc").metadata is None


def test_without_versioning_the_former_generation_is_gone(bucket: Any, client: Any) -> None:
    first, second = _put(bucket, "doc", "one"), _put(bucket, "doc", "two")
    assert [blob.generation for blob in client.list_blobs(bucket, versions=True)] == [second]
    with pytest.raises(google.NotFound):
        bucket.blob("doc", generation=first).download_as_bytes()


def test_versioning_can_be_switched(bucket: Any, client: Any) -> None:
    _put(bucket, "doc", "one")
    bucket.versioning_enabled = True
    bucket.patch()
    _put(bucket, "doc", "two")
    assert len(list(client.list_blobs(bucket, versions=True))) == 2
    bucket.versioning_enabled = False
    bucket.patch()
    _put(bucket, "doc", "three")
    assert len(list(client.list_blobs(bucket, versions=True))) == 2  # the noncurrent one stays


def test_generations_only_rise(versioned: Any) -> None:
    generations = [_put(versioned, f"n{number % 3}", "x") for number in range(30)]
    assert generations == sorted(set(generations))
