"""Instances: what they see and are told, how they are replaced, and what the front does with requests."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import threading
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.contract.run_support import PARENT, Cloud, fetch, service, until

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def cloud(shared_standin: Any) -> Cloud:
    return Cloud(shared_standin.url)


@pytest.fixture(scope="module")
def models(shared_standin: Any, connect: Callable[[str], Any]) -> Any:
    bucket = connect(shared_standin.url).create_bucket("models-bucket", location="europe-west1")
    bucket.versioning_enabled = True
    bucket.patch()
    return bucket


def test_an_instance_sees_the_bucket_and_its_changes_read_only(cloud: Cloud, models: Any) -> None:
    models.blob("ollama/v1/blob").upload_from_string("first")
    for name in ("../escape", "a//b", "folder/", "clash", "clash/inside"):
        models.blob(name).upload_from_string("x" if not name.endswith("/") else "")
    url = cloud.create(service("mounted", bucket="models-bucket"))["status"]["url"]
    env = fetch(url + "/env")[1]
    assert env["MODELSHELF_MOUNT_MODE"] == cloud.instances("mounted")[0]["mount_mode"]
    # in rewritten mode a value that starts with the mount path is what is rewritten
    root = env.get("SEEN_AT", "/models") if env["MODELSHELF_MOUNT_MODE"] == "rewritten" else "/models"
    listed = fetch(f"{url}/list?path={root}")[1]
    assert listed == ["clash", "clash/inside", "folder", "ollama", "ollama/v1", "ollama/v1/blob"]
    assert fetch(f"{url}/read?path={root}/ollama/v1/blob") == (200, "first")
    models.blob("ollama/v1/blob").upload_from_string("second")
    assert fetch(f"{url}/read?path={root}/ollama/v1/blob") == (200, "second")
    models.blob("ollama/v1/blob").delete()
    until(lambda: fetch(f"{url}/read?path={root}/ollama/v1/blob")[0] == 404)
    assert "ollama" not in fetch(f"{url}/list?path={root}")[1]
    assert "Read-only" in fetch(f"{url}/write?path={root}/new")[1]
    assert "Read-only" in fetch(f"{url}/write?path={root}/clash/inside")[1]
    assert models.blob("clash/inside").download_as_bytes() == b"x"


def test_instances_have_private_disks_and_further_ones_start_on_request(cloud: Cloud) -> None:
    cloud.create(service("many", annotations={"autoscaling.knative.dev/minScale": "2"}))
    assert len(cloud.instances("many")) == 2
    status, answer = fetch(f"{cloud.url}/_local/services/many/instances", b'{"count": 2}')
    assert (status, answer["ready"]) == (200, 2)
    assert len(cloud.instances("many")) == 4
    url = cloud.get("many")["status"]["url"]
    seen = [fetch(url + "/env")[1] for _ in range(8)]
    assert len({each["MODELSHELF_INSTANCE_ID"] for each in seen}) == 4
    assert len({each["HOME"] for each in seen} | {each["TMPDIR"] for each in seen}) == 8
    assert len({each["PORT"] for each in seen}) == 4
    assert fetch(f"{cloud.url}/_local/services/many/instances", b'{"count": 0}')[0] == 400
    assert fetch(f"{cloud.url}/_local/services/none/instances", b'{"count": 1}')[0] == 404


def test_the_port_of_an_instance_is_claimed_until_it_has_ended(cloud: Cloud) -> None:
    cloud.create(service("claimed", annotations={"autoscaling.knative.dev/minScale": "1"}))
    port = cloud.instances("claimed")[0]["port"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
    cloud.run.services().delete(name=f"{PARENT}/services/claimed").execute()
    until(lambda: _claimable(port))


def _claimable(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other, contextlib.suppress(OSError):
        other.bind(("127.0.0.1", port))
        return True
    return False


def test_a_killed_instance_is_replaced_and_no_request_fails(cloud: Cloud) -> None:
    url = cloud.create(service("immortal", annotations={"autoscaling.knative.dev/minScale": "2"}))["status"]["url"]
    before = cloud.instances("immortal")
    os.kill(before[0]["pid"], signal.SIGKILL)
    until(lambda: not _alive(before[0]["pid"]))
    assert [fetch(url + "/")[0] for _ in range(10)] == [200] * 10
    after = until(lambda: (found := cloud.instances("immortal")) and len(found) == 2 and found)
    fresh = [each for each in after if each["id"] not in {every["id"] for every in before}]
    assert [each["restarts"] for each in fresh] == [1]
    assert cloud.entries('severity=ERROR AND resource.labels.service_name="immortal" AND textPayload:"signal 9"')


def test_the_only_instance_comes_back_while_a_request_waits(cloud: Cloud) -> None:
    url = cloud.create(service("alone"))["status"]["url"]
    assert fetch(url + "/exit/3")[0] == 503
    assert fetch(url + "/")[0] == 200


def test_a_failed_liveness_probe_replaces_the_instance(cloud: Cloud) -> None:
    probe = {"httpGet": {"path": "/health"}, "periodSeconds": 1, "failureThreshold": 1}
    url = cloud.create(service("sick", container={"livenessProbe": probe}))["status"]["url"]
    first = cloud.instances("sick")[0]["id"]
    fetch(url + "/sick", b"")
    until(lambda: (found := cloud.instances("sick")) and found[0]["id"] != first)
    assert fetch(url + "/health")[0] == 200


def test_the_front_passes_requests_on_faithfully(cloud: Cloud) -> None:
    url = cloud.create(service("front"))["status"]["url"]
    assert fetch(url + "/a%2Fb/c?x=%20y")[1]["path"] == "/a%2Fb/c?x=%20y"
    assert fetch(url)[1]["path"] == "/"
    seen = _headers_seen(url, {"X-Own": "1", "Connection": "x-hop", "X-Hop": "2", "X-Forwarded-For": "10.0.0.1"})
    assert seen["x-own"] == "1" and "x-hop" not in seen
    assert seen["x-forwarded-for"] == "10.0.0.1, 127.0.0.1" and seen["x-forwarded-proto"] == "http"
    assert seen["x-forwarded-prefix"] == "/run/front" and seen["host"] == cloud.url.removeprefix("http://")
    with urllib.request.urlopen(url + "/stream/1000") as answer:
        assert answer.read() == b"".join(b"line %d\n" % number for number in range(1000))
        assert answer.headers["transfer-encoding"] == "chunked"
    big = os.urandom(3 << 20)
    request = urllib.request.Request(url + "/echo", big, method="POST")
    with urllib.request.urlopen(request) as answer:
        assert answer.read() == big and answer.headers["x-seen-by"] == "container"
    chunked = urllib.request.Request(url + "/echo", iter([b"ab", b"cd"]), {"Transfer-Encoding": "chunked"})
    with urllib.request.urlopen(chunked) as answer:
        assert answer.read() == b"abcd"
    assert fetch(cloud.url + "/run/nobody/x")[0] == 404


def _headers_seen(url: str, headers: dict[str, str]) -> dict[str, str]:
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host)
    connection.request("GET", f"/{path}/headers", headers=headers)
    seen: dict[str, str] = json.load(connection.getresponse())
    connection.close()
    return seen


def test_a_service_has_a_host_name(cloud: Cloud) -> None:
    cloud.create(service("hosted"))
    status, seen = fetch(cloud.url + "/headers", Host="hosted.localhost")
    assert (status, seen["x-forwarded-host"]) == (200, "hosted.localhost")
    assert "x-forwarded-prefix" not in seen
    assert fetch(cloud.url + "/", Host="nobody.localhost")[0] == 404
    assert fetch(cloud.url + "/", Host="evil.example")[0] == 403


def test_a_slow_request_times_out_and_a_crash_answers_503(cloud: Cloud) -> None:
    url = cloud.create(service("slow", pod={"timeoutSeconds": 1}))["status"]["url"]
    assert fetch(url + "/sleep/5")[0] == 504
    assert fetch(url + "/exit/0")[0] == 503


def test_concurrency_is_kept_and_what_finds_no_room_waits(cloud: Cloud) -> None:
    url = cloud.create(service("narrow", pod={"containerConcurrency": 1}))["status"]["url"]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: fetch(url + "/sleep/0.2")[0], range(4)))
    assert answers == [200] * 4
    assert max(each["in_flight"] for each in cloud.instances("narrow")) == 0


def test_replacing_a_revision_loses_no_request(cloud: Cloud) -> None:
    url = cloud.create(service("drained", env={"ABRUPT": "1"}))["status"]["url"]
    host, _, port = cloud.url.removeprefix("http://").partition(":")
    answers: list[int] = []
    stop = threading.Event()

    def ask() -> None:
        connection = http.client.HTTPConnection(host, int(port))
        while not stop.is_set():
            connection.request("GET", url.removeprefix(cloud.url) + "/sleep/0.05")
            answer = connection.getresponse()
            answer.read()
            answers.append(answer.status)
        connection.close()

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    old = cloud.instances("drained")[0]["id"]
    cloud.replace(service("drained", env={"A": "1"}))
    until(lambda: old not in {each["id"] for each in fetch(cloud.url + "/_local/instances")[1]["instances"]})
    stop.set()
    for asker in askers:
        asker.join()
    assert len(answers) > 4 and set(answers) == {200}


def test_output_becomes_log_entries(cloud: Cloud, shared_standin: Any) -> None:
    made = cloud.create(service("talker"))
    of_it = 'resource.type="cloud_run_revision" AND resource.labels.service_name="talker"'
    structured = until(lambda: cloud.entries(f"{of_it}\njsonPayload.cache_hit=true"))[0]
    assert structured["severity"] == "NOTICE"
    assert structured["jsonPayload"] == {"message": "starting", "cache_hit": True, "n": 7}
    assert structured["logName"] == "projects/demo/logs/run.googleapis.com%2Fstdout"
    assert structured["resource"]["labels"] == {
        "project_id": "demo",
        "location": "europe-west1",
        "service_name": "talker",
        "revision_name": made["status"]["latestReadyRevisionName"],
        "configuration_name": "talker",
    }
    instance = cloud.instances("talker")[0]["id"]
    assert structured["labels"] == {"instanceId": instance}
    plain = cloud.entries(f'{of_it} AND textPayload="a plain line"')[0]
    assert plain["logName"].endswith("stderr") and plain["severity"] == "DEFAULT"
    raw = Path(shared_standin.state) / "run" / "logs" / f"{instance}.stderr.log"
    assert raw.read_text(encoding="utf-8") == "a plain line\n"


def test_a_killed_daemon_leaves_no_process_and_services_come_back(
    standin_at: Callable[..., Any], tmp_path: Path
) -> None:
    first = standin_at(tmp_path / "cloud")
    cloud = Cloud(first.url)
    made = cloud.create(
        service("phoenix", annotations={"autoscaling.knative.dev/minScale": "2"}, env={"STUBBORN": "1"})
    )
    old = [each["pid"] for each in cloud.instances("phoenix")]
    first.stop(signal.SIGKILL)
    second = standin_at(tmp_path / "cloud")
    cloud = Cloud(second.url)
    until(lambda: not any(_alive(pid) for pid in old))
    fresh = until(lambda: (found := cloud.instances("phoenix")) and len(found) == 2 and found)
    assert not {each["pid"] for each in fresh} & set(old)
    back = cloud.get("phoenix")["status"]
    assert back["url"] == f"{second.url}/run/phoenix" and fetch(back["url"] + "/")[0] == 200
    assert back["latestReadyRevisionName"] == made["status"]["latestReadyRevisionName"]
    for each in fresh:  # they ignore SIGTERM: spare the test their ten seconds
        os.kill(each["pid"], signal.SIGKILL)


def _alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
