"""The XML API: what google-cloud-storage, signed URLs and S3-like clients send to /BUCKET and /BUCKET/OBJECT."""

from __future__ import annotations

import base64
import hashlib
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

import pytest

pytestmark = pytest.mark.process
MIB = 1 << 20
NS = "{http://s3.amazonaws.com/doc/2006-03-01/}"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def root(self) -> ElementTree.Element:
        return ElementTree.fromstring(self.body)

    def texts(self, path: str) -> list[str]:
        return [node.text or "" for node in self.root.findall(path.replace("/", f"/{NS}").replace("./", ".//"))]

    def text(self, name: str) -> str:
        return self.root.findtext(f"{NS}{name}") or ""

    @property
    def code(self) -> str:
        return self.root.findtext("Code") or ""


Ask = Callable[..., Answer]


@pytest.fixture
def ask(shared_standin: Any) -> Ask:
    def send(method: str, path: str, body: bytes = b"", query: Any = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", shared_standin.port, timeout=60)
        target = quote(path) + ("?" + (query if isinstance(query, str) else urlencode(query)) if query else "")
        connection.request(method, target, body or None, {key.replace("_", "-"): text for key, text in headers.items()})
        answer = connection.getresponse()
        told = {key.lower(): value for key, value in answer.getheaders()}
        found = Answer(answer.status, told, answer.read())
        connection.close()
        return found

    return send


def test_an_object_is_put_read_and_deleted(ask: Ask, bucket: Any) -> None:
    path = f"/{bucket.name}/folder/n ä+#1.txt"
    made = ask("PUT", path, b"hello", Content_Type="text/plain", x_goog_meta_colour="blue", Cache_Control="no-store")
    assert made.status == 200
    assert made.headers["etag"] == f'"{hashlib.md5(b"hello").hexdigest()}"'
    blob = bucket.get_blob("folder/n ä+#1.txt")
    assert (blob.content_type, blob.cache_control, blob.metadata) == ("text/plain", "no-store", {"colour": "blue"})
    assert str(blob.generation) == made.headers["x-goog-generation"]
    read = ask("GET", path)
    assert (read.status, read.body, read.headers["content-type"]) == (200, b"hello", "text/plain")
    assert read.headers["x-goog-meta-colour"] == "blue"
    assert read.headers["etag"] == made.headers["etag"]
    head = ask("HEAD", path)
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "5")
    assert ask("GET", path, Range="bytes=-2").body == b"lo"
    assert ask("GET", path, Range="bytes=9-").status == 416
    assert ask("GET", path, Range="bytes=9-").code == "InvalidRange"
    assert ask("DELETE", path).status == 204
    assert bucket.get_blob("folder/n ä+#1.txt") is None
    gone = ask("GET", path)
    assert (gone.status, gone.code) == (404, "NoSuchKey")
    assert gone.headers["content-type"].startswith("application/xml")
    assert ask("HEAD", path).status == 404
    assert ask("DELETE", path).code == "NoSuchKey"


def test_preconditions_and_checksums_are_kept(ask: Ask, bucket: Any) -> None:
    path = f"/{bucket.name}/once"
    made = ask("PUT", path, b"one", x_goog_if_generation_match="0")
    generation = made.headers["x-goog-generation"]
    again = ask("PUT", path, b"two", x_goog_if_generation_match="0")
    assert (again.status, again.code) == (412, "PreconditionFailed")
    assert ask("PUT", path, b"two", x_goog_if_generation_match=generation).status == 200
    assert ask("GET", path, x_goog_if_generation_match=generation).status == 412
    tag = ask("GET", path).headers["etag"]
    assert ask("GET", path, If_None_Match=tag).status == 304
    assert ask("GET", path, If_Match='"other"').status == 412
    assert ask("DELETE", path, x_goog_if_generation_match="1").status == 412
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    for headers in ({"Content_MD5": wrong}, {"x_goog_hash": f"md5={wrong}"}):
        refused = ask("PUT", f"/{bucket.name}/bad", b"text", **headers)
        assert (refused.status, refused.code) == (400, "BadDigest")
    assert bucket.get_blob("bad") is None
    assert ask("PUT", path, b"", x_goog_if_generation_match="soon").code == "InvalidArgument"


