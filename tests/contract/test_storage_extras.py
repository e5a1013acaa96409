"""Moves, and what gcloud asks of a bucket before it works with it."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Any

import pytest
from google.api_core import exceptions as google

pytestmark = pytest.mark.process


def test_an_object_moves_with_its_content_and_metadata(bucket: Any) -> None:
    blob = bucket.blob("old/näme")
    blob.metadata = {"k": "v"}
    blob.upload_from_string("text", content_type="text/plain")
    moved = bucket.move_blob(blob, "new/näme", if_generation_match=0, if_source_generation_match=blob.generation)
    assert [each.name for each in bucket.list_blobs()] == ["new/näme"]
    assert moved.download_as_text() == "text"
    found = bucket.get_blob("new/näme")
    assert (found.metadata, found.content_type) == ({"k": "v"}, "text/plain")
    with pytest.raises(google.NotFound):
        bucket.move_blob(blob, "third")


def test_a_move_that_is_refused_changes_nothing(bucket: Any) -> None:
    for name in ("one", "two"):
        bucket.blob(name).upload_from_string(name)
    with pytest.raises(google.PreconditionFailed):
        bucket.move_blob(bucket.blob("one"), "two", if_generation_match=0)
    with pytest.raises(google.PreconditionFailed):
        bucket.move_blob(bucket.blob("one"), "three", if_source_generation_match=1)
    with pytest.raises(google.BadRequest):
        bucket.move_blob(bucket.blob("one"), "one")
    held = bucket.blob("one")
    held.temporary_hold = True
    held.patch()
    with pytest.raises(google.Forbidden):
        bucket.move_blob(held, "three")
    assert {blob.name: blob.download_as_text() for blob in bucket.list_blobs()} == {"one": "one", "two": "two"}


def test_what_gcloud_asks_before_it_lists(shared_standin: Any, bucket: Any) -> None:
    base = f"/storage/v1/b/{bucket.name}"
    layout = shared_standin.get(f"{base}/storageLayout")
    assert (layout["kind"], layout["location"]) == ("storage#storageLayout", "EUROPE-WEST1")
    assert layout["hierarchicalNamespace"] == {"enabled": False}
    assert shared_standin.get(f"{base}/managedFolders") == {"kind": "storage#managedFolders"}
    assert list(bucket.list_notifications()) == []


def test_access_lists_exist_only_without_uniform_access(shared_standin: Any, client: Any, bucket: Any) -> None:
    bucket.blob("x").upload_from_string("x")
    assert [entry["role"] for entry in bucket.acl] == ["OWNER", "OWNER", "READER"]
    assert [entry["role"] for entry in bucket.blob("x").acl] == ["OWNER", "OWNER", "READER"]
    bucket.iam_configuration.uniform_bucket_level_access_enabled = True
    bucket.patch()
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(f"{shared_standin.url}/storage/v1/b/{bucket.name}/acl", timeout=60)


def test_a_policy_s_etag_counts_in_both_alphabets_of_base64(client: Any, bucket: Any) -> None:
    """gcloud reads etags as bytes and writes them with - and _ instead of + and /."""
    seen: set[str] = set()
    while not seen >= {"+", "/"}:
        policy = bucket.get_iam_policy(requested_policy_version=3)
        seen |= set(policy.etag)
        policy.etag = policy.etag.replace("+", "-").replace("/", "_")
        bucket.set_iam_policy(policy)
    policy.etag = "b3RoZXI="
    with pytest.raises(google.PreconditionFailed):
        bucket.set_iam_policy(policy)
