"""Signatures: DSSE envelopes (securesystemslib) by ed25519 key files or Cloud KMS ECDSA P-256.

A key's id (settings.keys.key_id) follows from the key, so no two share one. An envelope has exactly one signature and
exactly one byte form: what is read must equal what would be written, so that not a single byte can differ unnoticed.
Rotation: trust the old and the new key for as long as statements of the old one are in use.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.errors import SYNC, BadInput, NotFound, Refused
from scripts.models.strict import Reader, dump, show
from scripts.settings import project
from scripts.settings.keys import key_id
from scripts.settings.types import TrustedKey

if TYPE_CHECKING:
    from securesystemslib.signer import Signer, SSlibKey

PRIVATE_NAME = "signing.pem"
PUBLIC_NAME = "signing.pub"
# Signed along with the payload, so it is also the statement's schema version: another schema gets another type.
STATEMENT_TYPE = "application/vnd.modelshelf.statement+json"
# A statement is some 300 bytes; base64 and a signature double it.
MAX_ENVELOPE_BYTES = 64 << 10

_READER = Reader("envelope", SYNC)


class Untrusted(Refused):
    """An envelope that no trusted key signed, or whose content is not what was signed."""


def trusted_key(public_pem: str) -> TrustedKey:
    """A public key with the id that belongs to it; raises BadInput when it is no public key in PEM."""
    try:
        return TrustedKey(key_id(public_pem), public_pem)
    except ValueError:
        raise BadInput(
            f"trusted key: found {show(public_pem[:60])}, expected a public key in PEM (-----BEGIN PUBLIC KEY-----)",
            "Print one with: openssl pkey -in PRIVATE.pem -pubout",
        ) from None


def public_key(key: TrustedKey) -> SSlibKey:
    """The key as securesystemslib verifies with it; raises BadInput unless it is ed25519 or P-256 and its id fits."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import SSlibKey

    expected = trusted_key(key.public_pem).key_id
    if key.key_id != expected:
        raise BadInput(
            f"trusted key: key_id {show(key.key_id)} does not belong to its public_pem (expected {expected})",
            "Correct signing.trusted_keys in the environment file.",
        )
    try:
        found = SSlibKey.from_crypto(load_pem_public_key(key.public_pem.encode()), keyid=expected)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadInput(f"trusted key {expected}: {error}", "Use an ed25519 or an ECDSA P-256 public key.") from None
    if found.scheme not in ("ed25519", "ecdsa-sha2-nistp256"):
        raise BadInput(
            f"trusted key {expected}: found {found.scheme}, expected ed25519 or ecdsa-sha2-nistp256",
            "Use an ed25519 or an ECDSA P-256 public key.",
        )
    return found


def make_key(folder: Path) -> TrustedKey:
    """Make signing.pem (ed25519, 0600) and signing.pub in a folder (0700), or return the key that is already there.

    The private key appears whole or not at all and is never overwritten: of several makers at once one wins and all
    return its key. Raises Refused when the folder cannot be written, BadInput when an existing key is broken.
    """
    from securesystemslib.signer import CryptoSigner

    private = folder / PRIVATE_NAME
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        if not private.exists():
            fresh = CryptoSigner.generate_ed25519().private_bytes
            with _draft(private, fresh, 0o600) as draft, contextlib.suppress(FileExistsError):
                os.link(draft, private)
        key = key_of(load_signer(f"file:{private}"))
        public = folder / PUBLIC_NAME
        if not public.exists() or public.read_text(encoding="ascii", errors="replace") != key.public_pem:
            with _draft(public, key.public_pem.encode(), 0o644) as draft:
                draft.replace(public)
    except OSError as error:
        raise Refused(
            f"cannot keep a signing key in {folder}: {error.strerror}",
            "Make the folder writable, or point MODELSHELF_STATE at one that is.",
        ) from None
    return key


