"""The request log: who called what, with which outcome; and what the stand-in makes of unusual heads of requests."""

from __future__ import annotations

import base64
import json
import secrets
import signal
import socket
import time
import urllib.error
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import googleapiclient
import pytest
import requests
from google.api_core import exceptions

from scripts.cloud.connect import Cloud
from scripts.localcloud.context import Context, Database
from scripts.localcloud.rooms import open_rooms
from tests.faults import faulty

pytestmark = pytest.mark.process

TIMEOUT_S = 30
_GOOGLES = ("/storage/", "/upload/", "/resumable/", "/download/", "/batch", "/apis/", "/v1/", "/v2/", "/v3/")
# An HTTP request of its own that has no id: it carries calls that have theirs. Images are no API of these documents.
_WITHOUT = ("storage.batch", "storage.objects.watchAll", "registry.")


@pytest.fixture
def bucket(shared_standin: Any, connect: Any) -> Any:
    return connect(shared_standin.url).create_bucket(f"requests-{secrets.token_hex(5)}")


def _log(standin: Any, **query: Any) -> list[dict[str, Any]]:
    """The calls of a query, the oldest first, but for what Google's client asks of a bucket for its own traces."""
    found = standin.get("/_local/requests?" + urlencode({"order": "oldest", **query}))
    traced = ("storage.buckets.get", "gcloud-python")
    return [call for call in found["requests"] if (call["operation"], call["agent"].partition("/")[0]) != traced]


def test_a_call_is_told_in_full(shared_standin: Any, bucket: Any) -> None:
    blob = bucket.blob("a/b c")
    blob.upload_from_string(b"x" * 1000)
    assert blob.download_as_bytes(start=10, end=19) == b"x" * 10
    with pytest.raises(exceptions.NotFound):
        bucket.blob("missing").download_as_bytes()
    made, put, got, missed = _log(shared_standin, bucket=bucket.name)
    assert (made["operation"], made["status"]) == ("storage.buckets.insert", 200)
    assert (put["operation"], put["object"], put["status"]) == ("storage.objects.insert", "a/b c", 200)
    assert put["generation"] == str(blob.generation) == got["generation"]
    assert put["bytes_in"] > 1000 and put["bytes_out"] > 100 and put["method"] == "POST"
    assert (got["operation"], got["object"]) == ("storage.objects.get", "a/b c")
    assert got["range"].removeprefix("bytes=") == "10-19"
    assert (got["status"], got["bytes_in"], got["bytes_out"]) == (206, 0, 10)
    assert (missed["status"], missed["object"], missed["generation"]) == (404, "missing", "")
    assert all(call["account"] == "anonymous" and "gcloud-python" in call["agent"] for call in (put, got))
    assert all(0 < call["ms"] < 60_000 and call["fault"] == "" for call in (made, put, got, missed))


def test_each_request_of_an_upload_is_its_objects(shared_standin: Any, bucket: Any) -> None:
    with bucket.blob("big").open("wb", chunk_size=256 << 10) as file:
        file.write(bytes(600 << 10))
    calls = _log(shared_standin, bucket=bucket.name, operation="storage.objects.insert")
    assert [call["object"] for call in calls] == ["big"] * 4
    assert [call["status"] for call in calls] == [200, 308, 308, 200]
    assert [call["bytes_in"] for call in calls[1:]] == [256 << 10, 256 << 10, 88 << 10]
    assert calls[1]["range"] == "bytes 0-262143/*" and calls[3]["generation"]


def test_what_a_client_that_leaves_really_got(shared_standin: Any, bucket: Any) -> None:
    size_bytes = 32 << 20
    bucket.blob("big").upload_from_string(bytes(size_bytes))
    path = f"/storage/v1/b/{bucket.name}/o/big?alt=media"
    with socket.socket() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        wire.settimeout(TIMEOUT_S)
        wire.connect(("127.0.0.1", shared_standin.port))
        wire.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        wire.recv(1000)
    deadline = time.monotonic() + TIMEOUT_S
    calls: list[dict[str, Any]] = []
    while not calls and time.monotonic() < deadline:
        calls = _log(shared_standin, bucket=bucket.name, operation="storage.objects.get")
    assert 1000 <= calls[0]["bytes_out"] < size_bytes


def test_who_called(shared_standin: Any, bucket: Any) -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"email": "jwt@p.iam.gserviceaccount.com"}).encode()).decode()
    tokens = {
        "stand-in.sa@p.iam.gserviceaccount.com": "sa@p.iam.gserviceaccount.com",
        f"e30.{claims.rstrip('=')}.": "jwt@p.iam.gserviceaccount.com",
        "ya29.secret": "unreadable",
    }
    for token in tokens:
        headers = {"authorization": f"Bearer {token}", "user-agent": "probe/1"}
        requests.get(f"{shared_standin.url}/storage/v1/b/{bucket.name}", headers=headers, timeout=TIMEOUT_S)
    calls = _log(shared_standin, bucket=bucket.name, caller="probe")
    assert [call["account"] for call in calls] == list(tokens.values())
    assert len(_log(shared_standin, bucket=bucket.name, caller="sa@*")) == 1
    kept = b"".join(path.read_bytes() for path in shared_standin.state.glob("requests.db*"))
    assert b"ya29.secret" not in kept


