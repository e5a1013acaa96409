"""Faults on demand: what Google's client and ours see of each kind, and what the bucket holds afterwards."""

from __future__ import annotations

import http.client
import json
import secrets
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from scripts.cloud.connect import Cloud
from tests.faults import faulty

pytestmark = pytest.mark.process

INSERT, GET = "storage.objects.insert", "storage.objects.get"
BIG = bytes(range(256)) * 4096
BROKEN = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)
TIMEOUT_S = 30


@pytest.fixture
def client(shared_standin: Any) -> storage.Client:
    credentials: Any = AnonymousCredentials()  # type: ignore[no-untyped-call]
    options = {"api_endpoint": shared_standin.url}
    return storage.Client(project="p", credentials=credentials, client_options=options)


@pytest.fixture
def bucket(client: storage.Client) -> Any:
    return client.create_bucket(f"faults-{secrets.token_hex(5)}")


@pytest.fixture
def ours(shared_standin: Any, bucket: Any) -> Any:
    """Our own client of the same bucket."""
    return Cloud("p", "europe-west1", shared_standin.url).bucket(bucket.name)


@pytest.fixture(autouse=True)
def _none_left(shared_standin: Any) -> Iterator[None]:
    yield
    assert shared_standin.get("/_local/faults")["faults"] == []


def _put(bucket: Any, name: str, data: bytes = BIG, timeout_s: float = TIMEOUT_S) -> None:
    bucket.blob(name).upload_from_string(data, retry=None, timeout=timeout_s)


# kind, options, what Google's client raises, whether the object is there afterwards
UPLOADS: list[tuple[str, dict[str, Any], Any, bool]] = [
    ("reset", {}, BROKEN, False),
    ("reset", {"after_bytes": 100_000}, BROKEN, False),
    ("503", {}, exceptions.ServiceUnavailable, False),
    ("429", {"retry_after_s": 2}, exceptions.TooManyRequests, False),
    ("403", {}, exceptions.Forbidden, False),
    ("403-quota", {}, exceptions.Forbidden, False),
    ("truncate", {}, BROKEN, True),
    ("truncate", {"after_bytes": 0}, BROKEN, True),
    ("lost-reply", {}, BROKEN, True),
    ("412-after-success", {}, exceptions.PreconditionFailed, True),
]


@pytest.mark.parametrize(("kind", "options", "error", "there"), UPLOADS)
def test_uploads(shared_standin: Any, bucket: Any, kind: str, options: dict[str, Any], error: Any, there: bool) -> None:
    with faulty(shared_standin, INSERT, kind, **options) as fault:
        with pytest.raises(error):
            _put(bucket, "x")
        assert (fault.seen, fault.fired, fault.missed) == (1, 1, 0)
    blob = bucket.blob("x")
    assert blob.exists() is there
    if there:
        assert blob.download_as_bytes() == BIG


@pytest.mark.parametrize("options", [{}, {"after_bytes": 5000}])
def test_a_stalled_upload_leaves_nothing(shared_standin: Any, bucket: Any, options: dict[str, Any]) -> None:
    with faulty(shared_standin, INSERT, "stall", **options) as fault:
        with pytest.raises(requests.Timeout):
            _put(bucket, "x", timeout_s=0.3)
        assert fault.fired == 1
    assert not bucket.blob("x").exists()


# kind, options, what Google's client raises without its retries
DOWNLOADS: list[tuple[str, dict[str, Any], Any]] = [
    ("reset", {}, BROKEN),
    ("reset", {"after_bytes": 100_000}, BROKEN),
    ("503", {}, exceptions.ServiceUnavailable),
    ("stall", {}, requests.Timeout),
    ("stall", {"after_bytes": 5000}, requests.ConnectionError),
    ("truncate", {}, BROKEN),
    ("truncate", {"after_bytes": 10}, BROKEN),
    ("lost-reply", {}, BROKEN),
    ("412-after-success", {}, exceptions.PreconditionFailed),
]


@pytest.mark.parametrize(("kind", "options", "error"), DOWNLOADS)
def test_downloads(shared_standin: Any, bucket: Any, kind: str, options: dict[str, Any], error: Any) -> None:
    _put(bucket, "x")
    # What has begun must have come before the silence, on a slow machine too.
    timeout_s = (3.0 if options else 0.3) if kind == "stall" else TIMEOUT_S
    with faulty(shared_standin, GET, kind, **options) as fault:
        with pytest.raises(error):
            bucket.blob("x").download_as_bytes(retry=None, timeout=timeout_s)
        assert fault.fired == 1
        assert bucket.blob("x").download_as_bytes() == BIG, "only one call was to fail"


