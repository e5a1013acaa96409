"""How many requests the daemon answers: uvicorn's own count, sampled once somebody looks."""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import pairwise
from typing import Any

from scripts.localcloud.web import Request
from scripts.localcloud.wire import EXTENSION

_EVERY_S = 2.0
_SAMPLES = 61


class Traffic:
    """total: requests answered since the daemon's start, without the console's own; rates: per second, oldest first."""

    def __init__(self) -> None:
        self._state: Any = None
        self._own = 0
        self._samples: deque[int] = deque(maxlen=_SAMPLES)
        self._task: asyncio.Task[None] | None = None

    def seen(self, request: Request) -> None:
        """A request of the console's own: it is not counted, and the first one begins the sampling."""
        self._own += 1
        if self._state is None:
            self._state = _server_state(request)
        if self._state is not None and self._task is None:
            self._task = asyncio.create_task(self._sample())

    def stop(self) -> None:
        """End the sampling."""
        if self._task is not None:
            self._task.cancel()

    def status(self) -> dict[str, Any]:
        """{requests, rates}; requests is None where the server does not count."""
        counts = list(self._samples)
        rates = [max(0.0, (after - before) / _EVERY_S) for before, after in pairwise(counts)]
        # the one that is being answered is in _own already, and not yet in the server's count
        total = self._total()
        return {"requests": None if total is None else total + 1, "rates": rates}

    def _total(self) -> int | None:
        return None if self._state is None else max(0, int(self._state.total_requests) - self._own)

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            self._samples.append(self._total() or 0)


def _server_state(request: Request) -> Any:
    """uvicorn's ServerState; None under another server."""
    return getattr(request.extensions.get(EXTENSION), "server_state", None)
