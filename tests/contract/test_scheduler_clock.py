"""Jobs of Cloud Scheduler that fire by the clock, seen by the server they call."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from scripts.cloud import discovery
from tests.contract.run_support import api, until

pytestmark = pytest.mark.process
LOCATION = "projects/demo/locations/europe-west1"
DAY_S = 86400


class Target(ThreadingHTTPServer):
    """Keeps what it was asked; answers with `statuses` one after the other, then 200, after `meanwhile` has ended."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.seen: list[dict[str, str]] = []
        self.statuses: list[int] = []
        self.meanwhile: Callable[[], object] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"

    def times(self) -> list[str]:
        return [each["x-cloudscheduler-scheduletime"][:16] for each in self.seen]


class Answer(BaseHTTPRequestHandler):
    server: Target

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        self.server.seen.append({**{key.lower(): value for key, value in self.headers.items()}, "body": body})
        if self.server.meanwhile is not None:
            self.server.meanwhile()
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def target() -> Iterator[Target]:
    server = Target()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def jobs(running: Any) -> Any:
    return api(running.url, "cloudscheduler", "v1").projects().locations().jobs()


def scheduler(running: Any) -> Any:
    """Google's own client of Cloud Scheduler, over REST."""
    from google.api_core.client_options import ClientOptions
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.scheduler_v1 import CloudSchedulerClient

    options = ClientOptions(api_endpoint=running.url)
    return CloudSchedulerClient(transport="rest", credentials=AnonymousCredentials(), client_options=options)


def clock_of(running: Any) -> float:
    return datetime.fromisoformat(running.get("/_local/clock")["now"]).timestamp()


def create(running: Any, target: Target, **changes: Any) -> str:
    body = {"name": f"{LOCATION}/jobs/nightly", "schedule": "0 2 * * *", "timeZone": "Etc/UTC"}
    body |= {"httpTarget": {"uri": target.url, "httpMethod": "POST", "body": "e30="}, **changes}
    made = jobs(running).create(parent=LOCATION, body=body).execute()
    discovery.validate("cloudscheduler", "v1", "Job", made)
    return str(made["name"])


def get(running: Any, name: str) -> Any:
    found = jobs(running).get(name=name).execute()
    discovery.validate("cloudscheduler", "v1", "Job", found)
    return found


def to_noon(running: Any) -> None:
    """Stand at 12:00 UTC of some day."""
    now = running.get("/_local/clock")["now"]
    hour, minute, second = int(now[11:13]), int(now[14:16]), float(now[17:26])
    running.post("/_local/clock", {"advance_s": (DAY_S + (12 - hour) * 3600 - minute * 60 - second) % DAY_S})


def test_a_day_has_one_firing_over_restarts(standin_at: Callable[..., Any], tmp_path: Path, target: Target) -> None:
    state = tmp_path / "cloud"
    running = standin_at(state)
    to_noon(running)
    name = create(running, target)
    before = get(running, name)["scheduleTime"]
    assert before[11:16] == "02:00" and running.get("/_local/clock")["next"] == before
    running.post("/_local/clock", {"advance_s": DAY_S / 2})
    assert target.seen == []
    running.stop(signal.SIGKILL)
    running = standin_at(state)
    assert get(running, name)["scheduleTime"] == before
    running.post("/_local/clock", {"advance_s": DAY_S / 2})
    assert target.times() == [before[:16]]
    running.stop()
    running = standin_at(state)
    found = get(running, name)
    assert found["lastAttemptTime"][:16] == before[:16] and found["status"] == {}
    assert found["scheduleTime"] > before
    running.post("/_local/clock", {"advance_s": 7 * DAY_S})
    assert len(target.seen) == 8 and len(set(target.times())) == 8


