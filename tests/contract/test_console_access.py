"""The console for everybody, in headless Chromium: contrast, keyboard, a phone, no script, less motion."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from tests.contract.run_support import service
from tests.contract.test_console import EVIL, json_of, put, wait
from tests.contract.test_console_browser import SERVICES, Tab, opened, plain, port
from tests.contract.test_console_panels import alert

pytestmark = pytest.mark.process
__all__ = ["port"]
NARROW = {"width": 375, "height": 800, "deviceScaleFactor": 1, "mobile": True}
OPEN_ALL = "document.querySelectorAll('details').forEach((each) => { each.open = true; })"
# Every text's colour against what lies under it (WCAG 2.2, 1.4.3), as "ratio text"; large ones may have 3.
TOO_PALE = """(() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255]; };
  const over = (top, under) => top.slice(0, 3).map((each, at) => each * top[3] + under[at] * (1 - top[3]));
  const ground = (element) => { const grounds = [];
    for (let at = element; at; at = at.parentElement) grounds.push(rgba(getComputedStyle(at).backgroundColor));
    return grounds.reverse().reduce((under, top) => over(top, under), [255, 255, 255]); };
  const light = (colour) => { const [r, g, b] = colour.map((each) => { const part = each / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let looked = 0;
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
    if (!text || !element.checkVisibility() || element.closest('.hidden, datalist, option, .skip')) continue;
    const style = getComputedStyle(element), under = ground(element);
    const [one, other] = [light(over(rgba(style.color), under)), light(under)];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05); looked += 1;
    if (ratio < (parseFloat(style.fontSize) >= 24 ? 3 : 4.5)) found.push(ratio.toFixed(2) + ' ' + text.slice(0, 40)); }
  return [looked, [...new Set(found)]];
})()"""
FOCUSED = """(() => { const at = document.activeElement, style = getComputedStyle(at);
  return [at.tagName, at.id || at.getAttribute('aria-label') || at.textContent.trim().slice(0, 40),
    style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1]; })()"""
WIDE = "[...document.querySelectorAll('main *')].filter((each) => each.getBoundingClientRect().right > 376"
WIDE += " && !each.closest('.scroll, .lines, svg, .hidden')).map((each) => each.outerHTML.slice(0, 120))"


@pytest.fixture(scope="module")
def busy(shared_standin: Any) -> Iterator[Any]:
    """The module's stand-in with something in every panel: an incident, faults, failing calls, a failed service."""
    standin = shared_standin
    standin.post("/storage/v1/b?project=demo", {"name": "b" * 63, "versioning": {"enabled": True}})
    for _ in range(2):
        put(standin, "b" * 63, "x", "body")
    for on, kind in (("storage.objects.insert", "412-after-success"), ("storage.*", "slow")):
        standin.post("/_local/faults", {"on": on, "kind": kind, "bucket": "o" * 200, "object": EVIL})
    alert(standin)
    long = "a" + "-very-long-name" * 3
    standin.post(SERVICES, service(long, container={"command": None}))
    standin.post(SERVICES, service("broken", container={"command": None, "image": "us-docker.pkg.dev/a/b/none"}))
    wait(lambda: {each["ready"]["status"] for each in json_of(standin, "services")["services"]} == {"True", "False"})
    wait(lambda: json_of(standin, "requests")["calls"])
    yield standin


def visit(standin: Any, port: int, look: Callable[[Tab], Awaitable[None]], **emulated: str) -> None:
    """Open the page, with media features (prefers_color_scheme="dark"), and look at it; the page must have no error."""

    async def go() -> None:
        async with opened(port, standin.url + "/") as tab:
            features = [{"name": name.replace("_", "-"), "value": value} for name, value in emulated.items()]
            await tab.do("Emulation.setEmulatedMedia", features=features)
            await look(tab)
            assert tab.problems == []

    asyncio.run(go())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(busy: Any, port: int | None, scheme: str) -> None:
    if port is None:
        assert "At a glance" in plain(busy)
        return

    async def look(tab: Tab) -> None:
        await tab.js(OPEN_ALL)
        looked, pale = await tab.js(TOO_PALE)
        assert looked > 100 and pale == []

    visit(busy, port, look, prefers_color_scheme=scheme)


