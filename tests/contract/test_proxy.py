"""The port as an HTTP proxy for Google's hosts, as gcloud and `http_proxy` use it; everybody else is refused."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.process


@pytest.fixture
def ask(shared_standin: Any) -> Callable[..., tuple[int, Any]]:
    """Status and JSON (or text) of one request whose target is sent exactly as given."""

    def send(method: str, target: str, body: Any = None, host: str = "") -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", shared_standin.port, timeout=60)
        connection.putrequest(method, target, skip_host=bool(host))
        if host:
            connection.putheader("Host", host)
        data = b"" if body is None else json.dumps(body).encode()
        connection.putheader("Content-Length", str(len(data)))
        connection.endheaders(data)
        answer = connection.getresponse()
        raw = answer.read()
        connection.close()
        try:
            return answer.status, json.loads(raw)
        except ValueError:
            return answer.status, raw.decode()

    return send


def test_google_s_hosts_are_answered_by_the_rooms(ask: Callable[..., Any]) -> None:
    status, made = ask("POST", "http://storage.googleapis.com/storage/v1/b?project=demo", {"name": "proxied"})
    assert (status, made["name"]) == (200, "proxied")
    assert made["selfLink"] == "http://storage.googleapis.com/storage/v1/b/proxied", "links lead through the proxy"
    for host in ("storage.gcp.internal", "www.googleapis.com", "storage.gcp.internal:80"):
        status, found = ask("GET", f"http://{host}/storage/v1/b/proxied")
        assert (status, found["name"]) == (200, "proxied"), host
    path = "/apis/serving.knative.dev/v1/namespaces/demo/services"
    for host in ("run.gcp.internal", "europe-west1-run.gcp.internal", "us-central1-run.googleapis.com"):
        status, found = ask("GET", f"http://{host}{path}")
        assert (status, found["kind"]) == (200, "ServiceList"), host
    for host in ("logging.googleapis.com", "logging.gcp.internal"):
        assert ask("POST", f"http://{host}/v2/entries:list", {"resourceNames": ["projects/demo"]})[0] == 200
    for host in ("cloudscheduler.googleapis.com", "scheduler.gcp.internal"):
        assert ask("GET", f"http://{host}/v1/projects/demo/locations/europe-west1/jobs")[0] == 200


def test_foreign_hosts_are_refused(ask: Callable[..., Any]) -> None:
    for host in ("example.com", "compute.googleapis.com", "storage.googleapis.com.evil.example"):
        status, told = ask("GET", f"http://{host}/storage/v1/b?project=demo")
        assert status == 403, host
        assert host in told["error"]["message"]
    assert ask("GET", "/storage/v1/b?project=demo", host="rebound.example:8085")[0] == 403


def test_the_target_counts_and_not_the_host_header(ask: Callable[..., Any], shared_standin: Any) -> None:
    authority = shared_standin.url.removeprefix("http://")
    assert ask("GET", "http://evil.example/_local/health", host=authority)[0] == 403
    assert ask("GET", f"http://{authority}/_local/health", host="evil.example")[0] == 200


def test_what_is_the_stand_in_s_own_is_not_at_google(ask: Callable[..., Any]) -> None:
    for path in ("/", "/_local/status", "/run/any/", "/upstream/huggingface/api/models/x/y", "//_local/status"):
        assert ask("GET", f"http://storage.googleapis.com{path}")[0] == 404, path


def test_a_bucket_is_found_at_storage_s_hosts_only(ask: Callable[..., Any], shared_standin: Any) -> None:
    shared_standin.post("/storage/v1/b?project=demo", {"name": "v9beta"})
    shared_standin.post("/upload/storage/v1/b/v9beta/o?uploadType=media&name=x", {"found": True})
    for place in (
        "storage.googleapis.com/v9beta/x",
        "storage.gcp.internal/v9beta/x",
        "v9beta.storage.googleapis.com/x",
    ):
        assert ask("GET", f"http://{place}") == (200, {"found": True}), place
    for host in ("run.googleapis.com", "monitoring.gcp.internal", "europe-west1-run.googleapis.com"):
        status, told = ask("GET", f"http://{host}/v9beta/x")
        assert (status, told["error"]["status"]) == (404, "NOT_FOUND"), host


def test_a_tunnel_is_refused_with_the_remedy(ask: Callable[..., Any]) -> None:
    status, told = ask("CONNECT", "storage.googleapis.com:443")
    assert status == 405
    assert "invoke local.env" in told["error"]["message"]
    assert ask("CONNECT", "example.com:443")[0] == 403


def test_a_client_of_google_s_works_through_the_proxy(shared_standin: Any, connect: Callable[..., Any]) -> None:
    client = connect("http://storage.googleapis.com")
    client._http.proxies = {"http": shared_standin.url}
    bucket = client.create_bucket("through-the-proxy")
    blob = bucket.blob("folder/näme")
    blob.chunk_size = 256 << 10
    blob.upload_from_string(b"x" * 700_000)
    assert blob.download_as_bytes() == b"x" * 700_000
    assert [each.name for each in bucket.list_blobs()] == ["folder/näme"]
