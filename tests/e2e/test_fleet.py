"""Many instances at once on a cold bucket: one copy from upstream, and all serve; also when who pulls is killed."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from tests.e2e.conftest import House

pytestmark = pytest.mark.process
LARGE_BYTES, SMALL_BYTES = 3_000_000, 200_000
# Longer than the instances of a small fleet need to start: all of them decide before the first execution shows.
START_OF_A_JOB_S = 3.0
BLOB = re.compile(r"blobs/(?:sha256[-:])?([0-9a-f]{64})$")


@dataclass
class Fleet:
    """A service of many instances, in a project and with a bucket of its own."""

    house: House
    name: str
    count: int
    since: str

    def start(self) -> subprocess.Popen[str]:
        """Deploy without a sync: the instances have to bring the models."""
        return self.house.start("deploy", "--env", "local", "--sync", "never", "--json")

    def settled(self, deploy: subprocess.Popen[str]) -> None:
        """The deploy ends well, and all its instances serve."""
        out, err = deploy.communicate(timeout=170)
        assert deploy.returncode == 0, out + err
        assert len(json.loads(out)["instances"]) == self.count
        self.serve(self.count)

    def instances(self) -> list[dict[str, Any]]:
        listed = self.house.request("/_local/instances?service=tabular-service")["instances"]
        return [item for item in listed if item["project"] == self.name]

    def serve(self, count: int) -> None:
        """So many instances are ready, and all of them serve the one version that there is."""
        found = self.instances()
        assert Counter(item["state"] for item in found) == {"ready": count}
        asked = {
            "resourceNames": [f"projects/{self.name}"], "pageSize": 1000,
            "filter": 'jsonPayload.message="version visible on the mount"',
        }  # fmt: skip
        told = self.house.request("/v2/entries:list", asked)["entries"]
        served = {entry["labels"]["instanceId"]: entry["jsonPayload"]["manifest_version"] for entry in told}
        assert {served[item["id"]] for item in found} == {self.manifest["version"]}

    def empty(self) -> None:
        """Lose everything that the bucket holds, in every generation."""
        path = f"/storage/v1/b/{self.name}/o"
        for item in self.house.request(f"{path}?versions=true&maxResults=1000")["items"]:
            place = f"{self.house.url}{path}/{quote(item['name'], safe='')}?generation={item['generation']}"
            urllib.request.urlopen(urllib.request.Request(place, method="DELETE"), timeout=30).close()
        self.since = datetime.now(UTC).isoformat()

    @property
    def manifest(self) -> dict[str, Any]:
        found: dict[str, Any] = self.house.request(f"/storage/v1/b/{self.name}/o/manifest.json?alt=media")
        return found

    def executions(self) -> list[str]:
        listed = self.house.request(f"/apis/run.googleapis.com/v1/namespaces/{self.name}/executions")
        return [item["metadata"]["name"] for item in listed.get("items", [])]

    def pulled(self) -> dict[str, int]:
        """Bytes that the upstream sent of each file, by digest."""
        listed = self.house.request("/_local/requests?operation=upstream.blobs.get&limit=10000")["requests"]
        found: Counter[str] = Counter()
        for call in listed:
            match = BLOB.search(call["path"])
            if match is not None and call["time"] >= self.since:
                found[match[1]] += call["bytes_out"]
        return {digest: found[digest] for digest in self.sizes() if found[digest]}

    def sizes(self) -> dict[str, int]:
        """The files that come as bytes from upstream, by digest."""
        files = (file for model in self.manifest["models"] for file in model["files"])
        return {match[1]: file["size_bytes"] for file in files if (match := BLOB.search(file["path"]))}

    def finished(self) -> set[str]:
        """Digests of the files that arrived and are not published yet."""
        listed = self.house.request(f"/storage/v1/b/{self.name}/o?prefix=ollama/").get("items", [])
        return {match[1] for item in listed if (match := BLOB.search(item["name"]))}

    def publisher(self) -> int:
        """The process that holds the lease of publishers; 0 when there is none."""
        try:
            lease = self.house.request(f"/storage/v1/b/{self.name}/o/leases%2Fpublish.json?alt=media")
        except urllib.error.HTTPError:
            return 0
        return int(lease["owner"].split(":")[1]) if lease["owner"] else 0


def cold(house: House, count: int, on_miss: str) -> Fleet:
    """An environment whose models nobody has pulled yet."""
    name = f"fleet-{secrets.token_hex(4)}"
    path = house.root / "environments" / "local.yaml"
    plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    plain["project"] = name
    plain["services"]["tabular"] |= {"min_instances": count, "max_instances": count}
    plain["cache"] |= {"bucket": name, "on_miss": on_miss}
    plain["models"] = []
    for kind, size_bytes in (("small", SMALL_BYTES), ("large", LARGE_BYTES)):
        tag = {"kind": "ollama", "name": f"{name}/{kind}", "tag": "1", "size_bytes": size_bytes}
        house.request("/_local/upstreams/tags", tag)
        plain["models"].append(
            {"name": kind, "kind": "ollama", "source": f"{name}/{kind}:1", "revision": "", "size_gb": 0.01}
        )
    path.write_text(yaml.safe_dump(plain), encoding="utf-8")
    return Fleet(house, name, count, datetime.now(UTC).isoformat())


@contextmanager
def fault(house: House, on: str, kind: str, **options: Any) -> Iterator[None]:
    """A fault at every call of a kind."""
    made = house.request("/_local/faults", {"on": on, "kind": kind, "count": "forever", **options})
    try:
        yield
    finally:
        house.invoke("local.fault", "--clear", made["id"])


@pytest.fixture(scope="module")
def up(house: House) -> House:
    """A checkout whose stand-in runs."""
    house.invoke("local.up")
    return house


def play(house: House, count: int, on_miss: str) -> Fleet:
    """All instances miss before the first of them has started anything."""
    fleet = cold(house, count, on_miss)
    with fault(house, "run.*jobs.run", "slow", delay_s=START_OF_A_JOB_S):
        fleet.settled(fleet.start())
    assert fleet.pulled() == fleet.sizes(), "more or less than one copy came from upstream"
    assert len(fleet.sizes()) > 2
    assert len(fleet.executions()) == (1 if on_miss == "trigger" else 0)
    return fleet


@pytest.mark.parametrize("on_miss", ["trigger", "publish"])
def test_a_fleet_on_a_cold_bucket_pulls_one_copy(up: House, on_miss: str) -> None:
    play(up, 8, on_miss)


@pytest.mark.full
@pytest.mark.parametrize("on_miss", ["trigger", "publish"])
def test_a_fleet_of_fifty_pulls_one_copy(up: House, on_miss: str, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    fleet = play(up, 50, on_miss)
    with capsys.disabled():
        seconds, total = time.monotonic() - began, sum(fleet.sizes().values())
        print(f"\n50 instances, {on_miss}: {total} bytes once from upstream, all ready after {seconds:.0f} s")


def kill_the_publisher(fleet: Fleet) -> set[str]:
    """Kill who pulls once two files have arrived and the large one is under way; the files that had arrived."""
    deadline = time.monotonic() + 120
    while len(finished := fleet.finished() if fleet.publisher() else set()) < 2:
        assert time.monotonic() < deadline, "nothing arrives"
        time.sleep(0.05)
    os.kill(fleet.publisher(), signal.SIGKILL)
    return finished


def nothing_finished_came_twice(fleet: Fleet, finished: set[str]) -> None:
    sizes, pulled = fleet.sizes(), fleet.pulled()
    assert finished < sizes.keys() == pulled.keys()
    assert {digest: pulled[digest] for digest in finished} == {digest: sizes[digest] for digest in finished}


# Of every file so much comes and no more, as long as this holds: the large one is never whole.
STALLED = {"on": "upstream.blobs.get", "kind": "stall", "after_bytes": SMALL_BYTES + 100_000}


def test_a_job_that_is_killed_in_the_middle_is_tried_again_and_pulls_the_rest(up: House) -> None:
    fleet = cold(up, 4, "trigger")
    with fault(up, **STALLED):
        deploy = fleet.start()
        finished = kill_the_publisher(fleet)
    fleet.settled(deploy)
    nothing_finished_came_twice(fleet, finished)
    assert len(fleet.executions()) == 1


@pytest.mark.parametrize("count", [4, pytest.param(50, marks=pytest.mark.full)])
def test_when_the_elected_instance_is_killed_another_is_elected(up: House, count: int) -> None:
    """The bucket of a running service is lost; so many instances start at once, and the one that pulls is killed."""
    fleet = cold(up, 1, "publish")
    fleet.settled(fleet.start())
    fleet.empty()
    with ThreadPoolExecutor(1) as pool:
        with fault(up, **STALLED):
            path = f"/_local/services/tabular-service/instances?project={fleet.name}"
            adding = pool.submit(up.request, path, {"count": count}, 170)
            finished = kill_the_publisher(fleet)
        answer = adding.result()
    assert answer["ready"] == count - 1
    nothing_finished_came_twice(fleet, finished)
    served = {item["id"] for item in fleet.instances() if item["state"] == "ready"}
    assert len(served) == count  # the one that was there, and all but the one that was killed