def test_it_fits_a_phone_with_everything_open(busy: Any, port: int | None) -> None:
    if port is None:
        assert 'name="viewport"' in plain(busy)
        return

    async def look(tab: Tab) -> None:
        await tab.do("Emulation.setDeviceMetricsOverride", **NARROW)
        await tab.js(OPEN_ALL)
        assert await tab.js(WIDE) == []
        assert await tab.js("[innerWidth, document.documentElement.scrollWidth]") == [375, 375]

    visit(busy, port, look)


def test_the_tabulator_goes_through_all_and_out_again(busy: Any, port: int | None) -> None:
    if port is None:
        assert 'class="skip" href="#main"' in plain(busy)
        return

    async def look(tab: Tab) -> None:
        await tab.js("document.getElementById('fault-new').open = true")
        wanted = await tab.js("document.querySelectorAll('a[href], button, summary, select, [tabindex=\"0\"]').length")
        seen: list[str] = []
        for _ in range(wanted + 60):
            await tab.do("Input.dispatchKeyEvent", type="keyDown", key="Tab", code="Tab", windowsVirtualKeyCode=9)
            tag, name, visible = await tab.js(FOCUSED)
            if tag == "BODY":
                break
            assert visible, f"nobody sees that {tag} {name} has the focus"
            seen.append(name)
        assert tag == "BODY", "the focus never left the page"
        assert seen[0] == "Skip to content"
        for name in ("fault-on", "fault-kind", "Set the fault", "+1 h on the clock", "log-filter", "log-lines"):
            assert name in seen

    visit(busy, port, look)


def test_what_is_typed_survives_the_refreshing(busy: Any, port: int | None) -> None:
    if port is None:
        assert 'id="fault-on"' in plain(busy)
        return

    async def look(tab: Tab) -> None:
        await tab.js("document.getElementById('fault-new').open = true; document.getElementById('fault-on').focus()")
        await tab.do("Input.insertText", text="run.*")
        fault = busy.post("/_local/faults", {"on": "logging.*", "kind": "503"})["id"]
        await tab.until(f"document.getElementById('faults-set').textContent.includes('{fault}')")
        assert await tab.js("[document.activeElement.id, document.getElementById('fault-on').value]") == [
            "fault-on",
            "run.*",
        ]
        await tab.js("document.querySelector('[value=\"fault.set\"]').click()")
        await tab.until("document.getElementById('said')?.textContent.includes('is set: reset on run.*')")

    visit(busy, port, look)


def test_without_scripts_everything_is_there_and_works(busy: Any, port: int | None) -> None:
    if port is None:
        assert "<noscript" not in plain(busy)
        return

    async def look(tab: Tab) -> None:
        await tab.do("Emulation.setScriptExecutionDisabled", value=True)
        await tab.do("Page.reload")
        await tab.until(
            "document.readyState === 'complete' && document.getElementById('live')?.dataset.state === 'off'"
        )
        assert await tab.js("document.querySelectorAll('main section').length") == 14
        await tab.js(
            "document.querySelector('[value=\"clock.advance\"]').closest('form').querySelector('button').click()"
        )
        await tab.until("document.getElementById('said')?.textContent.includes('moved forward by 1 min')")

    visit(busy, port, look)


def test_who_wants_less_motion_gets_none(busy: Any, port: int | None) -> None:
    if port is None:
        assert "console.css" in plain(busy)
        return

    async def look(tab: Tab) -> None:
        await tab.js("document.querySelector('#log-lines li').classList.add('fresh')")
        moving = "[getComputedStyle(document.documentElement).scrollBehavior,"
        moving += " getComputedStyle(document.querySelector('#log-lines .fresh')).animationName]"
        assert await tab.js(moving) == ["auto", "none"]

    visit(busy, port, look, prefers_reduced_motion="reduce")
