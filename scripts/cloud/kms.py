"""Signing with a key that never leaves Cloud KMS: ECDSA P-256 over SHA-256, through the REST API.

GET v1/NAME/publicKey gives {pem, pemCrc32c, algorithm}; POST v1/NAME:asymmetricSign {digest: {sha256}, digestCrc32c}
gives {signature, signatureCrc32c, verifiedDigestCrc32c, name}. The checksums are decimal strings of an int64; all are
verified, as Cloud KMS asks of its callers ("Verifying end-to-end data integrity").
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Any

from securesystemslib.signer import Key, SecretsHandler, Signature, Signer, SSlibKey

from scripts.cloud.storage_calls import AGAIN, TIMEOUT_S, attempt
from scripts.errors import AccessDenied, BadInput, NotFound, OpsError
from scripts.settings.keys import key_id

HOST = "https://cloudkms.googleapis.com"
ALGORITHM = "EC_SIGN_P256_SHA256"
_NAME = re.compile(
    r"projects/[\w.:-]+/locations/[\w-]+/keyRings/[\w-]{1,63}/cryptoKeys/[\w-]{1,63}/cryptoKeyVersions/[1-9]\d*",
    re.ASCII,
)


class KmsSigner(Signer):
    """A securesystemslib signer that hashes here and signs there."""

    def __init__(self, client: KmsClient, public: SSlibKey) -> None:
        self._client = client
        self._public = public

    @property
    def public_key(self) -> SSlibKey:
        return self._public

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> KmsSigner:
        """securesystemslib's way to open a signer: gcpkms:NAME and the public key that belongs to it."""
        if not isinstance(public_key, SSlibKey):
            raise ValueError(f"expected an SSlibKey for {priv_key_uri}")
        return cls(KmsClient(priv_key_uri.removeprefix("gcpkms:")), public_key)

    def sign(self, payload: bytes) -> Signature:
        """Sign a payload; raises AccessDenied, NotFound, Unreachable, OpsError."""
        return Signature(self._public.keyid, self._client.sign(hashlib.sha256(payload).digest()).hex())


class KmsClient:
    """One key version in Cloud KMS. endpoint: another address than Google's (called without credentials)."""

    def __init__(self, name: str, endpoint: str | None = None) -> None:
        """Raises BadInput when the name is not that of a key version."""
        if not _NAME.fullmatch(name):
            raise BadInput(
                f"signing.key: found {name!r}, expected "
                "projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/N",
                "Run: gcloud kms keys versions list --key K --keyring R --location L --format='value(name)'",
            )
        self.name = name
        self._url = f"{endpoint or HOST}/v1/{name}"
        self._place = endpoint or "Cloud KMS"
        self._endpoint = endpoint
        self._session: Any = None

    def public_pem(self) -> str:
        """The public key in PEM; raises BadInput unless it signs with ECDSA P-256 over SHA-256."""
        answer = self._ask("read the public key of", "GET", "/publicKey", None)
        algorithm = answer.get("algorithm")
        if algorithm != ALGORITHM:
            raise BadInput(
                f"{self.name}: found the algorithm {algorithm}, expected {ALGORITHM}",
                "Create the key with: gcloud kms keys create K --purpose asymmetric-signing "
                "--default-algorithm ec-sign-p256-sha256",
            )
        pem = str(answer.get("pem", ""))
        self._verify("the public key", pem.encode(), answer.get("pemCrc32c"))
        return pem

    def sign(self, digest: bytes) -> bytes:
        """The signature (ECDSA, DER) over a SHA-256 digest."""
        body = {"digest": {"sha256": base64.b64encode(digest).decode()}, "digestCrc32c": str(_crc32c(digest))}
        answer = self._ask("sign with", "POST", ":asymmetricSign", body)
        if answer.get("verifiedDigestCrc32c") is not True:
            raise OpsError(f"{self.name} did not confirm the checksum of the digest it was sent", AGAIN)
        if answer.get("name") != self.name:
            raise OpsError(f"asked {self.name} to sign, but {answer.get('name')!r} answered", AGAIN)
        try:
            signature = base64.b64decode(str(answer.get("signature", "")), validate=True)
        except (binascii.Error, ValueError):
            signature = b""
        if not signature:
            raise OpsError(f"{self.name} answered without a signature", AGAIN)
        self._verify("the signature", signature, answer.get("signatureCrc32c"))
        return signature

    def _verify(self, what: str, data: bytes, crc32c: Any) -> None:
        if str(crc32c) != str(_crc32c(data)):
            raise OpsError(
                f"{what} from {self.name} arrived damaged: checksum {crc32c}, expected {_crc32c(data)}", AGAIN
            )

    def _ask(self, verb: str, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        if self._session is None:
            from scripts.cloud.credentials import session

            self._session = session(self._endpoint)

        def call() -> dict[str, Any]:
            answer = self._session.request(method, self._url + path, json=body, timeout=TIMEOUT_S)
            answer.raise_for_status()
            return dict(answer.json())

        try:
            # Signing twice yields another, equally good signature: safe to repeat.
            return attempt(call, f"{verb} {self.name}", self._place)
        except NotFound as error:
            raise NotFound(error.message, "Check signing.key in the environment file, or create the key.") from error
        except AccessDenied as error:
            remedy = f"Grant roles/cloudkms.signerVerifier on the key to who runs this. {error.remedy}"
            raise AccessDenied(error.message, remedy) from error


def open_signer(name: str, *, endpoint: str | None = None) -> KmsSigner:
    """The signer of a key version. Raises like KmsClient."""
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    client = KmsClient(name, endpoint)
    pem = client.public_pem()
    try:
        public = SSlibKey.from_crypto(load_pem_public_key(pem.encode()), keyid=key_id(pem))
    except ValueError as error:
        raise OpsError(f"the public key of {name} cannot be used: {error}", AGAIN) from None
    return KmsSigner(client, public)


def _crc32c(data: bytes) -> int:
    from google_crc32c import value

    return int(value(data))
