"""Cloud Scheduler through google-cloud-scheduler over REST."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions as google

from tests.contract.run_support import PARENT, Cloud, condition, job, until

pytestmark = pytest.mark.process
LOCATION = "projects/demo/locations/europe-west1"


@pytest.fixture(scope="module")
def cloud(shared_standin: Any) -> Cloud:
    return Cloud(shared_standin.url)


@pytest.fixture(scope="module")
def scheduler(shared_standin: Any) -> Any:
    from google.api_core.client_options import ClientOptions
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.scheduler_v1 import CloudSchedulerClient

    options = ClientOptions(api_endpoint=shared_standin.url)
    return CloudSchedulerClient(transport="rest", credentials=AnonymousCredentials(), client_options=options)


def nightly(job_id: str, uri: str = "", **changes: Any) -> dict[str, Any]:
    target = {"uri": uri or "https://run.googleapis.com/v2/" + LOCATION + "/jobs/none:run", "http_method": "POST"}
    job_name = f"{LOCATION}/jobs/{job_id}"
    return {"name": job_name, "schedule": "0 2 * * *", "time_zone": "Etc/UTC", "http_target": target, **changes}


def test_a_schedule_lives_its_life(scheduler: Any) -> None:
    made = scheduler.create_job(parent=LOCATION, job=nightly("nightly"))
    assert made.state.name == "ENABLED" and made.schedule == "0 2 * * *"
    assert scheduler.get_job(name=made.name) == made
    assert scheduler.pause_job(name=made.name).state.name == "PAUSED"
    assert scheduler.resume_job(name=made.name).state.name == "ENABLED"
    change = {"name": made.name, "schedule": "30 3 * * mon-fri", "description": "not in the mask"}
    changed = scheduler.update_job(job=change, update_mask={"paths": ["schedule"]})
    assert changed.schedule == "30 3 * * mon-fri" and changed.description == ""
    assert changed.http_target.uri == made.http_target.uri
    assert made.name in {each.name for each in scheduler.list_jobs(parent=LOCATION)}
    with pytest.raises(google.Conflict):
        scheduler.create_job(parent=LOCATION, job=nightly("nightly"))
    scheduler.delete_job(name=made.name)
    with pytest.raises(google.NotFound):
        scheduler.get_job(name=made.name)


def test_run_now_runs_the_job_of_cloud_run(scheduler: Any, cloud: Cloud) -> None:
    cloud.run.jobs().create(parent=PARENT, body=job("synced")).execute()
    uri = f"https://run.googleapis.com/v2/{LOCATION}/jobs/synced:run"
    made = scheduler.create_job(parent=LOCATION, job=nightly("now", uri))
    scheduler.pause_job(name=made.name)
    ran = scheduler.run_job(name=made.name)
    assert ran.status.code == 0 and ran.last_attempt_time is not None
    selector = "run.googleapis.com/job=synced"
    executions = cloud.run.executions().list(parent=PARENT, labelSelector=selector).execute()["items"]
    assert len(executions) == 1
    done = cloud.completed(executions[0]["metadata"]["name"])
    assert condition(done, "Completed")["status"] == "True"


def test_a_failed_attempt_is_told(scheduler: Any) -> None:
    made = scheduler.create_job(parent=LOCATION, job=nightly("failing"))
    ran = until(lambda: scheduler.run_job(name=made.name))
    assert ran.status.code == 5 and "404" in ran.status.message


def test_nothing_leaves_the_machine(scheduler: Any) -> None:
    made = scheduler.create_job(parent=LOCATION, job=nightly("outside", "https://example.com/hook"))
    with pytest.raises(google.BadRequest, match=r"does not call example\.com"):
        scheduler.run_job(name=made.name)


@pytest.mark.parametrize(
    "changes",
    [
        {"schedule": "61 2 * * *"},
        {"schedule": "0 2 * *"},
        {"time_zone": "Mars/Olympus"},
        {"http_target": {"uri": "ftp://x"}},
        {"attempt_deadline": {"seconds": 5}},
        {"name": LOCATION + "/jobs/not a name"},
        {"http_target": {"uri": "https://example.com", "oauth_token": {"service_account_email": "a@b"}}},
    ],
)
def test_bad_schedules_are_refused(scheduler: Any, changes: dict[str, Any]) -> None:
    with pytest.raises(google.BadRequest):
        scheduler.create_job(parent=LOCATION, job=nightly("bad", **changes))
