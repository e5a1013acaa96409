"""Customer-supplied encryption keys: nothing is encrypted here, but who has the wrong key is refused as at Google.

A generation keeps the SHA-256 of its key, never the key.
cloud.google.com/storage/docs/encryption/customer-supplied-keys
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

from scripts.localcloud.storage.records import Record
from scripts.localcloud.web import ApiError

OWN = "x-goog-encryption"
SOURCE = "x-goog-copy-source-encryption"


def key_of(headers: Mapping[str, str], prefix: str = OWN) -> str | None:
    """The SHA-256 (base64) of the key that a request brings, or None. Raises ApiError 400."""
    text, digest = headers.get(f"{prefix}-key"), headers.get(f"{prefix}-key-sha256")
    algorithm = headers.get(f"{prefix}-algorithm")
    if text is None and digest is None and algorithm is None:
        return None
    if algorithm != "AES256":
        raise _refused("The encryption algorithm is not valid; expected AES256.", "EncryptionAlgorithmIsInvalid")
    key = _decoded(text or "")
    if key is None or len(key) != 32:
        raise _refused("The encryption key is not valid: expected base64 of 32 bytes.", "EncryptionKeyFormatIsInvalid")
    found = base64.b64encode(hashlib.sha256(key).digest()).decode()
    if _decoded(digest or "") != hashlib.sha256(key).digest():
        text = "The SHA256 hash of the encryption key does not match the key that was provided."
        raise _refused(text, "EncryptionKeySha256IsInvalid")
    return found


def described(key: str | None) -> dict[str, Any]:
    """What a generation with this key keeps."""
    return {"customerEncryption": {"encryptionAlgorithm": "AES256", "keySha256": key}} if key else {}


def check(record: Record, key: str | None) -> None:
    """Whether a request with this key may see the content. Raises ApiError 400."""
    wanted = (record.fields.get("customerEncryption") or {}).get("keySha256")
    if wanted == key:
        return
    if wanted is None:
        text, reason = "The target object is not encrypted by a customer-supplied encryption key.", "NotEncryptedWith"
        raise ApiError(400, text, f"resource{reason}CustomerEncryptionKey")
    if key is None:
        text, reason = "The target object is encrypted by a customer-supplied encryption key.", "IsEncryptedWith"
        raise ApiError(400, text, f"resource{reason}CustomerEncryptionKey")
    raise _refused("The provided encryption key is incorrect.", "EncryptionKeyIsIncorrect")


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _refused(text: str, what: str) -> ApiError:
    return ApiError(400, text, f"customer{what}")