def test_generations_copies_and_missing_buckets(ask: Ask, versioned: Any) -> None:
    path = f"/{versioned.name}/doc"
    first = ask("PUT", path, b"one", x_goog_meta_k="v").headers["x-goog-generation"]
    ask("PUT", path, b"two")
    assert ask("GET", path, query={"generation": first}).body == b"one"
    copied = ask("PUT", f"/{versioned.name}/copy", x_goog_copy_source=f"{versioned.name}/doc",
                 x_goog_copy_source_generation=first)  # fmt: skip
    assert (copied.status, copied.root.tag) == (200, f"{NS}CopyObjectResult")
    assert ask("GET", f"/{versioned.name}/copy").body == b"one"
    assert versioned.get_blob("copy").metadata == {"k": "v"}
    assert ask("DELETE", path, query={"generation": first}).status == 204
    listed = ask("GET", f"/{versioned.name}", query="versions")
    assert listed.texts("./Version/Key") == ["copy", "doc"]
    for answer in (
        ask("GET", "/no-such-bucket"),
        ask("GET", "/no-such-bucket/x"),
        ask("PUT", "/no-such-bucket/x", b"1"),
    ):
        assert (answer.status, answer.code) == (404, "NoSuchBucket")
    assert ask("PATCH", path).code == "MethodNotAllowed"
    assert ask("GET", f"/{versioned.name}", query="versioning").text("Status") == "Enabled"
    assert ask("HEAD", f"/{versioned.name}").status == 200
    assert b"FULL_CONTROL" in ask("GET", path, query="acl").body


def test_both_lists_page_with_prefixes(ask: Ask, bucket: Any) -> None:
    names = ["a", "b/1", "b/2", "c/1", "d & <e>", "z"]
    for name in names:
        ask("PUT", f"/{bucket.name}/{name}", b"x")
    everything = ask("GET", f"/{bucket.name}")
    assert everything.texts("./Contents/Key") == names
    assert everything.text("IsTruncated") == "false"
    assert ask("GET", f"/{bucket.name}/", query={"prefix": "b/"}).texts("./Contents/Key") == ["b/1", "b/2"]
    rolled = {"delimiter": "/", "max-keys": "2"}
    shown: list[str] = []
    marker = ""
    for _ in range(4):
        page = ask("GET", f"/{bucket.name}", query={**rolled, "marker": marker})
        shown += page.texts("./Contents/Key") + page.texts("./CommonPrefixes/Prefix")
        marker = page.text("NextMarker")
        if page.text("IsTruncated") == "false":
            break
    assert shown == ["a", "b/", "d & <e>", "c/", "z"]
    token, keys = "", []
    for _ in range(6):
        asked = {"list-type": "2", "max-keys": "1", **({"continuation-token": token} if token else {})}
        page = ask("GET", f"/{bucket.name}", query=asked)
        assert page.text("KeyCount") == "1"
        keys += page.texts("./Contents/Key")
        token = page.text("NextContinuationToken")
    assert (keys, token) == (names, "")
    after = ask("GET", f"/{bucket.name}", query={"list-type": "2", "start-after": "c/1"})
    assert after.texts("./Contents/Key") == ["d & <e>", "z"]
    encoded = ask("GET", f"/{bucket.name}", query={"prefix": "d", "encoding-type": "url"})
    assert encoded.texts("./Contents/Key") == ["d%20%26%20%3Ce%3E"]
    assert ask("GET", f"/{bucket.name}", query={"max-keys": "0"}).texts("./Contents/Key") == []
    for query in ({"max-keys": "x"}, {"list-type": "2", "continuation-token": "?"}):
        assert ask("GET", f"/{bucket.name}", query=query).code == "InvalidArgument"