@pytest.mark.parametrize("kind", ["reset", "503", "truncate", "lost-reply"])
def test_googles_client_gets_over_it(shared_standin: Any, bucket: Any, kind: str) -> None:
    _put(bucket, "x")
    quick = storage.retry.DEFAULT_RETRY.with_delay(initial=0.01, maximum=0.02)
    with faulty(shared_standin, GET, kind, count=2) as fault:
        assert bucket.blob("x").download_as_bytes(retry=quick) == BIG
        assert (fault.seen, fault.fired) == (3, 2)


@pytest.mark.parametrize("kind", ["reset", "503", "429", "truncate", "lost-reply", "412-after-success"])
def test_our_client_knows_its_own_write_again(shared_standin: Any, ours: Any, bucket: Any, kind: str) -> None:
    options = {"retry_after_s": 0} if kind == "429" else {}
    with faulty(shared_standin, INSERT, kind, **options) as fault:
        made = ours.create_object("x.json", b'{"a":1}')
        assert fault.fired == 1
    blob = bucket.get_blob("x.json")
    assert blob.generation == made.generation
    assert blob.download_as_bytes() == b'{"a":1}'
    assert len(list(bucket.list_blobs(versions=True))) == 1


@pytest.mark.parametrize("kind", ["reset", "503", "truncate", "lost-reply"])
def test_our_client_reads_again(shared_standin: Any, ours: Any, bucket: Any, kind: str) -> None:
    _put(bucket, "x.json", b'{"a":1}')
    with faulty(shared_standin, GET, kind) as fault:
        assert ours.read("x.json")[0] == b'{"a":1}'
        assert fault.fired == 1


@pytest.mark.parametrize("kind", ["slow", "stall"])
def test_what_only_takes_time_arrives_whole(shared_standin: Any, bucket: Any, kind: str) -> None:
    options = {"rate_bytes_s": 8 << 20} if kind == "slow" else {"after_bytes": 1000, "delay_s": 0.2}
    with faulty(shared_standin, "storage.objects.*", kind, count=2, **options) as fault:
        _put(bucket, kind)
        assert bucket.blob(kind).download_as_bytes() == BIG
        assert fault.fired == 2
    slowest = shared_standin.get(f"/_local/requests?bucket={bucket.name}&fault={kind}*")["requests"]
    least_ms = 1e3 * len(BIG) / (8 << 20) if kind == "slow" else 200
    assert [call["ms"] > 0.9 * least_ms for call in slowest] == [True, True], slowest


def test_a_delay_comes_before_the_call(shared_standin: Any, bucket: Any) -> None:
    with faulty(shared_standin, INSERT, "slow", delay_s=0.2) as fault:
        _put(bucket, "x")
        assert fault.fired == 1
    (call,) = shared_standin.get(f"/_local/requests?bucket={bucket.name}&operation={INSERT}")["requests"]
    assert call["ms"] > 190 and call["status"] == 200


@pytest.mark.parametrize(("kind", "options"), [("reset", {"after_bytes": 100_000}), ("lost-reply", {}), ("503", {})])
def test_a_resumable_upload_goes_on(shared_standin: Any, bucket: Any, kind: str, options: dict[str, Any]) -> None:
    """The third chunk is the fourth call: the session is begun with one."""
    with faulty(shared_standin, INSERT, kind, nth=4, **options) as fault:
        with bucket.blob("x").open("wb", chunk_size=256 << 10) as file:
            file.write(BIG)
        assert fault.fired == 1
    assert bucket.blob("x").download_as_bytes() == BIG


def test_which_calls_are_hit(shared_standin: Any, bucket: Any) -> None:
    def outcomes(count: int) -> str:
        found = ""
        for _ in range(count):
            try:
                _put(bucket, "x", b"x")
                found += "."
            except exceptions.ServiceUnavailable:
                found += "X"
        return found

    with faulty(shared_standin, INSERT, "503", nth=3):
        assert outcomes(6) == "..X..."
    with faulty(shared_standin, INSERT, "503", nth=2, count=2):
        assert outcomes(6) == ".XX..."
    with faulty(shared_standin, INSERT, "503", count="forever"):
        assert outcomes(4) == "XXXX"
    with faulty(shared_standin, INSERT, "503", nth=2, every=3) as fault:
        assert outcomes(8) == ".X..X..X"
        assert (fault.seen, fault.fired, fault.now["left"]) == (8, 3, None)
    with faulty(shared_standin, INSERT, "503", probability=0.5, seed=7):
        first = outcomes(20)
    with faulty(shared_standin, INSERT, "503", probability=0.5, seed=7):
        assert outcomes(20) == first
    assert 0 < first.count("X") < 20