def test_a_fast_clock_fires_once_a_day_over_restarts(
    standin_at: Callable[..., Any], tmp_path: Path, target: Target
) -> None:
    state = tmp_path / "cloud"
    running = standin_at(state)
    to_noon(running)
    began = clock_of(running)
    client = scheduler(running)
    hook = {"uri": target.url, "http_method": "POST"}
    name = f"{LOCATION}/jobs/nightly"
    client.create_job(
        parent=LOCATION, job={"name": name, "schedule": "0 2 * * *", "time_zone": "Etc/UTC", "http_target": hook}
    )
    assert running.post("/_local/clock", {"rate": 86400})["rate"] == 86400
    until(lambda: clock_of(running) > began + 2 * 3600)
    stopped = clock_of(running)
    running.stop(signal.SIGKILL)
    running = standin_at(state)
    # it runs on as fast, and not from an earlier moment
    assert running.get("/_local/clock")["rate"] == 86400 and clock_of(running) >= stopped
    until(lambda: clock_of(running) > began + DAY_S)
    running.stop()
    running = standin_at(state)
    running.post("/_local/clock", {"rate": 1})
    days = int((clock_of(running) - began + 10 * 3600) // DAY_S)
    found = scheduler(running).get_job(name=name)
    assert [each[11:16] for each in target.times()] == ["02:00"] * days and len(set(target.times())) == days >= 1
    assert found.schedule_time.timestamp() > clock_of(running) and found.last_attempt_time.hour == 2


def test_an_attempt_that_was_cut_short_is_made_again(
    standin_at: Callable[..., Any], tmp_path: Path, target: Target
) -> None:
    state = tmp_path / "cloud"
    running = standin_at(state)
    to_noon(running)
    name = create(running, target)
    running.stop(signal.SIGKILL)
    # the daemon died after it had noted the firing and before the request was sent
    import sqlite3

    with sqlite3.connect(state / "state.db") as database:
        database.execute("UPDATE scheduler_runs SET slot = due_at - 86400, first_at = 0, attempts = 1")
    running = standin_at(state)
    running.post("/_local/clock", {"advance_s": 1})
    assert len(target.seen) == 1
    assert get(running, name)["scheduleTime"][11:16] == "02:00"


def test_an_attempt_of_a_deleted_job_says_nothing_about_its_successor(standin: Any, target: Target) -> None:
    name = create(standin, target)

    def replace() -> None:
        jobs(standin).delete(name=name).execute()
        create(standin, target, description="another")

    target.meanwhile = replace
    standin.post("/_local/clock", {"advance_s": DAY_S})
    found = get(standin, name)
    assert len(target.seen) == 1 and found["description"] == "another"
    assert "lastAttemptTime" not in found and "status" not in found


def test_failures_are_tried_again_at_growing_intervals(standin: Any, target: Target) -> None:
    to_noon(standin)
    retry = {"retryCount": 3, "minBackoffDuration": "10s", "maxBackoffDuration": "60s", "maxDoublings": 1}
    name = create(standin, target, retryConfig=retry, schedule="0 13 * * *")
    target.statuses = [500, 503]
    standin.post("/_local/clock", {"advance_s": 3605})
    found = get(standin, name)
    assert len(target.seen) == 1 and found["status"]["code"] == 13
    assert found["scheduleTime"][11:19] == "13:00:10"
    standin.post("/_local/clock", {"advance_s": 60})
    assert len(target.seen) == 3 and get(standin, name)["status"] == {}
    assert get(standin, name)["lastAttemptTime"][11:19] == "13:00:30"
    target.statuses = [500] * 10
    standin.post("/_local/clock", {"advance_s": DAY_S + 60})
    assert len(target.seen) == 3 + 4 and get(standin, name)["status"]["code"] == 13
    assert get(standin, name)["scheduleTime"][11:19] == "13:00:00"


def test_paused_jobs_do_not_fire_and_do_not_catch_up(standin: Any, target: Target) -> None:
    name = create(standin, target, schedule="*/10 * * * *")
    jobs(standin).pause(name=name, body={}).execute()
    assert "scheduleTime" not in get(standin, name)
    standin.post("/_local/clock", {"advance_s": 3600})
    assert target.seen == []
    assert jobs(standin).resume(name=name, body={}).execute()["state"] == "ENABLED"
    standin.post("/_local/clock", {"advance_s": 1200})
    assert len(target.seen) == 2
    jobs(standin).patch(name=name, body={"schedule": "0 0 1 1 *"}, updateMask="schedule").execute()
    standin.post("/_local/clock", {"advance_s": 3600})
    assert len(target.seen) == 2
    jobs(standin).delete(name=name).execute()
    standin.post("/_local/clock", {"advance_s": 366 * DAY_S})
    assert len(target.seen) == 2


def test_the_request_and_the_log_are_those_of_cloud_scheduler(standin: Any, target: Target) -> None:
    token = {"serviceAccountEmail": "caller@demo.iam.gserviceaccount.com"}
    hook = {
        "uri": target.url,
        "headers": {"Content-Type": "application/json"},
        "body": "eyJhIjoxfQ==",
        "oidcToken": token,
    }
    name = create(standin, target, httpTarget=hook)
    assert get(standin, name)["httpTarget"]["oidcToken"]["audience"] == target.url
    standin.post("/_local/clock", {"advance_s": DAY_S})
    seen = target.seen[0]
    assert seen["body"] == '{"a":1}' and seen["content-type"] == "application/json"
    assert seen["x-cloudscheduler"] == "true" and seen["x-cloudscheduler-jobname"] == "nightly"
    assert seen["authorization"].startswith("Bearer ey")
    query = {"resourceNames": ["projects/demo"], "filter": 'resource.type="cloud_scheduler_job" AND severity=INFO'}
    entries = standin.post("/v2/entries:list", query)["entries"]
    kinds = [entry["jsonPayload"]["@type"].rpartition(".")[2] for entry in entries]
    assert kinds == ["AttemptStarted", "AttemptFinished"] and entries[1]["httpRequest"] == {"status": 200}
    for entry in entries:
        discovery.validate("logging", "v2", "LogEntry", entry)


def test_the_status_of_a_schedule_tells_the_next_run(standin: Any, target: Target) -> None:
    from scripts.cloud.connect import connect_runtime
    from scripts.service import schedule

    to_noon(standin)
    create(standin, target)
    scheduler = connect_runtime("demo", "europe-west1", standin.url).scheduler()

    def told() -> dict[str, str]:
        found = scheduler.get("nightly")
        assert found is not None
        return dict(schedule.rows(found))

    before = told()
    assert before["next run"].endswith("T02:00:00Z") and before["last run"] == "never"
    standin.post("/_local/clock", {"advance_s": DAY_S})
    after = told()
    assert after["last run"] == before["next run"] and after["last result"] == "ok"
    assert after["next run"] > before["next run"]
    scheduler.pause("nightly")
    assert told()["next run"] == "not while it is paused"


@pytest.mark.parametrize(
    "body",
    [
        '{"rate": 0}',
        '{"rate": 1e9}',
        '{"rate": true}',
        '{"speed": 2}',
        '{"advance_s": -1}',
        '{"advance_s": "1"}',
        '{"advance_s": 1e300}',
        "{}",
        "[]",
    ],
)
def test_time_goes_forward_only(shared_standin: Any, body: str) -> None:
    import urllib.error

    with pytest.raises(urllib.error.HTTPError) as caught:
        shared_standin.post("/_local/clock", json.loads(body))
    assert caught.value.code == 400
