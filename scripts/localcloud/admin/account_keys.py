"""Keys and tokens of service accounts: IAM's keys, signBlob and signJwt, and iamcredentials' tokens.

A key made for a user leaves with the answer and is not kept here, as at Google; its token_uri is the stand-in's own, so
that Google's libraries get a token for it. Tokens name their account; access tokens sign nothing. Keys of the system
(one an account) lie in a Vault: `accounts/` under the state folder.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from scripts.localcloud.admin.documents import Document, Documents, body
from scripts.localcloud.admin.vault import Vault
from scripts.localcloud.context import Context
from scripts.localcloud.web import ApiError, Request, Response, Route

_ACCOUNT = "/v1/projects/{project}/serviceAccounts/{account}"
_KEYS, _OP = f"{_ACCOUNT}/keys", "iam.projects.serviceAccounts"
_CREDENTIALS = "iamcredentials.projects.serviceAccounts"
_LONGEST_S = 12 * 3600
_USER, _SYSTEM = "USER_MANAGED", "SYSTEM_MANAGED"
_FOREVER = "9999-12-31T23:59:59Z"
_TOKEN_PATH = "/_local/token"


class AccountKeys:
    """need(request) gives the account that a path names, or raises ApiError 404."""

    def __init__(self, context: Context, documents: Documents, need: Callable[[Request], Document]) -> None:
        self._context = context
        self._documents = documents
        self._need = need
        self._vault = Vault(context.folder("accounts"))
        self._making = asyncio.Lock()

    def routes(self) -> list[Route]:
        return [
            Route("POST", _KEYS, self._create, f"{_OP}.keys.create"),
            Route("GET", _KEYS, self._list, f"{_OP}.keys.list"),
            Route("GET", f"{_KEYS}/{{key}}", self._get, f"{_OP}.keys.get"),
            Route("DELETE", f"{_KEYS}/{{key}}", self._delete, f"{_OP}.keys.delete"),
            Route("POST", f"{_KEYS}/{{key}}:disable", self._disable, f"{_OP}.keys.disable"),
            Route("POST", f"{_KEYS}/{{key}}:enable", self._enable, f"{_OP}.keys.enable"),
            Route("POST", f"{_ACCOUNT}:signBlob", self._sign_blob, f"{_CREDENTIALS}.signBlob"),
            Route("POST", f"{_ACCOUNT}:signJwt", self._sign_jwt, f"{_CREDENTIALS}.signJwt"),
            Route("POST", f"{_ACCOUNT}:generateAccessToken", self._access, f"{_CREDENTIALS}.generateAccessToken"),
            Route("POST", f"{_ACCOUNT}:generateIdToken", self._identity, f"{_CREDENTIALS}.generateIdToken"),
            Route("POST", _TOKEN_PATH, self._token, "local.token"),
        ]

    def forget(self, account: str) -> None:
        """The account is gone: its private key too."""
        for key in self._documents.children(f"{account}/keys"):
            self._vault.remove(key["name"])

    async def _create(self, request: Request) -> Response:
        account = self._need(request)
        given = await body(request, "iam.v1", "CreateServiceAccountKeyRequest", "request")
        if given.get("privateKeyType", "TYPE_GOOGLE_CREDENTIALS_FILE") != "TYPE_GOOGLE_CREDENTIALS_FILE":
            raise ApiError(400, "privateKeyType: expected TYPE_GOOGLE_CREDENTIALS_FILE (imitated here).")
        made, private = await self._make(account, _USER)
        file = {
            "type": "service_account", "project_id": account["projectId"],
            "private_key_id": made["name"].rpartition("/")[2], "private_key": private.decode(),
            "client_email": account["email"], "client_id": account["uniqueId"],
            "auth_uri": f"{self._context.url}/_local/auth", "token_uri": f"{self._context.url}{_TOKEN_PATH}",
            "universe_domain": "googleapis.com",
        }  # fmt: skip
        data = base64.b64encode(json.dumps(file, indent=2).encode()).decode()
        shown = {**_shown(made), "privateKeyType": "TYPE_GOOGLE_CREDENTIALS_FILE", "privateKeyData": data}
        return Response.of_json(shown)

    async def _list(self, request: Request) -> Response:
        account, kinds = self._need(request), request.query_all.get("keyTypes") or [_USER, _SYSTEM]
        await self._system(account)
        found = self._documents.children(f"{account['name']}/keys")
        return Response.of_json({"keys": [_shown(each) for each in found if each["keyType"] in kinds]})

    async def _get(self, request: Request) -> Response:
        key = self._key(request)
        wanted = request.query.get("publicKeyType", "TYPE_NONE")
        return Response.of_json(_shown(key) if wanted == "TYPE_NONE" else _with_public(key))

    async def _delete(self, request: Request) -> Response:
        key = self._key(request)
        if key["keyType"] == _SYSTEM:
            raise ApiError(400, "A key that the system manages cannot be deleted.", status="FAILED_PRECONDITION")
        self._documents.delete(key["name"])
        return Response.of_json({})

    async def _disable(self, request: Request) -> Response:
        self._documents.save(self._key(request)["name"], {**self._key(request), "disabled": True})
        return Response.of_json({})

    async def _enable(self, request: Request) -> Response:
        key = self._key(request)
        key.pop("disabled", None)
        self._documents.save(key["name"], key)
        return Response.of_json({})

    async def _sign_blob(self, request: Request) -> Response:
        """As iamcredentials does it; IAM's own method of this path is withdrawn."""
        account = self._enabled(request)
        given = await body(request, "iamcredentials.v1", "SignBlobRequest", "request")
        try:
            data = base64.b64decode(given.get("payload") or "", validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise ApiError(400, "payload: expected base64.") from None
        key_id, signature = await self._sign(account, data)
        return Response.of_json({"keyId": key_id, "signedBlob": base64.b64encode(signature).decode()})

    async def _sign_jwt(self, request: Request) -> Response:
        account = self._enabled(request)
        given = await body(request, "iamcredentials.v1", "SignJwtRequest", "request")
        try:
            claims = json.loads(given.get("payload") or "")
        except (ValueError, TypeError, RecursionError):
            claims = None
        if not isinstance(claims, dict):
            raise ApiError(400, "payload: expected the claims as a JSON object in a text.")
        key_id, token = await self._jwt(account, claims)
        return Response.of_json({"keyId": key_id, "signedJwt": token})

    async def _access(self, request: Request) -> Response:
        account = self._enabled(request)
        given = await body(request, "iamcredentials.v1", "GenerateAccessTokenRequest", "request")
        if not given.get("scope"):
            raise ApiError(400, "scope: at least one is required.")
        text = str(given.get("lifetime") or "3600s")
        number = text.removesuffix("s")
        if not (text.endswith("s") and number.isascii() and number.isdigit() and 0 < int(number[:9]) <= _LONGEST_S):
            raise ApiError(400, f"lifetime: expected 1s to {_LONGEST_S}s, found {text[:50]!r}.")
        expires = datetime.fromtimestamp(self._context.clock() + int(number), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Response.of_json({"accessToken": f"stand-in.{account['email']}", "expireTime": expires})

    async def _identity(self, request: Request) -> Response:
        account = self._enabled(request)
        given = await body(request, "iamcredentials.v1", "GenerateIdTokenRequest", "request")
        if not given.get("audience"):
            raise ApiError(400, "audience: required.")
        return Response.of_json({"token": await self._identity_token(account, given["audience"])})

    async def _token(self, request: Request) -> Response:
        """What a client sends that has a key: an assertion, whose signature nobody checks (RFC 7523)."""
        from urllib.parse import parse_qs

        given = parse_qs((await request.read()).decode(errors="replace"))
        try:
            part = given["assertion"][0].split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
            email = str(claims["iss"])
        except (KeyError, IndexError, TypeError, ValueError, RecursionError):
            return Response.of_json({"error": "invalid_grant", "error_description": "Invalid JWT"}, 400)
        project = email.partition("@")[2].partition(".")[0]
        account = self._documents.read(f"projects/{project}/serviceAccounts/{email}")
        if account is None or account.get("disabled"):
            return Response.of_json({"error": "invalid_grant", "error_description": "Invalid grant: account"}, 400)
        if "target_audience" in claims:
            return Response.of_json({"id_token": await self._identity_token(account, claims["target_audience"])})
        token = {"access_token": f"stand-in.{email}", "expires_in": 3600, "token_type": "Bearer"}
        return Response.of_json(token)

    def _enabled(self, request: Request) -> Document:
        account = self._need(request)
        if account.get("disabled"):
            raise ApiError(400, f"Service account {account['email']} is disabled.", status="FAILED_PRECONDITION")
        return account

    def _key(self, request: Request) -> Document:
        return self._documents.need(
            f"{self._need(request)['name']}/keys/{request.params['key']}", "Service account key"
        )

    async def _make(self, account: Document, kind: str) -> tuple[Document, bytes]:
        private, public = await asyncio.to_thread(_generate)
        name = f"{account['name']}/keys/{secrets.token_hex(20)}"
        made: Document = {"name": name, "keyAlgorithm": "KEY_ALG_RSA_2048", "keyType": kind}
        made |= {"keyOrigin": "GOOGLE_PROVIDED", "validAfterTime": self._context.now(), "validBeforeTime": _FOREVER}
        made["publicPem"] = public.decode()
        return self._documents.save(name, made), private

    async def _system(self, account: Document) -> Document:
        """The account's own key, made when it is first needed."""
        async with self._making:
            for key in self._documents.children(f"{account['name']}/keys"):
                if key["keyType"] == _SYSTEM:
                    return key
            made, private = await self._make(account, _SYSTEM)
            self._vault.write(made["name"], private)
            return made

    async def _sign(self, account: Document, data: bytes) -> tuple[str, bytes]:
        key = await self._system(account)
        signature = await asyncio.to_thread(_signature, self._vault.read(key["name"]), data)
        return key["name"].rpartition("/")[2], signature

    async def _jwt(self, account: Document, claims: dict[str, Any]) -> tuple[str, str]:
        key = await self._system(account)
        head = {"alg": "RS256", "typ": "JWT", "kid": key["name"].rpartition("/")[2]}
        signed = ".".join(_encoded(json.dumps(part).encode()) for part in (head, claims))
        key_id, signature = await self._sign(account, signed.encode())
        return key_id, f"{signed}.{_encoded(signature)}"

    async def _identity_token(self, account: Document, audience: str) -> str:
        now = int(self._context.clock())
        claims = {"iss": "https://accounts.google.com", "aud": audience, "sub": account["uniqueId"], "iat": now}
        claims |= {"azp": account["uniqueId"], "exp": now + 3600, "email": account["email"], "email_verified": True}
        return (await self._jwt(account, claims))[1]


def _shown(key: Document) -> Document:
    return {name: value for name, value in key.items() if name != "publicPem"}


def _with_public(key: Document) -> Document:
    return {**_shown(key), "publicKeyData": base64.b64encode(key["publicPem"].encode()).decode()}


def _generate() -> tuple[bytes, bytes]:
    """A private key as PKCS #8 and its public key, as PEM."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key, pem = rsa.generate_private_key(65537, 2048), serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private, key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)


def _signature(private: bytes, data: bytes) -> bytes:
    """PKCS #1 v1.5 with SHA-256."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    key = serialization.load_pem_private_key(private, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key.sign(data, padding.PKCS1v15(), hashes.SHA256())


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
