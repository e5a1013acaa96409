"""Buckets through Google's client."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions as google

pytestmark = pytest.mark.process


def test_a_bucket_keeps_what_its_owner_chose(client: Any) -> None:
    made = client.bucket("kept")
    made.labels = {"team": "models", "env": "local"}
    made.versioning_enabled = True
    made.iam_configuration.uniform_bucket_level_access_enabled = True
    made.add_lifecycle_delete_rule(age=7, matches_prefix=[".tmp/"])
    made.storage_class = "NEARLINE"
    made.create(location="europe-west1")
    read = client.get_bucket("kept")
    assert read.location == "EUROPE-WEST1"
    assert read.location_type == "region"
    assert read.labels == {"team": "models", "env": "local"}
    assert read.versioning_enabled is True
    assert read.iam_configuration.uniform_bucket_level_access_enabled is True
    assert read.storage_class == "NEARLINE"
    assert next(iter(read.lifecycle_rules))["condition"] == {"age": 7, "matchesPrefix": [".tmp/"]}
    assert read.metageneration == 1 and read.etag and read.time_created and read.project_number
    assert read.self_link.endswith("/storage/v1/b/kept")


def test_a_patch_changes_labels_one_by_one_and_counts(bucket: Any, client: Any) -> None:
    bucket.labels = {"a": "1", "b": "2"}
    bucket.patch()
    labels = bucket.labels
    del labels["a"]
    labels["c"] = "3"
    bucket.labels = labels
    bucket.patch()
    read = client.get_bucket(bucket.name)
    assert read.labels == {"b": "2", "c": "3"}
    assert read.metageneration == 3
    assert read.location == "EUROPE-WEST1"


def test_lifecycle_rules_can_be_cleared(bucket: Any, client: Any) -> None:
    bucket.add_lifecycle_delete_rule(number_of_newer_versions=3)
    bucket.patch()
    assert len(list(client.get_bucket(bucket.name).lifecycle_rules)) == 1
    bucket.clear_lifecycle_rules()
    bucket.patch()
    assert list(client.get_bucket(bucket.name).lifecycle_rules) == []


def test_the_location_stays(bucket: Any, client: Any) -> None:
    with pytest.raises(google.BadRequest, match="location"):
        client._connection.api_request(method="PATCH", path=bucket.path, data={"location": "us-east1"})


def test_a_taken_name_is_a_conflict_and_a_missing_one_not_found(bucket: Any, client: Any) -> None:
    with pytest.raises(google.Conflict, match="already own it"):
        client.create_bucket(bucket.name)
    assert client.lookup_bucket("never-made") is None
    assert client.bucket("never-made").exists() is False
    assert bucket.exists() is True
    for call in (client.bucket("never-made").delete, client.bucket("never-made").blob("x").reload):
        with pytest.raises(google.NotFound):
            call()
    with pytest.raises(google.NotFound, match="bucket does not exist"):
        list(client.list_blobs("never-made"))


@pytest.mark.parametrize(
    "name", ["ab", "Upper", "a" * 64, "-dash", "dash-", "goog-x", "my-google-b", "192.168.5.4", "a..b"]
)
def test_a_bad_name_is_refused(client: Any, name: str) -> None:
    with pytest.raises((google.BadRequest, ValueError)):
        client._connection.api_request(method="POST", path="/b", query_params={"project": "p"}, data={"name": name})


def test_buckets_are_listed_by_project_prefix_and_page(shared_standin: Any, connect: Any) -> None:
    mine = connect(shared_standin.url, "lister")
    for name in ("list-c", "list-a", "list-b", "other-a"):
        mine.create_bucket(name)
    assert [found.name for found in mine.list_buckets()] == ["list-a", "list-b", "list-c", "other-a"]
    assert [found.name for found in mine.list_buckets(prefix="list-", page_size=2)] == ["list-a", "list-b", "list-c"]
    assert list(connect(shared_standin.url, "nobody").list_buckets()) == []


def test_only_an_empty_bucket_is_deleted(versioned: Any, client: Any) -> None:
    versioned.blob("old").upload_from_string("1")
    versioned.delete_blob("old")
    with pytest.raises(google.Conflict, match="not empty"):
        versioned.delete()
    for old in client.list_blobs(versioned.name, versions=True):
        versioned.delete_blob(old.name, generation=old.generation)
    versioned.delete()
    assert versioned.exists() is False


def test_bucket_preconditions(bucket: Any) -> None:
    bucket.reload(if_metageneration_match=1)
    for call in (bucket.reload, bucket.patch, bucket.update, bucket.delete):
        with pytest.raises(google.PreconditionFailed):
            call(if_metageneration_match=7)
    bucket.labels = {"x": "y"}
    bucket.patch(if_metageneration_match=1)
    assert bucket.metageneration == 2


def test_the_policy_is_kept_and_guarded_by_its_etag(bucket: Any) -> None:
    policy = bucket.get_iam_policy(requested_policy_version=3)
    assert any(binding["role"] == "roles/storage.legacyBucketOwner" for binding in policy.bindings)
    stale = bucket.get_iam_policy(requested_policy_version=3)
    policy.bindings.append(
        {"role": "roles/storage.objectViewer", "members": {"serviceAccount:a@b.iam.gserviceaccount.com"}}
    )
    saved = bucket.set_iam_policy(policy)
    assert saved.etag != stale.etag
    roles = {binding["role"] for binding in bucket.get_iam_policy(requested_policy_version=3).bindings}
    assert "roles/storage.objectViewer" in roles
    with pytest.raises(google.PreconditionFailed):
        bucket.set_iam_policy(stale)


def test_permissions_are_tested(bucket: Any) -> None:
    asked = ["storage.objects.get", "storage.buckets.get"]
    assert bucket.test_iam_permissions(asked) == asked
    with pytest.raises(google.BadRequest):
        bucket.test_iam_permissions(["compute.instances.get"])


def test_the_project_has_a_service_account(client: Any) -> None:
    assert client.get_service_account_email().endswith("@gs-project-accounts.iam.gserviceaccount.com")


def test_bad_settings_are_refused_with_the_field(bucket: Any, client: Any) -> None:
    bad = ({"labels": 5}, {"versioning": {"enabled": "yes"}}, {"lifecycle": {"rule": 1}}, {"storageClass": "FAST"})
    for body in bad:
        with pytest.raises(google.BadRequest):
            client._connection.api_request(method="PATCH", path=bucket.path, data=body)
    assert client.get_bucket(bucket.name).metageneration == 1


def test_what_a_place_and_another_owner_are_called(client: Any, shared_standin: Any, connect: Any) -> None:
    kinds = {"eu": "multi-region", "nam4": "dual-region", "europe-west1": "region"}
    for number, (location, kind) in enumerate(kinds.items()):
        assert client.create_bucket(f"placed-{number}", location=location).location_type == kind
    client.create_bucket("placed-pair", data_locations=["US-EAST1", "US-WEST1"], location="US")
    assert client.get_bucket("placed-pair").location_type == "dual-region"
    assert client.get_bucket("placed-0").generation > 1_500_000_000_000_000
    with pytest.raises(google.Conflict, match="you already own it"):
        client.create_bucket("placed-0")
    with pytest.raises(google.Conflict, match="not available"):
        connect(shared_standin.url, "somebody-else").create_bucket("placed-0")


def test_deleted_buckets_are_nowhere(client: Any, bucket: Any) -> None:
    assert list(client.list_buckets(soft_deleted=True)) == []
    with pytest.raises(google.NotFound):
        client.get_bucket(bucket.name, generation=bucket.generation, soft_deleted=True)


@pytest.mark.parametrize(
    "settings",
    [{"labels": {"A": "b"}}, {"labels": {"a b": "c"}}, {"labels": {"1a": "c"}}, {"labels": {"a": "B"}}, {"rpo": "NOW"},
     {"autoclass": {"enabled": True, "terminalStorageClass": "STANDARD"}}],
)  # fmt: skip
def test_values_that_google_does_not_know_are_refused(client: Any, bucket: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(google.BadRequest):
        client._connection.api_request("PATCH", f"/b/{bucket.name}", data=settings)
    client._connection.api_request("PATCH", f"/b/{bucket.name}", data={"labels": {"ä-b_1": "ö-2", "c": ""}})
    bucket.reload()
    assert bucket.labels == {"ä-b_1": "ö-2", "c": ""}
