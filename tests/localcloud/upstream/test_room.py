"""The upstreams in the running stand-in: one switch, honest counts, tags that move, a model fetched when asked for."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from scripts.localcloud.context import Context, Database
from scripts.localcloud.upstream.corpus import ensure
from scripts.localcloud.upstream.room import CorpusKeeper
from scripts.localcloud.web import ApiError

pytestmark = pytest.mark.process
ROOT = Path(__file__).resolve().parents[3]
ACCEPT = {"Accept": "application/vnd.docker.distribution.manifest.v2+json"}
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
TINY = {"kind": "ollama", "name": "library/tiny", "tag": "1b", "size_bytes": 1_000_003}


def token(base: str, name: str = "library/tiny", **changed: str) -> dict[str, str]:
    asked = {"service": "registry.modelshelf.localhost", "scope": f"repository:{name}:pull"} | changed
    answer = requests.get(f"{base}/upstream/ollama/token", params=asked, timeout=60)
    return {"Authorization": f"Bearer {answer.json()['token']}"}


def registry(base: str, path: str, method: str = "GET", **headers: str) -> requests.Response:
    sent = {key.replace("_", "-"): value for key, value in headers.items()}
    url = f"{base}/upstream/ollama/v2/{path}"
    return requests.request(method, url, headers=sent, timeout=60, allow_redirects=False)


def test_the_registry_asks_for_a_token_and_says_where_it_is(shared_standin: Any) -> None:
    shared_standin.post("/_local/upstreams/tags", TINY | {"seed": 1})
    base = shared_standin.url
    for path in ("library/tiny/manifests/1b", "library/tiny/blobs/sha256:" + "0" * 64, "library/tiny/tags/list"):
        refused = registry(base, path)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == (
            f'Bearer realm="{base}/upstream/ollama/token",service="registry.modelshelf.localhost",'
            'scope="repository:library/tiny:pull"'
        )
        assert refused.json()["errors"][0]["code"] == "UNAUTHORIZED"
    for wrong in ({"Authorization": "Bearer x.y"}, token(base, "library/other"), {"Authorization": "Basic eDp5"}):
        assert (
            'error="invalid_token"' in registry(base, "library/tiny/manifests/1b", **wrong).headers["www-authenticate"]
        )
    assert registry(base, "").status_code == 401
    assert registry(base, "", **token(base)).status_code == 200


def test_manifests_by_tag_and_by_digest(shared_standin: Any) -> None:
    revision = shared_standin.post("/_local/upstreams/tags", TINY | {"seed": 1})["revision"]
    base, good = shared_standin.url, token(shared_standin.url)
    tagged = registry(base, "library/tiny/manifests/1b", **good, **ACCEPT)
    assert tagged.headers["docker-content-digest"] == revision
    assert tagged.headers["content-type"] == ACCEPT["Accept"]
    assert registry(base, f"library/tiny/manifests/{revision}", **good).content == tagged.content
    head = registry(base, "library/tiny/manifests/1b", "HEAD", **good)
    assert (head.content, head.headers["content-length"]) == (b"", str(len(tagged.content)))
    fresh = registry(base, "library/tiny/manifests/1b", **good, If_None_Match=tagged.headers["etag"])
    assert fresh.status_code == 304
    index = {"Accept": "application/vnd.oci.image.index.v1+json"}
    assert (
        registry(base, "library/tiny/manifests/1b", **good, **index).json()["errors"][0]["code"] == "MANIFEST_UNKNOWN"
    )
    for unknown in ("7b", "sha256:" + "0" * 64):
        missing = registry(base, f"library/tiny/manifests/{unknown}", **good)
        assert (missing.status_code, missing.json()["errors"][0]["code"]) == (404, "MANIFEST_UNKNOWN")
    assert registry(base, "library/tiny/tags/list", **good).json() == {"name": "library/tiny", "tags": ["1b"]}
    assert registry(base, "library/none/manifests/1b", **token(base, "library/none")).status_code == 404


def test_blobs_tell_their_size_and_redirect_to_a_host_that_takes_no_token(shared_standin: Any) -> None:
    shared_standin.post("/_local/upstreams/tags", TINY | {"seed": 1})
    base, good = shared_standin.url, token(shared_standin.url)
    layer = registry(base, "library/tiny/manifests/1b", **good).json()["layers"][0]
    path = f"library/tiny/blobs/{layer['digest']}"
    head = registry(base, path, "HEAD", **good)
    assert (head.status_code, head.headers["content-length"]) == (200, str(layer["size"]))
    sent = registry(base, path, **good)
    link = sent.headers["location"]
    assert (sent.status_code, link.startswith(f"http://localhost:{shared_standin.port}/upstream/blobs/")) == (307, True)
    whole = requests.get(link, timeout=60)
    assert len(whole.content) == layer["size"]
    part = requests.get(link, headers={"Range": "bytes=1000000-"}, timeout=60)
    assert (part.status_code, part.content) == (206, whole.content[-3:])
    assert requests.get(link, headers={"Range": "bytes=1000003-"}, timeout=60).status_code == 416
    assert requests.get(link, headers=good, timeout=60).status_code == 400
    assert requests.get(link.partition("?")[0], timeout=60).status_code == 403
    assert registry(base, "library/tiny/blobs/sha256:" + "0" * 64, **good).json()["errors"][0]["code"] == "BLOB_UNKNOWN"
    assert registry(base, "library/tiny/blobs/sha256:xyz", **good).status_code == 400


def test_counts_are_kept_by_client(standin: Any) -> None:
    size = 700_000
    standin.post("/_local/upstreams/tags", {"kind": "huggingface", "name": "org/tiny", "files": {"a.json": size}})
    url = f"{standin.url}/upstream/huggingface/org/tiny/resolve/main/a.json"
    requests.get(url, headers={"X-Modelshelf-Client": "instance-1"}, timeout=60)
    requests.get(url, headers={"X-Modelshelf-Client": "instance-1", "Range": "bytes=0-9"}, timeout=60)
    requests.get(url.replace("a.json", "none"), headers={"User-Agent": "other/1"}, timeout=60)
    seen = standin.get("/_local/upstreams")
    assert (seen["requests"], seen["bytes"]) == (3, size + 10)
    assert seen["by_client"]["instance-1"] == {"requests": 2, "bytes": size + 10, "metadata_bytes": 0}
    assert seen["by_client"]["other/1"]["bytes"] == 0 < seen["by_client"]["other/1"]["metadata_bytes"]
    assert standin.get("/_local/status")["upstream"]["bytes"] == size + 10
    reset = standin.post("/_local/upstreams/reset")
    assert (reset["requests"], reset["bytes"], reset["by_client"]) == (0, 0, {})


def test_a_client_that_leaves_is_not_counted_as_served(standin: Any) -> None:
    size = 512 << 20
    standin.post(
        "/_local/upstreams/tags", {"kind": "huggingface", "name": "org/big", "files": {"a.json": 5, "b.bin": size}}
    )
    link = requests.head(f"{standin.url}/upstream/huggingface/org/big/resolve/main/b.bin", timeout=60).headers[
        "location"
    ]
    with socket.create_connection(("127.0.0.1", standin.port)) as leaving:
        leaving.sendall(f"GET {link.partition(str(standin.port))[2]} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert leaving.recv(1000).startswith(b"HTTP/1.1 200")
    sent = [-1, standin.get("/_local/upstreams")["bytes"]]
    while sent[-1] != sent[-2] or not sent[-1]:
        time.sleep(0.1)
        sent.append(standin.get("/_local/upstreams")["bytes"])
    assert 0 < sent[-1] < size


def test_stopped_upstreams_stay_stopped_and_counts_survive_a_kill(
    standin_at: Callable[..., Any], tmp_path: Path
) -> None:
    first = standin_at(tmp_path / "cloud")
    first.post("/_local/upstreams/tags", TINY | {"seed": 3})
    revision = registry(first.url, "library/tiny/manifests/1b", **token(first.url)).headers["docker-content-digest"]
    stopped = first.post("/_local/upstreams", {"running": False})
    assert stopped["running"] is False
    assert registry(first.url, "library/tiny/manifests/1b").status_code == 503
    assert "stopped" in requests.get(f"{first.url}/upstream/huggingface/api/models/a/b", timeout=60).text
    first.stop(signal.SIGKILL)
    second = standin_at(tmp_path / "cloud")
    seen = second.get("/_local/upstreams")
    assert (seen["running"], seen["requests"]) == (False, stopped["requests"])
    second.post("/_local/upstreams", {"running": True})
    again = registry(second.url, "library/tiny/manifests/1b", **token(second.url))
    assert again.headers["docker-content-digest"] == revision


def test_a_moved_and_a_withdrawn_model(shared_standin: Any) -> None:
    tags, name = "/_local/upstreams/tags", {"kind": "huggingface", "name": "org/moving"}
    first = shared_standin.post(tags, name | {"files": {"a.json": 10, "b.bin": 20}})["revision"]
    second = shared_standin.post(tags, name | {"seed": 2})["revision"]
    info = f"{shared_standin.url}/upstream/huggingface/api/models/org/moving"
    assert requests.get(info, timeout=60).json()["sha"] == second != first
    assert requests.get(f"{info}/revision/{first}", timeout=60).json()["sha"] == first
    shared_standin.post(tags, name | {"withdrawn": True})
    gone = requests.get(f"{info}/revision/{first}", timeout=60)
    assert (gone.status_code, gone.headers["x-error-code"]) == (404, "RepoNotFound")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("", {}), ("", {"running": "no"}), ("/tags", {}), ("/tags", {"kind": "ollama", "name": "tiny"}),
        ("/tags", {"kind": "npm", "name": "a/b"}), ("/tags", TINY | {"seed": 0}), ("/tags", TINY | {"size_bytes": -1}),
        ("/tags", {"kind": "huggingface", "name": "a/b", "files": {"x": "1"}}), ("/tags", TINY | {"tag": []}),
    ],
)  # fmt: skip
def test_wrong_orders_are_refused(shared_standin: Any, path: str, body: dict[str, Any]) -> None:
    answer = requests.post(f"{shared_standin.url}/_local/upstreams{path}", json=body, timeout=60)
    assert (answer.status_code, "Expected" in answer.json()["error"]["message"]) == (400, True)


@pytest.mark.parametrize("paths", [5, [{}], "a.json"])
def test_wrong_questions_about_paths_are_refused(shared_standin: Any, paths: Any) -> None:
    model = {"kind": "huggingface", "name": "org/asked", "files": {"a.json": 10}}
    shared_standin.post("/_local/upstreams/tags", model)
    url = f"{shared_standin.url}/upstream/huggingface/api/models/org/asked/paths-info/main"
    assert requests.post(url, json={"paths": paths}, timeout=60).status_code == 400
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert requests.post(url, b"paths=\xff&paths=a.json", headers=form, timeout=60).json()[0]["path"] == "a.json"


def test_unknown_paths_are_not_found(shared_standin: Any) -> None:
    for path in ("/upstream/npm/x", "/upstream/ollama/v3/", "/upstream/huggingface/api/datasets/a/b"):
        assert requests.get(shared_standin.url + path, timeout=60).status_code == 404


def test_the_real_model_can_be_prepared_before_it_is_asked_for(standin: Any) -> None:
    assert standin.get("/_local/upstreams")["corpus"] == {"state": "not asked for yet"}
    assert standin.post("/_local/upstreams/corpus")["state"] in ("fetching", "ready")
    assert requests.get(f"{standin.url}/upstream/huggingface/api/models/{MINILM}", timeout=60).status_code == 200
    assert standin.get("/_local/upstreams")["corpus"] == {"state": "ready"}


def test_the_synthetic_model_is_the_same_everywhere(shared_standin: Any) -> None:
    raw = registry(
        shared_standin.url, "library/synthetic/manifests/64m", **token(shared_standin.url, "library/synthetic")
    )
    assert (
        raw.headers["docker-content-digest"]
        == "sha256:f8feb1535c6513e58e77f7df4933bff5a95b668cfe938e8cc23e63918dbcaa80"
    )
    assert json.loads(raw.content)["layers"][0]["size"] == 64 << 20


def test_a_model_that_cannot_be_fetched_is_told_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = ensure(ROOT / ".local")[0].content.place.parent
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    state = tmp_path / "cloud"
    state.mkdir()
    context = Context(state, "http://127.0.0.1:1", tmp_path / "project", Database(state / "state.db"))
    keeper, patient = CorpusKeeper(context, forget_s=0.0), CorpusKeeper(context)

    async def ask_twice() -> int:
        for asked in (patient, keeper):
            with pytest.raises(ApiError, match="could not be fetched from the package index") as caught:
                await asked.files()
            assert caught.value.code == 503
        assert keeper.status()["state"] == "failed"
        shutil.copytree(ready, tmp_path / "corpus" / ready.name)
        with pytest.raises(ApiError):
            await patient.files()
        return len(await keeper.files())

    assert asyncio.run(ask_twice()) == 13
    assert keeper.status() == {"state": "ready"}
