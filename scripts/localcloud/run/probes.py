"""Startup and liveness probes as Cloud Run declares them: TCP connect, or HTTP GET with a status of 200 to 399."""

from __future__ import annotations

import asyncio
import contextlib

import aiohttp
from yarl import URL

from scripts.localcloud.run.container import Probe

_STARTUP_PERIOD_S = 0.1


async def attempt(session: aiohttp.ClientSession, probe: Probe, port: int) -> str:
    """One attempt; "" when it passed, else what went wrong."""
    try:
        async with asyncio.timeout(probe.timeout_s):
            if probe.path is None:
                return await _connect(port)
            url = URL(f"http://127.0.0.1:{port}{probe.path}", encoded=True)
            headers = {"User-Agent": "GoogleHC/1.0", **dict(probe.headers)}
            async with session.get(url, headers=headers, allow_redirects=False) as answer:
                return "" if 200 <= answer.status < 400 else f"HTTP GET {probe.path} answered {answer.status}"
    except TimeoutError:
        return f"no answer within {probe.timeout_s:g} s"
    except (OSError, aiohttp.ClientError) as error:
        return f"{type(error).__name__}: {error}"


async def _connect(port: int) -> str:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return ""


async def wait_started(session: aiohttp.ClientSession, probe: Probe, port: int) -> str:
    """Try until the startup probe passes ("") or its whole time is over (the last problem).

    Attempts come more often than periodSeconds, so that a local deploy does not idle; the total time is as declared.
    """
    deadline = asyncio.get_running_loop().time() + probe.grace_s
    await asyncio.sleep(probe.initial_delay_s)
    problem = "no attempt was made"
    pause_s = 0.02
    while True:
        problem = await attempt(session, probe, port)
        if not problem:
            return ""
        if asyncio.get_running_loop().time() + pause_s > deadline:
            return problem
        await asyncio.sleep(pause_s)
        pause_s = min(_STARTUP_PERIOD_S, pause_s * 1.5)


async def watch_alive(session: aiohttp.ClientSession, probe: Probe, port: int) -> str:
    """Return what is wrong once failureThreshold attempts in a row failed; runs until then."""
    failures = 0
    await asyncio.sleep(probe.initial_delay_s)
    while True:
        problem = await attempt(session, probe, port)
        failures = failures + 1 if problem else 0
        if failures >= probe.failure_threshold:
            return problem
        await asyncio.sleep(probe.period_s)
