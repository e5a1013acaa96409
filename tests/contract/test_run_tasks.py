"""Tasks of an execution: how many at once, what each is told, its state at every moment, time-outs and cancelling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from googleapiclient.errors import HttpError

from tests.contract.run_support import PARENT, Cloud, condition, job, until

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def cloud(shared_standin: Any) -> Cloud:
    return Cloud(shared_standin.url)


def create(cloud: Cloud, body: dict[str, Any], **options: Any) -> dict[str, Any]:
    made: dict[str, Any] = cloud.run.jobs().create(parent=PARENT, body=body, **options).execute()
    return made


def run(cloud: Cloud, name: str) -> str:
    return str(cloud.run.jobs().run(name=f"{PARENT}/jobs/{name}", body={}).execute()["metadata"]["name"])


def test_as_many_tasks_run_at_once_as_parallelism_says(cloud: Cloud) -> None:
    create(cloud, job("narrow", tasks=4, parallelism=2, env={"SLEEP_S": "60"}))
    name = run(cloud, "narrow")
    until(lambda: cloud.execution(name)["status"].get("runningCount") == 2)
    running = cloud.execution(name)
    assert condition(running, "Started")["status"] == "True" and condition(running, "Completed")["status"] == "Unknown"
    assert [each["status"]["index"] for each in cloud.tasks(name, "Running")] == [0, 1]
    assert cloud.tasks(name, "Succeeded, Failed") == []
    cancelled = cloud.run.executions().cancel(name=f"{PARENT}/executions/{name}", body={}).execute()["status"]
    assert (cancelled["runningCount"], cancelled["cancelledCount"]) == (0, 4)
    assert {each["metadata"]["labels"]["run.googleapis.com/runningState"] for each in cloud.tasks(name)} == {
        "Cancelled"
    }
    latest = cloud.run.jobs().get(name=f"{PARENT}/jobs/narrow").execute()["status"]["latestCreatedExecution"]
    assert latest["completionStatus"] == "EXECUTION_CANCELLED"


def test_an_execution_that_runs_says_so_to_those_who_do_not_wait_for_its_end(cloud: Cloud) -> None:
    create(cloud, job("plain", tasks=12, env={"FAIL_INDEX": "11"}))
    done = cloud.execute("plain")
    assert (done["status"]["succeededCount"], done["status"]["failedCount"]) == (11, 1)
    tasks = cloud.tasks(done["metadata"]["name"])
    assert [each["status"]["index"] for each in tasks] == list(range(12)), "more than run here at once"
    states = [each["metadata"]["labels"]["run.googleapis.com/runningState"] for each in tasks]
    assert states == ["Succeeded"] * 11 + ["Failed"]
    failed = tasks[-1]["status"]
    assert failed["lastAttemptResult"]["exitCode"] == 3 and "error" in failed["lastAttemptResult"]["status"]["message"]
    assert condition(tasks[-1], "Completed")["status"] == "False" and condition(tasks[0], "Started")["status"] == "True"


@pytest.mark.full
def test_a_task_that_ignores_sigterm_is_killed_at_its_time_out(cloud: Cloud) -> None:
    stubborn = {"command": ["sh", "-c"], "args": ["trap '' TERM; sleep 60 & wait; sleep 60"]}
    create(cloud, job("stubborn", timeout_s=1, container=stubborn))
    name = run(cloud, "stubborn")
    done = cloud.completed(name)
    assert "timeout of 1 s" in condition(done, "Completed")["message"]
    assert cloud.tasks(name)[0]["status"]["lastAttemptResult"]["termSignal"] == 9


def test_a_dry_run_changes_nothing(cloud: Cloud) -> None:
    jobs = cloud.run.jobs()
    assert create(cloud, job("dry"), dryRun="all")["spec"]["template"]["spec"]["taskCount"] == 1
    with pytest.raises(HttpError, match="404"):
        jobs.get(name=f"{PARENT}/jobs/dry").execute()
    before = create(cloud, job("kept"))
    shown = jobs.replaceJob(name=f"{PARENT}/jobs/kept", body=job("kept", tasks=5), dryRun="all").execute()
    assert shown["spec"]["template"]["spec"]["taskCount"] == 5
    jobs.delete(name=f"{PARENT}/jobs/kept", dryRun="all").execute()
    assert jobs.get(name=f"{PARENT}/jobs/kept").execute() == before
    with pytest.raises(HttpError, match="taskCount"):
        create(cloud, job("kept2", tasks=10_001), dryRun="all")
    with pytest.raises(HttpError, match="dryRun: expected 'all'"):
        create(cloud, job("kept3"), dryRun="some")


def test_who_made_a_job_is_kept_and_the_same_again_changes_nothing(cloud: Cloud) -> None:
    made = create(cloud, job("same"))
    assert made["metadata"]["annotations"]["run.googleapis.com/creator"] == "local"
    again = cloud.run.jobs().replaceJob(name=f"{PARENT}/jobs/same", body=job("same")).execute()
    assert again == made
    sent_back = cloud.run.jobs().replaceJob(name=f"{PARENT}/jobs/same", body=made).execute()
    assert sent_back == made


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"tasks": 0}, "taskCount"),
        ({"tasks": 10_001}, "taskCount"),
        ({"parallelism": -1}, "parallelism"),
        ({"retries": 11}, "maxRetries"),
        ({"timeout_s": 168 * 3600 + 1}, "timeoutSeconds"),
        ({"env": {"CLOUD_RUN_TASK_INDEX": "1"}}, "reserved env names"),
        ({"container": {"resources": {"limits": {"memory": "256Mi"}}}}, "between 512Mi and 4Gi"),
        ({"container": {"livenessProbe": {"httpGet": {}}}}, "not supported for jobs"),
        ({"container": {"image": "ghcr.io/x/y"}}, "docker.pkg.dev"),
    ],
)
def test_limits_of_jobs_are_refused_with_the_field(cloud: Cloud, spec: dict[str, Any], words: str) -> None:
    with pytest.raises(HttpError) as caught:
        create(cloud, job("limited", **spec))
    assert caught.value.resp.status == 400 and words in caught.value.reason


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"taskCount": 10_001}, "taskCount"),
        ({"timeoutSeconds": 168 * 3600 + 1}, "timeoutSeconds"),
        ({"containerOverrides": [{"name": "other"}]}, "no container of the job is named 'other'"),
        ({"containerOverrides": [{"args": ["a"], "clearArgs": True}]}, "clear_args"),
        ({"containerOverrides": [{"env": [{"name": "CLOUD_RUN_JOB", "value": "x"}]}]}, "reserved"),
        ({"colour": 1}, "colour"),
    ],
)
def test_overrides_are_checked(cloud: Cloud, overrides: dict[str, Any], words: str) -> None:
    if "over" not in {each["metadata"]["name"] for each in cloud.run.jobs().list(parent=PARENT).execute()["items"]}:
        create(cloud, job("over"))
    with pytest.raises(HttpError) as caught:
        cloud.run.jobs().run(name=f"{PARENT}/jobs/over", body={"overrides": overrides}).execute()
    assert caught.value.resp.status == 400 and words in str(caught.value)


def test_a_job_whose_image_is_missing_says_so_and_its_execution_fails(cloud: Cloud) -> None:
    missing = "gcr.io/p/none:v1"
    made = create(cloud, job("imageless", container={"image": missing}))
    assert condition(made, "Ready")["reason"] == "ContainerMissing"
    assert f"Image '{missing}' not found" in condition(cloud.execute("imageless"), "Completed")["message"]


def test_a_job_of_another_project_is_refused(cloud: Cloud) -> None:
    body = job("strayed")
    body["metadata"]["namespace"] = "another"
    with pytest.raises(HttpError) as caught:
        create(cloud, body)
    assert caught.value.status_code == 400 and "expected 'demo' as in the URL" in caught.value.reason


def test_numbers_given_as_text_are_answered_as_numbers(cloud: Cloud) -> None:
    create(cloud, job("texts", tasks="2", retries="1"))
    done = cloud.execute("texts", {"overrides": {"taskCount": "3"}})  # its answer is checked against the schema
    assert done["spec"]["taskCount"] == done["status"]["succeededCount"] == 3


def test_what_a_task_left_in_a_session_of_its_own_ends_with_it(cloud: Cloud) -> None:
    code = (
        "import subprocess as s, sys; print(s.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],"
        " start_new_session=True).pid)"
    )
    create(cloud, job("escaping", container={"command": ["python", "-c", code]}))
    assert cloud.execute("escaping")["status"]["succeededCount"] == 1
    logged = until(lambda: cloud.entries('resource.labels.job_name="escaping" AND log_id("run.googleapis.com/stdout")'))
    pid = int(logged[0]["textPayload"])
    stat = Path(f"/proc/{pid}/stat")
    until(lambda: not stat.exists() or ") Z " in stat.read_text(encoding="utf-8", errors="replace"))
