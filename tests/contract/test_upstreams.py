"""Clients nobody here wrote accept the stand-in's hub, and our sources pull from it what those clients can read."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from scripts.errors import NotFound, Unreachable
from scripts.localcloud.upstream.corpus import ROOT, ensure
from scripts.models.sources.backoff import Patience
from scripts.models.sources.base import Resolved, Source, open_sources
from scripts.settings.types import ModelSpec

pytestmark = pytest.mark.process
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
ENCODER = ModelSpec("encoder", "huggingface", MINILM)
CHAT = ModelSpec("chat", "ollama", "library/synthetic:64m")
TOKEN = "hf_" + "x" * 20
SWIFT = Patience(attempts=2, first_wait_s=0.01, budget_s=5)


@pytest.fixture(autouse=True, scope="module")
def _the_real_model_is_here() -> None:
    ensure(ROOT / ".local")


def sources(standin: Any, client: str = "test") -> dict[Any, Source]:
    upstreams = SimpleNamespace(
        ollama=f"{standin.url}/upstream/ollama", huggingface=f"{standin.url}/upstream/huggingface"
    )
    return open_sources(upstreams, TOKEN, client=client, patience=SWIFT)


def hub(script: str, endpoint: str, home: Path, **env: str) -> Any:
    """Run a script in a fresh process with the real huggingface_hub; what it prints last, as JSON."""
    told = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", script], env=kept | told | env, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def store(source: Source, found: Resolved, folder: Path) -> None:
    """Write a model as a version's folder holds it, comparing every digest on the way."""
    for file in found.files:
        place = folder / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"".join(source.open(found, file)))
        assert place.stat().st_size == file.size_bytes
        assert file.sha256 in (None, hashlib.sha256(place.read_bytes()).hexdigest())


SNAPSHOT = f"""
import json
from pathlib import Path
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError
folder = Path(snapshot_download({MINILM!r}))
files = {{str(p.relative_to(folder)): p.stat().st_size for p in folder.rglob("*") if p.is_file()}}
refused = []
for ask in (lambda: HfApi().model_info("org/none"), lambda: HfApi().model_info({MINILM!r}, revision="none"),
            lambda: hf_hub_download({MINILM!r}, "none.bin")):
    try:
        ask()
    except (EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        refused.append(type(error).__name__)
tree = [item.path for item in HfApi().list_repo_tree("org/many", recursive=True)]
branches = [ref.name for ref in HfApi().list_repo_refs({MINILM!r}).branches]
some = [item.path for item in HfApi().get_paths_info({MINILM!r}, ["1_Pooling", "config.json", "none"])]
commit = hf_hub_download({MINILM!r}, "config.json", revision=folder.name).split("/")[-2]
print(json.dumps([folder.name, files, refused, len(tree), branches, some, commit]))
"""


def test_the_real_hub_library_downloads_a_snapshot(shared_standin: Any, tmp_path: Path) -> None:
    many = {f"folder/{number:04}.txt": 1 for number in range(2300)}
    shared_standin.post("/_local/upstreams/tags", {"kind": "huggingface", "name": "org/many", "files": many})
    endpoint = f"{shared_standin.url}/upstream/huggingface"
    name, files, refused, tree, branches, some, commit = hub(SNAPSHOT, endpoint, tmp_path, HF_TOKEN=TOKEN)
    assert commit == name and len(name) == 40
    assert files["model.safetensors"] == 90868376
    assert files["1_Pooling/config.json"] == 190
    assert len(files) == 13
    assert refused == ["RepositoryNotFoundError", "RevisionNotFoundError", "RemoteEntryNotFoundError"]
    assert tree == 2301
    assert branches == ["main"]
    assert some == ["1_Pooling", "config.json"]


OFFLINE = f"""
import json
from huggingface_hub import hf_hub_download, snapshot_download
one = hf_hub_download({MINILM!r}, "1_Pooling/config.json")
print(json.dumps([snapshot_download({MINILM!r}), one]))
"""


