"""Traffic moves as it was planned or not at all: whoever else changes the service is named, and a deploy that is killed
at a call leaves traffic as it was or as it was planned, and the next one completes it."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scripts.errors import Conflict
from scripts.service import deploy, routing, shift, target
from scripts.settings.model import Settings
from tests.conftest import ROOT, StandIn, start_standin
from tests.service.conftest import Listener, Make
from tests.service.dying import OPTIONS
from tests.table import IMAGE

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def shared_standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """A stand-in whose table of images has the one that is deployed here."""
    running = start_standin(tmp_path_factory.mktemp("cloud"), module="tests.table")
    yield running
    running.stop()


def numbered(make: Make, number: int) -> Settings:
    service = {"image": IMAGE, "min_instances": 1, "env": {"NUMBER": str(number)}}
    return make(service=service, cache={"enabled": False}, rollout={"watch_s": 0})


def killed_at(folder: Path, at: int, after: bool, which: str) -> bool:
    """Whether a deploy in a process of its own was killed at a call; False when it got through before."""
    words = [str(folder / "environments"), str(at), str(int(after)), which]
    child = subprocess.run(
        [sys.executable, "-m", "tests.service.dying", *words],
        cwd=ROOT, capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    assert child.returncode in (0, -signal.SIGKILL), child.stderr
    return child.returncode != 0


def let_the_lease_lapse(settings: Settings) -> None:
    """As some seconds do."""
    reached = target.reach(settings)
    name = f"leases/{reached.lease_name}.json"
    found = reached.bucket.read(name, limit_bytes=1 << 16)
    left = json.loads(found[0]) if found else {"owner": ""}
    if found and left["owner"]:
        left["expires_at"] = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
        reached.bucket.replace(name, json.dumps(left).encode(), found[1].generation)


def kill(make: Make, folder: Path, number: int, at: int, after: bool, which: str) -> bool:
    """Whether a deploy was killed at a call. Traffic is whole then, and the next deploy completes it."""
    settings = numbered(make, number)
    run = target.reach(settings).run
    before = run.get_service("tabular-service")
    assert before is not None
    old = before.latest_ready_revision
    killed = killed_at(folder, at, after, which)
    left = run.get_service("tabular-service")
    assert left is not None
    new, shares = left.latest_created_revision, routing.serving(left)
    assert shares in ({old: 100}, {old: 50, new: 50}, {new: 100}), (at, after, shares)
    let_the_lease_lapse(settings)
    report = deploy.deploy(settings, OPTIONS, Listener())
    done = run.get_service("tabular-service")
    assert done is not None
    assert routing.serving(done) == {report.revision: 100}, (at, after)
    assert done.spec["traffic"] == [{"percent": 100, "latestRevision": True}]
    assert done.container_env["NUMBER"] == str(number)
    made = [item for item in run.list_revisions("tabular-service") if item.container_env["NUMBER"] == str(number)]
    assert len(made) == 1, (at, after)
    return killed


@pytest.mark.timeout(300)
def test_whoever_dies_at_a_change_of_the_service_leaves_whole_traffic(make: Make, tmp_path: Path) -> None:
    deploy.deploy(numbered(make, 0), OPTIONS, Listener())
    # the candidate without traffic is the first change of the service, its half the second, the whole the third
    for number, (at, after) in enumerate([(1, True), (2, True), (3, False)], 1):
        assert kill(make, tmp_path, number, at, after, "changes")


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_whoever_dies_at_any_call_leaves_whole_traffic(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy.deploy(numbered(make, 0), OPTIONS, Listener())
    points = number = 0
    for after in (False, True):
        at = 1
        while kill(make, tmp_path, number := number + 1, at, after, "all"):
            at, points = at + 1, points + 1
    with capsys.disabled():
        print(f"\n{points} points at which a deploy was killed")
    assert points >= 60


def test_who_changed_the_service_meanwhile_is_named_and_left_alone(make: Make) -> None:
    settings = numbered(make, 0)
    deploy.deploy(settings, OPTIONS, Listener())
    reached = target.reach(settings)
    stale = reached.run.get_service("tabular-service")
    assert stale is not None
    body = routing.with_traffic(stale.body, stale.spec["traffic"], {"somebody": "else"})
    changed = reached.run.apply_service(body, stale.resource_version)
    with pytest.raises(Conflict, match=r"was changed in between by .*: generation 2, expected 1") as lost:
        shift.move(reached, stale, routing.settled({stale.latest_ready_revision: 100}), print)
    assert "same command again" in lost.value.remedy
    found = reached.run.get_service("tabular-service")
    assert found is not None and found.resource_version == changed.resource_version


def test_a_version_that_the_platform_alone_changed_is_no_conflict(make: Make) -> None:
    settings = numbered(make, 0)
    deploy.deploy(settings, OPTIONS, Listener())
    reached = target.reach(settings)
    state = reached.run.get_service("tabular-service")
    assert state is not None
    told = dataclasses.replace(state, resource_version="AAAAold")
    moved = shift.move(reached, told, routing.settled({state.latest_ready_revision: 100}), print)
    assert routing.overtaken(moved) == ""
    assert moved.spec["traffic"] == [{"percent": 100, "revisionName": state.latest_ready_revision}]
