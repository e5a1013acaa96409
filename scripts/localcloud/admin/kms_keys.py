"""The cryptography of the KMS room: which algorithms there are, new keys, public keys, signatures over digests."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from typing import Any

from scripts.localcloud.web import ApiError

SYMMETRIC = "GOOGLE_SYMMETRIC_ENCRYPTION"
# curve, hash, and its length in bytes
_SIGNING = {"EC_SIGN_P256_SHA256": ("secp256r1", "sha256", 32), "EC_SIGN_P384_SHA384": ("secp384r1", "sha384", 48)}
_PURPOSES = {"ENCRYPT_DECRYPT": {SYMMETRIC}, "ASYMMETRIC_SIGN": set(_SIGNING)}


def check(purpose: Any, algorithm: str, level: str) -> None:
    """Raise ApiError 400 unless keys of this purpose, algorithm and protection level can be made here."""
    if purpose not in _PURPOSES:
        raise ApiError(400, f"CryptoKey.purpose: expected {' or '.join(_PURPOSES)} (imitated here), found {purpose!r}.")
    if algorithm not in _PURPOSES[purpose]:
        expected = " or ".join(sorted(_PURPOSES[purpose]))
        text = f"CryptoKey.version_template.algorithm: expected {expected} (imitated here), found {algorithm!r}."
        raise ApiError(400, text)
    if level not in ("SOFTWARE", "HSM"):
        raise ApiError(400, f"CryptoKey.version_template.protection_level: expected SOFTWARE or HSM, found {level!r}.")


def kept_for(duration: str) -> str:
    """destroyScheduledDuration, checked: 1 to 120 days. Raises ApiError 400."""
    text = duration.removesuffix("s")
    if not (duration.endswith("s") and text.isascii() and text.isdigit() and 86400 <= int(text[:9]) <= 120 * 86400):
        expected = "expected 86400s to 10368000s"
        raise ApiError(400, f"CryptoKey.destroy_scheduled_duration: {expected}, found {duration[:50]!r}.")
    return duration


def generate(algorithm: str) -> bytes:
    """A new private key as PKCS #8 PEM, or 32 random bytes for a symmetric one."""
    if algorithm == SYMMETRIC:
        return secrets.token_bytes(32)
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    curves: dict[str, ec.EllipticCurve] = {"secp256r1": ec.SECP256R1(), "secp384r1": ec.SECP384R1()}
    return ec.generate_private_key(curves[_SIGNING[algorithm][0]]).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_pem(private_pem: bytes) -> str:
    """The public key of a private one, as SubjectPublicKeyInfo PEM."""
    from cryptography.hazmat.primitives import serialization

    public = serialization.load_pem_private_key(private_pem, None).public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def digest_of(algorithm: str, given: dict[str, Any]) -> bytes:
    """The digest that an AsymmetricSignRequest asks to sign (computed from `data`). Raises ApiError 400."""
    _, name, length = _SIGNING[algorithm]
    digest = (given.get("digest") or {}).get(name)
    if (digest is None) == ("data" not in given):
        raise ApiError(400, f"Exactly one of digest.{name} and data is required for {algorithm}.")
    try:
        raw = base64.b64decode(digest if digest is not None else given["data"], validate=True)
    except (binascii.Error, ValueError):
        raise ApiError(400, "digest or data: expected base64.") from None
    if digest is None:
        return hashlib.new(name, raw).digest()
    if len(raw) != length:
        raise ApiError(400, f"digest.{name}: expected {length} bytes, found {len(raw)}.")
    return raw


def sign(private_pem: bytes, algorithm: str, digest: bytes) -> bytes:
    """An ECDSA signature (DER) over a digest."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    chosen: hashes.HashAlgorithm = hashes.SHA384() if _SIGNING[algorithm][1] == "sha384" else hashes.SHA256()
    key = serialization.load_pem_private_key(private_pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key.sign(digest, ec.ECDSA(utils.Prehashed(chosen)))
