"""Ask a running service through its front: health, readiness, one warm-up request."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from scripts.cloud.retry import delays
from scripts.errors import OpsError
from scripts.service.target import Target

REQUEST_TIMEOUT_S = 30.0
PATIENCE_S = 20.0
WARM_UP = "warm-up"
CHECKS = (("health", "GET", "/health"), ("ready", "GET", "/ready"), (WARM_UP, "POST", "/warmup"))
NOT_IMPLEMENTED = 501  # a service whose models only others load has nothing to warm up


@dataclass(frozen=True)
class Answer:
    """status 0 means that nobody answered; text then says why."""

    status: int
    text: str
    seconds: float

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


def ask(url: str, method: str, headers: Mapping[str, str], *, timeout_s: float = REQUEST_TIMEOUT_S) -> Answer:
    """One request; never raises for what comes back."""
    import requests

    began = time.monotonic()
    with requests.Session() as session:
        # A proxy set for the internet must not see calls to loopback; Google's front needs none.
        session.trust_env = not url.startswith("http://")
        try:
            answer = session.request(method, url, headers=dict(headers), timeout=timeout_s)
            return Answer(answer.status_code, answer.text[:500], time.monotonic() - began)
        except requests.RequestException as error:
            return Answer(0, type(error).__name__, time.monotonic() - began)


def check_all(target: Target, url: str, say: Callable[[str], None], audience: str = "") -> str:
    """Run every check against a service's URL until it passes; a summary ("health, ready, warm-up 12 ms").

    audience: whom an ID token is for, where that is not the URL: of a tag's URL it is the service's own.
    Raises OpsError naming the check that still failed after PATIENCE_S.
    """
    headers = target.cloud.headers_for(audience or url, target.settings.access == "private")
    deadline = time.monotonic() + PATIENCE_S
    told = []
    for name, method, path in CHECKS:
        say(f"asking {method} {path}")
        answer = _until_ok(url + path, method, headers, deadline)
        if answer.status == NOT_IMPLEMENTED and name == WARM_UP:
            told.append("nothing to warm up")
            continue
        if not answer.ok:
            what = f"HTTP {answer.status}: {answer.text.strip()[:200]}" if answer.status else answer.text
            raise OpsError(
                f"{target.name}: {name} failed: {method} {url}{path} answered {what}",
                f"Run: ./dev invoke logs --env {target.environment}",
            )
        told.append(name if name != WARM_UP else f"warm-up in {answer.seconds * 1000:.0f} ms")
    return ", ".join(told)


def _until_ok(url: str, method: str, headers: dict[str, Any], deadline: float) -> Answer:
    for delay_s in delays(0.2, 2.0):
        answer = ask(url, method, headers)
        final = answer.status == NOT_IMPLEMENTED or (400 <= answer.status < 500 and answer.status not in (404, 429))
        if answer.ok or final or time.monotonic() + delay_s > deadline:
            return answer
        time.sleep(delay_s)
    raise AssertionError("delays() is endless")