def test_generations_page_by_two_markers(ask: Ask, versioned: Any) -> None:
    for text in (b"1", b"2", b"3"):
        ask("PUT", f"/{versioned.name}/doc", text)
    found: list[tuple[str, str]] = []
    query = {"versions": "", "max-keys": "1"}
    for _ in range(3):
        page = ask("GET", f"/{versioned.name}", query=query)
        found += zip(page.texts("./Version/Generation"), page.texts("./Version/IsLatest"), strict=True)
        query |= {"key-marker": page.text("NextKeyMarker"), "generation-marker": page.text("NextGenerationMarker")}
    assert [latest for _, latest in found] == ["false", "false", "true"]
    assert len({generation for generation, _ in found}) == 3


def test_the_transfer_manager_uploads_in_parts(bucket: Any, tmp_path: Path, shared_standin: Any) -> None:
    from google.cloud.storage import transfer_manager

    content = bytes(range(256)) * (11 * MIB // 256) + b"end"
    (tmp_path / "big").write_bytes(content)
    blob = bucket.blob("big/näme")
    blob.metadata = {"k": "v"}
    transfer_manager.upload_chunks_concurrently(
        tmp_path / "big", blob, content_type="text/x-big", chunk_size=5 * MIB, max_workers=3,
        worker_type=transfer_manager.THREAD,
    )  # fmt: skip
    found = bucket.get_blob("big/näme")
    assert (found.size, found.md5_hash, found.content_type) == (len(content), None, "text/x-big")
    assert found.metadata == {"k": "v"}
    assert found.download_as_bytes() == content
    transfer_manager.download_chunks_concurrently(found, tmp_path / "back", chunk_size=4 * MIB, worker_type="thread")
    assert (tmp_path / "back").read_bytes() == content
    status = shared_standin.get("/_local/status")["storage"]
    assert status["uploads_under_way"] == 0


def test_parts_are_listed_replaced_checked_and_given_up(ask: Ask, bucket: Any, shared_standin: Any) -> None:
    path = f"/{bucket.name}/parts"
    upload = ask("POST", path, query="uploads").text("UploadId")

    def part(number: int, body: bytes) -> str:
        made = ask("PUT", path, body, query={"partNumber": number, "uploadId": upload})
        assert made.status == 200
        return made.headers["etag"]

    def complete(*parts: tuple[int, str]) -> Answer:
        listed = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{tag}</ETag></Part>" for n, tag in parts)
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        return ask("POST", path, body, query={"uploadId": upload})

    small, first, last = part(1, b"small"), "", part(3, b"tail")
    assert complete((1, small), (3, last)).code == "EntityTooSmall"
    first = part(1, b"f" * (5 * MIB))
    listed = ask("GET", path, query={"uploadId": upload, "max-parts": 1})
    assert (listed.texts("./Part/PartNumber"), listed.text("IsTruncated")) == (["1"], "true")
    rest = ask("GET", path, query={"uploadId": upload, "part-number-marker": listed.text("NextPartNumberMarker")})
    assert (rest.texts("./Part/PartNumber"), rest.texts("./Part/Size")) == (["3"], ["4"])
    assert complete((3, last), (1, first)).code == "InvalidPartOrder"
    assert complete((1, small), (3, last)).code == "InvalidPart"
    assert complete((1, first), (2, last)).code == "InvalidPart"
    assert complete().code == "MalformedXML"
    for bad in (b"<oops", b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'):
        assert ask("POST", path, bad, query={"uploadId": upload}).code == "MalformedXML"
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    asked = {"partNumber": 4, "uploadId": upload}
    assert ask("PUT", path, b"text", query=asked, Content_MD5=wrong).code == "BadDigest"
    assert ask("PUT", path, b"text", query={**asked, "partNumber": 10001}).code == "InvalidArgument"
    done = complete((1, first), (3, last))
    assert (done.status, done.text("Key")) == (200, "parts")
    assert bucket.blob("parts").download_as_bytes() == b"f" * (5 * MIB) + b"tail"
    assert complete((1, first), (3, last)).code == "NoSuchUpload"

    upload = ask("POST", path, query="uploads").text("UploadId")
    part(1, b"given up")
    assert ask("GET", f"/{bucket.name}", query="uploads").texts("./Upload/UploadId") == [upload]
    bodies = [each for each in (shared_standin.state / "storage").rglob("*") if each.is_file()]
    assert ask("DELETE", path, query={"uploadId": upload}).status == 204
    left = [each for each in (shared_standin.state / "storage").rglob("*") if each.is_file()]
    assert len(left) == len(bodies) - 1, "a part that was given up leaves no bytes"
    assert ask("GET", path, query={"uploadId": upload}).code == "NoSuchUpload"
    assert ask("GET", f"/{bucket.name}", query="uploads").texts("./Upload/UploadId") == []


def test_what_is_not_a_bucket_stays_json(ask: Ask) -> None:
    for path in ("/storage/v1/nothing", "/apis/nothing", "/upload/x/y", "/"):
        answer = ask("GET", path)
        assert answer.headers["content-type"].startswith("application/json"), path


def test_a_bucket_s_own_host_and_signed_urls(ask: Ask, bucket: Any) -> None:
    bucket.blob("a b").upload_from_string("text")
    signed = {"X-Goog-Algorithm": "GOOG4-RSA-SHA256", "X-Goog-Signature": "00", "X-Goog-Expires": "60"}
    assert ask("GET", f"/{bucket.name}/a b", query=signed).body == b"text"
    assert ask("GET", "/a b", Host=f"{bucket.name}.storage.googleapis.com").body == b"text"
    renamed = ask("GET", f"/{bucket.name}/a b", query={"response-content-disposition": "attachment"})
    assert renamed.headers["content-disposition"] == "attachment"
    split = ask("GET", f"/{bucket.name}/a b", query={"response-content-type": "text/plain\r\nx-added: 1"})
    assert (split.status, split.code) == (400, "InvalidArgument"), "no header may be added through a value"
    for query in ({"versions": "", "key-marker": "a", "generation-marker": "²"}, {"partNumber": "²", "uploadId": "x"}):
        assert ask("GET", f"/{bucket.name}/", query=query).status == 200


def test_signed_urls_of_the_library_work_until_they_expire(bucket: Any, shared_standin: Any) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from google.auth.crypt import RSASigner
    from google.oauth2.service_account import Credentials

    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pem = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(*form)
    signer = Credentials(RSASigner.from_string(pem), "me@demo.iam.gserviceaccount.com", "https://unused.example/token")
    blob = bucket.blob("by url/ä")

    def call(method: str, age_s: int = 0, body: bytes | None = None, version: str = "v4") -> tuple[int, bytes]:
        times: dict[str, Any] = {"expiration": int(time.time()) - age_s + 60}
        if version == "v4":
            made = (datetime.now(UTC) - timedelta(seconds=age_s)).strftime("%Y%m%dT%H%M%SZ")
            times = {"expiration": 60}
        url = blob.generate_signed_url(
            version=version, method=method, credentials=signer, api_access_endpoint=shared_standin.url, **times
        )
        url = re.sub(r"X-Goog-Date=[^&]+", f"X-Goog-Date={made}", url) if version == "v4" else url
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, method=method), timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    for version in ("v4", "v2"):
        assert call("PUT", body=version.encode(), version=version)[0] == 200
        assert call("GET", version=version) == (200, version.encode())
        status, told = call("GET", age_s=120, version=version)
        assert (status, b"<Code>ExpiredToken</Code>" in told) == (400, True)
    assert call("DELETE")[0] == 204