def test_bucket_and_object_are_known_before_the_body_is(shared_standin: Any, client: Any, bucket: Any) -> None:
    other = client.create_bucket(f"other-{secrets.token_hex(5)}")
    with faulty(shared_standin, INSERT, "503", count="forever", bucket=bucket.name, object="a/*") as fault:
        for place, name in [(bucket, "b"), (other, "a/1")]:
            _put(place, name)
        with pytest.raises(exceptions.ServiceUnavailable):
            _put(bucket, "a/1")
        with pytest.raises(exceptions.ServiceUnavailable):
            bucket.blob("a/2").create_resumable_upload_session(retry=None)
        assert (fault.seen, fault.fired) == (2, 2)
    with faulty(shared_standin, INSERT, "503", nth=2, object="a/3") as fault:
        with bucket.blob("a/3").open("wb", chunk_size=256 << 10) as file:
            file.write(BIG)
        assert fault.fired == 1, "the chunks of a session are its object's"
    assert bucket.blob("a/3").download_as_bytes() == BIG


def test_a_fault_that_could_not_happen_says_so(shared_standin: Any, bucket: Any) -> None:
    _put(bucket, "empty", b"")
    _put(bucket, "short", b"short")
    with faulty(shared_standin, GET, "truncate") as fault:
        assert bucket.blob("empty").download_as_bytes() == b""
        assert (fault.seen, fault.fired, fault.missed, fault.now["left"]) == (1, 0, 1, 1)
        with pytest.raises(BROKEN):
            bucket.blob("short").download_as_bytes(retry=None)
        assert (fault.fired, fault.now["left"]) == (1, 0)
    for kind in ("reset", "truncate", "stall", "slow"):
        with faulty(shared_standin, GET, kind, after_bytes=5) as fault:
            assert bucket.blob("short").download_as_bytes() == b"short"
            assert (fault.fired, fault.missed) == (0, 1)
    with faulty(shared_standin, "storage.*objects.get", "412-after-success") as fault:
        with pytest.raises(exceptions.NotFound):
            bucket.blob("missing").download_as_bytes(retry=None)
        url = f"{shared_standin.url}/{bucket.name}/missing"
        assert requests.get(url, timeout=TIMEOUT_S).status_code == 404
        assert (fault.fired, fault.missed) == (0, 2)


def test_the_xml_api_says_it_in_xml(shared_standin: Any, bucket: Any) -> None:
    _put(bucket, "x", b"x")
    url = f"{shared_standin.url}/{bucket.name}/x"
    for kind, code in (
        ("503", "ServiceUnavailable"), ("429", "SlowDown"), ("412-after-success", "PreconditionFailed"),
        ("403", "AccessDenied"), ("403-quota", "QuotaExceeded"),
    ):  # fmt: skip
        with faulty(shared_standin, "storage.xml.objects.get", kind) as fault:
            answer = requests.get(url, timeout=TIMEOUT_S)
            assert f"<Code>{code}</Code>" in answer.text and answer.status_code == int(kind[:3])
            assert fault.fired == 1


def test_other_apis_have_their_own_words(shared_standin: Any) -> None:
    with faulty(shared_standin, "logging.entries.list", "429", retry_after_s=7):
        answer = requests.post(f"{shared_standin.url}/v2/entries:list", json={}, timeout=TIMEOUT_S)
    assert answer.headers["retry-after"] == "7"
    assert answer.json()["error"]["status"] == "RESOURCE_EXHAUSTED" and "errors" not in answer.json()["error"]
    with faulty(shared_standin, "upstream.ollama.*", "503"):
        answer = requests.get(f"{shared_standin.url}/upstream/ollama/v2/", timeout=TIMEOUT_S)
    assert answer.json()["errors"][0]["code"] == "UNAVAILABLE"


def test_a_call_in_a_batch_fails_by_itself(shared_standin: Any, client: Any, bucket: Any) -> None:
    for name in ("a", "b", "c"):
        _put(bucket, name, b"x")
    with faulty(shared_standin, "storage.objects.delete", "503", nth=2) as fault:
        with pytest.raises(exceptions.ServiceUnavailable), client.batch():
            for name in ("a", "b", "c"):
                bucket.blob(name).delete(retry=None)
        assert (fault.seen, fault.fired) == (3, 1)
    assert [blob.name for blob in bucket.list_blobs()] == ["b"]
    with faulty(shared_standin, "storage.objects.delete", "lost-reply"), pytest.raises(BROKEN), client.batch():
        bucket.blob("b").delete(retry=None)
    assert list(bucket.list_blobs()) == []


