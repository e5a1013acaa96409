"""Schedules through google-cloud-scheduler over REST, against the stand-in."""

from __future__ import annotations

import pytest

from scripts.cloud.connect import Cloud
from scripts.cloud.scheduler import Scheduler
from scripts.errors import NotFound, Unreachable
from tests.conftest import StandIn

pytestmark = pytest.mark.process
ACCOUNT = "sync@project-a.iam.gserviceaccount.com"


@pytest.fixture
def scheduler(shared_standin: StandIn, project: str) -> Scheduler:
    return Cloud(project, "europe-west1", shared_standin.url).scheduler()


def make(scheduler: Scheduler, project: str, *, paused: bool) -> None:
    uri = f"https://run.googleapis.com/v2/projects/{project}/locations/europe-west1/jobs/nightly:run"
    scheduler.apply("at-night", cron="0 2 * * *", time_zone="UTC", uri=uri, paused=paused, account=ACCOUNT)


def test_a_schedule_is_made_once_paused_and_resumed(scheduler: Scheduler, project: str) -> None:
    assert scheduler.get("at-night") is None
    make(scheduler, project, paused=True)
    made = scheduler.get("at-night")
    assert made is not None
    assert (made.name, made.state, made.cron, made.time_zone) == ("at-night", "PAUSED", "0 2 * * *", "UTC")
    assert made.target.endswith("/jobs/nightly:run")
    make(scheduler, project, paused=False)
    assert scheduler.pause("at-night").state == "PAUSED"
    resumed = scheduler.resume("at-night")
    assert resumed.state == "ENABLED"
    assert scheduler.resume("at-night").state == "ENABLED"


def test_running_it_now_is_remembered(scheduler: Scheduler, project: str) -> None:
    make(scheduler, project, paused=False)
    scheduler.run("at-night")
    after = scheduler.get("at-night")
    assert after is not None
    assert after.last_run != ""


def test_an_unknown_schedule_is_told(scheduler: Scheduler) -> None:
    for verb in (scheduler.run, scheduler.pause, scheduler.resume):
        with pytest.raises(NotFound, match="nothing"):
            verb("nothing")


def test_nobody_at_the_address_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.cloud.retry.time.sleep", lambda seconds: None)
    with pytest.raises(Unreachable, match="does not answer"):
        Cloud("project-a", "europe-west1", "http://127.0.0.1:9").scheduler().get("at-night")
