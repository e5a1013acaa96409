"""The console in headless Chromium when there is one; else the plain page says the same, which is looked at instead."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.contract.run_support import service

pytestmark = pytest.mark.process
EVIL = """<script>document.title='owned'</script><img src=x onerror="document.title='owned'">"""
OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --remote-debugging-port=0"
)
PHONE = {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": True}
SERVICES = "/apis/serving.knative.dev/v1/namespaces/demo/services"
TITLE = "Local cloud · modelshelf"


def browser() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if (found := shutil.which(name))), None)


class Tab:
    """One page, driven through the DevTools protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self.problems: list[str] = []

    async def do(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            message = await self._socket.receive_json(timeout=60)
            if message.get("id") == self._number:
                return message["result"]
            if message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
                self.problems.append(message["params"]["entry"]["text"])
            if message.get("method") == "Runtime.exceptionThrown":
                self.problems.append(str(message["params"]["exceptionDetails"]))

    async def js(self, expression: str) -> Any:
        return (await self.do("Runtime.evaluate", expression=expression, returnByValue=True))["result"].get("value")

    async def until(self, expression: str, limit_s: float = 60.0) -> None:
        end = time.monotonic() + limit_s
        while not await self.js(expression):
            assert time.monotonic() < end, f"never true: {expression}"
            await asyncio.sleep(0.05)

    async def key(self, key: str) -> None:
        text = key if len(key) == 1 else ""
        await self.do("Input.dispatchKeyEvent", type="keyDown", key=key, text=text, code="")
        await self.do("Input.dispatchKeyEvent", type="keyUp", key=key, code="")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int | None]:
    """The DevTools port of a browser of this module's own; None where there is none."""
    program = browser()
    if program is None:
        yield None
        return
    profile = tmp_path_factory.mktemp("browser")
    command = [program, *OPTIONS.split(), f"--user-data-dir={profile}", "about:blank"]
    home = {name: str(profile) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")}
    running = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **home}
    )
    try:
        yield _devtools(profile / "DevToolsActivePort")
    finally:
        running.terminate()
        running.wait(timeout=60)


def _devtools(told: Path) -> int:
    end = time.monotonic() + 60
    while not (told.exists() and "\n" in told.read_text()):
        assert time.monotonic() < end, "Chromium did not start"
        time.sleep(0.05)
    return int(told.read_text().split("\n", 1)[0])


@contextlib.asynccontextmanager
async def opened(port: int, url: str, ready: str = "!!document.getElementById('live')") -> AsyncIterator[Tab]:
    async with aiohttp.ClientSession() as session:
        async with session.put(f"http://127.0.0.1:{port}/json/new?about:blank") as answer:
            address = (await answer.json())["webSocketDebuggerUrl"]
        async with session.ws_connect(address, max_msg_size=0) as socket:
            tab = Tab(socket)
            for domain in ("Page", "Runtime", "Log"):
                await tab.do(f"{domain}.enable")
            await tab.do("Emulation.setDeviceMetricsOverride", **PHONE)
            await tab.do("Page.navigate", url=url)
            await tab.until(f"document.readyState === 'complete' && {ready}")
            yield tab


def say(standin: Any, text: str) -> None:
    entry = {"textPayload": text, "severity": "ERROR"}
    standin.post(
        "/v2/entries:write", {"logName": "projects/p/logs/x", "resource": {"type": "global"}, "entries": [entry]}
    )


def plain(standin: Any) -> str:
    print("no Chromium on this machine: only the plain page was looked at")
    request = urllib.request.Request(standin.url + "/", headers={"accept": "text/html"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(answer.read().decode())


def fill(standin: Any) -> str:
    """Long names, long values and hostile text; the name of the service."""
    name = "a" + "-very-long-name" * 3
    env = {"LONG": "x" * 300, "L" * 120: "1"}
    body = service(name, env=env, container={"command": None, "image": f"us-docker.pkg.dev/demo/{'path/' * 20}hello"})
    standin.post(SERVICES, body)
    standin.post("/storage/v1/b?project=demo", {"name": "b" * 63})
    say(standin, "y" * 300)
    say(standin, f"first {EVIL}")
    return name


def test_it_stays_fresh_fits_a_phone_and_runs_nothing_of_others(shared_standin: Any, port: int | None) -> None:
    name = fill(shared_standin)
    if port is None:
        html = plain(shared_standin)
        assert name in html and "first &lt;script&gt;" in html
        return

    async def visit(url: str) -> None:
        async with opened(port, url) as tab:
            await tab.until("document.getElementById('live').dataset.state === 'on'")
            await tab.js("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
            assert await tab.js("[innerWidth, document.documentElement.scrollWidth]") == [360, 360]
            say(shared_standin, f"second {EVIL}")
            another = service("z", container={"command": None, "image": "us-docker.pkg.dev/demo/images/unknown"})
            shared_standin.post(SERVICES, another)
            await tab.until(
                "[...document.querySelectorAll('#log-lines .fresh .msg')]"
                ".some((each) => each.textContent.startsWith('second <script>'))"
            )
            await tab.until("!!document.querySelector('#services article[aria-label=z]')")
            assert await tab.js(f"document.querySelectorAll('[aria-label={name}] details:not([open])').length") == 0
            lines = await tab.js("[...document.querySelectorAll('#log-lines .msg')].map((each) => each.textContent)")
            assert [sum(line.startswith(word) for line in lines) for word in ("first", "second")] == [1, 1]
            assert await tab.js("document.title") == TITLE
            assert tab.problems == []

    asyncio.run(visit(shared_standin.url + "/"))


def test_the_keyboard_reaches_the_filter_and_a_bad_one_is_explained(shared_standin: Any, port: int | None) -> None:
    if port is None:
        assert '<label for="log-filter">' in plain(shared_standin)
        return

    async def visit(url: str) -> None:
        async with opened(port, url) as tab:
            await tab.key("Tab")
            assert await tab.js("document.activeElement.className") == "skip"
            await tab.key("/")
            assert await tab.js("document.activeElement.id") == "log-filter"
            await tab.do("Input.insertText", text="severity>=")
            await tab.do("Input.dispatchKeyEvent", type="char", text="\r")
            await tab.until("document.getElementById('log-problem').textContent.includes('cannot be understood')")
            assert await tab.js("location.search") == "?filter=severity%3E%3D"
            assert tab.problems == []

    asyncio.run(visit(shared_standin.url + "/"))


def test_a_button_does_what_it_says(shared_standin: Any, port: int | None) -> None:
    if port is None:
        assert 'value="upstreams.stop"' in plain(shared_standin)
        return

    async def visit(url: str) -> None:
        async with opened(port, url) as tab:
            await tab.js("document.querySelector('[value=\"upstreams.stop\"]').click()")
            await tab.until("document.getElementById('said')?.textContent.includes('The upstreams are stopped')")
            await tab.until("location.search === ''")
            await tab.until("!!document.querySelector('[value=\"upstreams.start\"]')")
            assert tab.problems == []

    asyncio.run(visit(shared_standin.url + "/"))
    assert json.loads(urllib.request.urlopen(shared_standin.url + "/_local/upstreams").read())["running"] is False
