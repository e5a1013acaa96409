"""KMS, Secret Manager, IAM, Service Usage and Resource Manager through googleapiclient, answers checked by schema."""

from __future__ import annotations

import base64
import hashlib
import stat
from typing import Any

import pytest

from scripts.cloud import discovery
from tests.contract.run_support import api

pytestmark = pytest.mark.process
LOCATION = "projects/demo/locations/europe-west1"
BODY_64 = base64.b64encode(b"s3cret").decode()


class Apis:
    """Clients on one stand-in; do() sends a request and checks the answer against a schema."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._clients: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._clients:
            self._clients[name] = api(self._url, *name.split("."))
        return self._clients[name].projects()

    def do(self, name: str, request: Any, schema: str) -> Any:
        answer = request.execute()
        discovery.validate(*name.split("."), schema, answer)
        return answer


@pytest.fixture(scope="module")
def apis(shared_standin: Any) -> Apis:
    return Apis(shared_standin.url)


def refused(request: Any) -> tuple[int, str]:
    from googleapiclient.errors import HttpError

    with pytest.raises(HttpError) as caught:
        request.execute()
    return int(caught.value.resp.status), caught.value.content.decode()


def signing_key(apis: Apis, ring: str) -> str:
    rings = apis["cloudkms.v1"].locations().keyRings()
    made = apis.do("cloudkms.v1", rings.create(parent=LOCATION, keyRingId=ring, body={}), "KeyRing")
    key = {"purpose": "ASYMMETRIC_SIGN", "versionTemplate": {"algorithm": "EC_SIGN_P256_SHA256"}}
    create = rings.cryptoKeys().create(parent=made["name"], cryptoKeyId="signing", body=key)
    return str(apis.do("cloudkms.v1", create, "CryptoKey")["name"])


def test_a_signature_of_kms_is_verified_by_securesystemslib(apis: Apis, shared_standin: Any) -> None:
    from scripts.cloud.kms import open_signer

    version = f"{signing_key(apis, 'signatures')}/cryptoKeyVersions/1"
    signer = open_signer(version, endpoint=shared_standin.url)
    signature = signer.sign(b"the payload")
    signer.public_key.verify_signature(signature, b"the payload")
    from securesystemslib.exceptions import UnverifiedSignatureError

    with pytest.raises(UnverifiedSignatureError):
        signer.public_key.verify_signature(signature, b"another payload")
    files = [path for path in (shared_standin.state / "kms").iterdir() if b"PRIVATE" in path.read_bytes()]
    assert files and all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)


def test_versions_of_a_key_live_their_life(apis: Apis, shared_standin: Any) -> None:
    key = signing_key(apis, "life")
    versions = apis["cloudkms.v1"].locations().keyRings().cryptoKeys().cryptoKeyVersions()
    second = apis.do("cloudkms.v1", versions.create(parent=key, body={}), "CryptoKeyVersion")["name"]
    listed = apis.do("cloudkms.v1", versions.list(parent=key), "ListCryptoKeyVersionsResponse")
    assert [each["name"][-2:] for each in listed["cryptoKeyVersions"]] == ["/1", "/2"] and listed["totalSize"] == 2
    off = versions.patch(name=second, updateMask="state", body={"state": "DISABLED"})
    assert apis.do("cloudkms.v1", off, "CryptoKeyVersion")["state"] == "DISABLED"
    digest = base64.b64encode(hashlib.sha256(b"").digest()).decode()
    code, text = refused(versions.asymmetricSign(name=second, body={"digest": {"sha256": digest}}))
    assert code == 400 and "FAILED_PRECONDITION" in text and "DISABLED" in text
    gone = apis.do("cloudkms.v1", versions.destroy(name=second, body={}), "CryptoKeyVersion")
    assert gone["state"] == "DESTROY_SCHEDULED"
    assert versions.restore(name=second, body={}).execute()["state"] == "DISABLED"
    versions.destroy(name=second, body={}).execute()
    shared_standin.post("/_local/clock", {"advance_s": 31 * 86400})
    assert apis.do("cloudkms.v1", versions.get(name=second), "CryptoKeyVersion")["state"] == "DESTROYED"


def test_kms_refuses_what_it_cannot_vouch_for(apis: Apis) -> None:
    key = signing_key(apis, "refusals")
    keys = apis["cloudkms.v1"].locations().keyRings().cryptoKeys()
    sign, version = keys.cryptoKeyVersions().asymmetricSign, f"{key}/cryptoKeyVersions/1"
    digest = base64.b64encode(hashlib.sha256(b"x").digest()).decode()
    assert "did not match" in refused(sign(name=version, body={"digest": {"sha256": digest}, "digestCrc32c": "1"}))[1]
    assert "32 bytes" in refused(sign(name=version, body={"digest": {"sha256": "AAAA"}}))[1]
    assert "Exactly one" in refused(sign(name=version, body={}))[1]
    assert refused(sign(name=version, body={"digest": {"sha256": digest}, "extra": 1}))[0] == 400
    data = {"data": base64.b64encode(b"x").decode()}
    apis.do("cloudkms.v1", sign(name=version, body=data), "AsymmetricSignResponse")
    ring = key.partition("/cryptoKeys/")[0]
    rsa = {"purpose": "ASYMMETRIC_SIGN", "versionTemplate": {"algorithm": "RSA_SIGN_PSS_2048_SHA256"}}
    assert "imitated here" in refused(keys.create(parent=ring, cryptoKeyId="rsa", body=rsa))[1]
    assert refused(keys.create(parent=ring, cryptoKeyId="signing", body={"purpose": "ENCRYPT_DECRYPT"}))[0] == 409
    assert refused(keys.get(name=f"{ring}/cryptoKeys/none"))[0] == 404
    for text, words in (("soon", "google.protobuf.Duration"), ("5s", "86400s")):
        soon = {"purpose": "ENCRYPT_DECRYPT", "destroyScheduledDuration": text}
        assert words in refused(keys.create(parent=ring, cryptoKeyId="soon", body=soon))[1]
    symmetric = keys.create(parent=ring, cryptoKeyId="cmek", body={"purpose": "ENCRYPT_DECRYPT"})
    made = apis.do("cloudkms.v1", symmetric, "CryptoKey")
    assert made["primary"]["algorithm"] == "GOOGLE_SYMMETRIC_ENCRYPTION"
    assert "no public key" in refused(keys.cryptoKeyVersions().getPublicKey(name=made["primary"]["name"]))[1]


def test_a_secret_lives_its_life(apis: Apis, shared_standin: Any) -> None:
    name, secrets = "secretmanager.v1", apis["secretmanager.v1"].secrets()
    body = {"replication": {"automatic": {}}, "labels": {"team": "a"}}
    made = apis.do(name, secrets.create(parent="projects/demo", secretId="token", body=body), "Secret")
    assert refused(secrets.create(parent="projects/demo", secretId="token", body=body))[0] == 409
    for data in ("b25l", BODY_64):
        add = secrets.addVersion(parent=made["name"], body={"payload": {"data": data}})
        apis.do(name, add, "SecretVersion")
    versions = secrets.versions()
    latest = apis.do(name, versions.access(name=f"{made['name']}/versions/latest"), "AccessSecretVersionResponse")
    assert latest["name"].endswith("/2") and latest["payload"]["data"] == BODY_64
    listed = apis.do(name, versions.list(parent=made["name"], pageSize=1), "ListSecretVersionsResponse")
    assert listed["versions"][0]["name"].endswith("/2") and listed["totalSize"] == 2 and listed["nextPageToken"]
    first = f"{made['name']}/versions/1"
    assert versions.disable(name=first, body={}).execute()["state"] == "DISABLED"
    assert "DISABLED" in refused(versions.access(name=first))[1]
    assert versions.enable(name=first, body={}).execute()["state"] == "ENABLED"
    assert "destroyTime" in apis.do(name, versions.destroy(name=first, body={}), "SecretVersion")
    assert refused(versions.enable(name=first, body={}))[0] == 400
    patch = secrets.patch(name=made["name"], updateMask="labels", body={"labels": {"team": "b"}})
    assert apis.do(name, patch, "Secret")["labels"] == {"team": "b"}
    kept = [path for path in (shared_standin.state / "secrets").iterdir() if path.read_bytes() == b"s3cret"]
    assert len(kept) == 1 and stat.S_IMODE(kept[0].stat().st_mode) == 0o600
    secrets.delete(name=made["name"]).execute()
    assert not kept[0].exists() and refused(secrets.get(name=made["name"]))[0] == 404


@pytest.mark.parametrize(
    "payload", [{"data": "not base64!"}, {}, {"data": BODY_64, "dataCrc32c": "1"}, {"data": 1}, {"data": "A" * 100_000}]
)
def test_bad_payloads_are_refused(apis: Apis, payload: dict[str, Any]) -> None:
    secrets = apis["secretmanager.v1"].secrets()
    secret_id = f"bad-{abs(hash(str(payload)))}"
    made = secrets.create(parent="projects/demo", secretId=secret_id, body={"replication": {"automatic": {}}}).execute()
    assert refused(secrets.addVersion(parent=made["name"], body={"payload": payload}))[0] == 400


def test_service_accounts(apis: Apis) -> None:
    accounts = apis["iam.v1"].serviceAccounts()
    body = {"accountId": "sync-job", "serviceAccount": {"displayName": "Sync"}}
    made = apis.do("iam.v1", accounts.create(name="projects/demo", body=body), "ServiceAccount")
    assert made["email"] == "sync-job@demo.iam.gserviceaccount.com" and made["displayName"] == "Sync"
    for name in (
        made["name"],
        f"projects/-/serviceAccounts/{made['email']}",
        made["name"].replace(made["email"], made["uniqueId"]),
    ):
        assert apis.do("iam.v1", accounts.get(name=name), "ServiceAccount") == made
    assert refused(accounts.create(name="projects/demo", body=body))[0] == 409
    assert refused(accounts.create(name="projects/demo", body={"accountId": "x"}))[0] == 400
    listed = apis.do("iam.v1", accounts.list(name="projects/demo"), "ListServiceAccountsResponse")
    assert made in listed["accounts"]
    binding = {"role": "roles/iam.workloadIdentityUser", "members": ["user:a@example.com", "user:a@example.com"]}
    changed = accounts.setIamPolicy(resource=made["name"], body={"policy": {"bindings": [binding]}})
    policy = apis.do("iam.v1", changed, "Policy")
    assert policy["bindings"][0]["members"] == ["user:a@example.com"]
    assert accounts.getIamPolicy(resource=made["name"]).execute() == policy
    accounts.delete(name=made["name"]).execute()
    assert refused(accounts.get(name=made["name"]))[0] == 404


def test_services_are_enabled(apis: Apis) -> None:
    name, services = "serviceusage.v1", api(apis._url, "serviceusage", "v1").services()
    run = "projects/enabling/services/run.googleapis.com"
    assert apis.do(name, services.get(name=run), "GoogleApiServiceusageV1Service")["state"] == "DISABLED"
    done = apis.do(name, services.enable(name=run, body={}), "Operation")
    assert done["done"] and done["response"]["service"]["state"] == "ENABLED"
    wanted = {"serviceIds": ["cloudkms.googleapis.com", "unheard.googleapis.com"]}
    apis.do(name, services.batchEnable(parent="projects/enabling", body=wanted), "Operation")
    listed = apis.do(name, services.list(parent="projects/enabling", filter="state:ENABLED"), "ListServicesResponse")
    found = [each["config"]["name"].partition(".")[0] for each in listed["services"]]
    assert found == ["cloudkms", "run", "unheard"]
    assert refused(services.enable(name="projects/enabling/services/nonsense", body={}))[0] == 403


def test_a_projects_policy_is_changed_by_compare_and_swap(apis: Apis) -> None:
    name, projects = "cloudresourcemanager.v1", apis["cloudresourcemanager.v1"]
    found = apis.do(name, projects.get(projectId="demo"), "Project")
    assert found["projectId"] == "demo" and found["lifecycleState"] == "ACTIVE"
    newer = apis.do("cloudresourcemanager.v3", apis["cloudresourcemanager.v3"].get(name="projects/demo"), "Project")
    assert newer["name"] == f"projects/{found['projectNumber']}"
    policy = apis.do(name, projects.getIamPolicy(resource="demo", body={}), "Policy")
    binding = {"role": "roles/viewer", "members": ["group:ops@example.com"]}
    change = {"policy": {**policy, "bindings": [binding]}}
    apis.do(name, projects.setIamPolicy(resource="demo", body=change), "Policy")
    code, text = refused(projects.setIamPolicy(resource="demo", body=change))
    assert code == 409 and "ABORTED" in text
    assert apis["cloudresourcemanager.v3"].getIamPolicy(resource="projects/demo").execute()["bindings"] == [binding]


@pytest.mark.parametrize(
    "policy",
    [
        {"bindings": [{"role": "viewer", "members": ["user:a@b"]}]},
        {"bindings": [{"role": "roles/viewer", "members": ["a@b"]}]},
        {"version": 2},
        {"bindings": [{"role": "roles/viewer", "members": ["user:a@b"], "condition": {"expression": "true"}}]},
        {"bindings": {}},
        {"rules": []},
    ],
)
def test_bad_policies_are_refused(apis: Apis, policy: dict[str, Any]) -> None:
    projects = apis["cloudresourcemanager.v1"]
    assert refused(projects.setIamPolicy(resource="other", body={"policy": policy}))[0] == 400
