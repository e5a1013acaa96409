"""Which names Cloud Storage accepts: cloud.google.com/storage/docs/buckets#naming and …/objects#naming."""

from __future__ import annotations

import ipaddress
import re

from scripts.localcloud.web import ApiError

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]*[a-z0-9]")
_MAX_OBJECT_BYTES = 1024


def check_bucket(name: object) -> str:
    """The name itself. Raises ApiError 400 for a name that Cloud Storage refuses."""
    if not isinstance(name, str) or not name:
        raise ApiError(400, "Required: the bucket's name", "required")
    parts = name.split(".")
    longest = 222 if len(parts) > 1 else 63
    fits = 3 <= len(name) <= longest and all(1 <= len(part) <= 63 for part in parts)
    allowed = _BUCKET.fullmatch(name) and not re.search(r"-\.|\.-", name)
    if not fits or not allowed or name.startswith("goog") or "google" in name or _is_address(name):
        raise ApiError(400, f"Invalid bucket name: '{name}'", "invalid")
    return name


def check_object(name: object) -> str:
    """The name itself: 1 to 1024 bytes of UTF-8 without line breaks. Raises ApiError 400 for anything else.

    NUL is refused too, as no file system could show such an object.
    """
    if not isinstance(name, str) or not name:
        raise ApiError(400, "Required: the object's name", "required")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise ApiError(400, "The object's name is not valid UTF-8", "invalid") from None
    if size > _MAX_OBJECT_BYTES:
        raise ApiError(400, f"The object's name has {size} bytes; the limit is {_MAX_OBJECT_BYTES}", "invalid")
    if re.search(r"[\r\n\0]", name) or name in (".", "..") or name.startswith(".well-known/acme-challenge/"):
        raise ApiError(400, f"Invalid object name: {name!r}", "invalid")
    return name


def _is_address(name: str) -> bool:
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True