def test_a_reset_is_one_on_the_wire(shared_standin: Any) -> None:
    """Not an end of the stream, as a server that closes would make it."""
    with (
        faulty(shared_standin, "storage.buckets.list", "reset"),
        socket.create_connection(("127.0.0.1", shared_standin.port), timeout=TIMEOUT_S) as wire,
    ):
        wire.sendall(b"GET /storage/v1/b?project=p HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            wire.recv(1)


def test_a_truncated_answer_is_announced_whole(shared_standin: Any) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", shared_standin.port, timeout=TIMEOUT_S)
    with faulty(shared_standin, "storage.buckets.list", "truncate", after_bytes=3):
        connection.request("GET", "/storage/v1/b?project=p")
        answer = connection.getresponse()
        with pytest.raises(http.client.IncompleteRead) as cut:
            answer.read()
    assert len(cut.value.partial) == 3 and cut.value.expected == int(answer.headers["content-length"]) - 3
    connection.close()


def test_a_stall_ends_with_its_client(shared_standin: Any) -> None:
    with faulty(shared_standin, "storage.buckets.list", "stall", count="forever") as fault:
        for _ in range(3):
            with pytest.raises(requests.Timeout):
                requests.get(f"{shared_standin.url}/storage/v1/b?project=p", timeout=0.2)
        assert fault.fired == 3
        query = f"/_local/requests?operation=storage.buckets.list&fault=stall {fault.id}&status=none"
        deadline, over = time.monotonic() + TIMEOUT_S, 0
        while over < 3 and time.monotonic() < deadline:
            over = shared_standin.get(query.replace(" ", "%20"))["matched"]
        assert over == 3, "a call whose client is gone is not over"


def test_the_stand_ins_own_api_is_spared(shared_standin: Any, bucket: Any) -> None:
    with faulty(shared_standin, "*", "reset", count="forever") as fault:
        assert shared_standin.get("/_local/health")["name"] == "modelshelf-localcloud"
        html = urllib.request.Request(f"{shared_standin.url}/", headers={"accept": "text/html"})
        assert urllib.request.urlopen(html, timeout=TIMEOUT_S).status == 200
        with pytest.raises(BROKEN):
            requests.get(f"{shared_standin.url}/storage/v1/b?project=p", timeout=TIMEOUT_S)
        status = shared_standin.get("/_local/status")["traffic"]
        told = {"id": fault.id, "on": "*", "kind": "reset", "seen": 1, "fired": 1, "left": "forever"}
        assert status["faults"] == [told]


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"on": "storage.object.insert", "kind": "reset"}, "did you mean storage.objects.insert"),
        ({"on": "local.*", "kind": "reset"}, "takes no faults"),
        ({"on": "zzz", "kind": "reset"}, "storage.*"),
        ({"on": INSERT, "kind": "explode"}, "expected one of reset, 503"),
        ({"on": INSERT}, "kind: found nothing"),
        ({"kind": "reset"}, "on: found nothing"),
        ({"on": INSERT, "kind": "503", "nth": 0}, "whole number from 1"),
        ({"on": INSERT, "kind": "503", "nth": True}, "whole number from 1"),
        ({"on": INSERT, "kind": "503", "count": "often"}, "or forever"),
        ({"on": INSERT, "kind": "503", "every": 0}, "whole number from 1"),
        ({"on": INSERT, "kind": "503", "every": 2, "probability": 0.5}, "exclude each other"),
        ({"on": INSERT, "kind": "503", "probability": 1.5}, "up to 1"),
        ({"on": INSERT, "kind": "503", "seed": 1}, "only with probability"),
        ({"on": INSERT, "kind": "503", "after_bytes": 1}, "only reset, truncate, stall, slow"),
        ({"on": INSERT, "kind": "reset", "delay_s": 1}, "only stall, slow"),
        ({"on": INSERT, "kind": "reset", "colour": "red"}, "no option"),
        ({"on": 7, "kind": "reset"}, "expected a text"),
    ],
)
def test_what_cannot_be_meant_is_refused(shared_standin: Any, asked: dict[str, Any], text: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        shared_standin.post("/_local/faults", asked)
    error = json.load(refused.value)["error"]
    assert (error["code"], text in error["message"]) == (400, True), error["message"]


def test_a_stall_does_not_outlive_the_daemon(standin: Any) -> None:
    with socket.create_connection(("127.0.0.1", standin.port), timeout=TIMEOUT_S) as wire:
        standin.post("/_local/faults", {"on": "storage.buckets.list", "kind": "stall"})
        wire.sendall(b"GET /storage/v1/b?project=p HTTP/1.1\r\nHost: localhost\r\n\r\n")
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline and not standin.get("/_local/faults")["faults"][0]["fired"]:
            pass
        assert standin.stop() == 0
        with pytest.raises(ConnectionResetError):
            wire.recv(1)
    assert "Traceback" not in (standin.state / "daemon.log").read_text(encoding="utf-8")


def test_a_daemon_starts_without_faults(standin_at: Any, tmp_path: Any) -> None:
    first = standin_at(tmp_path / "cloud")
    first.post("/_local/faults", {"on": GET, "kind": "reset"})
    first.stop()
    assert standin_at(tmp_path / "cloud").get("/_local/faults")["faults"] == []
