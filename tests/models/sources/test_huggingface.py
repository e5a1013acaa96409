"""The hub's client: patterns, pins, private repositories, answers that cannot be trusted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import OfflineModeIsEnabled

from scripts.errors import AccessDenied, BadInput, NotFound, OpsError, Unreachable
from scripts.models.sources.backoff import Patience
from scripts.models.sources.huggingface import HubSource, select
from scripts.settings.types import ModelSpec

pytestmark = pytest.mark.process
OLD, NEW = "a" * 40, "b" * 40
TOKEN = "hf_" + "x" * 20
WEIGHTS = bytes(range(256)) * 4000
CONFIG = b'{"hidden_size": 384}'
SPEC = ModelSpec("encoder", "huggingface", "org/tiny")
API = "/api/models/org/tiny/revision/"


def git_oid(data: bytes) -> str:
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


def small(path: str, data: bytes) -> dict[str, Any]:
    return {"rfilename": path, "size": len(data), "blobId": git_oid(data)}


def large(path: str, data: bytes) -> dict[str, Any]:
    lfs = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 135}
    return small(path, data) | {"lfs": lfs}


SIBLINGS = [small("config.json", CONFIG), small("1_Pooling/config.json", b"{}"), large("model.safetensors", WEIGHTS)]


def info(commit: str, siblings: Any = None) -> bytes:
    files = SIBLINGS if siblings is None else siblings
    return json.dumps({"id": "org/tiny", "sha": commit, "siblings": files}).encode()


@pytest.fixture
def source(upstream: Any, swift: Patience) -> HubSource:
    return HubSource(upstream.url, TOKEN, client="job-7", patience=swift)


@pytest.fixture
def offer(upstream: Any, answer: Any) -> Callable[..., None]:
    """A hub whose branch main is at `latest`, and which also has the commits `others`."""

    def put(latest: str, *others: str, siblings: Any = None) -> None:
        upstream.on(f"{API}main", answer(body=info(latest, siblings)))
        for commit in (latest, *others):
            upstream.on(f"{API}{commit}", answer(body=info(commit, siblings)))
            upstream.on(f"/org/tiny/resolve/{commit}/config.json", answer(body=CONFIG))
            upstream.on(f"/org/tiny/resolve/{commit}/1_Pooling/config.json", answer(body=b"{}"))
            cdn = {"Location": f"{upstream.other_url}/cdn"}
            upstream.on(f"/org/tiny/resolve/{commit}/model.safetensors", answer(302, headers=cdn))
        upstream.on("/cdn", answer(body=WEIGHTS))

    return put


def test_a_model_becomes_the_files_of_a_hub_cache(source: HubSource, offer: Any, upstream: Any) -> None:
    offer(NEW)
    found = source.resolve(SPEC)
    assert (found.revision, found.moved_to) == (NEW, None)
    stored = {file.path: b"".join(source.open(found, file)) for file in found.files}
    assert stored == {
        f"snapshots/{NEW}/config.json": CONFIG,
        f"snapshots/{NEW}/1_Pooling/config.json": b"{}",
        f"snapshots/{NEW}/model.safetensors": WEIGHTS,
        "refs/main": NEW.encode(),
    }
    assert source.received_bytes == len(CONFIG) + 2 + len(WEIGHTS)
    sha256 = {file.path.rpartition("/")[2]: file.sha256 for file in found.files}
    assert sha256["model.safetensors"] == hashlib.sha256(WEIGHTS).hexdigest()


def test_the_token_goes_to_the_hub_alone(source: HubSource, offer: Any, upstream: Any) -> None:
    offer(NEW)
    found = source.resolve(SPEC)
    assert [b"".join(source.open(found, file)) for file in found.files][2] == WEIGHTS
    carried = {seen.path: seen.headers.get("authorization") for seen in upstream.seen}
    assert carried.pop("/cdn") is None
    assert len(carried) == 4 and set(carried.values()) == {f"Bearer {TOKEN}"}
    assert {seen.headers.get("x-modelshelf-client") for seen in upstream.seen} == {"job-7"}


def test_metadata_redirected_to_another_host_carries_no_token(
    source: HubSource, offer: Any, upstream: Any, answer: Any
) -> None:
    offer(NEW)
    upstream.on(f"{API}main", answer(307, headers={"Location": f"{upstream.other_url}/elsewhere"}))
    upstream.on("/elsewhere", answer(body=info(NEW)))
    assert source.resolve(SPEC).revision == NEW
    assert upstream.seen[-1].path == "/elsewhere"
    assert "authorization" not in upstream.seen[-1].headers


def test_without_a_token_none_is_sent(
    upstream: Any, swift: Patience, offer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    offer(NEW)
    HubSource(upstream.url, patience=swift).resolve(SPEC)
    assert "authorization" not in upstream.seen[0].headers


def test_a_pinned_commit_is_pulled_and_a_moved_branch_told(source: HubSource, offer: Any, upstream: Any) -> None:
    offer(NEW, OLD)
    pulled = source.resolve(SPEC, pinned=OLD)
    assert (pulled.revision, pulled.moved_to) == (OLD, NEW)
    assert {file.path: file.content for file in pulled.files}["refs/main"] == OLD.encode()
    upstream.seen.clear()
    assert source.resolve(SPEC, pinned=NEW).moved_to is None
    assert len(upstream.seen) == 1


def test_a_revision_of_the_settings_wins_and_reports_no_move(source: HubSource, offer: Any) -> None:
    offer(NEW, OLD)
    pulled = source.resolve(ModelSpec("encoder", "huggingface", "org/tiny", OLD), pinned=NEW)
    assert (pulled.revision, pulled.moved_to) == (OLD, None)


def test_what_is_gone_is_named_with_what_to_do(source: HubSource, offer: Any, upstream: Any, answer: Any) -> None:
    offer(NEW)
    gone = {"X-Error-Code": "RevisionNotFound"}
    upstream.on(f"{API}{OLD}", answer(404, headers=gone))
    with pytest.raises(NotFound, match=OLD) as caught:
        source.resolve(SPEC, pinned=OLD)
    assert f"revision: {NEW}" in caught.value.remedy
    for status, code in ((404, {"X-Error-Code": "RepoNotFound"}), (404, {}), (410, {})):
        upstream.on(f"{API}main", answer(status, headers=code))
        with pytest.raises(NotFound, match="model 'encoder', org/tiny at main"):
            source.resolve(SPEC)


@pytest.mark.parametrize(
    ("status", "headers"),
    [(401, {}), (403, {}), (403, {"X-Error-Code": "GatedRepo"}), (401, {"X-Error-Code": "GatedRepo"})],
)
def test_a_private_repository_asks_for_a_token(
    source: HubSource, upstream: Any, answer: Any, status: int, headers: dict[str, str]
) -> None:
    upstream.on(f"{API}main", answer(status, headers=headers))
    with pytest.raises(AccessDenied) as caught:
        source.resolve(SPEC)
    assert "HF_TOKEN" in caught.value.remedy


def test_a_busy_hub_is_waited_for(source: HubSource, offer: Any, upstream: Any, answer: Any) -> None:
    offer(NEW)
    waited = answer(429, headers={"Retry-After": "0"})
    upstream.on(f"{API}main", waited, waited, waited, answer(503), answer(body=info(NEW)))
    assert source.resolve(SPEC).revision == NEW
    upstream.on(f"{API}main", answer(502, body=b'{"error": "maintenance"}'))
    with pytest.raises(Unreachable, match=r"502 \(maintenance\)"):
        source.resolve(SPEC)
    upstream.on(f"{API}main", answer(429, headers={"RateLimit": '"api";r=0;t=9000'}))
    with pytest.raises(Unreachable, match="beyond the 5 s to spend"):
        source.resolve(SPEC)


def test_a_dropped_answer_is_asked_for_again(source: HubSource, offer: Any, upstream: Any, answer: Any) -> None:
    offer(NEW)
    upstream.on(f"{API}main", answer(body=info(NEW), cut=20), answer(body=info(NEW)))
    assert source.resolve(SPEC).revision == NEW


@pytest.mark.parametrize(
    "body",
    [
        b"<html>", b"[]", b"{}", b'"x"', b'{"id": 1, "sha": "x", "siblings": [{}]}', info("no commit"), info(OLD, []),
        info(OLD, [small("../x", b"")]), info(OLD, [small("/etc/passwd", b"")]), info(OLD, [small("a\\b", b"")]),
        info(OLD, [small("a", b""), small("a", b"")]), info(OLD, [{"rfilename": "a"}]),
        info(OLD, [small("a", b"") | {"size": -1}]), info(OLD, [small("a", b"") | {"size": "1"}]),
        info(OLD, [small("a", b"") | {"blobId": "zz"}]),
        info(OLD, [large("a", b"") | {"lfs": {"sha256": "zz", "size": 1, "pointerSize": 1}}]),
        info(OLD, [large("a", b"") | {"lfs": {"sha256": "0" * 64, "size": -1, "pointerSize": 1}}]),
        info(OLD, [{"rfilename": 7, "size": 1}]),
    ],
)  # fmt: skip
def test_answers_that_cannot_be_trusted(source: HubSource, upstream: Any, answer: Any, body: bytes) -> None:
    upstream.on(f"{API}main", answer(body=body))
    with pytest.raises(OpsError, match="model 'encoder'"):
        source.resolve(SPEC)


def test_another_commit_than_the_one_asked_for_is_refused(source: HubSource, upstream: Any, answer: Any) -> None:
    upstream.on(f"{API}{OLD}", answer(body=info(NEW)))
    with pytest.raises(OpsError, match=f"expected commit {OLD}"):
        source.resolve(ModelSpec("encoder", "huggingface", "org/tiny", OLD))


def test_a_small_file_with_other_content_is_refused(source: HubSource, offer: Any, upstream: Any, answer: Any) -> None:
    offer(NEW)
    found = source.resolve(SPEC)
    upstream.on(f"/org/tiny/resolve/{NEW}/config.json", answer(body=CONFIG.replace(b"384", b"385")))
    config = next(file for file in found.files if file.path.endswith("y/config.json") or file.size_bytes == len(CONFIG))
    with pytest.raises(OpsError, match=f"git:{git_oid(CONFIG)}"):
        list(source.open(found, config))


@pytest.mark.parametrize("repository", ["../tiny", "a/b/c", "org//tiny", "org/ti ny", "", "org/tiny\n", "org--x/tiny"])
def test_sources_that_name_no_repository(source: HubSource, upstream: Any, repository: str) -> None:
    with pytest.raises(BadInput):
        source.resolve(ModelSpec("encoder", "huggingface", repository))
    assert upstream.seen == []


def test_a_revision_that_is_no_commit(source: HubSource) -> None:
    with pytest.raises(BadInput, match="40 hexadecimal digits"):
        source.resolve(ModelSpec("encoder", "huggingface", "org/tiny", "main"))


def test_offline_mode_holds_back_readers_but_not_a_pull(
    source: HubSource, offer: Any, upstream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    offer(NEW)
    assert source.resolve(SPEC).revision == NEW
    with pytest.raises(OfflineModeIsEnabled):
        huggingface_hub.HfApi(endpoint=upstream.url, token=False).model_info("org/tiny")
    assert len(upstream.seen) == 1


def test_only_files_that_a_pattern_allows_are_pulled(source: HubSource, offer: Any) -> None:
    offer(NEW)
    wanted = ModelSpec("encoder", "huggingface", "org/tiny", files=("*.safetensors", "1_Pooling/"))
    paths = [file.path for file in source.resolve(wanted).files]
    assert paths == [f"snapshots/{NEW}/1_Pooling/config.json", f"snapshots/{NEW}/model.safetensors", "refs/main"]
    missing = ModelSpec("encoder", "huggingface", "org/tiny", files=("*.safetensors", "*.onnx"))
    with pytest.raises(BadInput, match=r"'\*\.onnx' matches no file; the repository has 1_Pooling/config.json"):
        source.resolve(missing)


def test_patterns_span_folders_and_are_case_sensitive() -> None:
    paths = ["config.json", "1_Pooling/config.json", "onnx/model.onnx", "README.md"]
    assert select(paths, [], "x") == paths
    assert select(paths, ["*.json"], "x") == paths[:2]
    assert select(paths, ["onnx/*", "config.json"], "x") == ["config.json", "onnx/model.onnx"]
    with pytest.raises(BadInput):
        select(paths, ["readme.md"], "x")
    with pytest.raises(BadInput):
        select([], ["*"], "x")
