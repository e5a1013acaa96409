"""The main job, typed as a user would: deploy, deploy again, ask, stop the upstreams, kill things, ask again."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import House

pytestmark = pytest.mark.process

FIELDS = {
    "environment", "service", "url", "revision", "previous_revision", "image", "manifest_version", "changed",
    "upstream_bytes", "instances", "steps",
}  # fmt: skip
EMBED = "/run/tabular-service/embed"


@pytest.fixture(scope="module")
def deployed(house: House) -> dict[str, Any]:
    """The first deploy's summary."""
    summary: dict[str, Any] = house.json("deploy", "--env", "local")
    return summary


def instances(house: House) -> list[dict[str, Any]]:
    answer = house.request("/_local/instances")
    found: list[dict[str, Any]] = answer["instances"] if isinstance(answer, dict) else answer
    return [item for item in found if item.get("service") == "tabular-service" and item["state"] == "ready"]


def seen_by(instance: dict[str, Any], house: House) -> Path:
    """The bucket as an instance sees it, looked at from outside."""
    if instance["mount_mode"] == "fuse":
        return Path("/proc", str(instance["pid"]), "root", "models")
    return house.state / "cloud" / "run" / "instances" / instance["id"] / "mount-0"


def revisions(house: House) -> list[str]:
    listing = house.request("/apis/serving.knative.dev/v1/namespaces/modelshelf-local/revisions")
    return [item["metadata"]["name"] for item in listing["items"]]


def wait_for_instances(house: House, count: int, timeout_s: float = 60) -> list[dict[str, Any]]:
    deadline = time.monotonic() + timeout_s
    while len(found := instances(house)) < count:
        assert time.monotonic() < deadline, f"{found} after {timeout_s} s"
        time.sleep(0.1)
    return found


def test_first_deploy_pulls_once_and_every_instance_hits(house: House, deployed: dict[str, Any]) -> None:
    assert set(deployed) == FIELDS
    assert deployed["changed"] is True
    assert len(deployed["instances"]) == 2
    assert all(instance["cache_hit"] is True for instance in deployed["instances"])
    manifest = house.request("/storage/v1/b/tabular-model-cache-local/o/manifest.json?alt=media")
    assert manifest["version"] == deployed["manifest_version"]
    pulled = house.request("/_local/upstreams")
    # All but what is made or fetched as metadata: refs/main and Ollama's manifest.
    assert 0 < manifest["total_size_bytes"] - deployed["upstream_bytes"] < 4096
    assert pulled["bytes"] == deployed["upstream_bytes"]
    assert {"name", "seconds"} == set(deployed["steps"][0])


def test_second_deploy_changes_nothing_and_pulls_nothing(house: House, deployed: dict[str, Any]) -> None:
    before, pulled = revisions(house), house.request("/_local/upstreams")["bytes"]
    again = house.json("deploy", "--env", "local")
    assert (again["changed"], again["upstream_bytes"]) == (False, 0)
    assert again["revision"] == deployed["revision"]
    assert revisions(house) == before
    assert house.request("/_local/upstreams")["bytes"] == pulled
    assert "nothing to change" in house.invoke("deploy", "--environment=local").stdout.lower()
    house.invoke("deploy", "--env", "local", "--dry-run", code=0)


def test_status_and_cache_show_tell_the_truth(house: House, deployed: dict[str, Any]) -> None:
    status = house.json("status", "--env", "local")
    text = json.dumps(status)
    assert deployed["revision"] in text
    assert deployed["manifest_version"] in text
    shown = house.json("cache.show", "--env", "local")
    assert deployed["manifest_version"] in json.dumps(shown)
    listed = json.dumps(house.json("cache.list", "--env", "local"))
    assert listed.count(deployed["manifest_version"]) >= 1
    assert deployed["manifest_version"] in house.invoke("cache.show", "--env", "local").stdout


def test_embeddings_equal_the_published_model(house: House, deployed: dict[str, Any]) -> None:
    vectors = house.request(EMBED, {"texts": ["a cat", "a kitten", "stock market"]})["embeddings"]
    assert [len(vector) for vector in vectors] == [384, 384, 384]

    def near(left: list[float], right: list[float]) -> float:
        return math.fsum(a * b for a, b in zip(left, right, strict=True))

    assert near(vectors[0], vectors[1]) > max(near(vectors[0], vectors[2]), near(vectors[1], vectors[2]))


