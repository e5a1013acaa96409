"""Variables whose values lie in Secret Manager."""

from __future__ import annotations

import base64
import json
import os
import signal
from typing import Any

import pytest

from tests.contract.run_support import PARENT, Cloud, condition, fetch, job, service, until

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def cloud(shared_standin: Any) -> Cloud:
    return Cloud(shared_standin.url)


def keep(cloud: Cloud, name: str, *values: str) -> None:
    """A secret with a version for each value."""
    where = f"{cloud.url}/v1/projects/demo/secrets"
    assert fetch(f"{where}?secretId={name}", json.dumps({"replication": {"automatic": {}}}).encode())[0] == 200
    for value in values:
        payload = {"payload": {"data": base64.b64encode(value.encode()).decode()}}
        assert fetch(f"{where}/{name}:addVersion", json.dumps(payload).encode())[0] == 200


def secret(name: str, key: str) -> list[dict[str, Any]]:
    return [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}]


@pytest.mark.parametrize(("key", "expected"), [("latest", "second"), ("1", "first")])
def test_an_instance_gets_the_version_that_its_revision_names(cloud: Cloud, key: str, expected: str) -> None:
    keep(cloud, f"token-{key}", "first", "second")
    made = cloud.create(service(f"secretive-{key}", container={"env": secret(f"token-{key}", key)}))
    assert fetch(made["status"]["url"] + "/env")[1]["TOKEN"] == expected
    shown = json.dumps([made, cloud.revision(made["status"]["latestReadyRevisionName"])])
    assert expected not in shown.replace("secretive", ""), "the value is in no document"


def test_a_task_gets_it_too(cloud: Cloud) -> None:
    keep(cloud, "for-job", "0")
    body = job("secret-job")
    container = body["spec"]["template"]["spec"]["template"]["spec"]["containers"][0]
    container["env"] = [{**secret("for-job", "latest")[0], "name": "FAIL_INDEX"}]
    cloud.run.jobs().create(parent=PARENT, body=body).execute()
    assert cloud.execute("secret-job")["status"]["failedCount"] == 1, "the task read the index that fails"


def test_a_missing_secret_is_named_and_the_same_command_works_once_it_is_there(cloud: Cloud) -> None:
    body = service("waiting", container={"env": secret("later", "latest")})
    ready = condition(cloud.create(body), "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "SecretsAccessCheckFailed")
    assert (
        "env[0].value_from.secret_key_ref.name: Secret projects/demo/secrets/later/versions/latest" in ready["message"]
    )
    keep(cloud, "later", "now")
    made = cloud.replace(body)
    assert fetch(made["status"]["url"] + "/env")[1]["TOKEN"] == "now"
    fetch(f"{cloud.url}/v1/projects/demo/secrets/later/versions/1:disable", b"{}")
    again = cloud.replace(service("waiting", container={"env": secret("later", "1")}))
    assert "is in DISABLED state" in condition(again, "Ready")["message"]


def test_a_new_version_reaches_the_next_instance(cloud: Cloud) -> None:
    keep(cloud, "rotated", "old")
    made = cloud.create(service("rotating", container={"env": secret("rotated", "latest")}))
    where = f"{cloud.url}/v1/projects/demo/secrets/rotated"
    payload = {"payload": {"data": base64.b64encode(b"new").decode()}}
    assert fetch(f"{where}:addVersion", json.dumps(payload).encode())[0] == 200
    assert fetch(made["status"]["url"] + "/env")[1]["TOKEN"] == "old", "who runs keeps what it was given"
    add = f"{cloud.url}/_local/services/rotating/instances"
    assert fetch(add, b'{"count": 1}', content_type="application/json")[0] == 200
    assert {fetch(made["status"]["url"] + "/env")[1]["TOKEN"] for _ in range(4)} == {"old", "new"}
    fetch(f"{where}/versions/2:disable", b"{}")
    for each in cloud.instances("rotating"):
        os.kill(each["pid"], signal.SIGKILL)
    until(lambda: "is in DISABLED state" in str(fetch(made["status"]["url"] + "/env")[1]))
