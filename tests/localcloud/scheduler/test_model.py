"""Scheduler jobs as values: creating, patching, refusing."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.localcloud.scheduler import model
from scripts.localcloud.web import ApiError

PARENT = "projects/p/locations/r"
NOW = "2026-11-20T02:00:00Z"
LATER = "2026-11-21T02:00:00Z"
BODY: dict[str, Any] = {
    "name": f"{PARENT}/jobs/nightly",
    "schedule": "0 2 * * *",
    "httpTarget": {"uri": "https://run.googleapis.com/v2/x:run", "httpMethod": 1, "body": "e30="},
    "state": "PAUSED",
}


def test_a_new_job_has_defaults_and_names_for_numbers() -> None:
    job = model.new_job(BODY, PARENT, NOW)
    assert (job["state"], job["timeZone"], job["attemptDeadline"]) == ("ENABLED", "Etc/UTC", "180s")
    assert job["httpTarget"]["httpMethod"] == "POST"
    assert model.body_of(job) == b"{}" and model.deadline_s(job) == 180


def test_a_job_without_a_name_gets_one() -> None:
    unnamed = {key: value for key, value in BODY.items() if key != "name"}
    first, second = (model.new_job(unnamed, PARENT, NOW)["name"] for _ in range(2))
    assert first != second and first.startswith(f"{PARENT}/jobs/") and first.rpartition("/")[2].isdigit()


def test_a_patch_changes_what_its_mask_names() -> None:
    job = model.new_job({**BODY, "description": "old"}, PARENT, NOW)
    target = {"uri": "http://127.0.0.1/x"}
    patched = model.patched(job, {"httpTarget": target, "schedule": "1 1 * * *"}, "http_target.uri,description", LATER)
    assert patched["httpTarget"] == {**job["httpTarget"], **target}
    assert patched["schedule"] == "0 2 * * *" and "description" not in patched
    assert patched["userUpdateTime"] == LATER
    assert model.patched(job, {"schedule": "1 1 * * *"}, "", LATER)["schedule"] == "1 1 * * *"
    with pytest.raises(ApiError, match="state"):
        model.patched(job, {"state": "PAUSED"}, "state", LATER)


@pytest.mark.parametrize("schedule", ["*/5 * * * *", "0 0,12 1-15 jan-mar mon", "every 24 hours", "59 23 31 12 7"])
def test_schedules_that_are_good(schedule: str) -> None:
    assert model.new_job({**BODY, "schedule": schedule}, PARENT, NOW)["schedule"] == schedule


@pytest.mark.parametrize(
    "schedule", ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "*/0 * * * *", "a * * * *"]
)
def test_schedules_that_are_not(schedule: str) -> None:
    with pytest.raises(ApiError, match="schedule"):
        model.new_job({**BODY, "schedule": schedule}, PARENT, NOW)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "projects/p/jobs/x"}, "name"),
        ({"httpTarget": None}, "http_target"),
        ({"httpTarget": {"uri": "https://x", "body": "not base64!"}}, "body"),
        ({"httpTarget": {"uri": "https://x", "httpMethod": "GET", "body": "e30="}}, "body: only for POST, PUT, PATCH"),
        ({"httpTarget": {"uri": "https://x", "httpMethod": "DELETE", "body": "e30="}}, "found DELETE"),
        ({"httpTarget": {"uri": f"https://x/{'a' * 2083}"}}, "uri: expected up to 2083"),
        ({"httpTarget": {"uri": "https://x", "body": "QUFB" * 300_000}}, "expected up to 1048576 bytes"),
        ({"description": "x" * 501}, "description"),
        ({"httpTarget": {"uri": "https://x", "httpMethod": "FETCH"}}, "http_method"),
        ({"pubsubTarget": {"topicName": "t"}}, "HTTP targets only"),
        ({"retries": 3}, "Cannot find field"),
        ({"attemptDeadline": "9s"}, "attempt_deadline"),
    ],
)
def test_bad_jobs_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ApiError, match=words) as caught:
        model.new_job({**BODY, **change}, PARENT, NOW)
    assert caught.value.code == 400
