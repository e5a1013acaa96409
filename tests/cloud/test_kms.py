"""Signing through Cloud KMS: a real server with a real P-256 key that speaks its JSON, and every way it can lie."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google_crc32c import value as crc32c
from securesystemslib.signer import SSlibKey

from scripts.cloud.kms import KmsClient, KmsSigner
from scripts.errors import AccessDenied, BadInput, NotFound, OpsError
from scripts.models import signing, statements
from scripts.models.statements import Statement
from tests.models.support import VERSION

NAME = "projects/p/locations/europe-west1/keyRings/models/cryptoKeys/sign/cryptoKeyVersions/1"
STATEMENT = Statement(1, VERSION, "a" * 64, "2026-11-20T02:00:00Z", "")
Answer = dict[str, Any]


class Kms:
    """Holds the private key; `bend` may alter an answer before it is sent, `status` refuse the call."""

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.bend: Callable[[str, Answer], Answer] = lambda path, answer: answer
        self.status = 200
        self.asked: list[str] = []

    def pem(self) -> str:
        return self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def answer(self, path: str, body: Answer) -> Answer:
        self.asked.append(path)
        if path == f"/v1/{NAME}/publicKey":
            pem = self.pem()
            return {
                "name": NAME,
                "pem": pem,
                "pemCrc32c": str(crc32c(pem.encode())),
                "algorithm": "EC_SIGN_P256_SHA256",
            }
        assert path == f"/v1/{NAME}:asymmetricSign"
        digest = base64.b64decode(body["digest"]["sha256"])
        signature = self.private.sign(digest, ec.ECDSA(Prehashed(SHA256())))
        return {
            "name": NAME,
            "signature": base64.b64encode(signature).decode(),
            "signatureCrc32c": str(crc32c(signature)),
            "verifiedDigestCrc32c": body["digestCrc32c"] == str(crc32c(digest)),
            "protectionLevel": "SOFTWARE",
        }


@pytest.fixture
def kms() -> Iterator[tuple[Kms, str]]:
    keeper = Kms()

    class Handler(BaseHTTPRequestHandler):
        def any(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
            if keeper.status == 200:
                answer = keeper.bend(self.path, keeper.answer(self.path, body))
            else:
                answer = {"error": {"code": keeper.status, "message": "no"}}
            data = json.dumps(answer).encode()
            self.send_response(keeper.status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = any

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield keeper, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.process
def test_a_statement_signed_by_kms_is_trusted_through_its_public_key(kms: tuple[Kms, str]) -> None:
    keeper, url = kms
    signer = signing.load_signer(f"gcpkms:{NAME}", endpoint=url)
    key = signing.key_of(signer)
    assert key == signing.trusted_key(keeper.pem())
    data = statements.seal(STATEMENT, signer)
    assert statements.unseal(data, [key])[0] == STATEMENT
    other = signing.trusted_key(Kms().pem())
    with pytest.raises(signing.Untrusted, match="not trusted"):
        statements.unseal(data, [other])
    assert [path.rpartition("/")[2] for path in keeper.asked] == ["publicKey", "1:asymmetricSign"]


def bent(key: str, value: Any) -> Callable[[str, Answer], Answer]:
    return lambda path, answer: {**answer, key: value} if key in answer else answer


@pytest.mark.process
@pytest.mark.parametrize(
    ("bend", "message"),
    [
        (bent("pemCrc32c", "1"), "public key .* arrived damaged"),
        (bent("algorithm", "RSA_SIGN_PSS_2048_SHA256"), "expected EC_SIGN_P256_SHA256"),
        (bent("pem", ""), "damaged"),
        (bent("verifiedDigestCrc32c", False), "did not confirm"),
        (bent("verifiedDigestCrc32c", None), "did not confirm"),
        (bent("signatureCrc32c", "1"), "signature .* arrived damaged"),
        (bent("signature", ""), "without a signature"),
        (bent("signature", "%%%"), "without a signature"),
        (lambda path, answer: {**answer, "name": "another/key"}, "answered"),
    ],
)
def test_every_damage_on_the_way_is_noticed(
    kms: tuple[Kms, str], bend: Callable[[str, Answer], Answer], message: str
) -> None:
    keeper, url = kms
    keeper.bend = bend
    with pytest.raises((OpsError, BadInput), match=message):
        statements.seal(STATEMENT, signing.load_signer(f"gcpkms:{NAME}", endpoint=url))


@pytest.mark.process
def test_a_signature_of_another_key_does_not_verify(kms: tuple[Kms, str]) -> None:
    keeper, url = kms
    signer = signing.load_signer(f"gcpkms:{NAME}", endpoint=url)
    keeper.private = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(signing.Untrusted, match="altered after signing"):
        statements.unseal(statements.seal(STATEMENT, signer), [signing.key_of(signer)])


@pytest.mark.process
@pytest.mark.parametrize(
    ("status", "kind", "remedy"),
    [
        (403, AccessDenied, "roles/cloudkms.signerVerifier"),
        (401, AccessDenied, "gcloud auth"),
        (404, NotFound, "signing.key"),
    ],
)
def test_refusals_say_what_to_do(kms: tuple[Kms, str], status: int, kind: type[OpsError], remedy: str) -> None:
    keeper, url = kms
    keeper.status = status
    with pytest.raises(kind) as caught:
        signing.load_signer(f"gcpkms:{NAME}", endpoint=url)
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("name", ["", "projects/p", NAME + "/x", NAME.replace("/1", "/0"), "../" + NAME, NAME + "\n"])
def test_only_key_versions_have_signers(name: str) -> None:
    with pytest.raises(BadInput, match="cryptoKeyVersions"):
        KmsClient(name)


def test_securesystemslib_can_open_it_too() -> None:
    public = SSlibKey.from_crypto(Kms().private.public_key())
    assert KmsSigner.from_priv_key_uri(f"gcpkms:{NAME}", public).public_key is public
