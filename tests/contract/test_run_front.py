"""The front: what it logs of every request, what it passes on both ways, and instances that answer badly."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.contract.run_support import CONTAINERS, Cloud, fetch, service, until

pytestmark = pytest.mark.process
TRACE = "0af7651916cd43dd8448eb211c80319c"
REQUESTS = 'log_id("run.googleapis.com/requests")'


@pytest.fixture(scope="module")
def cloud(shared_standin: Any) -> Cloud:
    return Cloud(shared_standin.url)


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notes")


@pytest.fixture(scope="module")
def odd(cloud: Cloud, notes: Path) -> str:
    """The URL of a service whose container answers oddly."""
    container = {"command": ["python", str(CONTAINERS / "odd.py")]}
    url: str = cloud.create(service("odd", env={"NOTES": str(notes)}, container=container))["status"]["url"]
    return url


def logged(cloud: Cloud, name: str, condition: str = "") -> list[dict[str, Any]]:
    """The request log of a service, oldest first."""
    return cloud.entries(f'{REQUESTS} AND resource.labels.service_name="{name}"{condition}')


@contextmanager
def connected(url: str) -> Iterator[tuple[http.client.HTTPConnection, str]]:
    """A connection that is kept, and the path of the service on it."""
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=30)
    yield connection, f"/{path}"
    connection.close()


def raw(url: str, request: bytes) -> socket.socket:
    """A connection on which a request was begun; PATH in it is the service's path."""
    host, _, path = url.removeprefix("http://").partition("/")
    name, port = host.split(":")
    made = socket.create_connection((name, int(port)), timeout=30)
    made.sendall(request.replace(b"PATH", b"/" + path.encode()).replace(b"HOST", host.encode()))
    return made


def test_every_request_is_logged_as_cloud_run_does(cloud: Cloud) -> None:
    made = cloud.create(service("logged"))
    url = made["status"]["url"]
    headers = {"User_Agent": "tester/1", "Referer": "http://elsewhere/"}
    assert fetch(url + "/a%2Fb?x=%22", **headers)[0] == 200
    entry = logged(cloud, "logged")[-1]  # it is there as soon as its client has the answer
    http_request = entry["httpRequest"]
    latency = http_request.pop("latency")
    assert re.fullmatch(r"\d+\.\d{9}s", latency) and 0 < float(latency[:-1]) < 30
    assert int(http_request.pop("requestSize")) > 100 and int(http_request.pop("responseSize")) > 50
    assert http_request == {
        "requestMethod": "GET",
        "requestUrl": f"{url}/a%2Fb?x=%22",
        "status": 200,
        "userAgent": "tester/1",
        "referer": "http://elsewhere/",
        "remoteIp": "127.0.0.1",
        "serverIp": "127.0.0.1",
        "protocol": "HTTP/1.1",
    }
    assert entry["logName"] == "projects/demo/logs/run.googleapis.com%2Frequests"
    assert entry["severity"] == "INFO" and entry["labels"] == {"instanceId": cloud.instances("logged")[0]["id"]}
    assert entry["resource"] == {
        "type": "cloud_run_revision",
        "labels": {
            "project_id": "demo",
            "location": "europe-west1",
            "service_name": "logged",
            "revision_name": made["status"]["latestReadyRevisionName"],
            "configuration_name": "logged",
        },
    }
    assert re.fullmatch(r"projects/demo/traces/[0-9a-f]{32}", entry["trace"])
    assert fetch(url + "/read?path=/nowhere")[0] == 404
    assert logged(cloud, "logged")[-1]["severity"] == "WARNING"
    assert len(logged(cloud, "logged", ' AND httpRequest.latency>"0s" AND httpRequest.status=200')) == 1


