"""A revision that is broken never costs a request, and says on the screen why it is; shares are watched."""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

from scripts.cloud.run import ServiceState
from scripts.errors import Conflict, GateFailed, OpsError
from scripts.service import apply, deploy, rollback, routing, successor, target
from scripts.service.preflight import Options
from scripts.settings.model import Settings
from tests.conftest import StandIn, start_standin
from tests.service.conftest import Listener, Make
from tests.table import IMAGE

pytestmark = pytest.mark.process
NEVER = Options(sync="never")
TOKEN = "hunter2-hunter2"
# Two seconds for the whole start: what does not answer by then never will.
QUICK = {"startup": {"path": "/ready", "period_s": 1, "timeout_s": 1, "failure_threshold": 2}}


@pytest.fixture(scope="module")
def shared_standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """A stand-in whose table of images has the broken one."""
    running = start_standin(tmp_path_factory.mktemp("cloud"), module="tests.table")
    yield running
    running.stop()


@dataclass
class Client:
    """Somebody who asks without a pause through the front: statuses and the revisions that answered."""

    statuses: Counter[int] = field(default_factory=Counter)
    revisions: Counter[str] = field(default_factory=Counter)
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def asked(self) -> int:
        return sum(self.statuses.values())

    @property
    def failed(self) -> int:
        return self.asked - self.statuses[200]

    def ask(self, url: str) -> None:
        """Until stop is set."""
        place = urlsplit(url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=30)
        while not self.stop.is_set():
            connection.request("GET", f"{place.path}/work")
            answer = connection.getresponse()
            body = answer.read()
            with self.lock:
                self.statuses[answer.status] += 1
                if answer.status == 200:
                    self.revisions[json.loads(body)["revision"]] += 1
        connection.close()

    def wait_for(self, count: int) -> None:
        """Until so many were asked in all."""
        while self.asked < count:
            self.stop.wait(0.01)