def test_a_further_instance_hits_while_the_upstreams_are_stopped(house: House, deployed: dict[str, Any]) -> None:
    house.invoke("local.upstreams", "--stop")
    try:
        pulled = house.request("/_local/upstreams")["bytes"]
        house.invoke("local.scale", "--service", "tabular-service", "--instances", "1")
        assert len(wait_for_instances(house, 3)) >= 3
        hits = house.json("deploy", "--env", "local")
        assert hits["changed"] is False
        assert len(hits["instances"]) == 3
        assert all(instance["cache_hit"] for instance in hits["instances"])
        assert house.request("/_local/upstreams")["bytes"] == pulled
    finally:
        house.invoke("local.upstreams", "--start")


def test_huggingface_hub_finds_the_model_in_the_mounted_folder(
    house: House, deployed: dict[str, Any], tmp_path: Path
) -> None:
    mounted = seen_by(instances(house)[0], house) / "sbert" / deployed["manifest_version"]
    found = shutil.copytree(mounted, tmp_path / "sbert")  # the hub's library resolves links, /proc/PID/root too
    code = (
        "from huggingface_hub import snapshot_download as s, try_to_load_from_cache as t\n"
        "print(s('sentence-transformers/all-MiniLM-L6-v2'))\n"
        "print(t('sentence-transformers/all-MiniLM-L6-v2', 'config.json'))\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": os.environ["PATH"], "HOME": str(house.root), "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(found)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr
    assert all(line.startswith(str(found)) for line in child.stdout.split())


def test_a_killed_instance_is_replaced(house: House, deployed: dict[str, Any]) -> None:
    victim = instances(house)[0]
    os.kill(victim["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 60
    while victim["pid"] in {item["pid"] for item in wait_for_instances(house, 2)}:
        assert time.monotonic() < deadline, "the killed process is still told as an instance"
        time.sleep(0.05)
    again = house.json("deploy", "--env", "local")
    assert again["upstream_bytes"] == 0
    assert len(house.request(EMBED, {"texts": ["still here"]})["embeddings"]) == 1


def test_a_killed_daemon_comes_back_with_everything(house: House, deployed: dict[str, Any]) -> None:
    old = {item["pid"] for item in instances(house)}
    os.kill(house.request("/_local/health")["pid"], signal.SIGKILL)
    again = house.json("deploy", "--env", "local")
    assert again["manifest_version"] == deployed["manifest_version"]
    assert again["upstream_bytes"] == 0
    assert all(instance["cache_hit"] for instance in again["instances"])
    assert len(house.request(EMBED, {"texts": ["back"]})["embeddings"]) == 1
    assert not {pid for pid in old if _runs_here(pid, house)}


def _runs_here(pid: int, house: House) -> bool:
    """Whether a process still runs in this checkout; one that ended, or waits to be reaped, has no folder."""
    try:
        return str(house.root) in str(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        return False


def test_logs_and_schedule_answer(house: House, deployed: dict[str, Any]) -> None:
    assert "cache hit" in house.invoke("logs", "--env", "local").stdout
    house.invoke("render", "--env", "local")
    house.invoke("doctor")


def test_the_service_refuses_bad_questions(house: House, deployed: dict[str, Any]) -> None:
    for body in ({}, {"texts": "a cat"}, {"texts": [1]}, {"texts": []}):
        with pytest.raises(urllib.error.HTTPError) as refused:
            house.request(EMBED, body)
        assert refused.value.code == 400


def test_a_load_test_proves_that_nothing_is_pulled_twice(house: House, deployed: dict[str, Any]) -> None:
    planned = house.json("loadtest", "--env", "local", "--dry-run", code=2)
    assert planned["would_change"] and any("/embed" in each["target"] for each in planned["changes"])
    easy = ("--env", "local", "--rate", "5", "--duration", "2s", "--warm-up", "0", "--send-lag", "60s")
    found = house.json("loadtest", *easy, "--threshold", "p99<60s,errors<0.1%")
    assert (found["passed"], found["requests"], found["upstream_bytes"]) == (True, 10, 0)
    assert found["hits"] == len(found["witnesses"]) >= 3
    assert "<title>Passed" in Path(found["report"], "report.html").read_text(encoding="utf-8")
    told = house.invoke("loadtest", *easy, "--threshold", "max<1us", code=1)
    assert "the threshold max<1us" in told.stderr and "→ Ask for less" in told.stderr
    assert "verdict: failed" in told.stdout