def test_our_clients_name_their_instance(shared_standin: Any, bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSHELF_INSTANCE_ID", "tabular-00001-x7k")
    cloud = Cloud("p", "europe-west1", shared_standin.url)
    cloud.bucket(bucket.name).create_object("x.json", b"{}")
    (call,) = _log(shared_standin, bucket=bucket.name, instance="tabular-*")
    assert call["instance"] == "tabular-00001-x7k" and "gcloud-python" in call["agent"]
    with faulty(shared_standin, "storage.objects.*", "503", instance="other-*", count="forever") as fault:
        assert cloud.bucket(bucket.name).read("x.json")[0] == b"{}"
        assert fault.seen == 0
    with faulty(shared_standin, "storage.objects.*", "503", instance="tabular-*") as fault:
        assert cloud.bucket(bucket.name).read("x.json")[0] == b"{}"
        assert fault.fired == 1


def test_calls_in_batches_and_through_the_proxy_are_told(shared_standin: Any, bucket: Any) -> None:
    bucket.blob("x").upload_from_string(b"x")
    with bucket.client.batch(raise_exception=False):
        bucket.blob("x").delete()
        bucket.blob("y").delete(if_generation_match=7)
    proxied = requests.get(
        f"http://storage.googleapis.com/storage/v1/b/{bucket.name}/o",
        proxies={"http": shared_standin.url},
        timeout=TIMEOUT_S,
    )
    assert proxied.status_code == 200
    calls = _log(shared_standin, bucket=bucket.name)[2:]
    told = [(call["operation"], call["object"], call["status"]) for call in calls]
    assert told == [
        ("storage.objects.delete", "x", 204),
        ("storage.objects.delete", "y", 404),
        ("storage.objects.list", "", 200),
    ]
    assert _log(shared_standin, operation="storage.batch")[-1]["status"] == 200


def test_xml_and_upstream_operations(shared_standin: Any, bucket: Any) -> None:
    url = f"{shared_standin.url}/{bucket.name}/x"
    requests.put(url, b"x", timeout=TIMEOUT_S)
    requests.head(url, timeout=TIMEOUT_S)
    requests.post(f"{url}?uploads", timeout=TIMEOUT_S)
    names = [call["operation"] for call in _log(shared_standin, bucket=bucket.name, operation="storage.xml.*")]
    assert names == ["storage.xml.objects.put", "storage.xml.objects.head", "storage.xml.multipart.create"]
    requests.get(f"{shared_standin.url}/upstream/ollama/v2/", timeout=TIMEOUT_S)
    assert _log(shared_standin, operation="upstream.ollama.base.get")[-1]["status"] in (200, 401)


def test_sums(shared_standin: Any, bucket: Any) -> None:
    for size in (10, 20, 30):
        bucket.blob(f"o{size}").upload_from_string(bytes(size))
        assert len(bucket.blob(f"o{size}").download_as_bytes()) == size
    with pytest.raises(exceptions.NotFound):
        bucket.blob("missing").download_as_bytes()
    query = urlencode({"bucket": bucket.name, "summary": "operation"})
    sums = {each["operation"]: each for each in shared_standin.get(f"/_local/requests?{query}")["summary"]}
    got = sums["storage.objects.get"]
    assert (got["count"], got["errors"], got["bytes_in"]) == (4, 1, 0)
    assert got["bytes"] == got["bytes_out"] > 60 and 0 < got["p50_ms"] <= got["p95_ms"]
    for kind, name in (("object", f"{bucket.name}/o10"), ("instance", "")):
        query = urlencode({"bucket": bucket.name, "summary": kind, "object": "o10"})
        (only,) = shared_standin.get(f"/_local/requests?{query}")["summary"]
        assert (only[kind], only["count"]) == (name, 2)


def test_questions(shared_standin: Any, bucket: Any) -> None:
    for name in ("a", "b", "c"):
        bucket.blob(name).upload_from_string(b"x")
    ours = {"bucket": bucket.name, "operation": "storage.objects.insert"}
    assert [call["object"] for call in _log(shared_standin, **ours)] == ["a", "b", "c"]
    assert [call["object"] for call in _log(shared_standin, **ours, order="newest", limit=2)] == ["c", "b"]
    assert [call["object"] for call in _log(shared_standin, **ours, object="[bc]")] == ["b", "c"]
    second = _log(shared_standin, **ours)[1]["time"]
    assert [call["object"] for call in _log(shared_standin, **ours, since=second)] == ["b", "c"]
    assert [call["object"] for call in _log(shared_standin, **ours, until=second)] == ["a"]
    assert len(_log(shared_standin, **ours, since="1h")) == 3
    assert _log(shared_standin, **ours, status="4xx,5xx,none") == []
    assert len(_log(shared_standin, **ours, status="2xx,404")) == 3


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "order=up", "summary=bytes", "status=6", "status=2x", "since=soon", "colour=red"]
)
def test_a_wrong_question_is_refused(shared_standin: Any, query: str) -> None:
    if query == "status=6":
        query = "status=6xx"
    with pytest.raises(urllib.error.HTTPError) as refused:
        shared_standin.get(f"/_local/requests?{query}")
    assert refused.value.code == 400
    assert query.partition("=")[0] in json.load(refused.value)["error"]["message"]


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGKILL])
def test_the_log_survives(standin_at: Any, connect: Any, tmp_path: Path, sig: signal.Signals) -> None:
    first = standin_at(tmp_path / "cloud")
    connect(first.url).create_bucket("kept-for-ever")
    assert len(_log(first, bucket="kept-for-ever")) == 1
    first.stop(sig)
    second = standin_at(tmp_path / "cloud")
    assert len(_log(second, bucket="kept-for-ever")) == 1
    assert second.get("/_local/status")["traffic"]["requests_logged"] == 1


