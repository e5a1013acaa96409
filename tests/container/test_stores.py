from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from scripts.container import stores
from scripts.errors import OpsError, Unreachable

BUCKET = "tabular-model-cache-test"


def test_the_environment_points_into_the_version_and_home_is_writable(tmp_path: Path) -> None:
    where = stores.Stores(tmp_path / "ollama" / "v1", tmp_path / "sbert" / "v1", "v1")
    found = stores.environment(where, {"HOME": str(tmp_path)})
    assert found == {
        "OLLAMA_MODELS": f"{tmp_path}/ollama/v1",
        "OLLAMA_NOPRUNE": "1",
        "SENTENCE_TRANSFORMERS_HOME": f"{tmp_path}/sbert/v1",
        "HUGGINGFACE_HUB_CACHE": f"{tmp_path}/sbert/v1",
        "HF_HUB_CACHE": f"{tmp_path}/sbert/v1",
        "HF_HUB_OFFLINE": "1",
        "MODEL_CACHE_ACTIVE_VERSION": "v1",
    }
    for home in ("", str(tmp_path / "nowhere")):
        (Path(stores.environment(where, {"HOME": home})["HOME"]) / "file").write_text("", encoding="utf-8")


def test_files_that_are_visible_are_counted_and_not_opened(tmp_path: Path) -> None:
    for name, size in (("a", 3), ("b", 5)):
        (tmp_path / name).write_bytes(b"x" * size)
    expected = [stores.Expected(tmp_path / "a", 3), stores.Expected(tmp_path / "b", 5)]
    assert stores.wait_visible(expected, bucket=BUCKET, on_wait=pytest.fail) == 8


def test_a_mount_that_lags_is_waited_for(tmp_path: Path) -> None:
    late = tmp_path / "late"
    thread = threading.Thread(target=lambda: (time.sleep(0.4), late.write_bytes(b"xyz")))
    thread.start()
    assert stores.wait_visible([stores.Expected(late, 3)], bucket=BUCKET, timeout_s=20, on_wait=lambda _: None) == 3
    thread.join()


@pytest.mark.parametrize(
    ("prepare", "told"),
    [
        (lambda place: None, "is not visible on the mount (No such file or directory)"),
        (lambda place: place.write_bytes(b"xx"), "has 2 bytes, expected 3,"),
        (lambda place: place.mkdir(), "is not a file"),
    ],
    ids=["missing", "short", "folder"],
)
def test_what_never_shows_is_named_with_the_remedy(tmp_path: Path, prepare: Any, told: str) -> None:
    (tmp_path / "fine").write_bytes(b"x")
    prepare(tmp_path / "model.bin")
    files = [stores.Expected(tmp_path / "fine", 1), stores.Expected(tmp_path / "model.bin", 3)]
    with pytest.raises(Unreachable) as caught:
        stores.wait_visible(files, bucket=BUCKET, timeout_s=0.1, on_wait=lambda _: None)
    assert f"{tmp_path / 'model.bin'} {told}" in caught.value.message
    assert "implicit-dirs" in caught.value.remedy


@pytest.fixture
def ollama(tmp_path: Path) -> Path:
    """An Ollama store with one model of two blobs."""
    (tmp_path / "blobs").mkdir()
    for digest, size in (("aa", 4), ("bb", 6)):
        (tmp_path / "blobs" / f"sha256-{digest}").write_bytes(b"x" * size)
    place = tmp_path / "manifests/registry.ollama.ai/library/llama3.2/1b"
    place.parent.mkdir(parents=True)
    document = {"config": {"digest": "sha256:aa", "size": 4}, "layers": [{"digest": "sha256:bb", "size": 6}]}
    place.write_text(json.dumps(document), encoding="utf-8")
    return tmp_path


def test_an_ollama_model_is_found_as_ollama_finds_it(ollama: Path) -> None:
    assert stores.check_ollama(ollama, "library/llama3.2:1b") == ""
    assert stores.check_ollama(ollama, "llama3.2:1b") == ""
    folder = ollama / "manifests/registry.ollama.ai"
    assert stores.ollama_manifest(ollama, "me/mine") == folder / "me/mine/latest"
    described = stores.describe(stores.Served("llm", "ollama", "llama3.2:1b", "sha256:cc", ollama))
    assert described["present"] is True


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda store: (store / "blobs/sha256-bb").unlink(), "sha256-bb: No such file"),
        (lambda store: (store / "blobs/sha256-bb").write_bytes(b"x"), "has 1 bytes, its manifest says 6"),
        (lambda store: (store / "manifests/registry.ollama.ai/library/llama3.2/1b").unlink(), "llama3.2/1b: No such"),
        (lambda store: (store / "manifests/registry.ollama.ai/library/llama3.2/1b").write_text("{"), "not an Ollama"),
        (lambda store: (store / "manifests/registry.ollama.ai/library/llama3.2/1b").write_text("[]"), "not an Ollama"),
    ],
)
def test_what_ollama_would_miss_is_named(ollama: Path, harm: Any, told: str) -> None:
    harm(ollama)
    assert told in stores.check_ollama(ollama, "llama3.2:1b")
    described = stores.describe(stores.Served("llm", "ollama", "llama3.2:1b", "sha256:cc", ollama))
    assert described["present"] is False
    assert told in described["problem"]


@pytest.mark.parametrize("source", ["../../etc:passwd", "a:../b", "a:.."])
def test_a_reference_cannot_leave_the_store(ollama: Path, source: str) -> None:
    with pytest.raises(OpsError, match="not an Ollama reference"):
        stores.ollama_manifest(ollama, source)
