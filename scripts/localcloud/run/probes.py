"""Startup and liveness probes as Cloud Run declares them: TCP connect, or HTTP GET with a status of 200 to 399."""

from __future__ import annotations

import asyncio
import contextlib
import re
from urllib.parse import quote

from scripts.localcloud.run.container import Probe

_STARTUP_PERIOD_S = 0.1
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})\b")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


async def attempt(probe: Probe, port: int) -> str:
    """One attempt; "" when it passed, else what went wrong."""
    try:
        async with asyncio.timeout(probe.timeout_s):
            status = await _ask(port, None if probe.path is None else _question(probe, port))
            return "" if status is None or 200 <= status < 400 else f"HTTP GET {probe.path} answered {status}"
    except TimeoutError:
        return f"no answer within {probe.timeout_s:g} s"
    except (OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


def _question(probe: Probe, port: int) -> bytes:
    """The request of an HTTP probe; each probe has a connection of its own."""
    headers = {"host": f"127.0.0.1:{port}", "user-agent": "GoogleHC/1.0", "accept": "*/*"}
    headers |= {name.lower(): value for name, value in probe.headers} | {"connection": "close"}
    lines = [f"{_CONTROL.sub('', name)}: {_CONTROL.sub(' ', value)}\r\n" for name, value in headers.items()]
    path = quote(probe.path or "/", safe="/?&=%:@!$'()*+,;~[]")
    return f"GET {path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode()


async def _ask(port: int, question: bytes | None) -> int | None:
    """The status of the answer; None when there was nothing to ask but whether somebody listens."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        if question is None:
            return None
        writer.write(question)
        while True:
            head = await _head(reader)
            match = _STATUS.match(head)
            if match is None:
                raise ConnectionError(f"expected an answer in HTTP/1.1, found {head[:40]!r}")
            if int(match[1]) >= 200:  # those below come before the answer itself (RFC 9110, section 15.2)
                return int(match[1])
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _head(reader: asyncio.StreamReader) -> bytes:
    """The status line and headers of an answer. Raises ConnectionError when it ends before."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        raise ConnectionError(f"the connection ended after {len(error.partial)} bytes of the answer") from None
    except asyncio.LimitOverrunError:
        raise ConnectionError("the headers of the answer are too large") from None


async def wait_started(probe: Probe, port: int) -> str:
    """Try until the startup probe passes ("") or its whole time is over (the last problem).

    Attempts come more often than periodSeconds, so that a local deploy does not idle; the total time is as declared.
    """
    deadline = asyncio.get_running_loop().time() + probe.grace_s
    await asyncio.sleep(probe.initial_delay_s)
    problem = "no attempt was made"
    pause_s = 0.02
    while True:
        problem = await attempt(probe, port)
        if not problem:
            return ""
        if asyncio.get_running_loop().time() + pause_s > deadline:
            return problem
        await asyncio.sleep(pause_s)
        pause_s = min(_STARTUP_PERIOD_S, pause_s * 1.5)


async def watch_alive(probe: Probe, port: int) -> str:
    """Return what is wrong once failureThreshold attempts in a row failed; runs until then."""
    failures = 0
    await asyncio.sleep(probe.initial_delay_s)
    while True:
        problem = await attempt(probe, port)
        failures = failures + 1 if problem else 0
        if failures >= probe.failure_threshold:
            return problem
        await asyncio.sleep(probe.period_s)
