"""Instances by the requests there are: out by concurrency, waiting, 429, in by the clock, to zero; nobody is failed."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.contract.run_support import CONTAINERS, Cloud, fetch, service, until

pytestmark = pytest.mark.process
ODD = {"command": ["python", str(CONTAINERS / "odd.py")]}


@pytest.fixture(scope="module")
def cloud(shared_standin: Any) -> Cloud:
    return Cloud(shared_standin.url)


def odd(name: str, notes: Path, concurrency: int = 80, **annotations: str) -> dict[str, Any]:
    """A service of the odd container; annotations without their prefix (minScale, maxScale)."""
    long = {f"autoscaling.knative.dev/{key}": value for key, value in annotations.items()}
    pod = {"containerConcurrency": concurrency}
    return service(name, env={"NOTES": str(notes)}, container=ODD, annotations=long, pod=pod)


def revision(cloud: Cloud, name: str) -> dict[str, Any]:
    """What the stand-in tells of the revision that serves."""
    found = fetch(f"{cloud.url}/_local/instances?service={name}")[1]["revisions"]
    assert len(found) == 1
    one: dict[str, Any] = found[0]
    return one


def advance(cloud: Cloud, seconds: float) -> None:
    assert fetch(f"{cloud.url}/_local/clock", b'{"advance_s": %d}' % seconds)[0] == 200


@contextmanager
def asking(url: str, count: int) -> Iterator[list[socket.socket]]:
    """count requests on their way, one connection each."""
    host, _, path = url.removeprefix("http://").partition("/")
    name, port = host.split(":")
    sockets = [socket.create_connection((name, int(port)), timeout=30) for _ in range(count)]
    for each in sockets:
        each.sendall(f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    yield sockets
    for each in sockets:
        each.close()


def status(connection: socket.socket) -> int:
    """The status of the answer to the request on a connection."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    answer.read()
    return answer.status


def peaks(notes: Path) -> list[int]:
    """The most requests that each instance had at once, as it says itself."""
    return [int(each.read_text(encoding="ascii") or 0) for each in notes.glob("*.peak")]


def test_requests_beyond_the_concurrency_start_instances_up_to_the_maximum(cloud: Cloud, tmp_path: Path) -> None:
    url = cloud.create(odd("growing", tmp_path, 2, maxScale="3"))["status"]["url"]
    (tmp_path / "hold").touch()
    with asking(url + "/hold", 7) as sockets:
        until(lambda: [each["in_flight"] for each in cloud.instances("growing")] == [2, 2, 2])
        until(lambda: revision(cloud, "growing")["waiting"] == 1)
        (tmp_path / "hold").unlink()
        assert [status(each) for each in sockets] == [200] * 7
    assert sorted(peaks(tmp_path)) == [2, 2, 2]
    told = revision(cloud, "growing")
    assert (told["in_flight"], told["waiting"], told["cold_starts"]) == (0, 0, 2)
    started = cloud.entries('resource.labels.service_name="growing" AND textPayload:"Starting new instance"')
    assert [each["textPayload"].split()[4] for each in started] == ["DEPLOYMENT_ROLLOUT", "AUTOSCALING", "AUTOSCALING"]
    assert all(each["cold_start_ms"] > 0 and each["started_at"] for each in cloud.instances("growing"))


