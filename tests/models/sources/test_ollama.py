"""The registry's client: tokens, digests, manifests that cannot be trusted, tags that move, models that are gone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from scripts.errors import AccessDenied, BadInput, NotFound, OpsError
from scripts.models.sources.backoff import Patience
from scripts.models.sources.ollama import MANIFEST_LIMIT_BYTES, MANIFEST_TYPES, OllamaSource, parse_reference
from scripts.settings.types import ModelSpec

pytestmark = pytest.mark.process
WEIGHTS = bytes(range(256)) * 4000
CONFIG = b'{"model_format":"gguf"}'
SPEC = ModelSpec("chat", "ollama", "library/tiny:1b")
TAG = "/v2/library/tiny/manifests/1b"


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def descriptor(data: bytes, kind: str = "model") -> dict[str, Any]:
    return {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": digest(data), "size": len(data)}


def manifest(**changed: Any) -> bytes:
    body = {
        "schemaVersion": 2, "mediaType": MANIFEST_TYPES[0], "config": descriptor(CONFIG, "config"),
        "layers": [descriptor(WEIGHTS)],
    } | changed  # fmt: skip
    return json.dumps(body).encode()


@pytest.fixture
def source(upstream: Any, swift: Patience) -> OllamaSource:
    return OllamaSource(upstream.url, patience=swift)


@pytest.fixture
def offer(upstream: Any, answer: Any) -> Callable[[bytes], str]:
    """Put a manifest behind the tag and its digest, and the blobs behind theirs."""

    def put(raw: bytes) -> str:
        upstream.on(TAG, answer(body=raw))
        upstream.on(f"/v2/library/tiny/manifests/{digest(raw)}", answer(body=raw))
        for blob in (WEIGHTS, CONFIG):
            upstream.on(f"/v2/library/tiny/blobs/{digest(blob)}", answer(body=blob))
        return digest(raw)

    return put


def test_a_model_becomes_the_files_of_an_ollama_store(source: OllamaSource, offer: Any) -> None:
    raw = manifest()
    revision = offer(raw)
    found = source.resolve(SPEC)
    assert (found.revision, found.moved_to) == (revision, None)
    stored = {file.path: b"".join(source.open(found, file)) for file in found.files}
    assert stored == {
        f"blobs/{digest(CONFIG).replace(':', '-')}": CONFIG,
        f"blobs/{digest(WEIGHTS).replace(':', '-')}": WEIGHTS,
        "manifests/registry.ollama.ai/library/tiny/1b": raw,
    }
    assert all(digest(stored[file.path]) == f"sha256:{file.sha256}" for file in found.files)
    assert source.received_bytes == len(WEIGHTS) + len(CONFIG)


def test_a_part_of_a_blob_and_of_the_manifest(source: OllamaSource, offer: Any) -> None:
    raw = manifest()
    offer(raw)
    found = source.resolve(SPEC)
    by_size = {file.size_bytes: file for file in found.files}
    assert b"".join(source.open(found, by_size[len(WEIGHTS)], 1000, 5000)) == WEIGHTS[1000:5000]
    assert b"".join(source.open(found, by_size[len(raw)], 10, 20)) == raw[10:20]


def test_the_token_flow_and_no_token_for_the_blob_host(source: OllamaSource, upstream: Any, answer: Any) -> None:
    raw = manifest()
    realm = f'Bearer realm="{upstream.url}/token",service="reg",scope="repository:library/tiny:pull"'
    challenge = answer(401, headers={"WWW-Authenticate": realm})
    upstream.on("/token", answer(body=json.dumps({"token": "t0ken", "expires_in": 300}).encode()))
    upstream.on(TAG, challenge, answer(body=raw))
    blob = f"/v2/library/tiny/blobs/{digest(WEIGHTS)}"
    upstream.on(blob, answer(307, headers={"Location": f"{upstream.other_url}/cdn?sig=1"}))
    upstream.on("/cdn", answer(body=WEIGHTS, cut=600_000), answer(body=WEIGHTS))
    found = source.resolve(SPEC)
    weights = next(file for file in found.files if file.size_bytes == len(WEIGHTS))
    assert b"".join(source.open(found, weights)) == WEIGHTS
    assert upstream.paths() == [
        TAG, "/token?service=reg&scope=repository%3Alibrary%2Ftiny%3Apull", TAG, blob, "/cdn?sig=1", blob, "/cdn?sig=1",
    ]  # fmt: skip
    carried = [seen.headers.get("authorization") for seen in upstream.seen]
    assert carried == [None, None, "Bearer t0ken", "Bearer t0ken", None, "Bearer t0ken", None]


def test_a_token_that_ran_out_is_renewed_once(source: OllamaSource, upstream: Any, answer: Any) -> None:
    challenge = answer(401, headers={"WWW-Authenticate": f'Bearer realm="{upstream.url}/token",service="reg"'})
    upstream.on("/token", answer(body=b'{"access_token": "one"}'), answer(body=b'{"access_token": "two"}'))
    upstream.on(TAG, challenge, answer(body=manifest()), challenge, answer(body=manifest()))
    source.resolve(SPEC)
    source.resolve(SPEC)
    carried = [seen.headers.get("authorization") for seen in upstream.seen if seen.path == TAG]
    assert carried == [None, "Bearer one", "Bearer one", "Bearer two"]


@pytest.mark.parametrize(
    "challenge",
    ['Bearer realm="{url}/token",service="reg"', 'Basic realm="x"', "", 'Bearer realm="ftp://x/token"', "Bearer"],
)
def test_a_registry_that_keeps_refusing_denies_access(
    source: OllamaSource, upstream: Any, answer: Any, challenge: str
) -> None:
    upstream.on("/token", answer(body=b'{"token": "no good"}'))
    upstream.on(TAG, answer(401, headers={"WWW-Authenticate": challenge.format(url=upstream.url)}))
    with pytest.raises(AccessDenied, match=r"model 'chat', manifest of library/tiny:1b"):
        source.resolve(SPEC)
    assert upstream.paths().count(TAG) <= 2


@pytest.mark.parametrize("body", [b"{}", b"[]", b"no", b'{"token": 1}', b'{"token": "a\\r\\nX-Evil: 1"}'])
def test_a_token_endpoint_that_sends_no_token(source: OllamaSource, upstream: Any, answer: Any, body: bytes) -> None:
    upstream.on("/token", answer(body=body))
    upstream.on(TAG, answer(401, headers={"WWW-Authenticate": f'Bearer realm="{upstream.url}/token",service="reg"'}))
    with pytest.raises(OpsError, match="token"):
        source.resolve(SPEC)


def test_a_realm_that_is_no_address_and_a_lifetime_beyond_measure(
    source: OllamaSource, upstream: Any, answer: Any
) -> None:
    realms = ("http://[x/token", "http://x:99999/token", f"{upstream.url}/token")
    refused = [answer(401, headers={"WWW-Authenticate": f'Bearer realm="{realm}",service="reg"'}) for realm in realms]
    upstream.on("/token", answer(body=b'{"token": "t0ken", "expires_in": 1' + b"0" * 400 + b"}"))
    upstream.on(TAG, *refused, answer(body=manifest()))
    for _ in range(2):
        with pytest.raises(BadInput, match=r"token: .* cannot be requested"):
            source.resolve(SPEC)
    source.resolve(SPEC)


def test_a_pinned_revision_is_pulled_and_a_moved_tag_told(source: OllamaSource, offer: Any, upstream: Any) -> None:
    old, new = offer(manifest()), offer(manifest(annotations={"edition": "2"}))
    pulled = source.resolve(SPEC, pinned=old)
    assert (pulled.revision, pulled.moved_to) == (old, new)
    assert source.resolve(SPEC, pinned=new).moved_to is None
    assert source.resolve(SPEC).revision == new


def test_a_revision_of_the_settings_wins_and_reports_no_move(source: OllamaSource, offer: Any) -> None:
    old, new = offer(manifest()), offer(manifest(annotations={"edition": "2"}))
    wanted = ModelSpec("chat", "ollama", "library/tiny:1b", old)
    pulled = source.resolve(wanted, pinned=new)
    assert (pulled.revision, pulled.moved_to) == (old, None)


def test_a_tag_that_is_gone_leaves_the_pinned_revision(source: OllamaSource, offer: Any, upstream: Any) -> None:
    old = offer(manifest())
    del upstream.answers[TAG]
    pulled = source.resolve(SPEC, pinned=old)
    assert (pulled.revision, pulled.moved_to) == (old, None)


def test_what_is_gone_is_named_with_what_to_do(source: OllamaSource, offer: Any, upstream: Any) -> None:
    now = offer(manifest())
    lost = digest(b"lost")
    with pytest.raises(NotFound, match=lost) as caught:
        source.resolve(SPEC, pinned=lost)
    assert now in caught.value.message and f"revision: {now}" in caught.value.remedy
    upstream.answers.clear()
    with pytest.raises(NotFound, match="'library/tiny:1b'"):
        source.resolve(SPEC)


def test_content_of_another_digest_is_refused(source: OllamaSource, upstream: Any, answer: Any) -> None:
    wanted = digest(b"promised")
    upstream.on(f"/v2/library/tiny/manifests/{wanted}", answer(body=manifest()))
    upstream.on(TAG, answer(404))
    with pytest.raises(OpsError, match=wanted):
        source.resolve(SPEC, pinned=wanted)
    upstream.on(TAG, answer(body=manifest(), headers={"Docker-Content-Digest": wanted}))
    with pytest.raises(OpsError, match=wanted):
        source.resolve(SPEC)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (manifest(schemaVersion=1), "schema version 2"),
        (manifest(mediaType="application/vnd.docker.distribution.manifest.list.v2+json"), "image manifest"),
        (manifest(mediaType=None), "image manifest"),
        (manifest(layers=[]), "list of layers"),
        (manifest(layers={"a": 1}), "list of layers"),
        (manifest(config=None), "config: expected a digest"),
        (manifest(layers=[descriptor(WEIGHTS) | {"digest": "sha256:" + "A" * 64}]), r"layers\[0\]: expected a digest"),
        (manifest(layers=[descriptor(WEIGHTS) | {"digest": "sha256:../../../etc/passwd"}]), "expected a digest"),
        (manifest(layers=[descriptor(WEIGHTS) | {"digest": "sha512:" + "a" * 64}]), "expected a digest"),
        (manifest(layers=[descriptor(WEIGHTS), descriptor(b"x") | {"size": -1}]), r"layers\[1\]: expected a size"),
        (manifest(layers=[descriptor(WEIGHTS) | {"size": True}]), "expected a size"),
        (manifest(layers=[descriptor(WEIGHTS) | {"size": "5"}]), "expected a size"),
        (manifest(layers=[descriptor(WEIGHTS), descriptor(WEIGHTS) | {"size": 1}]), "with another size"),
        (manifest(layers=["x"]), "expected a digest"),
        (b"[]", "expected a JSON object"),
        (b"", "expected a JSON object"),
        (manifest()[:-5], "expected a JSON object"),
        (b"[" * 100_000, "expected a JSON object"),
        (b" " * (MANIFEST_LIMIT_BYTES + 1), "larger than"),
    ],
)
def test_manifests_that_cannot_be_trusted(source: OllamaSource, offer: Any, raw: bytes, told: str) -> None:
    offer(raw)
    with pytest.raises(OpsError, match=told):
        source.resolve(SPEC)


def test_a_blob_named_twice_is_one_file(source: OllamaSource, offer: Any) -> None:
    offer(manifest(layers=[descriptor(WEIGHTS), descriptor(WEIGHTS, "adapter")]))
    assert len(source.resolve(SPEC).files) == 3


@pytest.mark.parametrize(
    "name",
    [
        "tiny", "library/tiny", "registry.ollama.ai/library/tiny:1b", "https://x/library/tiny:1b", "library/../tiny:1b",
        "../tiny:1b", "library/tiny:..", "library/tiny:1b/x", "library/tiny@sha256:aa", "", ":1b", "library/ti ny:1b",
        "library/tiny:1b\n", "library/tiny?x:1b", "library/tinÿ:1b",
    ],
)  # fmt: skip
def test_sources_that_name_no_model(name: str) -> None:
    with pytest.raises(BadInput, match=r"source .* is not \[namespace/\]name:tag"):
        parse_reference(ModelSpec("chat", "ollama", name))


def test_a_source_without_a_namespace_is_of_the_library() -> None:
    reference = parse_reference(ModelSpec("chat", "ollama", "llama3.2:1b"))
    assert (reference.repository, reference.tag) == ("library/llama3.2", "1b")


def test_a_revision_that_is_no_digest(source: OllamaSource) -> None:
    with pytest.raises(BadInput, match="sha256: and 64"):
        source.resolve(ModelSpec("chat", "ollama", "library/tiny:1b", "latest"))


def test_a_blob_that_is_gone(source: OllamaSource, offer: Any, upstream: Any) -> None:
    offer(manifest())
    found = source.resolve(SPEC)
    upstream.answers.clear()
    with pytest.raises(NotFound, match=r"model 'chat', sha256:"):
        b"".join(source.open(found, found.files[0]))
