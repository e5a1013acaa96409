"""Every precondition on every call of Google's client: what fails changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.api_core import exceptions as google

pytestmark = pytest.mark.process
Call = Callable[..., Any]
OTHERS: list[dict[str, Any]] = [
    {"if_generation_match": 1}, {"if_generation_match": 0}, {"if_metageneration_match": 99},
]  # fmt: skip


def _changes(bucket: Any, blob: Any) -> dict[str, Call]:
    """The calls that change the object "a", each with preconditions on it."""
    twin = bucket.blob("a")
    return {
        "patch": blob.patch, "update": blob.update, "delete": blob.delete, "public": blob.make_public,
        "upload": lambda **how: blob.upload_from_string("x", **how),
        "session": blob.create_resumable_upload_session,
        "compose": lambda **how: twin.compose([blob], **how),
        "rewrite": lambda **how: twin.rewrite(bucket.blob("b"), **how),
        "copy": lambda **how: bucket.copy_blob(bucket.blob("b"), bucket, "a", **how),
        "move": lambda **how: bucket.move_blob(bucket.blob("b"), "a", **how),
        "class": lambda **how: blob.update_storage_class("NEARLINE", **how),
        "deletions": lambda **how: bucket.delete_blobs([blob], **{key: [value] for key, value in how.items()}),
    }  # fmt: skip


def _state(bucket: Any) -> list[Any]:
    return [(blob.name, blob.generation, blob.metageneration) for blob in bucket.list_blobs()]


def _two(bucket: Any) -> Any:
    for name in "ab":
        bucket.blob(name).upload_from_string(name)
    return bucket.get_blob("a")


@pytest.mark.parametrize("other", OTHERS, ids=str)
def test_what_another_state_is_meant_for_changes_nothing(bucket: Any, other: dict[str, Any]) -> None:
    blob = _two(bucket)
    before = _state(bucket)
    reads: list[Call] = [
        blob.reload, blob.exists, blob.download_as_bytes, lambda **how: blob.open("rb", **how).read(),
    ]  # fmt: skip
    for read in reads:
        with pytest.raises(google.PreconditionFailed):
            read(**other)
    for change in _changes(bucket, blob).values():
        with pytest.raises(google.PreconditionFailed):
            change(**other)
    assert _state(bucket) == before


@pytest.mark.parametrize("other", OTHERS, ids=str)
def test_preconditions_on_the_source_change_nothing(bucket: Any, other: dict[str, Any]) -> None:
    blob = _two(bucket)
    before = _state(bucket)
    source = {key.replace("if_", "if_source_"): value for key, value in other.items()}
    calls: list[Call] = [
        lambda **how: bucket.blob("z").rewrite(blob, **how),
        lambda **how: bucket.copy_blob(blob, bucket, "z", **how),
        lambda **how: bucket.rename_blob(blob, "z", **how),
        lambda **how: bucket.move_blob(blob, "z", **how),
        lambda **how: blob.update_storage_class("NEARLINE", **how),
    ]
    for call in calls:
        with pytest.raises(google.PreconditionFailed):
            call(**source)
    if "if_generation_match" in other:
        with pytest.raises(google.PreconditionFailed):
            bucket.blob("z").compose([blob], if_source_generation_match=[1])
    assert _state(bucket) == before


def test_what_a_client_has_already_is_not_sent_and_not_changed(bucket: Any) -> None:
    blob = _two(bucket)
    before = _state(bucket)
    for same in (
        {"if_generation_not_match": blob.generation}, {"if_metageneration_not_match": blob.metageneration},
    ):  # fmt: skip
        for read in (blob.reload, blob.download_as_bytes):
            with pytest.raises(google.NotModified):
                read(**same)
        changes = _changes(bucket, blob)
        for name in changes.keys() - {"compose", "session"}:  # compose has no such precondition
            with pytest.raises(google.PreconditionFailed):
                changes[name](**same)
    assert _state(bucket) == before


@pytest.mark.parametrize("name", ["patch", "upload", "compose", "rewrite", "copy", "move", "class", "deletions"])
def test_preconditions_that_hold_let_a_change_through(bucket: Any, name: str) -> None:
    blob = _two(bucket)
    before = _state(bucket)
    _changes(bucket, blob)[name](if_generation_match=blob.generation, if_metageneration_match=blob.metageneration)
    assert _state(bucket) != before
