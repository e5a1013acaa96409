"""The names of operations: which there are, what a pattern means, and those that a query decides in the XML API."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from fnmatch import fnmatchcase

from scripts.localcloud.web import ApiError, Request

OWN = "local."
# A path that no route has: noted, so that one sees what a client asked in vain. No fault can be set on it.
UNKNOWN = "unknown"
_XML = "storage.xml."
# Multipart uploads of the XML API: method, and whether uploadId is given (cloud.google.com/storage/docs/
# multipart-uploads).
_MULTIPART = {
    ("post", False): "create", ("get", False): "list", ("put", True): "uploadPart", ("post", True): "complete",
    ("get", True): "listParts", ("delete", True): "abort",
}  # fmt: skip


def refined(operation: str, request: Request) -> str:
    """The operation of a request: `storage.xml.multipart.…` where the query makes it one."""
    if not operation.startswith(_XML) or not ("uploads" in request.query or "uploadId" in request.query):
        return operation
    verb = _MULTIPART.get((request.method.lower(), "uploadId" in request.query))
    return f"{_XML}multipart.{verb}" if verb else operation


def known(operations: Iterable[str]) -> tuple[str, ...]:
    """What faults can be set on, in order; the stand-in's own operations are none of it."""
    outside = {each for each in operations if not each.startswith(OWN)}
    return tuple(sorted(outside | {f"{_XML}multipart.{verb}" for verb in _MULTIPART.values()}))


def check(pattern: str, operations: tuple[str, ...]) -> None:
    """Raises ApiError 400 for a pattern that no operation matches, naming those that are near."""
    if any(fnmatchcase(each, pattern) for each in operations):
        return
    if pattern.startswith(OWN):
        raise ApiError(400, "on: the stand-in's own API (local.…) takes no faults: it is what clears them", "invalid")
    near = difflib.get_close_matches(pattern, operations, 5, 0.5)
    groups = sorted({each.partition(".")[0] + ".*" for each in operations})
    hint = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(groups)}"
    raise ApiError(400, f"on: no operation matches {pattern[:100]!r}; {hint} All: GET /_local/operations", "invalid")
