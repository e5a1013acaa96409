"""An image reference becomes the digest that a registry names now; what does not exist is told, tokens go nowhere."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from scripts.cloud import registry
from scripts.cloud.registry import Registry
from scripts.errors import AccessDenied, NotFound, OpsError, Unreachable
from tests.conftest import StandIn

HELLO = "us-docker.pkg.dev/cloudrun/container/hello"
DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("tabular", ("tabular", "docker.io", "library/tabular", "latest")),
        ("team/tabular:v1", ("team/tabular", "docker.io", "team/tabular", "v1")),
        (f"{HELLO}:1", (HELLO, "us-docker.pkg.dev", "cloudrun/container/hello", "1")),
        (f"{HELLO}:1@{DIGEST}", (HELLO, "us-docker.pkg.dev", "cloudrun/container/hello", DIGEST)),
        ("localhost:5000/a/b", ("localhost:5000/a/b", "localhost:5000", "a/b", "latest")),
    ],
)
def test_a_reference_has_parts(reference: str, parts: tuple[str, str, str, str]) -> None:
    found = registry.parse(reference)
    assert (found.written, found.host, found.path, found.wanted) == parts


@pytest.mark.process
def test_a_tag_becomes_its_digest_and_follows_when_it_moves(shared_standin: StandIn) -> None:
    client = Registry(shared_standin.url)
    first = client.digest(f"{HELLO}:one")
    name, _, digest = first.partition("@")
    assert name == HELLO and digest.startswith("sha256:") and len(digest) == 71
    assert client.digest(first) == first
    assert client.digest("tabular:local").startswith("tabular@sha256:")
    moved = shared_standin.post("/_local/images", {"reference": f"{HELLO}:one"})["digest"]
    assert client.digest(f"{HELLO}:one") == f"{HELLO}@{moved}" != first


@pytest.mark.process
def test_what_does_not_exist_is_told(shared_standin: StandIn) -> None:
    client = Registry(shared_standin.url)
    for reference, kind in (("us-docker.pkg.dev/p/r/nosuch:1", "tag 1"), (f"{HELLO}@{DIGEST}", f"digest {DIGEST}")):
        with pytest.raises(NotFound, match=f"image {reference} does not exist") as missing:
            client.digest(reference)
        assert kind in missing.value.message
        assert "--image" in missing.value.remedy


class Challenging(BaseHTTPRequestHandler):
    """A registry that hands a token to anybody, and wants it back."""

    manifest = b'{"schemaVersion": 2}'
    seen: list[tuple[str, str]]

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers.get("authorization", "")))
        if self.path.startswith("/token?"):
            self._answer(200, json.dumps({"token": "for-anybody"}).encode())
        elif "/busy/" in self.path:
            self._answer(503, b"", ("retry-after", "0"))
        elif "/closed/" in self.path:
            self._answer(403, b'{"errors": [{"code": "DENIED", "message": "not for you"}]}')
        elif self.headers.get("authorization") != "Bearer for-anybody":
            host = self.headers["host"]
            told = f'Bearer realm="http://{host}/token",service="here",scope="repository:a:pull"'
            self._answer(401, b"{}", ("www-authenticate", told))
        else:
            digest = hashlib.sha256(b"other" if "/forged/" in self.path else self.manifest).hexdigest()
            self._answer(200, self.manifest, ("docker-content-digest", f"sha256:{digest}"))

    def _answer(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for header in (*headers, ("content-length", str(len(body)))):
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *details: Any) -> None:
        """Silent."""


@pytest.fixture
def challenging() -> Iterator[str]:
    Challenging.seen = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Challenging)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.process
def test_a_challenge_is_answered_and_refusals_keep_their_words(challenging: str) -> None:
    client = Registry(challenging)
    digest = hashlib.sha256(Challenging.manifest).hexdigest()
    assert client.digest("gcr.io/a/b:1") == f"gcr.io/a/b@sha256:{digest}"
    asked = [path for path, _ in Challenging.seen]
    assert asked == ["/v2/gcr.io/a/b/manifests/1", "/token?service=here&scope=repository%3Aa%3Apull", asked[0]]
    with pytest.raises(OpsError, match="the manifest's digest is"):
        client.digest("gcr.io/forged/b:1")
    with pytest.raises(AccessDenied, match="not for you"):
        client.digest("gcr.io/closed/b:1")
    with pytest.raises(Unreachable, match="HTTP 503"):
        client.digest("gcr.io/busy/b:1")
