"""Keys and tokens of service accounts, with Google's own authentication library and with cryptography."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from googleapiclient.errors import HttpError

from scripts.cloud import discovery
from tests.contract.run_support import api

pytestmark = pytest.mark.process
PROJECT = "projects/demo"


class Accounts:
    """Clients of IAM and of its credentials on one stand-in."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.iam = api(url, "iam", "v1").projects().serviceAccounts()
        self.credentials = api(url, "iamcredentials", "v1").projects().serviceAccounts()

    def create(self, account_id: str) -> Any:
        return self.iam.create(name=PROJECT, body={"accountId": account_id}).execute()

    def iam_do(self, request: Any, schema: str) -> Any:
        answer = request.execute()
        discovery.validate("iam", "v1", schema, answer)
        return answer

    def do(self, request: Any, schema: str) -> Any:
        answer = request.execute()
        discovery.validate("iamcredentials", "v1", schema, answer)
        return answer


@pytest.fixture(scope="module")
def accounts(shared_standin: Any) -> Accounts:
    return Accounts(shared_standin.url)


def refused(request: Any) -> int:
    with pytest.raises(HttpError) as caught:
        request.execute()
    return int(caught.value.resp.status)


def verify(accounts: Accounts, name: str, key_id: str, signature: bytes, data: bytes) -> None:
    """Raises unless the signature is that of the account's key."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    wanted = accounts.iam.keys().get(name=f"{name}/keys/{key_id}", publicKeyType="TYPE_X509_PEM_FILE")
    pem = base64.b64decode(accounts.iam_do(wanted, "ServiceAccountKey")["publicKeyData"])
    key = serialization.load_pem_public_key(pem)
    assert isinstance(key, rsa.RSAPublicKey)
    key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())


def test_a_key_file_gets_a_token_from_the_stand_in(accounts: Accounts) -> None:
    from google.auth.transport.requests import Request
    from google.oauth2 import service_account

    account = accounts.create("with-key")
    keys = accounts.iam.keys()
    made = accounts.iam_do(keys.create(name=account["name"], body={}), "ServiceAccountKey")
    file = json.loads(base64.b64decode(made["privateKeyData"]))
    scopes = ["https://www.googleapis.com/auth/cloud-platform"]
    found = service_account.Credentials.from_service_account_info(file, scopes=scopes)
    found.refresh(Request())
    assert found.token == f"stand-in.{account['email']}" and found.valid
    identity = service_account.IDTokenCredentials.from_service_account_info(file, target_audience="https://api")
    identity.refresh(Request())
    assert json.loads(base64.urlsafe_b64decode(identity.token.split(".")[1] + "=="))["aud"] == "https://api"
    accounts.iam.disable(name=account["name"], body={}).execute()
    with pytest.raises(Exception, match="invalid_grant"):
        found.refresh(Request())


def test_keys_live_their_life(accounts: Accounts) -> None:
    account = accounts.create("key-life")
    keys, name = accounts.iam.keys(), account["name"]
    made = keys.create(name=name, body={"keyAlgorithm": "KEY_ALG_RSA_2048"}).execute()
    listed = accounts.iam_do(keys.list(name=name), "ListServiceAccountKeysResponse")["keys"]
    assert sorted(each["keyType"] for each in listed) == ["SYSTEM_MANAGED", "USER_MANAGED"]
    own = keys.list(name=name, keyTypes="USER_MANAGED").execute()["keys"]
    assert [each["name"] for each in own] == [made["name"]] and "privateKeyData" not in own[0]
    keys.disable(name=made["name"], body={}).execute()
    assert accounts.iam_do(keys.get(name=made["name"]), "ServiceAccountKey")["disabled"]
    keys.enable(name=made["name"], body={}).execute()
    assert "disabled" not in keys.get(name=made["name"]).execute()
    keys.delete(name=made["name"]).execute()
    assert refused(keys.get(name=made["name"])) == 404
    system = next(each["name"] for each in listed if each["keyType"] == "SYSTEM_MANAGED")
    assert refused(keys.delete(name=system)) == 400


def test_what_an_account_signs_is_verified_with_its_key(accounts: Accounts) -> None:
    account = accounts.create("signing-one")
    name, anywhere = account["name"], f"projects/-/serviceAccounts/{account['email']}"
    payload = base64.b64encode(b"to be signed").decode()
    signed = accounts.do(accounts.credentials.signBlob(name=anywhere, body={"payload": payload}), "SignBlobResponse")
    verify(accounts, name, signed["keyId"], base64.b64decode(signed["signedBlob"]), b"to be signed")
    claims = json.dumps({"sub": "x"})
    jwt = accounts.do(accounts.credentials.signJwt(name=anywhere, body={"payload": claims}), "SignJwtResponse")
    head, body, signature = jwt["signedJwt"].split(".")
    verify(accounts, name, jwt["keyId"], base64.urlsafe_b64decode(signature + "=="), f"{head}.{body}".encode())


def test_tokens_are_those_of_their_account(accounts: Accounts) -> None:
    account = accounts.create("with-tokens")
    name = f"projects/-/serviceAccounts/{account['email']}"
    scope = ["https://www.googleapis.com/auth/cloud-platform"]
    body = {"scope": scope, "lifetime": "600s"}
    made = accounts.do(accounts.credentials.generateAccessToken(name=name, body=body), "GenerateAccessTokenResponse")
    assert made["accessToken"].endswith(account["email"]) and made["expireTime"].endswith("Z")
    asked = accounts.credentials.generateIdToken(name=name, body={"audience": "https://api", "includeEmail": True})
    claims = accounts.do(asked, "GenerateIdTokenResponse")["token"].split(".")[1]
    assert json.loads(base64.urlsafe_b64decode(claims + "=="))["email"] == account["email"]
    for bad in ({}, {"scope": scope, "lifetime": "1d"}, {"scope": scope, "lifetime": "99999s"}):
        assert refused(accounts.credentials.generateAccessToken(name=name, body=bad)) == 400
    assert refused(accounts.credentials.generateIdToken(name=name, body={})) == 400
    accounts.iam.disable(name=account["name"], body={}).execute()
    assert refused(accounts.credentials.generateAccessToken(name=name, body=body)) == 400
    assert refused(accounts.credentials.signBlob(name=f"{name}x", body={"payload": ""})) == 404


def test_a_deleted_account_is_restored_by_its_unique_id(accounts: Accounts) -> None:
    account = accounts.create("comes-back")
    changed = accounts.iam_do(
        accounts.iam.update(name=account["name"], body={"displayName": "New", "etag": account["etag"]}),
        "ServiceAccount",
    )
    accounts.iam.delete(name=account["name"]).execute()
    gone = f"{PROJECT}/serviceAccounts/{account['uniqueId']}"
    restored = accounts.iam_do(accounts.iam.undelete(name=gone, body={}), "UndeleteServiceAccountResponse")
    assert restored["restoredAccount"] == changed == accounts.iam.get(name=account["name"]).execute()
    assert refused(accounts.iam.undelete(name=gone, body={})) == 404


def test_a_project_has_its_ancestry(accounts: Accounts) -> None:
    projects = api(accounts.url, "cloudresourcemanager", "v1").projects()
    found = projects.getAncestry(projectId="demo", body={}).execute()
    discovery.validate("cloudresourcemanager", "v1", "GetAncestryResponse", found)
    assert found["ancestor"] == [{"resourceId": {"type": "project", "id": "demo"}}]
    listed = api(accounts.url, "cloudresourcemanager", "v3").projects().list(parent="folders/0").execute()
    discovery.validate("cloudresourcemanager", "v3", "ListProjectsResponse", listed)
    assert "demo" in {each["projectId"] for each in listed["projects"]}