def test_a_log_that_cannot_be_read_is_put_aside(standin_at: Any, tmp_path: Path) -> None:
    state = tmp_path / "cloud"
    state.mkdir(mode=0o700)
    (state / "requests.db").write_bytes(b"no database at all" * 1000)
    assert _log(standin_at(state)) == []
    assert (state / "requests.db.bad").exists()


def test_rates(shared_standin: Any, bucket: Any) -> None:
    before = sum(minute["api"] for minute in shared_standin.get("/_local/rates")["minutes"])
    bucket.blob("x").upload_from_string(b"x")
    minutes = shared_standin.get("/_local/rates")["minutes"]
    assert len(minutes) == 60 and sum(minute["api"] for minute in minutes) > before


def _raw(standin: Any, head: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", standin.port), timeout=TIMEOUT_S) as wire:
        wire.sendall(head)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += wire.recv(65536) or b"\r\n\r\n"
        return answer


def test_a_repeated_header_is_a_list(shared_standin: Any, bucket: Any) -> None:
    head = f"PUT /{bucket.name}/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n"
    twice = "x-goog-meta-color: red\r\nx-goog-meta-color: blue\r\n\r\n"
    assert _raw(shared_standin, (head + twice).encode()).startswith(b"HTTP/1.1 200")
    assert bucket.get_blob("x").metadata == {"color": "red, blue"}


def test_an_old_client_names_no_host(shared_standin: Any) -> None:
    assert b"200 OK" in _raw(shared_standin, b"GET /_local/health HTTP/1.0\r\n\r\n")
    assert b"403" in _raw(shared_standin, b"GET /_local/health HTTP/1.0\r\nHost: evil.example\r\n\r\n")
    assert b"400" in _raw(shared_standin, b"GET /_local/health HTTP/1.1\r\n\r\n")
    assert b"400" in _raw(
        shared_standin, b"GET /_local/health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
    )


def _documented() -> dict[str, set[str]]:
    """The methods of Google's discovery documents: id → HTTP methods."""
    found: dict[str, set[str]] = {}
    folder = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
    apis = (
        "storage run logging cloudscheduler iam iamcredentials secretmanager serviceusage cloudkms"
        " cloudresourcemanager monitoring"
    )
    for api in apis.split():
        for path in folder.glob(f"{api}.v[0-9].json"):
            _collect(json.loads(path.read_text(encoding="utf-8")), found)
    return found


def _collect(resource: dict[str, Any], found: dict[str, set[str]]) -> None:
    for method in resource.get("methods", {}).values():
        found.setdefault(method["id"], set()).add(method["httpMethod"])
    for inner in resource.get("resources", {}).values():
        _collect(inner, found)


def test_every_operation_is_googles_own(tmp_path: Path) -> None:
    import asyncio

    async def routes() -> list[Any]:
        context = Context(tmp_path, "http://127.0.0.1:1", tmp_path, Database(tmp_path / "state.db"))
        rooms = open_rooms(context, asyncio.Event())
        listed = [route for room in rooms.values() for route in room.routes()]
        for name in ("traffic", "run"):
            await rooms[name].stop()
        return listed

    documented, every = _documented(), asyncio.run(routes())
    googles = [route for route in every if route.pattern.startswith(_GOOGLES)]
    assert len(googles) > 100
    for route in googles:
        where = f"{route.method} {route.pattern}: {route.operation!r}"
        if route.operation.startswith(_WITHOUT):
            continue
        assert route.operation in documented, where
        resumed = route.operation == "storage.objects.insert" and route.method in ("PUT", "DELETE")
        assert resumed or route.method in documented[route.operation], where
    nameless = [route.pattern for route in every if not route.operation]
    assert nameless and all(pattern.startswith("/run/") for pattern in nameless)
