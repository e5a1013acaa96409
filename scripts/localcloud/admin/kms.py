"""Cloud KMS: key rings, keys, versions, public keys and signatures with ECDSA; private keys lie in a Vault.

Checksums are CRC32C as decimal text; a digest that does not match its own is refused ("Verifying end-to-end data
integrity" of Cloud KMS). A destroyed version's key is kept for destroyScheduledDuration, until then it can be restored.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import google_crc32c

from scripts.localcloud.admin import kms_keys
from scripts.localcloud.admin.documents import Document, Documents, body, masked, new_id, page
from scripts.localcloud.admin.policies import Policies
from scripts.localcloud.admin.vault import Vault
from scripts.localcloud.context import Context
from scripts.localcloud.web import ApiError, Request, Response, Route

_API = "cloudkms.v1"
_RINGS = "/v1/projects/{project}/locations/{location}/keyRings"
_KEYS = f"{_RINGS}/{{ring}}/cryptoKeys"
_VERSIONS = f"{_KEYS}/{{key}}/cryptoKeyVersions"
_RING_ID = "cloudkms.projects.locations.keyRings"
_KEY_ID = "cloudkms.projects.locations.keyRings.cryptoKeys"
_VERSION_ID = "cloudkms.projects.locations.keyRings.cryptoKeys.cryptoKeyVersions"
_ID = r"[A-Za-z0-9_-]{1,63}"
_SYMMETRIC = "ENCRYPT_DECRYPT"
_KEPT_S = 30 * 86400


class Kms:
    """The routes of cloudkms.googleapis.com."""

    def __init__(self, context: Context, documents: Documents, policies: Policies) -> None:
        self._context = context
        self._documents = documents
        self._policies = policies
        self._vault = Vault(context.folder("kms"))

    def routes(self) -> list[Route]:
        version = f"{_VERSIONS}/{{version}}"
        return [
            Route("POST", _RINGS, self._create_ring, f"{_RING_ID}.create"),
            Route("GET", _RINGS, self._list_rings, f"{_RING_ID}.list"),
            Route("GET", f"{_RINGS}/{{ring}}", self._get, f"{_RING_ID}.get"),
            Route("POST", _KEYS, self._create_key, f"{_KEY_ID}.create"),
            Route("GET", _KEYS, self._list_keys, f"{_KEY_ID}.list"),
            Route("GET", f"{_KEYS}/{{key}}", self._get_key, f"{_KEY_ID}.get"),
            Route("PATCH", f"{_KEYS}/{{key}}", self._patch_key, f"{_KEY_ID}.patch"),
            Route(
                "POST", f"{_KEYS}/{{key}}:updatePrimaryVersion", self._set_primary, f"{_KEY_ID}.updatePrimaryVersion"
            ),
            Route("POST", _VERSIONS, self._create_version, f"{_VERSION_ID}.create"),
            Route("GET", _VERSIONS, self._list_versions, f"{_VERSION_ID}.list"),
            Route("GET", version, self._get_version, f"{_VERSION_ID}.get"),
            Route("PATCH", version, self._patch_version, f"{_VERSION_ID}.patch"),
            Route("POST", f"{version}:destroy", self._destroy, f"{_VERSION_ID}.destroy"),
            Route("POST", f"{version}:restore", self._restore, f"{_VERSION_ID}.restore"),
            Route("GET", f"{version}/publicKey", self._public_key, f"{_VERSION_ID}.getPublicKey"),
            Route("POST", f"{version}:asymmetricSign", self._sign, f"{_VERSION_ID}.asymmetricSign"),
            *self._policies.routes(f"{_RINGS}/{{ring}}", _RING_ID, lambda request: self._need(request)["name"]),
            *self._policies.routes(f"{_KEYS}/{{key}}", _KEY_ID, lambda request: self._need(request)["name"]),
        ]

    def _need(self, request: Request) -> Document:
        """The resource that a path names, as deep as it goes."""
        kind = (
            "CryptoKeyVersion" if "version" in request.params else "CryptoKey" if "key" in request.params else "KeyRing"
        )
        return self._documents.need(_name(request), kind)

    async def _create_ring(self, request: Request) -> Response:
        await body(request, _API, "KeyRing", "key_ring")
        name = f"{_name(request)}/{new_id(request, 'keyRingId', _ID)}"
        made = {"name": name, "createTime": self._context.now()}
        return Response.of_json(self._documents.create(name, made, "KeyRing"))

    async def _list_rings(self, request: Request) -> Response:
        return Response.of_json(page(self._documents.children(_name(request)), request, "keyRings", total=True))

    async def _get(self, request: Request) -> Response:
        return Response.of_json(self._need(request))

    async def _create_key(self, request: Request) -> Response:
        ring = self._documents.need(_name(request).rpartition("/")[0], "KeyRing")
        given = await body(request, _API, "CryptoKey", "crypto_key")
        name = f"{ring['name']}/cryptoKeys/{new_id(request, 'cryptoKeyId', _ID)}"
        purpose = given.get("purpose")
        algorithm = (given.get("versionTemplate") or {}).get("algorithm") or kms_keys.SYMMETRIC
        level = (given.get("versionTemplate") or {}).get("protectionLevel", "SOFTWARE")
        kms_keys.check(purpose, algorithm, level)
        made: Document = {"name": name, "purpose": purpose, "createTime": self._context.now()}
        made |= {"versionTemplate": {"protectionLevel": level, "algorithm": algorithm}}
        made |= {key: given[key] for key in ("labels", "rotationPeriod", "nextRotationTime") if key in given}
        made["destroyScheduledDuration"] = kms_keys.kept_for(given.get("destroyScheduledDuration", f"{_KEPT_S}s"))
        self._documents.create(name, {**made, "next": 1}, "CryptoKey")
        if request.query.get("skipInitialVersionCreation") != "true":
            version = self._new_version(name)
            if purpose == _SYMMETRIC:
                self._documents.save(name, {**self._documents.need(name, "CryptoKey"), "primary": version["name"]})
        return Response.of_json(self._shown(self._documents.need(name, "CryptoKey")))

    async def _list_keys(self, request: Request) -> Response:
        self._documents.need(_name(request).rpartition("/")[0], "KeyRing")
        keys = [self._shown(each) for each in self._documents.children(_name(request))]
        return Response.of_json(page(keys, request, "cryptoKeys", total=True))

    async def _get_key(self, request: Request) -> Response:
        return Response.of_json(self._shown(self._need(request)))

    async def _patch_key(self, request: Request) -> Response:
        old, given = self._need(request), await body(request, _API, "CryptoKey", "crypto_key")
        new = masked(old, given, request.query.get("updateMask", ""), ("labels", "rotationPeriod", "nextRotationTime"))
        return Response.of_json(self._shown(self._documents.save(old["name"], new)))

    async def _set_primary(self, request: Request) -> Response:
        key, given = self._need(request), await body(request, _API, "UpdateCryptoKeyPrimaryVersionRequest", "request")
        if key["purpose"] != _SYMMETRIC:
            raise ApiError(400, f"CryptoKey.purpose: expected {_SYMMETRIC}, found {key['purpose']}.")
        version = f"{key['name']}/cryptoKeyVersions/{given.get('cryptoKeyVersionId', '')}"
        self._documents.need(version, "CryptoKeyVersion")
        return Response.of_json(self._shown(self._documents.save(key["name"], {**key, "primary": version})))

    def _shown(self, key: Document) -> Document:
        shown = {field: value for field, value in key.items() if field not in ("next", "primary")}
        if "primary" in key:
            shown["primary"] = self._version(key["primary"])
        return shown

    def _new_version(self, key_name: str) -> Document:
        key = self._documents.need(key_name, "CryptoKey")
        name = f"{key_name}/cryptoKeyVersions/{key['next']}"
        template = key["versionTemplate"]
        self._vault.write(name, kms_keys.generate(template["algorithm"]))
        self._documents.save(key_name, {**key, "next": key["next"] + 1})
        now = self._context.now()
        return self._documents.save(
            name, {"name": name, "state": "ENABLED", **template, "createTime": now, "generateTime": now}
        )

    async def _create_version(self, request: Request) -> Response:
        await body(request, _API, "CryptoKeyVersion", "crypto_key_version")
        key = self._documents.need(_name(request).rpartition("/")[0], "CryptoKey")
        return Response.of_json(self._new_version(key["name"]))

    async def _list_versions(self, request: Request) -> Response:
        self._documents.need(_name(request).rpartition("/")[0], "CryptoKey")
        found = [self._version(each["name"]) for each in self._documents.children(_name(request))]
        found.sort(key=lambda each: int(each["name"].rpartition("/")[2]))
        return Response.of_json(page(found, request, "cryptoKeyVersions", total=True))

    async def _get_version(self, request: Request) -> Response:
        return Response.of_json(self._version(_name(request)))

    def _version(self, name: str) -> Document:
        """The version, destroyed when its time has come."""
        version = self._documents.need(name, "CryptoKeyVersion")
        if version["state"] == "DESTROY_SCHEDULED" and version["destroyTime"] <= self._context.now():
            self._vault.remove(name)
            gone = {**version, "state": "DESTROYED", "destroyEventTime": version["destroyTime"]}
            del gone["destroyTime"]
            return self._documents.save(name, gone)
        return version

    async def _patch_version(self, request: Request) -> Response:
        old, given = self._version(_name(request)), await body(request, _API, "CryptoKeyVersion", "crypto_key_version")
        new = masked(old, given, request.query.get("updateMask", ""), ("state",))
        for state in (old["state"], new.get("state")):
            if state not in ("ENABLED", "DISABLED"):
                raise _not_ready(f"{old['name']} cannot go from {old['state']} to {new.get('state')}")
        return Response.of_json(self._documents.save(old["name"], new))

    async def _destroy(self, request: Request) -> Response:
        version = self._version(_name(request))
        if version["state"] not in ("ENABLED", "DISABLED"):
            raise _not_ready(f"{version['name']} is not enabled or disabled, current state is: {version['state']}")
        key = self._documents.need(version["name"].rpartition("/cryptoKeyVersions/")[0], "CryptoKey")
        kept = timedelta(seconds=float(key["destroyScheduledDuration"].removesuffix("s")))
        at = datetime.fromtimestamp(self._context.clock(), UTC) + kept
        changed = {**version, "state": "DESTROY_SCHEDULED", "destroyTime": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
        return Response.of_json(self._documents.save(version["name"], changed))

    async def _restore(self, request: Request) -> Response:
        version = self._version(_name(request))
        if version["state"] != "DESTROY_SCHEDULED":
            raise _not_ready(f"{version['name']} is not scheduled for destruction: {version['state']}")
        changed = {**version, "state": "DISABLED"}
        del changed["destroyTime"]
        return Response.of_json(self._documents.save(version["name"], changed))

    def _usable(self, request: Request) -> Document:
        version = self._version(_name(request))
        if version["algorithm"] == kms_keys.SYMMETRIC:
            raise ApiError(400, f"{version['name']} has the algorithm {version['algorithm']}, which has no public key.")
        if version["state"] != "ENABLED":
            raise _not_ready(f"{version['name']} is not enabled, current state is: {version['state']}.")
        return version

    async def _public_key(self, request: Request) -> Response:
        version = self._usable(request)
        pem = kms_keys.public_pem(self._vault.read(version["name"]))
        answer: dict[str, Any] = {"name": version["name"], "pem": pem, "pemCrc32c": _crc32c(pem.encode())}
        answer |= {"algorithm": version["algorithm"], "protectionLevel": version["protectionLevel"]}
        return Response.of_json(answer)

    async def _sign(self, request: Request) -> Response:
        version, given = self._usable(request), await body(request, _API, "AsymmetricSignRequest", "request")
        answer: dict[str, Any] = {"name": version["name"], "protectionLevel": version["protectionLevel"]}
        digest = kms_keys.digest_of(version["algorithm"], given)
        for field, data in (("digest", digest), ("data", _decoded(given.get("data")))):
            if f"{field}Crc32c" not in given:
                continue
            if str(given[f"{field}Crc32c"]) != _crc32c(data):
                raise ApiError(400, f"The checksum in field {field}_crc32c did not match the data in field {field}.")
            answer[f"verified{field.title()}Crc32c"] = True
        signature = kms_keys.sign(self._vault.read(version["name"]), version["algorithm"], digest)
        answer["signature"] = base64.b64encode(signature).decode()
        answer["signatureCrc32c"] = _crc32c(signature)
        return Response.of_json(answer)


def _name(request: Request) -> str:
    """projects/P/locations/L/keyRings[/R[/cryptoKeys[/K[/cryptoKeyVersions[/V]]]]] of the path."""
    parts = request.raw_path.removeprefix("/v1/").removesuffix("/publicKey").split("/")
    parts[-1] = parts[-1].partition(":")[0]
    return "/".join(parts)


def _decoded(text: Any) -> bytes:
    return base64.b64decode(text or "")


def _crc32c(data: bytes) -> str:
    return str(google_crc32c.value(data))


def _not_ready(message: str) -> ApiError:
    return ApiError(400, message, status="FAILED_PRECONDITION")