@contextmanager
def client_at(url: str, threads: int = 1) -> Iterator[Client]:
    asking = Client()
    workers = [threading.Thread(target=asking.ask, args=(url,), daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield asking
    finally:
        asking.stop.set()
        for worker in workers:
            worker.join(timeout=60)


def mode(make: Make, name: str, late_s: float = 60, **more: Any) -> Settings:
    """Settings with the broken image in a mode; more: sections of the file."""
    env = {"MODE": name, "LATE_S": f"{late_s:g}", "API_TOKEN": TOKEN}
    service = {"image": IMAGE, "probes": QUICK, "env": env, "min_instances": 1}
    return make(service=service, cache={"wait_timeout_s": 1, "enabled": False}, **more)


def state(settings: Settings) -> ServiceState:
    found = target.reach(settings).run.get_service("tabular-service")
    assert found is not None
    return found


BROKEN = {
    "crash": "the reason is written here",
    "hang": "starting as hang",
    "unready": "/ready|no answer within",  # on a machine that is busy enough
    "slow": "starting as slow",
    "leak": r"cannot log in with \[redacted\] at the registry",
}


def break_five_times(make: Make, least: int) -> None:
    good = deploy.deploy(mode(make, "ok"), NEVER, Listener())
    whole = {good.revision: 100}
    with client_at(good.url) as client:
        for name, reason in BROKEN.items():
            settings, told = mode(make, name), Listener()
            with pytest.raises(OpsError) as failed:
                deploy.deploy(settings, NEVER, told)
            message = failed.value.message
            assert failed.value.exit_code == 1
            assert message.startswith("ready: revision tabular-service-")
            assert re.search(reason, message), message
            assert TOKEN not in message + failed.value.remedy + "".join(told.notes)
            assert message.endswith(f"the traffic is as it was before: 100 % {good.revision}")
            assert told.failures == ["ready"]
            now = state(settings)
            assert routing.serving(now) == whole and not routing.unfinished(now)
            assert now.latest_created_revision != good.revision
        client.wait_for(least)
    assert client.failed == 0, client.statuses
    assert set(client.revisions) == {good.revision}
    healed = deploy.deploy(mode(make, "ok", late_s=1), NEVER, Listener())
    assert routing.serving(state(mode(make, "ok", late_s=1))) == {healed.revision: 100}


@pytest.mark.timeout(300)
def test_five_broken_revisions_cost_no_request(make: Make) -> None:
    break_five_times(make, 500)


@pytest.mark.full
@pytest.mark.timeout(900)
def test_five_broken_revisions_cost_none_of_ten_thousand_requests(make: Make) -> None:
    break_five_times(make, 10_000)


def test_what_is_ready_and_does_not_answer_its_checks_gets_no_traffic(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.service.probe.PATIENCE_S", 0.5)
    good = deploy.deploy(mode(make, "ok"), NEVER, Listener())
    told = Listener()
    with client_at(good.url) as client, pytest.raises(GateFailed, match="verify: tabular-service: health") as failed:
        deploy.deploy(mode(make, "late"), NEVER, told)
    assert failed.value.exit_code == 5
    assert "/run/candidate---tabular-service" in failed.value.message
    assert told.failures == ["verify"]
    assert client.failed == 0
    assert routing.serving(state(mode(make, "late"))) == {good.revision: 100}


def test_shares_of_the_traffic_are_seen_one_after_the_other(make: Make) -> None:
    settings = mode(make, "ok")
    good = deploy.deploy(settings, NEVER, Listener())
    told = Listener()
    better = mode(make, "ok", late_s=1, rollout={"watch_s": 1, "max_error_percent": 0})
    options = Options(sync="never", canary="20,60")
    planned = deploy.plan_deploy(better, options).lines()
    assert any("traffic in steps of 20 %, 60 %, 100 %, each watched for 1 s" in line for line in planned)
    with client_at(good.url) as client:
        fresh = deploy.deploy(better, options, told)
        client.wait_for(client.asked + 20)
    assert client.failed == 0
    shares = [note for note in told.notes if "% of the traffic" in note]
    assert [note.split(" ")[0] for note in shares] == ["20", "60", "100"]
    assert all(" requests, 0 failed" in note or note.endswith("no request yet") for note in shares), shares
    assert set(client.revisions) == {good.revision, fresh.revision}
    now = state(better)
    assert routing.serving(now) == {fresh.revision: 100}
    assert now.spec["traffic"] == [{"percent": 100, "latestRevision": True}]
    assert fresh.previous_revision == good.revision
    assert deploy.plan_deploy(better, options).empty


@pytest.mark.parametrize(
    ("how", "limits", "reason"),
    [
        ("sick", {"max_error_percent": 1}, "requests failed"),
        ("lame", {"max_p95_ms": 200, "max_error_percent": 100}, "p95 is"),
    ],
)
def test_a_share_that_does_not_hold_is_taken_back(make: Make, how: str, limits: dict[str, Any], reason: str) -> None:
    good = deploy.deploy(mode(make, "ok"), NEVER, Listener())
    bad = mode(make, how, late_s=0.3, rollout={"watch_s": 20, **limits})
    told = Listener()
    with client_at(good.url) as client:
        with pytest.raises(GateFailed, match=r"traffic: revision .* does not hold") as failed:
            deploy.deploy(bad, Options(sync="never", canary="10,50"), told)
        back = client.asked
        client.wait_for(back + 50)
    assert failed.value.exit_code == 5
    assert reason in failed.value.message
    assert failed.value.message.endswith(f"the traffic is as it was before: 100 % {good.revision}")
    assert not [note for note in told.notes if note.startswith("50 %")]
    assert routing.serving(state(bad)) == {good.revision: 100}
    assert client.statuses[500] <= client.asked * 0.15  # its tenth, while it had it
    records = [record for record in _records(bad) if record["outcome"] == "rolled back"]
    assert [record["details"]["failed_step"] for record in records] == ["traffic"]


def test_a_new_revision_that_fails_with_the_whole_leaves_a_rollback_as_it_stood(make: Make) -> None:
    good = deploy.deploy(mode(make, "ok"), NEVER, Listener())
    settings = mode(make, "ok", late_s=1)
    better = deploy.deploy(settings, NEVER, Listener())
    rollback.Back(settings, "tabular", "", "").carry_out(Listener())
    bad = mode(make, "sick", late_s=0.3, rollout={"watch_s": 20, "max_error_percent": 1})
    with client_at(good.url), pytest.raises(GateFailed, match="does not hold"):
        deploy.deploy(bad, Options(sync="never", canary="0"), Listener())
    now = state(bad)
    assert routing.serving(now) == {good.revision: 100}
    assert routing.rolled_back(now) == (better.revision, good.revision)


class Meddler(Listener):
    """Somebody who changes the service by hand while a step of a deploy waits."""

    def __init__(self, settings: Settings, title: str) -> None:
        super().__init__()
        self._settings, self._title, self.done = settings, title, False

    def progress(self, text: str) -> None:
        if self.titles[-1] != self._title or self.done:
            return
        self.done = True
        before = state(self._settings)
        body = routing.sendable(before.body)
        body["spec"]["template"]["metadata"].pop("name", None)
        successor.merge_env(body, "BY_HAND", "yes")
        apply.service(target.reach(self._settings), body, before)


@pytest.mark.parametrize("title", ["ready", "traffic"])
def test_what_somebody_changes_meanwhile_gets_no_traffic_from_a_deploy(make: Make, title: str) -> None:
    good = deploy.deploy(mode(make, "ok"), NEVER, Listener())
    settings = mode(make, "ok", late_s=1, rollout={"watch_s": 1})
    meddler = Meddler(settings, title)
    with pytest.raises(Conflict, match=r"was changed in between.*: generation \d+, expected \d+") as failed:
        deploy.deploy(settings, Options(sync="never", canary="10"), meddler)
    assert meddler.done and failed.value.exit_code == 3
    now = state(settings)
    assert now.container_env["BY_HAND"] == "yes"
    assert routing.serving(now)[good.revision] >= 90


def _records(settings: Settings) -> list[dict[str, Any]]:
    from scripts import audit

    return [item for item in audit.recent(target.reach(settings).bucket, 0) if item["command"] == "deploy"]
