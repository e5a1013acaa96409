"""The port as an HTTP proxy: a request that a client sends to one of Google's hosts is answered by the rooms here.

No request is ever passed on to another machine. gcloud needs this: before the host of an endpoint that it was told
to use it puts the region (`europe-west1-run.gcp.internal`), which no name server knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from scripts.localcloud.web import ApiError, Request

# The APIs whose hosts are answered. One that has no room answers 404, which clients do not retry.
_APIS = (
    "artifactregistry|cloudkms|cloudresourcemanager|cloudscheduler|iam|iamcredentials|logging|monitoring|run|scheduler"
    "|secretmanager|serviceusage|storage|storage-upload|storage-download|www"
)
_REGION = r"[a-z]+-[a-z]+\d{1,2}"
_GOOGLE = re.compile(
    rf"(?:{_REGION}-)?(?:{_APIS})\.(?:googleapis\.com|gcp\.internal)|(?:{_APIS})\.{_REGION}\.rep\.googleapis\.com"
)
_BUCKET = re.compile(r"([a-z0-9][a-z0-9._-]{1,220}[a-z0-9])\.storage\.(?:googleapis\.com|gcp\.internal)")
_REGISTRY = re.compile(r"(?:[a-z]+\.)?gcr\.io|(?:[a-z0-9-]+-)?docker\.pkg\.dev")
# What is the stand-in's own has no place at Google's hosts.
_OWN = ("", "_local", "run", "upstream")
# The hosts whose paths may be a bucket's: /BUCKET/OBJECT.
_STORAGE = re.compile(r"(?:.+\.|[a-z0-9-]+-)?(?:storage|storage-upload|storage-download)\..+")


def is_google(host: str) -> bool:
    """Whether a host name (without port) is one of Google's that the rooms answer for."""
    name = host.lower()
    return any(each.fullmatch(name) is not None for each in (_GOOGLE, _BUCKET, _REGISTRY))


def enter(request: Request, host: str, has_room: Callable[[str], bool]) -> bool:
    """Make a request to one of Google's hosts one to the rooms; False when the host is not one of them.

    has_room tells whether a path is a room's by its first segment. A bucket's own host (BUCKET.storage.googleapis.com/
    OBJECT) becomes the path /BUCKET/OBJECT. Raises ApiError 404 for paths that are the stand-in's own, and at other
    hosts than storage's for those that no room has; 405 for a tunnel: what goes through it is encrypted for Google.
    """
    if not is_google(host):
        return False
    if request.method == "CONNECT":
        text = f"No tunnel to {host}: use http instead of https, as the variables of `./dev invoke local.env` do."
        raise ApiError(405, text, "methodNotAllowed")
    bucket = _BUCKET.fullmatch(host.lower())
    if bucket is not None and _GOOGLE.fullmatch(host.lower()) is None:
        request.raw_path = f"/{bucket[1]}{request.raw_path}"
    own = request.raw_path.lstrip("/").split("/", 1)[0] in _OWN
    if own or not (has_room(request.raw_path) or _STORAGE.fullmatch(host.lower())):
        raise ApiError(404, f"Not found: {request.method} {request.raw_path} at {host}", "notFound")
    return True


def from_elsewhere(request: Request) -> bool:
    """Whether a browser sends this for a page of another site, to change something.

    Any page can have a browser send what is as simple as a form, though not read the answer (Fetch standard, "CORS
    protocol"); with it a service could be made that runs the page's commands. Browsers tell the page's Origin. What is
    sent to a service of the user's is that service's own affair.
    """
    origin, path = request.headers.get("origin"), request.raw_path
    if origin is None or request.method in ("GET", "HEAD", "OPTIONS") or path.startswith("/run/"):
        return False
    try:
        return urlsplit(origin).hostname not in ("127.0.0.1", "localhost", "::1")
    except ValueError:
        return True


def split_target(method: str, target: bytes) -> tuple[bytes, bytes] | None:
    """Authority and the rest of a request's target that names a host (RFC 9112, section 3.2.2 and 3.2.3), else None."""
    if method == "CONNECT":
        return target, b"/"
    scheme, mark, rest = target.partition(b"://")
    if not mark or scheme.lower() not in (b"http", b"https"):
        return None
    at = min((found for sign in b"/?#" if (found := rest.find(sign)) >= 0), default=len(rest))
    path = rest[at:]
    return rest[:at].rpartition(b"@")[2], path if path.startswith(b"/") else b"/" + path
