"""Soft delete: deleted generations can be listed, looked at and restored until their time has come."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest
from google.api_core import exceptions as google

pytestmark = pytest.mark.process
DAY_S = 86400


def _files(standin: Any) -> int:
    return sum(path.is_file() for path in (standin.state / "storage").rglob("*"))


def test_a_bucket_keeps_what_is_deleted_for_seven_days_by_default(client: Any, bucket: Any) -> None:
    assert bucket.soft_delete_policy.retention_duration_seconds == 7 * DAY_S
    assert bucket.soft_delete_policy.effective_time.tzinfo is not None
    bucket.soft_delete_policy.retention_duration_seconds = 0
    bucket.patch()
    bucket.reload()
    assert bucket.soft_delete_policy.retention_duration_seconds == 0
    for wrong in (1, 6 * DAY_S, 91 * DAY_S):
        bucket.soft_delete_policy.retention_duration_seconds = wrong
        with pytest.raises(google.BadRequest):
            bucket.patch()


def test_a_deleted_object_is_listed_and_restored(bucket: Any) -> None:
    blob = bucket.blob("doc")
    blob.metadata = {"k": "v"}
    blob.upload_from_string("text", content_type="text/plain")
    generation = blob.generation
    blob.delete()
    assert bucket.get_blob("doc") is None and list(bucket.list_blobs(versions=True)) == []
    (gone,) = bucket.list_blobs(soft_deleted=True)
    assert (gone.name, gone.generation) == ("doc", generation)
    assert gone.hard_delete_time - gone.soft_delete_time == datetime.timedelta(days=7)
    looked = bucket.get_blob("doc", generation=generation, soft_deleted=True)
    assert looked.soft_delete_time == gone.soft_delete_time
    with pytest.raises(google.NotFound):
        looked.download_as_bytes()
    restored = bucket.restore_blob("doc", generation=generation, if_generation_match=0)
    assert restored.generation > generation and restored.soft_delete_time is None
    found = bucket.get_blob("doc")
    assert (found.download_as_text(), found.metadata, found.content_type) == ("text", {"k": "v"}, "text/plain")
    assert list(bucket.list_blobs(soft_deleted=True)) == []


def test_an_overwrite_and_a_deleted_version_can_be_restored(bucket: Any, versioned: Any) -> None:
    for text in ("one", "two"):
        bucket.blob("doc").upload_from_string(text)
    (first,) = bucket.list_blobs(soft_deleted=True)
    bucket.restore_blob("doc", generation=first.generation)
    assert bucket.blob("doc").download_as_text() == "one"
    assert [blob.size for blob in bucket.list_blobs(soft_deleted=True)] == [3]  # now "two" is the one overwritten

    for text in ("1", "22"):
        versioned.blob("doc").upload_from_string(text)
    assert list(versioned.list_blobs(soft_deleted=True)) == []  # noncurrent, not deleted
    noncurrent = next(iter(versioned.list_blobs(versions=True)))
    noncurrent.delete()
    assert [blob.size for blob in versioned.list_blobs(soft_deleted=True)] == [1]
    versioned.restore_blob("doc", generation=noncurrent.generation)
    assert [blob.download_as_text() for blob in versioned.list_blobs(versions=True)] == ["22", "1"]


def test_what_a_restore_refuses(bucket: Any) -> None:
    blob = bucket.blob("doc")
    blob.upload_from_string("old")
    generation = blob.generation
    bucket.blob("doc").upload_from_string("new")
    with pytest.raises(google.PreconditionFailed):
        bucket.restore_blob("doc", generation=generation, if_generation_match=0)
    with pytest.raises(google.NotFound):
        bucket.restore_blob("doc", generation=generation + 1)
    with pytest.raises(google.BadRequest):
        list(bucket.list_blobs(soft_deleted=True, versions=True))
    assert bucket.blob("doc").download_as_text() == "new"


def test_soft_deleted_objects_are_listed_in_pages_with_prefixes(bucket: Any) -> None:
    for name in ("a/1", "a/2", "b/1", "c"):
        bucket.blob(name).upload_from_string("x")
        bucket.delete_blob(name)
    assert [blob.name for blob in bucket.list_blobs(soft_deleted=True, page_size=2)] == ["a/1", "a/2", "b/1", "c"]
    assert [blob.name for blob in bucket.list_blobs(soft_deleted=True, prefix="a/")] == ["a/1", "a/2"]
    listed = bucket.list_blobs(soft_deleted=True, delimiter="/")
    assert ([blob.name for blob in listed], listed.prefixes) == (["c"], {"a/", "b/"})


def test_bodies_go_when_their_time_has_come(standin: Any, connect: Callable[..., Any]) -> None:
    bucket = connect(standin.url).create_bucket("expiring")
    bucket.blob("early").upload_from_string("early")
    bucket.blob("late").upload_from_string("late")
    bucket.copy_blob(bucket.blob("late"), bucket, "copy")
    bucket.delete_blob("early")
    standin.post("/_local/clock", {"advance_s": 2 * DAY_S})
    bucket.delete_blob("late")
    assert _files(standin) == 2
    standin.post("/_local/clock", {"advance_s": 5 * DAY_S + 60})
    assert [blob.name for blob in bucket.list_blobs(soft_deleted=True)] == ["late"]
    assert _files(standin) == 1
    standin.post("/_local/clock", {"advance_s": 2 * DAY_S})
    assert list(bucket.list_blobs(soft_deleted=True)) == []
    assert bucket.blob("copy").download_as_text() == "late" and _files(standin) == 1
    bucket.blob("copy").delete()
    bucket.delete()  # soft-deleted objects do not keep a bucket from going, and go with it
    assert _files(standin) == 0


def test_a_changed_policy_is_for_later_deletions_only(standin: Any, connect: Callable[..., Any]) -> None:
    bucket = connect(standin.url).create_bucket("policy")
    bucket.blob("before").upload_from_string("x")
    bucket.delete_blob("before")
    bucket.soft_delete_policy.retention_duration_seconds = 0
    bucket.patch()
    bucket.blob("after").upload_from_string("x")
    bucket.delete_blob("after")
    assert [blob.name for blob in bucket.list_blobs(soft_deleted=True)] == ["before"]
    assert _files(standin) == 1


def test_soft_deleted_objects_survive_kill_9(
    tmp_path: Any, standin_at: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    first = standin_at(tmp_path / "cloud")
    bucket = connect(first.url).create_bucket("killed")
    blob = bucket.blob("doc")
    blob.upload_from_string("text")
    blob.delete()
    first.process.kill()
    first.process.wait()
    second = standin_at(tmp_path / "cloud")
    bucket = connect(second.url).bucket("killed")
    bucket.restore_blob("doc", generation=blob.generation)
    assert bucket.blob("doc").download_as_text() == "text"


def test_a_body_stays_as_long_as_one_deleted_copy_can_be_restored(standin: Any, connect: Callable[..., Any]) -> None:
    bucket = connect(standin.url).create_bucket("copies")
    bucket.blob("one").upload_from_string("text")
    copy = bucket.copy_blob(bucket.blob("one"), bucket, "two")
    bucket.delete_blob("one")
    standin.post("/_local/clock", {"advance_s": DAY_S})
    bucket.delete_blob("two")
    standin.post("/_local/clock", {"advance_s": 6 * DAY_S + 60})
    assert [blob.name for blob in bucket.list_blobs(soft_deleted=True)] == ["two"]
    bucket.restore_blob("two", generation=copy.generation)
    assert bucket.blob("two").download_as_text(retry=None) == "text"


def test_a_name_without_a_generation(client: Any, bucket: Any, shared_standin: Any) -> None:
    blob = bucket.blob("dir/x")
    blob.upload_from_string(b"1")
    blob.delete()
    path = f"/b/{bucket.name}/o/"
    for name, code in (("dir%2Fx", 400), ("dir%2F", 404)):  # gcloud asks for a folder's object before it lists
        with pytest.raises(google.GoogleAPICallError) as refused:
            client._connection.api_request("GET", path + name, {"softDeleted": "true"})
        assert refused.value.code == code
