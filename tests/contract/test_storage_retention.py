"""Holds and retention: who may delete, overwrite or weaken what, and when."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest
from google.api_core import exceptions as google

pytestmark = pytest.mark.process
DAY = datetime.timedelta(days=1)


def _soon(days: float = 1) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + days * DAY


@pytest.fixture
def retaining(client: Any, bucket: Any) -> Any:
    """A bucket in which objects can have a retention of their own."""
    made = client.bucket(f"{bucket.name}-own")
    made.create(enable_object_retention=True, location="europe-west1")
    return made


@pytest.mark.parametrize("hold", ["temporary_hold", "event_based_hold"])
def test_a_hold_keeps_an_object_as_it_is(bucket: Any, hold: str) -> None:
    blob = bucket.blob("held")
    blob.upload_from_string("x")
    setattr(blob, hold, True)
    blob.patch()
    assert getattr(bucket.get_blob("held"), hold) is True
    with pytest.raises(google.Forbidden, match="hold"):
        blob.delete()
    with pytest.raises(google.Forbidden, match="hold"):
        bucket.blob("held").upload_from_string("y")
    with pytest.raises(google.Forbidden, match="hold"):
        bucket.rename_blob(blob, "other")
    with pytest.raises(google.Forbidden, match="hold"):
        bucket.blob("held").compose([bucket.blob("other")])
    blob.metadata = {"may": "change"}
    blob.patch()
    setattr(blob, hold, False)
    blob.patch()
    blob.delete()


def test_a_copy_has_no_hold(bucket: Any) -> None:
    blob = bucket.blob("held")
    blob.upload_from_string("x")
    blob.temporary_hold = True
    blob.patch()
    assert not bucket.copy_blob(blob, bucket, "copy").temporary_hold
    blob.temporary_hold = False
    blob.patch()


def test_new_objects_are_held_by_default(bucket: Any) -> None:
    bucket.default_event_based_hold = True
    bucket.patch()
    blob = bucket.blob("doc")
    blob.upload_from_string("x")
    assert bucket.get_blob("doc").event_based_hold is True
    with pytest.raises(google.Forbidden):
        blob.delete()
    blob.event_based_hold = False
    blob.patch()
    blob.delete()


def test_a_retention_policy_keeps_objects_until_their_time(standin: Any, connect: Callable[..., Any]) -> None:
    bucket = connect(standin.url).create_bucket("policy")
    bucket.retention_period = 3600
    bucket.patch()
    assert bucket.retention_period == 3600 and bucket.retention_policy_effective_time is not None
    blob = bucket.blob("doc")
    blob.upload_from_string("x")
    found = bucket.get_blob("doc")
    assert found.retention_expiration_time - found.time_created == datetime.timedelta(hours=1)
    for refused in (blob.delete, lambda: bucket.blob("doc").upload_from_string("y")):
        with pytest.raises(google.Forbidden, match="retention policy"):
            refused()
    blob.metadata = {"may": "change"}
    blob.patch()
    standin.post("/_local/clock", {"advance_s": 3601})
    bucket.blob("doc").upload_from_string("y")
    bucket.retention_period = None
    bucket.patch()
    bucket.reload()
    assert bucket.retention_period is None
    bucket.blob("doc").delete()


def test_the_release_of_an_event_based_hold_begins_the_retention(standin: Any, connect: Callable[..., Any]) -> None:
    bucket = connect(standin.url).create_bucket("events")
    bucket.retention_period = 3600
    bucket.default_event_based_hold = True
    bucket.patch()
    blob = bucket.blob("doc")
    blob.upload_from_string("x")
    assert bucket.get_blob("doc").retention_expiration_time is None
    standin.post("/_local/clock", {"advance_s": 7200})
    blob.event_based_hold = False
    blob.patch()
    with pytest.raises(google.Forbidden, match="retention policy"):
        blob.delete()
    standin.post("/_local/clock", {"advance_s": 3601})
    blob.delete()


def test_a_retained_object_can_become_noncurrent_but_not_go(versioned: Any) -> None:
    versioned.retention_period = 3600
    versioned.patch()
    versioned.blob("doc").upload_from_string("one")
    versioned.blob("doc").upload_from_string("two")
    first = next(iter(versioned.list_blobs(versions=True)))
    with pytest.raises(google.Forbidden, match="retention policy"):
        first.delete()
    assert len(list(versioned.list_blobs(versions=True))) == 2


def test_a_locked_policy_only_grows(bucket: Any) -> None:
    bucket.retention_period = 100
    bucket.patch()
    bucket.labels = {"later": "change"}
    stale = bucket.metageneration
    bucket.patch()
    current = bucket.metageneration
    bucket._properties["metageneration"] = stale
    with pytest.raises(google.PreconditionFailed):
        bucket.lock_retention_policy()
    bucket._properties["metageneration"] = current
    bucket.lock_retention_policy()
    bucket.reload()
    assert bucket.retention_policy_locked is True
    for weaker in (99, None):
        bucket.retention_period = weaker
        with pytest.raises(google.Forbidden):
            bucket.patch()
        bucket.reload()
    bucket.retention_period = 200
    bucket.patch()
    bucket.reload()
    assert (bucket.retention_period, bucket.retention_policy_locked) == (200, True)


@pytest.mark.parametrize("period", [0, -5, 101 * 365 * 86400])
def test_a_senseless_period_is_refused(bucket: Any, period: int) -> None:
    bucket.retention_period = period
    with pytest.raises(google.BadRequest):
        bucket.patch()


def test_an_object_s_own_retention(retaining: Any) -> None:
    assert retaining.object_retention_mode == "Enabled"
    blob = retaining.blob("doc")
    blob.upload_from_string("x")
    blob.retention.mode = "Unlocked"
    blob.retention.retain_until_time = _soon(2)
    blob.patch()
    found = retaining.get_blob("doc")
    assert found.retention.mode == "Unlocked" and found.retention.retain_until_time > _soon(1)
    with pytest.raises(google.Forbidden, match="retention"):
        blob.delete()
    blob.retention.retain_until_time = _soon(1)
    with pytest.raises(google.Forbidden, match="overrideUnlockedRetention"):
        blob.patch()
    blob.patch(override_unlocked_retention=True)
    blob.retention.mode = None
    blob.retention.retain_until_time = None
    blob.patch(override_unlocked_retention=True)
    assert retaining.get_blob("doc").retention.mode is None
    blob.delete()


def test_a_locked_retention_is_for_good(retaining: Any) -> None:
    blob = retaining.blob("doc")
    blob.upload_from_string("x")
    blob.retention.mode = "Locked"
    blob.retention.retain_until_time = _soon(1)
    blob.patch()
    for mode, days in (("Unlocked", 2), ("Locked", 0.5)):
        blob.retention.mode = mode
        blob.retention.retain_until_time = _soon(days)
        with pytest.raises(google.Forbidden, match="locked"):
            blob.patch(override_unlocked_retention=True)
    blob.retention.mode = "Locked"
    blob.retention.retain_until_time = _soon(3)
    blob.patch()


def test_retention_of_objects_needs_a_bucket_made_for_it(bucket: Any, retaining: Any) -> None:
    for where, until in ((bucket, _soon(1)), (retaining, _soon(-1))):
        blob = where.blob("doc")
        blob.upload_from_string("x")
        blob.retention.mode = "Unlocked"
        blob.retention.retain_until_time = until
        with pytest.raises(google.BadRequest, match=r"not enabled|future"):
            blob.patch()
        blob.delete()
