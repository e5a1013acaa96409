from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import pytest

from scripts.localcloud.console.actions import Actions, Guard, Refused
from scripts.localcloud.console.inside import Inside
from scripts.localcloud.web import ApiError, Request

PORT = 8085


def form(guard: Guard, headers: dict[str, str | None] | None = None, **fields: str) -> dict[str, str]:
    """What the guard says to a form that is right but for what is given; None takes a header away."""
    body = urlencode({"token": guard.token, "action": "job.run", **fields}).encode()

    async def receive() -> Mapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    sent: dict[str, str | None] = {
        "host": f"127.0.0.1:{PORT}", "origin": f"http://127.0.0.1:{PORT}",
        "content-type": "application/x-www-form-urlencoded",
        "cookie": f"other=1; {guard.header()[1].partition(';')[0]}", **(headers or {}),
    }  # fmt: skip
    kept = {key: value for key, value in sent.items() if value is not None}
    return asyncio.run(guard.form(Request("POST", "/_local/console/actions", {}, {}, kept, "c", receive)))


def test_a_form_of_the_page_is_taken() -> None:
    guard = Guard(PORT)
    assert form(guard, target="p/j")["target"] == "p/j"
    local = {"host": f"localhost:{PORT}", "origin": f"http://localhost:{PORT}", "sec-fetch-site": "same-origin"}
    assert form(guard, local)["action"] == "job.run"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": None}, {"origin": "null"}, {"origin": "http://evil.example"}, {"origin": f"http://localhost:{PORT}"},
        {"origin": "http://127.0.0.1:9"}, {"origin": f"https://127.0.0.1:{PORT}"}, {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"}, {"host": "evil.example:8085", "origin": "http://evil.example:8085"},
        {"host": "127.0.0.1", "origin": "http://127.0.0.1"}, {"cookie": None},
        {"cookie": f"modelshelf-console-{PORT}=x"},
        {"cookie": f"modelshelf-console-{PORT}=ü"}, {"content-type": "text/plain"}, {"content-type": None},
    ],
)  # fmt: skip
def test_a_form_from_elsewhere_is_refused(headers: dict[str, str | None]) -> None:
    with pytest.raises(Refused):
        form(Guard(PORT), headers)


@pytest.mark.parametrize(
    "token", ["", "x", "ü", Guard(PORT).token], ids=["none", "short", "not ASCII", "of another guard"]
)
def test_another_token_is_refused(token: str) -> None:
    with pytest.raises(Refused):
        form(Guard(PORT), token=token)


def test_the_cookie_is_strict_and_the_daemons_own() -> None:
    first, second = Guard(PORT), Guard(PORT)
    name, value = first.header()
    assert name == "Set-Cookie"
    assert value.startswith(f"modelshelf-console-{PORT}=") and value.endswith("; Path=/; HttpOnly; SameSite=Strict")
    assert first.token != second.token and len(first.token) >= 43


@pytest.mark.parametrize(
    ("action", "target"),
    [
        ("", ""), ("instance.delete", "abc"), ("instance.restart", "../../stop"), ("instance.restart", ""),
        ("job.run", "p/../j"), ("job.run", "p"), ("schedule.pause", "projects/p/locations/l/jobs/j:run"),
        ("schedule.run", "/_local/stop"),
    ],
)  # fmt: skip
def test_a_target_that_is_none_reaches_no_room(action: str, target: str) -> None:
    with pytest.raises(ApiError) as caught:
        asyncio.run(Actions(Inside({})).do(action, {"target": target}))
    assert caught.value.code == 400
