"""Names of operations and patterns of them."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.localcloud.traffic import operations
from scripts.localcloud.web import ApiError, Request


async def _nothing() -> dict[str, Any]:
    return {"type": "http.disconnect"}


@pytest.mark.parametrize(
    ("method", "query", "operation"),
    [
        ("PUT", {}, "storage.xml.objects.put"),
        ("POST", {"uploads": ""}, "storage.xml.multipart.create"),
        ("PUT", {"uploadId": "1", "partNumber": "1"}, "storage.xml.multipart.uploadPart"),
        ("DELETE", {"uploadId": "1"}, "storage.xml.multipart.abort"),
        ("PATCH", {"uploadId": "1"}, "storage.xml.objects.patch"),
    ],
)
def test_a_query_makes_it_a_multipart_upload(method: str, query: dict[str, str], operation: str) -> None:
    request = Request(method, "/b/o", query, {}, {}, "test", _nothing)
    assert operations.refined(f"storage.xml.objects.{method.lower()}", request) == operation


def test_patterns() -> None:
    known = operations.known(["storage.objects.get", "storage.buckets.get", "local.stop"])
    assert "local.stop" not in known and "storage.xml.multipart.abort" in known
    for pattern in ("*", "storage.*", "storage.objects.get", "storage.[bo]*.get"):
        operations.check(pattern, known)
    for pattern, hint in (("storage.object.get", "did you mean storage.objects.get"), ("zzz", "there are storage.*")):
        with pytest.raises(ApiError, match=hint.replace("*", r"\*")):
            operations.check(pattern, known)
    with pytest.raises(ApiError, match="takes no faults"):
        operations.check("local.stop", known)
