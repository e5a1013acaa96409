"""Starts of real instances against the stand-in, with a real folder as the mount."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.cloud.connect import connect_runtime
from scripts.container import miss
from scripts.container.start import prepare
from scripts.errors import ExitCode
from scripts.settings.types import ModelSpec

pytestmark = pytest.mark.process
GOLDEN = Path(__file__).resolve().parents[1] / "data" / "embeddings"
MINILM = ModelSpec(
    "embedder", "huggingface", "sentence-transformers/all-MiniLM-L6-v2",
    files=("*.json", "1_Pooling/*", "vocab.txt", "model.safetensors"),
)  # fmt: skip
FIND = (
    "import sys; from huggingface_hub import hf_hub_download, snapshot_download\n"
    "print(hf_hub_download('sentence-transformers/all-MiniLM-L6-v2', 'config.json'))\n"
    "print(snapshot_download('sentence-transformers/all-MiniLM-L6-v2', allow_patterns=['*.json']))"
)


def decision(child: Any) -> dict[str, Any]:
    """The one entry that tells hit or miss."""
    found = [entry for entry in child.entries if "cache_hit" in entry]
    assert len(found) == 1, child.entries
    return found[0]


def failure(child: Any) -> dict[str, Any]:
    """The one entry that tells why a start failed; it is the last and brings a remedy."""
    (found,) = child.named("start failed")
    assert child.entries[-1] == found
    assert found["severity"] == "ERROR"
    assert found["remedy"]
    return dict(found)


def test_a_hit_serves_the_published_model_from_the_mount(world: Any, minilm: Path) -> None:
    version = world.publish(MINILM, world.model())
    world.mirror()
    world.control("/_local/upstreams", {"running": False})
    try:
        child = world.start(world.runtime(MINILM, ModelSpec("llm", "ollama", f"library/{world.name}:1b")))
        info = child.ready()
    finally:
        world.control("/_local/upstreams", {"running": True})
    decided = decision(child)
    assert (decided["message"], decided["severity"], decided["cache_hit"]) == ("cache hit", "INFO", True)
    told = {"reason": "match", "serial": 1, "bucket": world.name, "source": "mount"}
    assert told.items() <= decided.items()
    assert decided["manifest_version"] == version
    (loaded,) = child.named("model loaded")
    assert loaded["served_bytes"] == info["served_bytes"] > 90_000_000

    status, answer = child.get("/embed", {"texts": ["a cat", "a kitten", "stock market"]})
    assert (status, answer["manifest_version"]) == (200, version)
    assert np.abs(np.array(answer["embeddings"]) - np.load(GOLDEN / "minilm.npy")[:3]).max() < 1e-5
    assert child.get("/warmup")[1]["ms"] > 0
    assert child.get("/embed", {"texts": "no"})[0] == 400

    assert info["paths"]["OLLAMA_MODELS"] == f"{world.mount}/ollama/{version}"
    assert info["paths"]["HF_HUB_CACHE"] == f"{world.mount}/sbert/{version}"
    assert {model["name"]: model.get("present") for model in info["models"]} == {"embedder": None, "llm": True}
    # the hub's own client, offline, with the environment that the instance made
    environ = {"PATH": os.environ["PATH"], "HOME": str(world.folder), **info["paths"]}
    found = subprocess.run([sys.executable, "-c", FIND], env=environ, capture_output=True, text=True, check=True)
    assert all(line.startswith(info["paths"]["HF_HUB_CACHE"]) for line in found.stdout.splitlines())
    assert child.stop() == 0
    assert child.entries[-1]["message"] == "service stopped"


def test_a_mount_that_is_missing_or_denied_ends_the_start(world: Any) -> None:
    gone = world.start(world.runtime(world.model(), mount_path=world.folder / "nowhere"))
    assert gone.end() == ExitCode.UNREACHABLE
    assert "nothing is mounted" in failure(gone)["error"]
    assert "invoke render" in failure(gone)["remedy"]
    world.mount.chmod(0)
    try:
        denied = world.start(world.runtime(world.model()), drop_root=True)
        assert denied.end() == ExitCode.UNREACHABLE
    finally:
        world.mount.chmod(0o755)
    assert failure(denied)["error_type"] == "AccessDenied"
    assert "roles/storage.objectViewer" in failure(denied)["remedy"]
    assert [entry for entry in denied.entries if "cache_hit" in entry] == []


@pytest.mark.parametrize(
    ("on_miss", "named"),
    [("fail", "on_miss is fail"), ("wait", r"waited [1-9]\d* s"), ("trigger", "no-such-job")],
)
def test_an_empty_bucket_is_a_miss_and_ends_within_its_limit(world: Any, on_miss: str, named: str) -> None:
    child = world.start(world.runtime(world.model(), on_miss=on_miss))
    assert child.end() != 0
    decided = decision(child)
    assert (decided["message"], decided["reason"]) == ("cache miss", "no_trusted_version")
    assert (decided["severity"], decided["on_miss"]) == ("WARNING", on_miss)
    assert re.search(named, failure(child)["error"])
    assert "invoke sync --env test" in failure(child)["remedy"]


def test_a_version_that_appears_while_waiting_is_served_when_its_files_show(world: Any) -> None:
    spec = world.model()
    child = world.start(world.runtime(spec, wait_timeout_s=60))
    child.until("waiting for a trusted version")
    version = world.publish(spec)
    found = child.until("trusted version found")
    assert child.process.poll() is None
    world.mirror()  # the mount lags behind the bucket's API
    info = child.ready()
    assert (decision(child)["cache_hit"], found["manifest_version"]) == (False, version)
    assert (info["cache_hit"], info["reason"]) == (False, "no_trusted_version")
    assert info["manifest_version"] == version
    assert child.stop() == 0


def test_the_wait_ends_in_time_however_late_it_began(world: Any) -> None:
    """Cloud Run counts from the start of the process: what came before a miss was decided is part of it."""
    first = world.model()
    older = world.publish(first)
    world.mirror()
    wanted = world.runtime(first, ModelSpec("second", "ollama", f"library/{world.name}:2"), wait_timeout_s=180)
    cloud, began = connect_runtime("p", "europe-west1", world.url), time.monotonic()
    active = prepare(wanted, cloud, {}, began - miss.MAX_WAIT_S + 2)
    assert (active.manifest_version, active.cache_hit) == (older, False)
    assert time.monotonic() - began < 10


def test_the_previous_version_serves_when_the_new_one_does_not_come(world: Any) -> None:
    old = world.model()
    version = world.publish(old)
    world.mirror()
    child = world.start(world.runtime(ModelSpec("other", "ollama", old.source)))
    info = child.ready()
    (warning,) = child.named("serving the previous version")
    assert warning["severity"] == "WARNING"
    assert "does not hold the models" in warning["error"]
    assert decision(child)["reason"] == warning["reason"] == info["reason"] == "models_differ"
    assert info["manifest_version"] == version
    assert [model["name"] for model in info["models"]] == ["llm"]
    strict = world.start(world.runtime(ModelSpec("other", "ollama", old.source), on_miss="fail"))
    assert strict.end() == ExitCode.FAILED
    assert child.stop() == 0


def test_an_unsigned_or_foreign_newest_statement_is_reported_and_the_one_below_serves(world: Any) -> None:
    spec = world.model()
    world.publish(spec)
    world.bucket.create_object("statements/2.dsse.json", b'{"version": "20261120T020000Z-3f9a1c2b"}')
    world.mirror()
    child = world.start(world.runtime(spec))
    info = child.ready()
    (problem,) = child.named("not trusted in the bucket")
    assert (problem["severity"], problem["object"]) == ("ERROR", "statements/2.dsse.json")
    assert (decision(child)["cache_hit"], info["serial"]) == (True, 1)
    assert child.stop() == 0
    stranger = world.start(world.runtime(spec, trusted_keys=()))
    assert stranger.end() != 0
    assert decision(stranger)["reason"] == "no_trusted_version"
    late = world.start(world.runtime(spec, min_serial=9))
    assert late.end() != 0
    assert "MODEL_MIN_SERIAL 9" in failure(late)["error"]


def test_a_pinned_version_serves_and_one_that_is_not_there_fails_at_once(world: Any) -> None:
    spec = world.model()
    version = world.publish(spec)
    world.mirror()
    other = ModelSpec("other", "ollama", spec.source)
    child = world.start(world.runtime(other, pinned_version=version))
    child.ready()
    assert (decision(child)["cache_hit"], decision(child)["reason"]) == (True, "pinned")
    assert child.stop() == 0
    gone = world.start(world.runtime(spec, pinned_version="20200101T000000Z-00000000", wait_timeout_s=200))
    assert gone.end() == ExitCode.FAILED
    assert "20200101T000000Z-00000000" in failure(gone)["error"]
    assert "MODEL_CACHE_VERSION" in failure(gone)["remedy"]


def test_a_file_that_the_mount_shows_wrongly_is_named(world: Any) -> None:
    spec = world.model()
    version = world.publish(spec)
    world.mirror()
    (blob,) = [path for path in (world.mount / "ollama" / version / "blobs").iterdir() if path.stat().st_size == 50_000]
    blob.chmod(0o644)
    blob.write_bytes(b"torn")
    child = world.start(world.runtime(spec))
    assert child.end() == ExitCode.UNREACHABLE
    assert f"{blob} has 4 bytes, expected 50000" in failure(child)["error"]


def test_a_folder_that_is_not_the_bucket_is_told_apart_from_a_lag(world: Any) -> None:
    spec = world.model()
    version = world.publish(spec)
    child = world.start(world.runtime(spec))
    assert child.end() == ExitCode.UNREACHABLE
    assert f"{world.mount} is empty, but the bucket {world.name} holds the version {version}" in failure(child)["error"]
    assert "mountPath" in failure(child)["remedy"]


def test_several_cold_instances_that_publish_pull_the_model_once(world: Any) -> None:
    spec = world.model(size_bytes=3_000_000)
    world.control("/_local/upstreams/reset", {})
    children = [world.start(world.runtime(spec, on_miss="publish", wait_timeout_s=60)) for _ in range(3)]
    done = threading.Event()

    def mirror() -> None:
        while not done.wait(0.2):
            world.mirror()

    mirroring = threading.Thread(target=mirror)
    mirroring.start()
    try:
        infos = [child.ready() for child in children]
    finally:
        done.set()
        mirroring.join()
    assert len({(info["manifest_version"], info["serial"]) for info in infos}) == 1
    assert 3_000_000 <= world.control("/_local/upstreams")["bytes"] < 3_100_000
    assert sum(len(child.named("publication finished")) for child in children) >= 1
    assert [child.stop() for child in children] == [0, 0, 0]


def test_without_the_shared_volume_an_instance_pulls_for_itself(world: Any, minilm: Path) -> None:
    spec = world.model()
    child = world.start(world.runtime(MINILM, spec, enabled=False, mount_path=Path("/nowhere")))
    info = child.ready()
    assert (decision(child)["reason"], decision(child)["source"]) == ("shared_volume_disabled", "upstream")
    assert (info["manifest_version"], info["cache_hit"], info["source"]) == (None, False, "upstream")
    (pulled,) = child.named("private download finished")
    assert pulled["upstream_bytes"] > 90_000_000
    disk = Path(info["paths"]["OLLAMA_MODELS"]).parent
    assert disk.is_relative_to(world.folder / "disk-0")
    assert {model["name"]: model.get("present") for model in info["models"]} == {"embedder": None, "llm": True}
    vectors = child.get("/embed", {"texts": ["a cat", "a kitten", "stock market"]})[1]["embeddings"]
    assert np.abs(np.array(vectors) - np.load(GOLDEN / "minilm.npy")[:3]).max() < 1e-5
    environ = {"PATH": os.environ["PATH"], "HOME": str(world.folder), **info["paths"]}
    subprocess.run([sys.executable, "-c", FIND], env=environ, capture_output=True, check=True)
    assert child.stop() == 0


def test_on_miss_private_keeps_the_reason_of_the_miss(world: Any) -> None:
    child = world.start(world.runtime(world.model(), on_miss="private"))
    info = child.ready()
    assert (info["reason"], info["source"]) == ("no_trusted_version", "upstream")
    assert child.stop() == 0


def test_wrong_settings_and_a_missing_bucket_are_refused(world: Any) -> None:
    runtime = world.runtime(world.model())
    for more, named in (
        ({"MODEL_SPECS": "[{}]"}, "MODEL_SPECS"),
        ({"PORT": "http"}, "PORT"),
        ({"MODEL_CACHE_BUCKET": "no-such-bucket-x"}, "no-such-bucket-x"),
        ({"MODELSHELF_ENDPOINT": "https://example.com"}, "MODELSHELF_ENDPOINT"),
        ({"MODEL_CACHE_VERSION": "../../x"}, "MODEL_CACHE_VERSION"),
    ):
        child = world.start(runtime, **more)
        assert child.end() == ExitCode.REFUSED, child.entries
        assert named in failure(child)["error"]
    usage = world.start(runtime, "begin")
    assert usage.end() == ExitCode.REFUSED
    assert "start|sync" in failure(usage)["remedy"]


def test_a_port_in_use_is_refused(world: Any) -> None:
    spec = world.model()
    world.publish(spec)
    world.mirror()
    with socket.create_server(("0.0.0.0", 0)) as taken:
        child = world.start(world.runtime(spec), PORT=str(taken.getsockname()[1]))
        assert child.end() == ExitCode.REFUSED
    assert "is in use" in failure(child)["error"]


def test_sigterm_ends_a_wait_at_once(world: Any) -> None:
    child = world.start(world.runtime(world.model(), wait_timeout_s=200))
    child.until("waiting for a trusted version")
    assert child.stop() == ExitCode.INTERRUPTED
    assert "SIGTERM" in child.entries[-1]["error"]


def test_help_is_plain_text(world: Any) -> None:
    argv = [sys.executable, "-m", "scripts.container", "--help"]
    told = subprocess.run(argv, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True).stdout
    assert told.startswith("usage: python -m scripts.container [start|sync]")
    with pytest.raises(json.JSONDecodeError):
        json.loads(told)


@pytest.mark.full
def test_the_packages_of_the_image_alone_run_both_commands(world: Any, minilm: Path) -> None:
    venv, lock = world.folder / "venv", Path(__file__).parents[2] / "docker" / "requirements.tabular.lock"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    world.python = str(venv / "bin" / "python")
    install = [world.python, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "-r", str(lock)]
    subprocess.run(install, check=True)
    world.publish(MINILM)
    world.mirror()
    child = world.start(world.runtime(MINILM))
    child.ready()
    assert child.get("/warmup")[0] == 200
    assert child.stop() == 0