def test_at_the_maximum_requests_wait_in_line_and_those_behind_it_get_429(cloud: Cloud, tmp_path: Path) -> None:
    url = cloud.create(odd("narrow", tmp_path, 1, maxScale="1"))["status"]["url"]
    (tmp_path / "hold").touch()
    with asking(url + "/hold", 101) as sockets:
        until(lambda: revision(cloud, "narrow")["waiting"] == 100)
        code, body = fetch(url + "/hold")
        assert (code, body["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")
        assert body["error"]["message"].startswith("Rate exceeded.")
        sockets.pop().close()  # somebody gives up: there is room for another
        until(lambda: revision(cloud, "narrow")["waiting"] == 99)
        (tmp_path / "hold").unlink()
        assert {status(each) for each in sockets} == {200}
    assert peaks(tmp_path) == [1]
    refused = cloud.entries('resource.labels.service_name="narrow" AND httpRequest.status=429')
    assert [each["severity"] for each in refused] == ["WARNING"]
    assert "no available instance" in refused[0]["textPayload"] and "labels" not in refused[0]


@pytest.mark.full
def test_a_request_waits_ten_seconds_for_an_instance_that_has_room(cloud: Cloud, tmp_path: Path) -> None:
    url = cloud.create(odd("patient", tmp_path, 1, maxScale="1"))["status"]["url"]
    (tmp_path / "hold").touch()
    with asking(url + "/hold", 2) as sockets:
        until(lambda: revision(cloud, "patient")["waiting"] == 1)
        assert status(sockets[1]) == 429
        (tmp_path / "hold").unlink()
        assert status(sockets[0]) == 200
    latency = cloud.entries('resource.labels.service_name="patient" AND httpRequest.status=429')[0]["httpRequest"]
    assert float(latency["latency"].rstrip("s")) >= 10


def test_an_idle_service_scales_to_its_minimum_or_to_zero_and_comes_back(cloud: Cloud, tmp_path: Path) -> None:
    url = cloud.create(odd("sleepy", tmp_path))["status"]["url"]
    cloud.create(odd("awake", tmp_path, minScale="1"))
    assert fetch(f"{cloud.url}/_local/services/awake/instances", b'{"count": 2}')[1]["ready"] == 2
    assert fetch(url)[0] == 200
    advance(cloud, 890)
    assert (len(cloud.instances("sleepy")), len(cloud.instances("awake"))) == (1, 3)
    advance(cloud, 10)
    everything = fetch(f"{cloud.url}/_local/instances?service=sleepy")[1]["instances"]
    assert (everything, len(cloud.instances("awake"))) == ([], 1)
    assert fetch(url)[0] == 200
    cold = cloud.instances("sleepy")[0]
    assert cold["started_for"] == "AUTOSCALING" and revision(cloud, "sleepy")["cold_starts"] == 1
    asked = cloud.entries('resource.labels.service_name="sleepy" AND log_id("run.googleapis.com/requests")')
    latencies = [float(each["httpRequest"]["latency"].rstrip("s")) for each in asked]
    assert latencies[1] * 1000 >= cold["cold_start_ms"] - 1 > latencies[0] * 1000 / 10
    advance(cloud, 86_400)
    assert (cloud.instances("sleepy"), len(cloud.instances("awake"))) == ([], 1)


def test_instances_that_no_peak_needed_are_stopped_though_each_has_a_request_now_and_then(
    cloud: Cloud, tmp_path: Path
) -> None:
    url = cloud.create(odd("crowd", tmp_path))["status"]["url"]
    assert fetch(f"{cloud.url}/_local/services/crowd/instances", b'{"count": 3}')[1]["ready"] == 3
    for _ in range(2):
        advance(cloud, 440)
        assert len({fetch(url)[1]["instance"] for _ in range(4)}) == 4
        assert len(cloud.instances("crowd")) == 4
    advance(cloud, 80)
    assert len(cloud.instances("crowd")) == 1
    assert fetch(url)[0] == 200


def test_an_instance_that_cannot_start_is_told_and_tried_again_after_a_pause(cloud: Cloud, tmp_path: Path) -> None:
    url = cloud.create(odd("fragile", tmp_path))["status"]["url"]
    advance(cloud, 900)
    (tmp_path / "broken").touch()
    for _ in range(2):
        code, body = fetch(url)
        assert code == 503 and "the reason is written here" in body["error"]["message"]
    (tmp_path / "broken").unlink()
    assert fetch(url)[0] == 200
    assert {each["httpRequest"]["status"] for each in cloud.entries(
        'resource.labels.service_name="fragile" AND severity=ERROR AND log_id("run.googleapis.com/requests")'
    )} == {503}  # fmt: skip


class Crowd:
    """Clients that ask without a pause, each on a connection of its own that it keeps; answers holds every status."""

    def __init__(self, url: str, count: int) -> None:
        self.answers: list[Any] = []
        self._host, _, self._path = url.removeprefix("http://").partition("/")
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]
        for each in self._threads:
            each.start()

    def _ask(self) -> None:
        connection = http.client.HTTPConnection(self._host, timeout=30)
        while not self._stop.is_set():
            try:
                connection.request("GET", f"/{self._path}/")
                answer = connection.getresponse()
                body = answer.read()
                self.answers.append(200 if answer.status == 200 else (answer.status, body))
            except (OSError, http.client.HTTPException) as error:
                self.answers.append(error)
                connection.close()
        connection.close()

    def more(self) -> None:
        """Wait for some more answers."""
        before = len(self.answers)
        until(lambda: len(self.answers) > before + 50)

    def end(self) -> None:
        self._stop.set()
        for each in self._threads:
            each.join()