def test_a_trace_is_passed_on_with_a_span_of_the_request(cloud: Cloud) -> None:
    url = cloud.create(service("traced"))["status"]["url"]
    seen = fetch(url + "/headers", traceparent=f"00-{TRACE}-b7ad6b7169203331-01")[1]
    span = re.fullmatch(f"00-{TRACE}-([0-9a-f]{{16}})-01", seen["traceparent"])
    assert span and span[1] != "b7ad6b7169203331"
    assert seen["x-cloud-trace-context"] == f"{TRACE}/{int(span[1], 16)};o=1"
    entry = logged(cloud, "traced")[-1]
    assert (entry["trace"], entry["spanId"]) == (f"projects/demo/traces/{TRACE}", span[1]) and entry["traceSampled"]
    fetch(url + "/", X_Cloud_Trace_Context=f"{TRACE}/1;o=0")
    assert logged(cloud, "traced", f' AND trace="projects/demo/traces/{TRACE}"')[-1].get("traceSampled") is None
    new = fetch(url + "/headers", traceparent="00-nonsense")[1]["traceparent"]
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", new) and TRACE not in new


def test_answers_that_the_front_gives_itself_are_logged(cloud: Cloud) -> None:
    url = cloud.create(service("troubled", pod={"timeoutSeconds": 1}))["status"]["url"]
    first = cloud.instances("troubled")[0]["id"]
    assert fetch(url + "/sleep/5")[0] == 504
    late = logged(cloud, "troubled")[-1]
    assert (late["severity"], late["httpRequest"]["status"]) == ("ERROR", 504)
    assert "maximum request timeout" in late["textPayload"] and late["labels"] == {"instanceId": first}
    assert fetch(url + "/")[0] == 200 and cloud.instances("troubled")[0]["id"] == first  # it serves on
    code, body = fetch(url + "/", Connection="Upgrade", Upgrade="websocket")
    assert (code, body["error"]["status"]) == (501, "UNIMPLEMENTED") and "WebSockets" in body["error"]["message"]
    assert logged(cloud, "troubled")[-1]["httpRequest"]["status"] == 501
    before = len(cloud.entries(REQUESTS))
    assert fetch(cloud.url + "/run/nobody/")[0] == 404  # of no service, hence in no log
    assert len(cloud.entries(REQUESTS)) == before


@pytest.mark.parametrize("path", ["/gone", "/garbage", "/half", "/twice", "/switch", "/flood"])
def test_an_instance_that_answers_badly_costs_503_and_nothing_else(cloud: Cloud, odd: str, path: str) -> None:
    for _ in range(2):
        code, body = fetch(odd + path)
        assert code == 503 and "malformed or connection to the instance had an error" in body["error"]["message"]
    entry = logged(cloud, "odd", f' AND httpRequest.requestUrl:"{path}"')[-1]
    assert entry["severity"] == "ERROR" and "malformed" in entry["textPayload"]
    assert fetch(odd + "/")[0] == 200


def test_an_answer_that_is_torn_is_seen_to_be_torn(cloud: Cloud, odd: str) -> None:
    with connected(odd) as (connection, path):
        connection.request("GET", path + "/torn")
        answer = connection.getresponse()
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            answer.read()
    assert (
        "Truncated response body"
        in until(lambda: logged(cloud, "odd", ' AND textPayload:"Truncated"'))[0]["textPayload"]
    )
    assert fetch(odd + "/")[0] == 200


def test_bodies_stream_both_ways_at_once(odd: str) -> None:
    begun = raw(odd, b"POST PATH/echo HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n")
    begun.sendall(b"5\r\nfirst\r\n")
    received = b""
    while b"first" not in received:  # its answer has begun before the request has ended
        received += begun.recv(65536)
    for number in range(200):
        begun.sendall(b"%x\r\n%b\r\n" % (10_000, b"%010d" % number * 1000))
        wanted = b"%010d" % number
        while wanted not in received[-20_100:]:
            received += begun.recv(65536)
    begun.sendall(b"0\r\n\r\n")
    while not received.endswith(b"0\r\n\r\n"):
        received += begun.recv(65536)
    begun.close()


def test_answers_without_a_body_and_those_that_end_with_the_connection(odd: str) -> None:
    with connected(odd) as (connection, path):
        for _ in range(2):
            for asked, code, size in (("/empty", 204, None), ("/unchanged", 304, None), ("/until-closed", 200, 13)):
                connection.request("GET", path + asked)
                answer = connection.getresponse()
                assert (answer.status, len(answer.read())) == (code, size or 0)
            connection.request("HEAD", path + "/")
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (200, b"") and int(answer.headers["content-length"]) > 50
            connection.request("GET", path + "/hints")
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (200, b"hints")
            assert len(answer.headers.get_all("date") or ()) == 1


