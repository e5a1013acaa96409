"""Jobs, executions and tasks through Google's API client; v2's `:run` as Cloud Scheduler calls it."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from googleapiclient.errors import HttpError

from tests.contract.run_support import PARENT, Cloud, condition, fetch, job, until

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def cloud(shared_standin: Any) -> Cloud:
    return Cloud(shared_standin.url)


def create(cloud: Cloud, body: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = cloud.run.jobs().create(parent=PARENT, body=body).execute()
    return made


def test_a_job_runs_its_tasks_and_says_so(cloud: Cloud) -> None:
    made = create(cloud, job("plain", tasks=3, parallelism=2))
    assert condition(made, "Ready")["status"] == "True" and made["status"]["executionCount"] == 0
    done = cloud.execute("plain")
    assert condition(done, "Completed")["status"] == "True"
    assert done["status"]["succeededCount"] == 3 and done["status"]["runningCount"] == 0
    assert done["status"]["startTime"] <= done["status"]["completionTime"]
    name = done["metadata"]["name"]
    of_it = f'resource.type="cloud_run_job" AND labels."run.googleapis.com/execution_name"="{name}"'
    entries = cloud.entries(f"{of_it} AND jsonPayload.message=working")
    assert sorted(each["jsonPayload"]["index"] for each in entries) == [0, 1, 2]
    assert {each["jsonPayload"]["of"] for each in entries} == {3}
    assert {each["labels"]["run.googleapis.com/task_index"] for each in entries} == {"0", "1", "2"}
    assert entries[0]["resource"]["labels"] == {"project_id": "demo", "location": "europe-west1", "job_name": "plain"}
    latest = cloud.run.jobs().get(name=f"{PARENT}/jobs/plain").execute()["status"]
    assert latest["executionCount"] == 1 and latest["latestCreatedExecution"]["name"] == name
    assert latest["latestCreatedExecution"]["completionStatus"] == "EXECUTION_SUCCEEDED"
    tasks = cloud.run.tasks().list(parent=PARENT, labelSelector=f"run.googleapis.com/execution={name}").execute()
    assert [each["status"]["lastAttemptResult"]["exitCode"] for each in tasks["items"]] == [0, 0, 0]


def test_a_task_is_retried(cloud: Cloud) -> None:
    create(cloud, job("flaky", retries=2, env={"FAIL_BEFORE_ATTEMPT": "2"}))
    status = cloud.execute("flaky")["status"]
    assert (status["succeededCount"], status["retriedCount"]) == (1, 1), "tasks that were retried at least once"
    task = cloud.tasks(cloud.newest("flaky"))[0]
    assert (task["status"]["retried"], task["status"]["lastAttemptResult"]["exitCode"]) == (2, 0)


def test_a_failed_task_fails_the_execution_and_its_last_words_are_told(cloud: Cloud) -> None:
    create(cloud, job("broken", tasks=2, env={"FAIL_INDEX": "1"}))
    failed = cloud.execute("broken")
    completed = condition(failed, "Completed")
    assert completed["status"] == "False" and completed["reason"] == "NonZeroExitCode"
    assert "exit(3)" in completed["message"] and "this attempt fails" in completed["message"]
    assert (failed["status"]["succeededCount"], failed["status"]["failedCount"]) == (1, 1)


def test_a_task_that_takes_too_long_is_stopped(cloud: Cloud) -> None:
    create(cloud, job("late", timeout_s=1, env={"SLEEP_S": "30"}))
    assert "timeout of 1 s" in condition(cloud.execute("late"), "Completed")["message"]


def test_an_execution_can_be_cancelled_and_deleted(cloud: Cloud) -> None:
    create(cloud, job("long", env={"SLEEP_S": "30"}))
    name = cloud.run.jobs().run(name=f"{PARENT}/jobs/long", body={}).execute()["metadata"]["name"]
    until(lambda: cloud.execution(name)["status"].get("runningCount"))
    cancelled = cloud.run.executions().cancel(name=f"{PARENT}/executions/{name}", body={}).execute()
    assert condition(cancelled, "Completed")["reason"] == "Cancelled" and cancelled["status"]["cancelledCount"] == 1
    with pytest.raises(HttpError) as caught:
        cloud.run.executions().cancel(name=f"{PARENT}/executions/{name}", body={}).execute()
    assert caught.value.resp.status == 400
    cloud.run.executions().delete(name=f"{PARENT}/executions/{name}").execute()
    listed = cloud.run.executions().list(parent=PARENT, labelSelector="run.googleapis.com/job=long").execute()
    assert listed["items"] == []


def test_overrides_hold_for_one_execution(cloud: Cloud) -> None:
    create(cloud, job("overridden"))
    container = {"args": ["--fast"], "env": [{"name": "FAIL_INDEX", "value": "1"}]}
    body = {"overrides": {"taskCount": 2, "containerOverrides": [container]}}
    assert cloud.execute("overridden", body)["status"]["failedCount"] == 1
    entry = cloud.entries('resource.labels.job_name="overridden" AND jsonPayload.index=0')[0]
    assert entry["jsonPayload"]["args"] == ["--fast"]
    assert cloud.execute("overridden")["status"]["succeededCount"] == 1


def test_a_job_reads_a_bucket(cloud: Cloud, connect: Callable[[str], Any]) -> None:
    bucket = connect(cloud.url).create_bucket("job-bucket", location="europe-west1")
    bucket.blob("sub/greeting").upload_from_string("from the bucket")
    create(cloud, job("reader", bucket="job-bucket", env={"READ": "/models/sub/greeting"}))
    assert cloud.execute("reader")["status"]["succeededCount"] == 1
    assert cloud.entries('resource.labels.job_name="reader" AND jsonPayload.message="from the bucket"')
    create(cloud, job("lost", bucket="missing-bucket"))
    assert "'missing-bucket'" in condition(cloud.execute("lost"), "Completed")["message"]


def test_replace_conflict_list_and_delete(cloud: Cloud) -> None:
    made = create(cloud, job("edited"))
    body = job("edited", tasks=2)
    body["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"]
    jobs = cloud.run.jobs()
    changed = jobs.replaceJob(name=f"{PARENT}/jobs/edited", body=body).execute()
    assert changed["metadata"]["generation"] == changed["status"]["observedGeneration"] == 2
    body["spec"]["template"]["spec"]["taskCount"] = 3
    with pytest.raises(HttpError) as caught:
        jobs.replaceJob(name=f"{PARENT}/jobs/edited", body=body).execute()
    assert caught.value.resp.status == 409
    assert "edited" in {each["metadata"]["name"] for each in jobs.list(parent=PARENT).execute()["items"]}
    jobs.delete(name=f"{PARENT}/jobs/edited").execute()
    with pytest.raises(HttpError) as caught:
        jobs.get(name=f"{PARENT}/jobs/edited").execute()
    assert caught.value.resp.status == 404
    with pytest.raises(HttpError) as caught:
        create(cloud, job("bad", tasks=0, retries=11))
    assert caught.value.resp.status == 400


def test_v2_run_answers_with_an_operation(cloud: Cloud) -> None:
    create(cloud, job("modern"))
    path = "/v2/projects/demo/locations/europe-west1"
    status, operation = fetch(f"{cloud.url}{path}/jobs/modern:run", json.dumps({}).encode())
    assert status == 200 and operation["done"] is False
    assert operation["metadata"]["@type"].endswith("google.cloud.run.v2.Execution")
    done = until(lambda: (found := fetch(f"{cloud.url}/v2/{operation['name']}")[1])["done"] and found)
    execution = done["response"]["name"].rpartition("/")[2]
    assert cloud.completed(execution)["status"]["succeededCount"] == 1
    assert fetch(f"{cloud.url}{path}/jobs/none:run", b"{}")[0] == 404


def test_an_execution_cut_by_kill_9_is_marked(standin_at: Callable[..., Any], tmp_path: Path) -> None:
    first = standin_at(tmp_path / "cloud")
    cloud = Cloud(first.url)
    create(cloud, job("cut", env={"SLEEP_S": "60"}))
    name = cloud.run.jobs().run(name=f"{PARENT}/jobs/cut", body={}).execute()["metadata"]["name"]
    until(lambda: cloud.entries('jsonPayload.message="working"'))
    first.stop(signal.SIGKILL)
    standin_at(tmp_path / "cloud", first.port)
    completed = condition(cloud.execution(name), "Completed")
    assert (completed["status"], completed["reason"]) == ("False", "Interrupted")
    assert "Run the job again" in completed["message"]
