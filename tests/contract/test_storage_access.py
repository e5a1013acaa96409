"""Who may do what, as far as it is kept: policies, access lists, uniform access, public access prevention."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions as google

pytestmark = pytest.mark.process


@pytest.fixture
def uniform(client: Any, bucket: Any) -> Any:
    bucket.iam_configuration.uniform_bucket_level_access_enabled = True
    bucket.patch()
    return bucket


@pytest.fixture
def private(bucket: Any) -> Any:
    bucket.iam_configuration.public_access_prevention = "enforced"
    bucket.patch()
    return bucket


def test_uniform_access_has_no_lists(uniform: Any) -> None:
    uniform.reload()
    configuration = uniform.iam_configuration
    assert configuration.uniform_bucket_level_access_enabled and configuration.bucket_policy_only_enabled
    assert (configuration.uniform_bucket_level_access_locked_time - uniform.updated).days in (89, 90)
    blob = uniform.blob("x")
    blob.upload_from_string("x")
    for refused in (
        uniform.acl.reload,
        uniform.default_object_acl.reload,
        blob.acl.reload,
        blob.make_public,
        uniform.make_public,
        lambda: uniform.blob("y").upload_from_string("y", predefined_acl="publicRead"),
        lambda: uniform.acl.save_predefined("private"),
        lambda: blob.acl.save_predefined("publicRead"),
    ):
        with pytest.raises(google.BadRequest, match="uniform bucket-level access"):
            refused()
    assert [each.name for each in uniform.list_blobs()] == ["x"]


def test_uniform_access_can_be_switched_off_within_90_days(uniform: Any) -> None:
    uniform.iam_configuration.uniform_bucket_level_access_enabled = False
    uniform.patch()
    uniform.reload()
    assert uniform.iam_configuration.uniform_bucket_level_access_enabled is False
    assert "project-owners-" in next(iter(uniform.acl))["entity"]


def test_nothing_becomes_public_where_that_is_prevented(private: Any) -> None:
    assert private.iam_configuration.public_access_prevention == "enforced"
    blob = private.blob("x")
    blob.upload_from_string("x")
    policy = private.get_iam_policy(requested_policy_version=3)
    policy.bindings.append({"role": "roles/storage.objectViewer", "members": {"allUsers"}})
    for refused in (
        blob.make_public,
        private.make_public,
        lambda: private.blob("y").upload_from_string("y", predefined_acl="publicRead"),
        lambda: private.set_iam_policy(policy),
    ):
        with pytest.raises(google.PreconditionFailed, match="public access prevention is enforced"):
            refused()
    private.iam_configuration.public_access_prevention = "inherited"
    private.patch()
    blob.make_public()
    assert {"entity": "allUsers", "role": "READER"} in list(private.get_blob("x").acl)


def test_lists_of_objects_and_buckets(bucket: Any) -> None:
    blob = bucket.blob("x")
    blob.upload_from_string("x", predefined_acl="private")
    assert [entry["role"] for entry in blob.acl] == ["OWNER"]
    blob.acl.user("reader@example.com").grant_read()
    blob.acl.domain("example.com").grant_read()
    blob.acl.save()
    blob.acl.reload()
    assert blob.acl.user("reader@example.com").get_roles() == {"READER"}
    blob.acl.user("reader@example.com").revoke_read()
    blob.acl.save()
    assert "user-reader@example.com" not in {entry["entity"] for entry in bucket.get_blob("x").acl}
    bucket.default_object_acl.all_authenticated().grant_read()
    bucket.default_object_acl.save()
    bucket.blob("y").upload_from_string("y")
    assert "allAuthenticatedUsers" in {entry["entity"] for entry in bucket.blob("y").acl}
    bucket.acl.group("team@example.com").grant_owner()
    bucket.acl.save()
    bucket.reload(projection="full")
    assert {"entity": "group-team@example.com", "role": "OWNER"} in list(bucket.acl)
    assert bucket.owner["entity"].startswith("project-owners-")


def test_lists_are_shown_only_when_asked_for(bucket: Any, shared_standin: Any) -> None:
    bucket.blob("x").upload_from_string("x", predefined_acl="publicRead")
    base = f"/storage/v1/b/{bucket.name}"
    for path in (base, f"{base}/o/x"):
        assert {"acl", "owner"}.isdisjoint(shared_standin.get(path))
        assert shared_standin.get(path + "?projection=full")["acl"]
    entry = shared_standin.get(f"{base}/o/x/acl/allUsers")
    assert (entry["kind"], entry["role"], entry["object"]) == ("storage#objectAccessControl", "READER", "x")


@pytest.mark.parametrize("entry", [{"entity": "everybody", "role": "READER"}, {"entity": "allUsers", "role": "WRITER"}])
def test_senseless_entries_are_refused(bucket: Any, entry: dict[str, str]) -> None:
    bucket.blob("x").upload_from_string("x")
    with pytest.raises(google.BadRequest):
        bucket.client._connection.api_request(method="POST", path=f"/b/{bucket.name}/o/x/acl", data=entry)


def test_a_policy_of_an_older_reading_is_refused(uniform: Any) -> None:
    one, other = (uniform.get_iam_policy(requested_policy_version=3) for _ in range(2))
    one.bindings.append({"role": "roles/storage.objectViewer", "members": {"user:a@example.com"}})
    uniform.set_iam_policy(one)
    other.bindings.append({"role": "roles/storage.objectViewer", "members": {"user:b@example.com"}})
    with pytest.raises(google.PreconditionFailed):
        uniform.set_iam_policy(other)
    members = [binding["members"] for binding in uniform.get_iam_policy(requested_policy_version=3).bindings]
    assert {"user:a@example.com"} in members and {"user:b@example.com"} not in members


def test_conditions_need_version_3_and_uniform_access(bucket: Any) -> None:
    condition = {"title": "t", "expression": 'resource.name.startsWith("x")'}
    policy = bucket.get_iam_policy(requested_policy_version=3)
    binding = {"role": "roles/storage.objectViewer", "members": {"user:a@example.com"}, "condition": condition}
    policy.bindings.append(binding)
    policy.version = 3
    with pytest.raises(google.PreconditionFailed, match="uniform"):
        bucket.set_iam_policy(policy)
    bucket.iam_configuration.uniform_bucket_level_access_enabled = True
    bucket.patch()
    bucket.set_iam_policy(policy)
    kept = bucket.get_iam_policy(requested_policy_version=3).bindings
    assert [each["condition"] for each in kept if "condition" in each] == [condition]


def test_permissions_of_buckets_and_policies_of_objects(bucket: Any) -> None:
    asked = ["storage.buckets.get", "storage.objects.list"]
    assert bucket.test_iam_permissions(asked) == asked
    blob = bucket.blob("x")
    blob.upload_from_string("x")
    assert blob.test_iam_permissions(["storage.objects.get"]) == ["storage.objects.get"]
    policy = blob.get_iam_policy()
    policy["roles/storage.objectViewer"] = ["user:a@example.com"]
    blob.set_iam_policy(policy)
    assert blob.get_iam_policy()["roles/storage.objectViewer"] == {"user:a@example.com"}
    bucket.iam_configuration.uniform_bucket_level_access_enabled = True
    bucket.patch()
    with pytest.raises(google.BadRequest, match="uniform"):
        blob.get_iam_policy()


def test_hmac_keys_live_and_die(client: Any) -> None:
    account = "robot@demo.iam.gserviceaccount.com"
    key, secret = client.create_hmac_key(account)
    assert (key.state, len(secret)) == ("ACTIVE", 40)
    assert key.access_id in {each.access_id for each in client.list_hmac_keys(service_account_email=account)}
    with pytest.raises(google.BadRequest):
        client._connection.api_request(method="DELETE", path=key.path)
    key.state = "INACTIVE"
    key.update()
    key.delete()
    assert key.access_id not in {each.access_id for each in client.list_hmac_keys()}
    assert key.access_id in {each.access_id for each in client.list_hmac_keys(show_deleted_keys=True)}
    with pytest.raises(google.NotFound):
        client.get_hmac_key_metadata("GOOGNONE").reload()


def test_notifications_are_kept(bucket: Any) -> None:
    made = bucket.notification(
        "changes", topic_project="demo-project", payload_format="JSON_API_V1", event_types=["OBJECT_DELETE"]
    )
    made.create()
    (listed,) = bucket.list_notifications()
    assert (listed.notification_id, listed.topic_name, listed.event_types) == (
        made.notification_id,
        "changes",
        ["OBJECT_DELETE"],
    )
    assert bucket.get_notification(made.notification_id).payload_format == "JSON_API_V1"
    listed.delete()
    assert not made.exists() and list(bucket.list_notifications()) == []
    with pytest.raises(google.BadRequest):
        bucket.client._connection.api_request(
            method="POST", path=f"/b/{bucket.name}/notificationConfigs", data={"topic": "t", "payload_format": "NONE"}
        )
    with pytest.raises(google.BadRequest, match="OBJECT_FINALIZE"):
        bucket.notification("changes", topic_project="demo-project", event_types=["CREATED"]).create()


def test_a_policy_with_conditions_is_not_told_in_an_older_version(uniform: Any) -> None:
    assert uniform.get_iam_policy(requested_policy_version=1).version == 1
    policy = uniform.get_iam_policy(requested_policy_version=3)
    policy.version = 3
    condition = {"title": "t", "expression": "true"}
    policy.bindings.append({"role": "roles/storage.objectViewer", "members": {"user:a@b.c"}, "condition": condition})
    uniform.set_iam_policy(policy)
    with pytest.raises(google.BadRequest, match="version 3"):
        uniform.get_iam_policy(requested_policy_version=1)
    assert uniform.get_iam_policy(requested_policy_version=3).version == 3