@contextlib.contextmanager
def _draft(path: Path, data: bytes, mode: int) -> Iterator[Path]:
    """A whole, synced file beside the path, to be linked or renamed to it; what is left of it goes at the end."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def load_signer(uri: str, *, endpoint: str | None = None) -> Signer:
    """The signer behind `file:PATH` (a leading .local/ is the state folder) or `gcpkms:projects/…/cryptoKeyVersions/N`.

    endpoint: another address of Cloud KMS. Raises BadInput, NotFound, Refused (a key file others can read), and what
    scripts.cloud.kms raises.
    """
    scheme, _, rest = uri.partition(":")
    if scheme == "file" and rest:
        return _file_signer(project.resolve(rest))
    if scheme == "gcpkms" and rest:
        from scripts.cloud.kms import open_signer

        return open_signer(rest, endpoint=endpoint)
    raise BadInput(
        f"signing.key: found {show(uri)}, expected file:PATH or gcpkms:projects/…/cryptoKeyVersions/N",
        "Set signing.key in the environment file.",
    )


def _file_signer(path: Path) -> Signer:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner, SSlibKey

    try:
        data = path.read_bytes()
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        raise NotFound(
            f"signing key {path} does not exist", "Run: ./dev invoke deploy --env local (it makes the local key)"
        ) from None
    except OSError as error:
        raise Refused(f"signing key {path} cannot be read: {error.strerror}", f"Run: ls -l {path}") from None
    if mode & 0o077:
        raise Refused(f"signing key {path}: found mode {mode:04o}, expected 0600", f"Run: chmod 600 {path}")
    try:
        private = load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise BadInput(
            f"signing key {path}: expected an unencrypted ed25519 private key in PEM",
            "Move the file away and run: ./dev invoke deploy --env local (it makes a new key)",
        )
    plain = CryptoSigner(private)
    return CryptoSigner(private, SSlibKey.from_crypto(private.public_key(), keyid=key_id(_pem(plain.public_key))))


def key_of(signer: Signer) -> TrustedKey:
    """The public key of a signer: what an environment has to trust."""
    return trusted_key(_pem(signer.public_key))


def _pem(key: Any) -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if key.keytype != "ed25519":
        return str(key.keyval["public"])
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.keyval["public"]))
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def sign(payload: bytes, payload_type: str, signer: Signer) -> dict[str, Any]:
    """A DSSE envelope around the payload, signed."""
    from securesystemslib.dsse import Envelope

    envelope = Envelope(payload, payload_type, {})
    envelope.sign(signer)
    return dict(envelope.to_dict())


def key_id_of(envelope: Mapping[str, Any]) -> str:
    """The id of the key that an envelope says it was signed with."""
    return str(envelope["signatures"][0]["keyid"])


def dump_envelope(envelope: dict[str, Any]) -> bytes:
    """The one byte form of an envelope."""
    signatures = [{"keyid": item["keyid"], "sig": item["sig"]} for item in envelope["signatures"]]
    return dump(
        {"payload": envelope["payload"], "payloadType": envelope["payloadType"], "signatures": signatures},
    )


def parse_envelope(data: bytes) -> dict[str, Any]:
    """Read an envelope object strictly; raises BadInput with the place."""
    value = _READER.load(data, MAX_ENVELOPE_BYTES)
    _check_envelope(value)
    if dump_envelope(value) != data:
        _READER.fail("", "other bytes than a writer would have made", "the envelope exactly as it was written")
    return dict(value)


def _check_envelope(value: Any) -> tuple[bytes, str]:
    """The payload and the signer's key id of a well-formed envelope."""
    record = _READER.record(value, "", ("payload", "payloadType", "signatures"))
    payload = _base64(record["payload"], "payload")
    _READER.text(record["payloadType"], "payloadType", limit=128)
    signatures = _READER.items(record["signatures"], "signatures", empty=True)
    if len(signatures) != 1:
        _READER.fail(
            "signatures",
            "no signature (unsigned)" if not signatures else f"{len(signatures)} signatures",
            "exactly one",
        )
    signature = _READER.record(signatures[0], "signatures[0]", ("keyid", "sig"))
    keyid = _READER.sha256(signature["keyid"], "signatures[0].keyid")
    if not _base64(signature["sig"], "signatures[0].sig"):
        _READER.fail("signatures[0].sig", "nothing", "a signature")
    return payload, keyid


def _base64(value: Any, place: str) -> bytes:
    text = _READER.text(value, place, limit=MAX_ENVELOPE_BYTES, empty=True)
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        _READER.fail(place, "what is no base64", "base64")
    if base64.b64encode(data).decode() != text:  # the spare bits of the last digit
        _READER.fail(place, "base64 with stray bits", "base64 as an encoder writes it")
    return data


def verify(envelope: dict[str, Any], keys: Sequence[TrustedKey], payload_type: str = STATEMENT_TYPE) -> bytes:
    """The payload of an envelope of this type that one of the keys signed.

    Raises BadInput when it is malformed, Untrusted when it is unsigned, of another type, by a foreign key or altered.
    """
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import Signature

    payload, keyid = _check_envelope(envelope)
    found_type = envelope["payloadType"]
    if found_type != payload_type:
        raise Untrusted(f"envelope: payloadType: found {show(found_type)}, expected {payload_type}", _READER.remedy)
    matching = [public_key(key) for key in keys if key.key_id == keyid]
    if not matching:
        known = ", ".join(key.key_id[:12] for key in keys) or "none"
        raise Untrusted(
            f"envelope: signed by the key {keyid[:12]}, which is not trusted (trusted: {known})",
            "If the key is yours, add it to signing.trusted_keys in the environment file.",
        )
    signature = Signature(keyid, base64.b64decode(envelope["signatures"][0]["sig"]).hex())
    try:
        Envelope(payload, payload_type, {keyid: signature}).verify(list(matching[:1]), threshold=1)
    except VerificationError:
        raise Untrusted(
            f"envelope: the signature of key {keyid[:12]} does not fit its content: altered after signing",
            _READER.remedy,
        ) from None
    return payload