def test_what_our_source_stores_the_real_library_finds_offline(shared_standin: Any, tmp_path: Path) -> None:
    source = sources(shared_standin)["huggingface"]
    found = source.resolve(ENCODER)
    cache = tmp_path / "sbert"
    store(source, found, cache / "models--sentence-transformers--all-MiniLM-L6-v2")
    assert source.received_bytes == sum(file.size_bytes for file in found.files if file.content is None)
    env = {"HF_HUB_OFFLINE": "1", "HUGGINGFACE_HUB_CACHE": str(cache)}
    folder, one = hub(OFFLINE, "http://127.0.0.1:1", tmp_path / "home", **env)
    expected = cache / "models--sentence-transformers--all-MiniLM-L6-v2" / "snapshots" / found.revision
    assert (Path(folder), Path(one)) == (expected, expected / "1_Pooling" / "config.json")


def test_the_synthetic_model_becomes_an_ollama_store(shared_standin: Any, tmp_path: Path) -> None:
    source = sources(shared_standin)["ollama"]
    found = source.resolve(CHAT)
    store(source, found, tmp_path)
    manifest = (tmp_path / "manifests/registry.ollama.ai/library/synthetic/64m").read_bytes()
    assert found.revision == f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    for layer in (json.loads(manifest)["config"], *json.loads(manifest)["layers"]):
        assert (tmp_path / "blobs" / layer["digest"].replace(":", "-")).stat().st_size == layer["size"]
    weights = max(found.files, key=lambda file: file.size_bytes)
    assert weights.size_bytes == 64 << 20
    halves = b"".join(source.open(found, weights, 0, 32 << 20)) + b"".join(source.open(found, weights, 32 << 20))
    assert hashlib.sha256(halves).hexdigest() == weights.sha256


def test_credentials_sent_to_the_blob_host_would_be_noticed(shared_standin: Any) -> None:
    url = f"{shared_standin.url}/upstream/huggingface/{MINILM}/resolve/main/model.safetensors"
    told = {"Authorization": f"Bearer {TOKEN}", "Range": "bytes=0-9"}
    link = requests.get(url, headers=told, timeout=60, allow_redirects=False).headers["location"]
    assert requests.get(link, headers=told, timeout=60).status_code == 400
    assert requests.get(link, headers={"Range": "bytes=0-9"}, timeout=60).status_code == 206
    # Both sources carry a token to their upstream and still get the bytes from that host.
    for spec in (ENCODER, CHAT):
        source = sources(shared_standin)[spec.kind]
        found = source.resolve(spec)
        largest = max(found.files, key=lambda file: file.size_bytes)
        assert len(b"".join(source.open(found, largest, 0, 1000))) == 1000


@pytest.mark.parametrize("spec", [ENCODER, CHAT], ids=["huggingface", "ollama"])
def test_a_tag_that_moved_is_told_and_the_pinned_revision_pulled(standin: Any, spec: ModelSpec) -> None:
    source = sources(standin)[spec.kind]
    pinned = source.resolve(spec).revision
    name, _, tag = spec.source.partition(":")
    moved = {"kind": spec.kind, "name": name, "tag": tag or "main", "seed": 2}
    latest = standin.post("/_local/upstreams/tags", moved)["revision"]
    found = source.resolve(spec, pinned=pinned)
    assert (found.revision, found.moved_to) == (pinned, latest)
    changed = source.resolve(spec)
    assert (changed.revision, changed.moved_to) == (latest, None)
    assert {file.identity for file in changed.files} & {file.identity for file in found.files}
    standin.post("/_local/upstreams/tags", moved | {"withdrawn": True})
    with pytest.raises(NotFound, match=f"model '{spec.name}'"):
        source.resolve(spec, pinned=pinned)
    standin.post("/_local/upstreams", {"running": False})
    with pytest.raises(Unreachable, match="The upstreams are stopped"):
        source.resolve(spec)


def test_an_unchanged_model_costs_metadata_only_and_both_sides_count_alike(standin: Any) -> None:
    opened = sources(standin, "job-1")
    for spec in (ENCODER, CHAT):
        found = opened[spec.kind].resolve(spec)
        for file in found.files:
            assert sum(len(chunk) for chunk in opened[spec.kind].open(found, file)) == file.size_bytes
    pulled = sum(source.received_bytes for source in opened.values())
    seen = standin.get("/_local/upstreams")["by_client"]
    assert set(seen) == {"job-1"}
    assert seen["job-1"]["bytes"] == pulled
    revisions = {spec.name: opened[spec.kind].resolve(spec).revision for spec in (ENCODER, CHAT)}
    assert opened["ollama"].resolve(CHAT, pinned=revisions["chat"]).moved_to is None
    assert standin.get("/_local/upstreams")["by_client"]["job-1"]["bytes"] == pulled
