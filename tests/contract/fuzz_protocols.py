"""Hostile requests of Cloud Storage's other protocols (XML, batches, uploads) and hostile bytes on a connection."""

# ruff: noqa: E501 - one case a line

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.contract.fuzz_support import HEADERS, SEGMENTS, WORDS, Call, body, described, pick, quoted

RANGES = [
    "bytes=0-", "bytes=-0", "bytes=-1", "bytes=5-2", "bytes=0-0,2-2", "bytes=999999999999999999999-", "bytes=--1",
    "bytes=a-b", "bytes=", "items=0-1", "bytes=0-99999999999999999999", "bytes= 0 - 1",
    "bytes=-99999999999999999999999", "bytes=٣-٤", "bytes 0-1", "bytes=1-1-1", "bytes=" + "0-0," * 2000,
]  # fmt: skip
PIECES = [
    "bytes 0-0/1", "bytes */*", "bytes */0", "bytes */-1", "bytes 5-1/10", "bytes 0-9/5",
    "bytes 0-9/99999999999999999999", "bytes 99999999999999999999-999999999999999999999/*", "bytes -/", "bytes", "",
    "x", "bytes 0-262143/*", "bytes ٣-٤/*", "bytes 1-1/2", "bytes 0-0/*", "bytes */1",
]  # fmt: skip
LAUGHS = b"""<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha">%b]><CompleteMultipartUpload><Part><PartNumber>&z;</PartNumber>
<ETag>&z;</ETag></Part></CompleteMultipartUpload>""" % b"".join(
    b'<!ENTITY %c "%b">' % (after, b"&%c;" % before * 10)
    for before, after in zip(b"abcdefghijklmnopqrstuvwxy", b"bcdefghijklmnopqrstuvwxyz", strict=True)
)
DOCUMENTS = [
    b"", b"<", b"<a>" * 50_000, b"<CompleteMultipartUpload/>",
    b"<CompleteMultipartUpload><Part/></CompleteMultipartUpload>",
    b"<CompleteMultipartUpload><Part><PartNumber>x</PartNumber><ETag>y</ETag></Part></CompleteMultipartUpload>",
    b"<CompleteMultipartUpload><Part><PartNumber>-1</PartNumber><ETag/></Part></CompleteMultipartUpload>",
    b"<CompleteMultipartUpload><Part><PartNumber>" + b"9" * 5000 + b"</PartNumber><ETag>y</ETag></Part></CompleteMultipartUpload>",
    b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><CompleteMultipartUpload>&x;</CompleteMultipartUpload>',
    b'<!DOCTYPE a SYSTEM "http://127.0.0.1:9/x"><CompleteMultipartUpload/>', LAUGHS, "<ü/>".encode("utf-16"), b"\x00",
    b"{}",
]  # fmt: skip
VIEWS = [
    "", "uploads", "uploadId=x", "uploadId=x&partNumber=1", "acl", "versioning", "location", "lifecycle", "cors",
    "policy", "partNumber=0&uploadId=", "list-type=2", "list-type=3", "versions", "max-keys=x", "max-keys=-1",
    "generation=x", "delimiter=", "marker=%00", "continuation-token=%FF", "encoding-type=x", "X-Goog-Signature=x",
    "delete", "restore", "X-Goog-Date=x&X-Goog-Expires=99999999999999999999&X-Goog-Signature=x",
    "Expires=x&Signature=y&GoogleAccessId=z", "Expires=99999999999999999999999&Signature=y",
    "response-content-type=a%0D%0AX-Evil:%201", "response-content-type=%F0%9F%92%A9",
    "response-content-disposition=a%0D%0AX-Evil:%201",
]  # fmt: skip
OWN_HEADERS = [
    ("x-goog-hash", "crc32c=AAAAAA=="), ("x-goog-hash", "md5=" + "A" * 999), ("content-md5", "x"),
    ("x-goog-meta-a", "\x80\xff"), ("x-goog-meta-" + "a" * 5000, "b" * 5000), ("x-goog-if-generation-match", "-1"),
    ("x-goog-if-metageneration-match", "9" * 40), ("x-goog-copy-source", "fuzz-bucket/fuzz-object"),
    ("x-goog-copy-source", "/fuzz-bucket/%2e%2e/%00"), ("x-goog-copy-source", ""), ("x-goog-metadata-directive", "x"),
    ("x-goog-storage-class", "x"), ("x-goog-acl", "x"), ("content-type", "a\tb"), ("content-encoding", "gzip"),
    ("content-encoding", "gzip, gzip, x"), ("content-length", "1"), ("cache-control", "\x7f"),
    ("x-goog-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), ("x-amz-content-sha256", "x"),
    ("x-goog-date", "x"), ("accept-encoding", "gzip"), ("host", "fuzz-bucket.storage.googleapis.com"),
    ("host", "..storage.googleapis.com"), ("if-unmodified-since", "Thu, 99 Jan 9999 99:99:99 GMT"), ("if-range", "x"),
    ("x-goog-custom-time", "x"), *HEADERS,
]  # fmt: skip
HOSTS = [
    "", "evil.example", "127.0.0.1:x", "[::1", "localhost:99999", "a" * 3000, "127.0.0.1:1:2", "run.gcp.internal",
    "[]", "::1", "fuzz-service.localhost", "x---fuzz-service.localhost", "....", "storage.googleapis.com",
    "\x80.localhost", "%00", "_",
]  # fmt: skip


def storage(rnd: Random, sessions: list[str]) -> Call:
    """A request of one of Cloud Storage's protocols."""
    kinds = (_xml, _multipart_xml, _download, _related, _batch, lambda rnd: _piece(rnd, sessions), _begin)
    return kinds[rnd.randrange(len(kinds))](rnd)


def _xml(rnd: Random) -> Call:
    verb = pick(rnd, ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"])
    name = pick(rnd, ["fuzz-object", "a/b", "big", pick(rnd, SEGMENTS)]) if rnd.randrange(4) else ""
    bucket = "fuzz-bucket" if rnd.randrange(6) else pick(rnd, SEGMENTS)
    headers = tuple(pick(rnd, OWN_HEADERS) for _ in range(rnd.randrange(3)))
    view = pick(rnd, VIEWS)
    data = pick(rnd, DOCUMENTS) if verb in ("PUT", "POST") else b""
    return Call(verb, f"/{bucket}/{name}" + (f"?{view}" if view else ""), headers, data)


def _multipart_xml(rnd: Random) -> Call:
    number = pick(rnd, ["1", "0", "-1", "10001", "x", "9" * 40, ""])
    verb, view = pick(rnd, [("POST", "uploads"), ("PUT", f"partNumber={number}&uploadId=x"), ("POST", "uploadId=x")])
    return Call(verb, f"/fuzz-bucket/fuzz-parts?{view}", (pick(rnd, OWN_HEADERS),), pick(rnd, DOCUMENTS))


def _download(rnd: Random) -> Call:
    target = pick(rnd, [
        "/storage/v1/b/fuzz-bucket/o/big?alt=media", "/download/storage/v1/b/fuzz-bucket/o/big?alt=media", "/fuzz-bucket/big",
        "/storage/v1/b/fuzz-bucket/o/fuzz-object?alt=media&generation=" + quoted(pick(rnd, WORDS)),
    ])  # fmt: skip
    return Call(pick(rnd, ["GET", "HEAD"]), target, (("range", pick(rnd, RANGES)), pick(rnd, OWN_HEADERS)))


def _related(rnd: Random) -> Call:
    mark = pick(rnd, ["x", '"x"', '"x', "", "x" * 300, "x y", "'x'", "\x80", "="])
    parts = [
        b'Content-Type: application/json\r\n\r\n{"name":"fuzz-related"}',
        b"Content-Type: application/json\r\n\r\n" + body(rnd, described()["storage.objects.insert"]),
        b"Content-Type: text/plain\r\n\r\nhello",
        b"",
        b"\r\n\r\n",
    ]
    lines = [b"--x\r\n" + pick(rnd, parts) + pick(rnd, [b"\r\n", b"\n", b""]) for _ in range(rnd.randrange(5))]
    end = pick(rnd, [b"--x--\r\n", b"--x--", b"", b"--x", b"--y--"])
    kind = pick(rnd, ["multipart/related", "multipart/mixed", "multipart/form-data"])
    headers = (("content-type", f"{kind}; boundary={mark}"), pick(rnd, OWN_HEADERS))
    return Call("POST", "/upload/storage/v1/b/fuzz-bucket/o?uploadType=multipart", headers, b"".join(lines) + end)


def _batch(rnd: Random) -> Call:
    inner = [b"GET /storage/v1/b/fuzz-bucket HTTP/1.1\r\n\r\n", b"GET http://[/x HTTP/1.1\r\n\r\n", b"", b"\x00\xff", b"GET  \r\n\r\n",
             b"DELETE /storage/v1/b/fuzz-bucket/o/" + b"a" * 3000 + b"\r\n\r\n", b"POST /batch/storage/v1\r\n\r\n",
             b"GET /storage/v1/b/fuzz-bucket/o/big?alt=media\r\n\r\n", b"PATCH /storage/v1/b/fuzz-bucket\r\n\r\n{\"labels\":[]}",
             b"GET /_local/status\r\n\r\n", b"PUT /storage/v1/b/fuzz-bucket/o/x\r\nContent-Length: 99999\r\n\r\n{", b"GET /storage/v1/b/%ff\r\n\r\n",
             b"POST /storage/v1/b?project=fuzz\r\nContent-Type: application/json\r\n\r\n{\"name\":\"\\ud800\"}"]  # fmt: skip
    head = pick(
        rnd,
        [
            b"Content-Type: application/http\r\n\r\n",
            b"Content-ID: <\x80>\r\n\r\n",
            b"\r\n",
            b"",
            b"Content-ID: a\r\n b\r\n\r\n",
        ],
    )
    parts = b"".join(b"--b\r\n" + head + pick(rnd, inner) + b"\r\n" for _ in range(pick(rnd, [0, 1, 2, 5, 101])))
    end = pick(rnd, [b"--b--", b"--b", b""])
    kind = pick(rnd, ["multipart/mixed; boundary=b", "multipart/mixed", 'multipart/mixed; boundary="b"', "text/plain"])
    return Call("POST", pick(rnd, ["/batch/storage/v1", "/batch"]), (("content-type", kind),), parts + end)


def _piece(rnd: Random, sessions: list[str]) -> Call:
    session = pick(rnd, sessions)
    target = (
        session
        if rnd.randrange(4)
        else session[: rnd.randrange(len(session))].split("upload_id")[0] + "upload_id=" + quoted(pick(rnd, WORDS))
    )
    data = b"x" * pick(rnd, [0, 1, 2, 10, 262_144, 262_143])
    verb = pick(rnd, ["PUT", "PUT", "PUT", "POST", "DELETE", "GET"])
    return Call(verb, target, (("content-range", pick(rnd, PIECES)), pick(rnd, OWN_HEADERS)), data)


def _begin(rnd: Random) -> Call:
    way = pick(rnd, ["resumable", "media", "multipart", "x", "", "RESUMABLE"])
    word = quoted(pick(rnd, WORDS))
    root = pick(rnd, ["/upload", "/resumable/upload"])
    target = f"{root}/storage/v1/b/fuzz-bucket/o?uploadType={way}&name={word}&{pick(rnd, ['ifGenerationMatch', 'kmsKeyName', 'x'])}={word}"
    return Call(
        "POST",
        target,
        (pick(rnd, OWN_HEADERS), ("content-type", "application/json")),
        pick(rnd, [b"", b"{", b"{}", b'{"name":5}']),
    )


BASES = [
    b"GET /_local/health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /v2/entries:list HTTP/1.1\r\nHost: localhost\r\nContent-Length: 36\r\n\r\n{\"resourceNames\": [\"projects/fuzz\"]} ",
    b"PUT /fuzz-bucket/raw HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"GET http://storage.gcp.internal/storage/v1/b/fuzz-bucket HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT storage.googleapis.com:443 HTTP/1.1\r\nHost: storage.googleapis.com:443\r\n\r\n",
    b"POST /upload/storage/v1/b/fuzz-bucket/o?uploadType=media&name=raw HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    b"GET /run/fuzz-service/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /fuzz-bucket/big HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-9\r\n\r\n",
]  # fmt: skip
SPOILS: list[bytes] = [
    b"\x00", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"\xff", b":", b"Content-Length: 5\r\n",
    b"Content-Length: -1\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: x\r\n", b"ffffffffffffffff\r\n",
    b"-1\r\n", b"0\r\n\r\n", b"HTTP/9.9", b"Host: evil.example\r\n", b" folded: x\r\n",
    b"X: " + b"y" * 70_000 + b"\r\n", b"a: b\r\n" * 3000, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"Upgrade: websocket\r\nConnection: Upgrade\r\n", b"Upgrade: h2c\r\n",
    b"Content-Length: 99999999999999999999\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n",
    b"Expect: x\r\n", b"%00", b"//", b"http://[", b"5;a=\"b\r\n",
]  # fmt: skip


def spoiled(rnd: Random) -> bytes:
    """Bytes that were requests once: cut, repeated, with something in between; sometimes many at once."""
    raw = pick(rnd, BASES) if rnd.randrange(8) else b"".join(pick(rnd, BASES) for _ in range(20))
    ways: list[Callable[[bytes, int], bytes]] = [
        lambda raw, at: raw[:at],
        lambda raw, at: raw[:at] + pick(rnd, SPOILS) + raw[at:],
        lambda raw, at: raw[:at] + raw[at + 1 + rnd.randrange(5) :],
        lambda raw, at: raw + raw[at:],
        lambda raw, at: raw[:at] + bytes([rnd.randrange(256)]) + raw[at + 1 :],
        lambda raw, at: raw.replace(b"\r\n", pick(rnd, [b"\n", b"\r", b"\r\r\n"])),
        lambda raw, at: raw.replace(b"localhost", pick(rnd, HOSTS).encode("utf-8")),
        lambda raw, at: raw.replace(b"\r\n", b"\r\n" + pick(rnd, SPOILS), 1),
    ]
    for _ in range(1 + rnd.randrange(3)):
        raw = pick(rnd, ways)(raw, rnd.randrange(len(raw) + 1))
    return raw