def test_headers_that_are_repeated_stay_so(odd: str) -> None:
    begun = raw(odd, b"GET PATH/headers HTTP/1.1\r\nHost: HOST\r\nX-Two: 1\r\nX-Two: 2\r\nConnection: close\r\n\r\n")
    answer = http.client.HTTPResponse(begun)
    answer.begin()
    assert answer.headers.get_all("set-cookie") == ["a=1", "b=2"]
    assert [value for key, value in json.loads(answer.read()) if key.lower() == "x-two"] == ["1", "2"]
    begun.close()


def test_a_client_that_waits_for_100_continue_gets_it(odd: str) -> None:
    head = b"POST PATH/echo HTTP/1.1\r\nHost: HOST\r\nExpect: 100-continue\r\nConnection: close\r\n"
    begun = raw(odd, head + b"Transfer-Encoding: chunked\r\n\r\n")
    assert begun.recv(100).startswith(b"HTTP/1.1 100")
    begun.sendall(b"2\r\nhi\r\n0\r\n\r\n")
    received = b""
    while more := begun.recv(65536):
        received += more
    assert b"hi" in received
    begun.close()


def test_a_client_that_leaves_gives_its_slot_back(cloud: Cloud, odd: str, notes: Path) -> None:
    (notes / "hold").touch()
    begun = raw(odd, b"GET PATH/hold HTTP/1.1\r\nHost: HOST\r\n\r\n")
    until(lambda: cloud.instances("odd")[0]["in_flight"] == 1)
    begun.close()
    until(lambda: cloud.instances("odd")[0]["in_flight"] == 0)
    (notes / "hold").unlink()
    assert until(lambda: logged(cloud, "odd", " AND httpRequest.status=499"))[0]["severity"] == "WARNING"


def test_an_instance_waits_for_a_client_that_does_not_read(cloud: Cloud, odd: str, notes: Path) -> None:
    begun = raw(odd, b"GET PATH/endless HTTP/1.1\r\nHost: HOST\r\n\r\n")
    sent = notes / f"{cloud.instances('odd')[0]['id']}.sent"
    until(lambda: sent.exists() and sent.read_text(encoding="ascii"))

    def stands_still() -> int:
        before = int(sent.read_text(encoding="ascii") or 0)
        time.sleep(0.3)
        return before if before and before == int(sent.read_text(encoding="ascii") or 0) else 0

    assert until(stands_still) < 64 << 20
    assert fetch(odd + "/")[0] == 200
    begun.close()
    until(lambda: cloud.instances("odd")[0]["in_flight"] == 0)


def test_a_large_body_goes_through_whole_over_a_kept_connection(cloud: Cloud) -> None:
    url = cloud.create(service("large"))["status"]["url"]
    body = os.urandom(20 << 20)
    with connected(url) as (connection, path):
        for _ in range(2):
            connection.request("POST", path + "/echo", body)
            answer = connection.getresponse()
            assert answer.read() == body
            connection.request("POST", path + "/echo", b"small")
            assert connection.getresponse().read() == b"small"
    sizes = [int(each["httpRequest"]["requestSize"]) for each in logged(cloud, "large")]
    assert min(sizes[0], sizes[2]) > 20 << 20 and max(sizes[1], sizes[3]) < 1000


def test_a_redirect_within_a_service_stays_below_its_prefix(cloud: Cloud, odd: str) -> None:
    with connected(odd) as (connection, path):
        connection.request("GET", f"{path}/moved")
        answer = connection.getresponse()
        answer.read()
        assert (answer.status, answer.headers["Location"]) == (302, f"{path}/here?a=1")
        connection.request("GET", "/moved", headers={"Host": "odd.localhost"})
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Location"]) == (302, "/here?a=1")
    assert fetch(odd + "/moved")[1]["path"] == "/here?a=1"


def test_headers_that_an_instance_does_not_send_are_not_made_up(odd: str) -> None:
    with connected(odd) as (connection, path):
        for target in ("/", "/until-closed", "/empty"):
            connection.request("GET", path + target)
            answer = connection.getresponse()
            answer.read()
            assert "Content-Type" not in answer.headers and "Server" not in answer.headers
