"""Each kind of fault at each way into the stand-in, and exact counts under many clients at once."""

from __future__ import annotations

import concurrent.futures
import http.client
from collections import Counter
from typing import Any

import pytest

from tests.faults import faulty

pytestmark = pytest.mark.process
DATA = b"d" * 150_000
BATCH = "multipart/mixed; boundary=x"
# kind → what a client sees: a status, that the connection broke, that nothing came, or that the answer was cut off
SEEN: dict[str, Any] = {
    "reset": "reset", "503": 503, "429": 429, "stall": "silence", "truncate": "cut", "lost-reply": "reset",
    "slow": "whole", "412-after-success": 412, "403": 403, "403-quota": 403,
}  # fmt: skip
DONE = ("truncate", "lost-reply", "slow", "412-after-success")


def _ask(port: int, method: str, target: str, body: bytes = b"", kind: str = "", timeout_s: float = 30) -> Any:
    """A status, or what became of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request(method, target, body or None, {"content-type": kind or "application/json"})
        answer = connection.getresponse()
        told = answer.read()
        return told if kind == BATCH else answer.status
    except TimeoutError:
        return "silence"
    except http.client.IncompleteRead:
        return "cut"
    except ConnectionResetError:
        return "reset"
    finally:
        connection.close()


@pytest.mark.parametrize("kind", SEEN)
def test_every_way_in(shared_standin: Any, bucket: Any, kind: str) -> None:
    port, objects = shared_standin.port, f"/storage/v1/b/{bucket.name}/o"
    options = {"delay_s": 0.05} if kind == "slow" else {}
    bucket.blob("base").upload_from_string(DATA)
    services = "/apis/serving.knative.dev/v1/namespaces/demo/services"
    ways = {
        "storage.objects.insert": ("POST", f"/upload{objects}?uploadType=media&name=new", DATA),
        "storage.objects.get": ("GET", f"/download{objects}/base?alt=media"),
        "storage.objects.list": ("GET", objects),
        "storage.objects.rewrite": ("POST", f"{objects}/base/rewriteTo/b/{bucket.name}/o/copy", b"{}"),
        "storage.xml.objects.get": ("GET", f"/{bucket.name}/base"),
        "storage.objects.l*": ("GET", f"http://storage.googleapis.com{objects}"),
        "run.namespaces.services.list": ("GET", f"http://europe-west1-run.googleapis.com{services}"),
        "upstream.ollama.*": ("GET", "/upstream/ollama/v2/library/none/tags/list"),
    }
    for on, way in ways.items():
        with faulty(shared_standin, on, kind, **options) as fault:
            seen = _ask(port, *way, timeout_s=0.3 if kind == "stall" else 30)
            if on.startswith("upstream") and kind in ("412-after-success", "slow", "truncate"):
                continue  # what is not there cannot be carried out
            assert seen == (200 if kind == "slow" else SEEN[kind]), on
            assert (fault.seen, fault.fired, fault.missed) == (1, 1, 0), on
    assert bucket.blob("new").exists() == bucket.blob("copy").exists() == (kind in DONE)


@pytest.mark.parametrize("kind", ["503", "429", "403", "412-after-success", "lost-reply", "reset", "stall"])
def test_parts_of_a_batch(shared_standin: Any, bucket: Any, kind: str) -> None:
    for name in "ab":
        bucket.blob(name).upload_from_string(name)
    part = "--x\r\nContent-Type: application/http\r\n\r\nDELETE /storage/v1/b/{0}/o/{1} HTTP/1.1\r\n\r\n\r\n"
    body = ("".join(part.format(bucket.name, name) for name in "ab") + "--x--\r\n").encode()
    with faulty(shared_standin, "storage.objects.delete", kind, nth=2) as fault:
        timeout_s = 0.3 if kind == "stall" else 30
        told = _ask(shared_standin.port, "POST", "/batch/storage/v1", body, BATCH, timeout_s)
        assert (fault.seen, fault.fired) == (2, 1)
    if kind[0].isdigit():
        assert [line.split()[1] for line in told.decode().splitlines() if line.startswith("HTTP/")] == ["204", kind[:3]]
    else:
        assert told == SEEN[kind]
    assert [blob.name for blob in bucket.list_blobs()] == ([] if kind in DONE else ["b"])


@pytest.mark.parametrize("kind", ["503", "lost-reply", "412-after-success", "reset"])
def test_eight_clients_meet_exactly_as_many_as_were_asked_for(shared_standin: Any, bucket: Any, kind: str) -> None:
    target = f"/upload/storage/v1/b/{bucket.name}/o?uploadType=media&name="

    def client(number: int) -> list[Any]:
        return [_ask(shared_standin.port, "POST", f"{target}{number}-{count}", b"x" * 900) for count in range(10)]

    with (
        faulty(shared_standin, "storage.objects.insert", kind, nth=17, count=5, bucket=bucket.name) as some,
        faulty(shared_standin, "storage.objects.insert", "429", every=9, nth=40, bucket=bucket.name) as others,
        concurrent.futures.ThreadPoolExecutor(8) as pool,
    ):
        seen = Counter(each for found in pool.map(client, range(8)) for each in found)
        assert (some.seen, some.fired, some.missed) == (others.seen, 5, 0) == (80, 5, 0)
        assert seen == {200: 70, SEEN[kind]: 5, 429: 5} and others.fired == 5
    assert len(list(bucket.list_blobs())) == (75 if kind in DONE else 70)
    log = f"/_local/requests?operation=storage.objects.insert&bucket={bucket.name}&limit=100&fault="
    assert [len(shared_standin.get(f"{log}{each}*")["requests"]) for each in (kind, "429")] == [5, 5]
