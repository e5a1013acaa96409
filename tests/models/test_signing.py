"""Keys on disk and DSSE envelopes: nothing unsigned, altered or signed by a stranger passes."""

from __future__ import annotations

import base64
import hashlib
import json
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from securesystemslib.signer import CryptoSigner, SSlibKey

from scripts.errors import BadInput, NotFound, Refused
from scripts.models import signing
from scripts.settings.types import TrustedKey

PAYLOAD = b'{"hello": 1}\n'


@pytest.fixture
def key(tmp_path: Path) -> TrustedKey:
    return signing.make_key(tmp_path / "keys")


@pytest.fixture
def signer(key: TrustedKey, tmp_path: Path) -> Any:
    return signing.load_signer(f"file:{tmp_path / 'keys' / 'signing.pem'}")


def test_a_key_is_private_and_kept(key: TrustedKey, tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "signing.pem").stat().st_mode) == 0o600
    assert (folder / "signing.pub").read_text() == key.public_pem
    before = (folder / "signing.pem").read_bytes()
    (folder / "signing.pub").unlink()
    assert signing.make_key(folder) == key
    assert (folder / "signing.pem").read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == ["signing.pem", "signing.pub"]


def _made_at_once(folder: Path, makers: int) -> list[TrustedKey]:
    made: list[TrustedKey] = []
    start = threading.Barrier(makers)

    def make() -> None:
        start.wait()
        made.append(signing.make_key(folder))

    threads = [threading.Thread(target=make) for _ in range(makers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return made


def test_many_makers_at_once_get_one_key(tmp_path: Path) -> None:
    for attempt in range(50):
        folder = tmp_path / str(attempt)
        made = _made_at_once(folder, makers=8)
        assert len(made) == 8
        assert len({item.key_id for item in made}) == 1
        assert sorted(path.name for path in folder.iterdir()) == ["signing.pem", "signing.pub"]


def test_the_id_of_a_key_is_the_digest_of_its_der(key: TrustedKey) -> None:
    body = "".join(key.public_pem.splitlines()[1:-1])
    assert key.key_id == hashlib.sha256(base64.b64decode(body)).hexdigest()


def test_a_broken_key_file_is_never_overwritten(key: TrustedKey, tmp_path: Path) -> None:
    private = tmp_path / "keys" / "signing.pem"
    private.write_bytes(private.read_bytes()[:40])
    with pytest.raises(BadInput, match="ed25519"):
        signing.make_key(tmp_path / "keys")
    assert len(private.read_bytes()) == 40


def test_a_key_that_others_can_read_is_not_used(key: TrustedKey, tmp_path: Path) -> None:
    private = tmp_path / "keys" / "signing.pem"
    private.chmod(0o640)
    with pytest.raises(Refused, match="mode 0640") as caught:
        signing.load_signer(f"file:{private}")
    assert "chmod 600" in caught.value.remedy


@pytest.mark.parametrize("uri", ["", "file:", "signing.pem", "gcpkms:", "http:x"])
def test_an_unknown_key_uri(uri: str) -> None:
    with pytest.raises(BadInput, match="expected file:PATH"):
        signing.load_signer(uri)


def test_a_missing_key(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        signing.load_signer(f"file:{tmp_path / 'none.pem'}")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a file")
    with pytest.raises(Refused, match="cannot keep a signing key"):
        signing.make_key(tmp_path / "keys")


def test_what_was_signed_is_verified(key: TrustedKey, signer: Any) -> None:
    data = signing.dump_envelope(signing.sign(PAYLOAD, signing.STATEMENT_TYPE, signer))
    assert signing.verify(signing.parse_envelope(data), [key]) == PAYLOAD


def test_no_single_byte_can_differ(key: TrustedKey, signer: Any) -> None:
    data = signing.dump_envelope(signing.sign(PAYLOAD, signing.STATEMENT_TYPE, signer))
    for at in range(len(data)):
        for flip in (0x01, 0x20):
            altered = data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :]
            with pytest.raises((BadInput, signing.Untrusted)):
                signing.verify(signing.parse_envelope(altered), [key])


def test_a_stranger_is_named(signer: Any, tmp_path: Path) -> None:
    other = signing.make_key(tmp_path / "other")
    envelope = signing.sign(PAYLOAD, signing.STATEMENT_TYPE, signer)
    with pytest.raises(signing.Untrusted, match="not trusted") as caught:
        signing.verify(envelope, [other])
    assert other.key_id[:12] in caught.value.message
    with pytest.raises(signing.Untrusted, match="not trusted"):
        signing.verify(envelope, [])


def test_unsigned_twice_signed_and_of_another_type(key: TrustedKey, signer: Any) -> None:
    envelope = signing.sign(PAYLOAD, signing.STATEMENT_TYPE, signer)
    with pytest.raises(BadInput, match="unsigned"):
        signing.verify({**envelope, "signatures": []}, [key])
    with pytest.raises(BadInput, match="exactly one"):
        signing.verify({**envelope, "signatures": envelope["signatures"] * 2}, [key])
    with pytest.raises(signing.Untrusted, match="payloadType"):
        signing.verify(signing.sign(PAYLOAD, "text/plain", signer), [key])
    swapped = {**envelope, "payload": base64.b64encode(b"other").decode()}
    with pytest.raises(signing.Untrusted, match="altered after signing"):
        signing.verify(swapped, [key])


def test_a_key_id_must_belong_to_its_key(key: TrustedKey, signer: Any, tmp_path: Path) -> None:
    other = signing.make_key(tmp_path / "other")
    envelope = signing.sign(PAYLOAD, signing.STATEMENT_TYPE, signer)
    with pytest.raises(BadInput, match="does not belong"):
        signing.verify(envelope, [TrustedKey(key.key_id, other.public_pem)])


def test_rotation_trusts_both_keys_for_a_while(key: TrustedKey, signer: Any, tmp_path: Path) -> None:
    other = signing.make_key(tmp_path / "other")
    newer = signing.load_signer(f"file:{tmp_path / 'other' / 'signing.pem'}")
    for one in (signer, newer):
        envelope = signing.sign(PAYLOAD, signing.STATEMENT_TYPE, one)
        assert signing.verify(envelope, [key, other]) == PAYLOAD


def pem_of(private: Any) -> str:
    return str(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def test_ecdsa_p256_is_verified_and_other_keys_are_refused() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    trusted = signing.trusted_key(pem_of(private))
    signer = CryptoSigner(private, SSlibKey.from_crypto(private.public_key(), keyid=trusted.key_id))
    envelope = signing.sign(PAYLOAD, signing.STATEMENT_TYPE, signer)
    assert signing.verify(envelope, [trusted]) == PAYLOAD
    for foreign in (ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)):
        with pytest.raises(BadInput, match="ecdsa-sha2-nistp256"):
            signing.public_key(signing.trusted_key(pem_of(foreign)))


@pytest.mark.parametrize("pem", ["", "x", "-----BEGIN PUBLIC KEY-----\n!!\n-----END PUBLIC KEY-----"])
def test_what_is_no_public_key(pem: str) -> None:
    with pytest.raises(BadInput, match="trusted key"):
        signing.trusted_key(pem)


def test_an_envelope_has_one_byte_form(signer: Any) -> None:
    data = signing.dump_envelope(signing.sign(PAYLOAD, signing.STATEMENT_TYPE, signer))
    for other in (data.rstrip(), b" " + data, json.dumps(json.loads(data)).encode()):
        with pytest.raises(BadInput, match="exactly as it was written"):
            signing.parse_envelope(other)
    with pytest.raises(BadInput, match="at most"):
        signing.parse_envelope(b" " * (signing.MAX_ENVELOPE_BYTES + 1))