def test_no_request_fails_while_instances_come_and_go_and_revisions_change(cloud: Cloud, tmp_path: Path) -> None:
    url = cloud.create(odd("busy", tmp_path, 2))["status"]["url"]
    crowd = Crowd(url, 4)
    try:
        crowd.more()
        for step in range(2):
            assert fetch(f"{cloud.url}/_local/services/busy/instances", b'{"count": 2}')[1]["ready"] == 2
            crowd.more()
            for each in cloud.instances("busy")[:2]:
                os.kill(each["pid"], signal.SIGTERM)
            crowd.more()
            cloud.replace(odd("busy", tmp_path, 2 - step % 2, maxScale=str(5 + step)))
            crowd.more()
            advance(cloud, 1000)
            crowd.more()
    finally:
        crowd.end()
    assert set(crowd.answers) == {200} and len(crowd.answers) > 400
    assert set(peaks(tmp_path)) <= {1, 2}
    logged = cloud.entries('resource.labels.service_name="busy" AND httpRequest.status>=300')
    assert logged == []


def test_a_request_that_waits_for_a_revision_that_goes_is_answered_by_the_next(cloud: Cloud, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    url = cloud.create(odd("moving", old, 1, maxScale="1"))["status"]["url"]
    (old / "hold").touch()
    with asking(url + "/hold", 2) as sockets:
        until(lambda: revision(cloud, "moving")["waiting"] == 1)
        cloud.replace(odd("moving", new, 1, maxScale="1"))
        until(lambda: peaks(new) == [1])
        (old / "hold").unlink()
        assert [status(each) for each in sockets] == [200, 200]
    assert peaks(old) == [1]


def test_an_instance_that_ends_by_itself_finishes_its_request_while_another_takes_over(
    cloud: Cloud, tmp_path: Path
) -> None:
    url = cloud.create(odd("ending", tmp_path))["status"]["url"]
    ending = cloud.instances("ending")[0]
    (tmp_path / "hold").touch()
    with asking(url + "/hold", 1) as sockets:
        until(lambda: peaks(tmp_path) == [1])  # it has the request
        os.kill(ending["pid"], signal.SIGTERM)
        until(lambda: not _listens(ending["port"]))
        answers = [fetch(url) for _ in range(5)]
        assert [code for code, _ in answers] == [200] * 5
        assert ending["id"] not in {body["instance"] for _, body in answers}
        (tmp_path / "hold").unlink()
        assert status(sockets[0]) == 200


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=30).close()
    except OSError:
        return False
    return True


def test_a_stand_in_that_is_stopped_answers_what_is_on_its_way(standin: Any, tmp_path: Path) -> None:
    cloud = Cloud(standin.url)
    url = cloud.create(odd("last", tmp_path))["status"]["url"]
    (tmp_path / "hold").touch()
    with asking(url + "/hold", 5) as sockets:
        until(lambda: revision(cloud, "last")["in_flight"] == 5)
        standin.process.send_signal(signal.SIGTERM)
        until(lambda: _refuses(standin.url))
        (tmp_path / "hold").unlink()
        assert [status(each) for each in sockets] == [200] * 5
    assert standin.process.wait(30) == 0


def _refuses(url: str) -> bool:
    """Whether the daemon takes no further requests for services."""
    try:
        return fetch(url + "/run/last/")[0] == 503
    except OSError:
        return True
