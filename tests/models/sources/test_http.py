"""Bodies survive broken connections, credentials stay with their host, lies about sizes are found."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from scripts.errors import AccessDenied, NotFound, OpsError, Unreachable
from scripts.models.sources.backoff import Backoff, Patience
from scripts.models.sources.http import Http, explanation, refuse

pytestmark = pytest.mark.process
BODY = os.urandom(1_200_000)
SECRET = {"Authorization": "Bearer hf_secret"}


@pytest.fixture
def http(swift: Patience) -> Http:
    return Http(client="job-7", patience=swift)


def stream(
    http: Http, url: str, size_bytes: int = len(BODY), start: int = 0, stop: int | None = None
) -> Iterator[bytes]:
    def opener(headers: Mapping[str, str], backoff: Backoff) -> requests.Response:
        response = http.request("GET", url, {**headers, **SECRET}, "weights", backoff)
        if response.status_code not in (200, 206):
            refuse(response, "weights", "look")
        return response

    return http.stream(opener, "weights", size_bytes, start, stop)


def test_a_whole_body_needs_one_request_without_a_range(http: Http, upstream: Any, answer: Any) -> None:
    upstream.on("/w", answer(body=BODY))
    assert b"".join(stream(http, upstream.url + "/w")) == BODY
    assert http.received_bytes == len(BODY)
    [seen] = upstream.seen
    assert "range" not in seen.headers
    assert seen.headers["x-modelshelf-client"] == "job-7"
    assert seen.headers["user-agent"].startswith("modelshelf/")
    assert seen.headers["accept-encoding"] == "identity"


def test_a_part_of_a_body(http: Http, upstream: Any, answer: Any) -> None:
    upstream.on("/w", answer(body=BODY))
    assert b"".join(stream(http, upstream.url + "/w", start=1000, stop=900_000)) == BODY[1000:900_000]
    assert [seen.headers["range"] for seen in upstream.seen] == ["bytes=1000-899999"]
    assert http.received_bytes == 899_000


def test_a_dropped_connection_is_resumed_where_it_broke(http: Http, upstream: Any, answer: Any) -> None:
    upstream.on("/w", answer(body=BODY, cut=700_000), answer(body=BODY, cut=10), answer(body=BODY))
    assert b"".join(stream(http, upstream.url + "/w")) == BODY
    ranges = [seen.headers.get("range") for seen in upstream.seen]
    assert ranges[0] is None
    assert ranges[1] == ranges[2] and ranges[1] is not None
    begun = int(ranges[1].removeprefix("bytes=").split("-")[0])
    assert 0 < begun <= 700_000


def test_a_server_that_ignores_ranges_still_gives_the_right_bytes(http: Http, upstream: Any, answer: Any) -> None:
    upstream.on("/w", answer(body=BODY, cut=700_000, ranges=False), answer(body=BODY, ranges=False))
    assert b"".join(stream(http, upstream.url + "/w")) == BODY
    assert http.received_bytes > len(BODY)
    assert b"".join(stream(http, upstream.url + "/w", start=5, stop=400_000)) == BODY[5:400_000]


def test_a_body_that_always_breaks_is_given_up(http: Http, upstream: Any, answer: Any) -> None:
    upstream.on("/w", answer(body=BODY, cut=0))
    with pytest.raises(Unreachable, match=r"after 0 of 1200000 bytes; gave up after 3 tries"):
        list(stream(http, upstream.url + "/w"))
    assert len(upstream.seen) == 3


def test_a_short_body_without_a_length_is_noticed(http: Http, upstream: Any, answer: Any) -> None:
    # Closing the connection is how an HTTP/1.0 body ends: only the size tells that this one is not complete.
    short = answer(body=BODY[:1000], headers={"Content-Length": "", "Connection": "close"}, cut=1000, ranges=False)
    upstream.on("/w", short)
    with pytest.raises(Unreachable, match="after 1000 of 1200000 bytes; gave up"):
        list(stream(http, upstream.url + "/w"))


@pytest.mark.parametrize(
    "changed",
    [
        {"body": BODY + b"x"},
        {"body": BODY[:-1]},
        {"body": BODY, "headers": {"Content-Encoding": "gzip"}},
        {"body": BODY, "headers": {"Content-Range": f"bytes 7-{len(BODY) - 1}/{len(BODY)}"}},
        {"body": BODY, "headers": {"Content-Range": f"bytes 500000-{len(BODY) - 1}/77"}},
        {"body": BODY, "headers": {"Content-Range": "rubbish"}},
        {"status": 416, "body": b""},
    ],
)
def test_a_body_that_is_not_what_was_announced_is_refused(
    http: Http, upstream: Any, answer: Any, changed: dict[str, Any]
) -> None:
    upstream.on("/w", answer(**changed))
    with pytest.raises(OpsError) as caught:
        list(stream(http, upstream.url + "/w", start=500_000))
    assert type(caught.value) is OpsError
    assert len(upstream.seen) == 1


def test_a_file_that_changes_between_two_parts_is_refused(http: Http, upstream: Any, answer: Any) -> None:
    first, second = ({"ETag": f'"{tag}"'} for tag in "ab")
    upstream.on("/w", answer(body=BODY, headers=first, cut=700_000), answer(body=BODY, headers=second))
    with pytest.raises(OpsError, match="changed upstream during the download"):
        list(stream(http, upstream.url + "/w"))


def test_busy_and_failing_answers_are_waited_out(swift: Patience, upstream: Any, answer: Any) -> None:
    waits: list[float] = []
    http = Http(client="", patience=Patience(attempts=3, first_wait_s=0.1, budget_s=60), sleep=waits.append)
    busy = answer(429, headers={"Retry-After": "9"})
    upstream.on("/w", busy, busy, busy, busy, answer(503), answer(502), answer(body=BODY))
    assert b"".join(stream(http, upstream.url + "/w")) == BODY
    assert all(9 <= waited < 10 for waited in waits[:4])
    assert len(waits) == 6


def test_a_wait_beyond_the_budget_is_not_begun(upstream: Any, answer: Any) -> None:
    waits: list[float] = []
    http = Http(client="", patience=Patience(budget_s=60), sleep=waits.append)
    upstream.on("/w", answer(429, headers={"Retry-After": "3600"}, body=b'{"error": "slow down"}'))
    with pytest.raises(Unreachable, match=r"429 Too Many Requests \(slow down\)"):
        list(stream(http, upstream.url + "/w"))
    assert waits == []


def test_nobody_listening_is_unreachable(http: Http) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/w"
    with pytest.raises(Unreachable, match="Connection refused"):
        list(stream(http, url))


def test_credentials_do_not_follow_a_redirect_to_another_host(http: Http, upstream: Any, answer: Any) -> None:
    upstream.on("/w", answer(302, headers={"Location": "/same"}))
    upstream.on("/same", answer(307, headers={"Location": f"{upstream.other_url}/cdn"}))
    upstream.on("/cdn", answer(302, headers={"Location": f"{upstream.url}/back"}))
    upstream.on("/back", answer(body=BODY))
    assert b"".join(stream(http, upstream.url + "/w")) == BODY
    carried = {seen.path: seen.headers.get("authorization") for seen in upstream.seen}
    assert carried == {"/w": SECRET["Authorization"], "/same": SECRET["Authorization"], "/cdn": None, "/back": None}


def test_credentials_of_other_programs_are_not_used(
    http: Http, upstream: Any, answer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine localhost login me password mine\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    upstream.on("/w", answer(302, headers={"Location": f"{upstream.other_url}/cdn", "Set-Cookie": "a=b"}))
    upstream.on("/cdn", answer(body=BODY))
    assert b"".join(stream(http, upstream.url + "/w")) == BODY
    assert b"".join(stream(http, upstream.url + "/w")) == BODY
    assert not [seen for seen in upstream.seen if seen.path == "/cdn" and "authorization" in seen.headers]
    assert not [seen for seen in upstream.seen if "cookie" in seen.headers]


def test_loopback_needs_no_proxy(http: Http, upstream: Any, answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    upstream.on("/w", answer(body=BODY))
    assert b"".join(stream(http, upstream.url + "/w")) == BODY


@pytest.mark.parametrize(
    "location", ["/w", "{url}/w", "ftp://127.0.0.1/w", "file:///etc/passwd", "http://[w/", "http://w:99999/"]
)
def test_redirects_that_lead_nowhere_end(http: Http, upstream: Any, answer: Any, location: str) -> None:
    upstream.on("/w", answer(302, headers={"Location": location.format(url=upstream.url)}))
    with pytest.raises(OpsError, match="redirect"):
        list(stream(http, upstream.url + "/w"))
    assert len(upstream.seen) == 1


def test_a_long_chain_of_redirects_ends(http: Http, upstream: Any, answer: Any) -> None:
    for step in range(30):
        upstream.on(f"/{step}", answer(302, headers={"Location": f"/{step + 1}"}))
    with pytest.raises(OpsError, match="redirects in a loop"):
        list(stream(http, upstream.url + "/0"))
    assert len(upstream.seen) < 10


def test_final_refusals_have_their_own_types(http: Http, upstream: Any, answer: Any) -> None:
    refused: dict[int, type[OpsError]] = {
        404: NotFound, 410: NotFound, 401: AccessDenied, 403: AccessDenied, 400: OpsError, 418: OpsError,
    }  # fmt: skip
    for status, kind in refused.items():
        upstream.on("/w", answer(status, body=b'{"errors": [{"message": "because"}]}'))
        with pytest.raises(kind, match="because") as caught:
            list(stream(http, upstream.url + "/w"))
        assert type(caught.value) is kind


def test_small_answers_are_read_whole_and_bounded(http: Http, upstream: Any, answer: Any) -> None:
    upstream.on("/m", answer(body=BODY[:2000], cut=100), answer(body=BODY[:2000]))
    assert http.read(upstream.url + "/m", {}, "a manifest", 2000)[1] == BODY[:2000]
    assert http.received_bytes == 0
    with pytest.raises(OpsError, match="larger than 1999 bytes"):
        http.read(upstream.url + "/m", {}, "a manifest", 1999)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"errors": [{"code": "X", "message": "no"}]}', " (no)"),
        (b'{"error": {"message": "no"}}', " (no)"),
        (b'{"error": "no"}', " (no)"),
        (b"<html>", ""),
        (b'{"error": {"message": "a\\u0007b"}}', ""),
        (b"[1]", ""),
    ],
)
def test_what_an_error_says(body: bytes, told: str) -> None:
    assert explanation(body) == told


def test_the_sleep_is_the_callers(upstream: Any, answer: Any) -> None:
    called: list[float] = []
    sleeper: Callable[[float], None] = called.append
    upstream.on("/m", answer(500), answer(body=b"x"))
    Http(client="", patience=Patience(), sleep=sleeper).read(upstream.url + "/m", {}, "a manifest", 10)
    assert len(called) == 1
