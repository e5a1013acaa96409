"""The room of what passes through: the request log, the rates, and the faults that were asked for.

Faults are kept in memory alone: a daemon that starts has none, so nothing that was forgotten spoils another day.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

from scripts.localcloud.context import Context
from scripts.localcloud.traffic import operations
from scripts.localcloud.traffic.calls import Call, Names
from scripts.localcloud.traffic.faults import KINDS, Faults
from scripts.localcloud.traffic.gate import Gate
from scripts.localcloud.traffic.log import RequestLog
from scripts.localcloud.traffic.queries import Query
from scripts.localcloud.traffic.rates import API, Rates
from scripts.localcloud.web import Request, Response, Route

_SERVED = "run.request"
_MOMENT_S = 0.01
_MOMENTS = 10


class TrafficRoom:
    """Routes under /_local/, and the gate that the application sends every call through."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._operations: tuple[str, ...] = ()
        self._faults = Faults()
        self._names = Names()
        self._rates = Rates(time.time)
        self._log = RequestLog(context.state / "requests.db", self._names)
        self.gate = Gate(self._faults, self._names, context.clock, self._note)
        context.listen(_SERVED, self._served)

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/_local/requests", self._find, "local.requests.list"),
            Route("GET", "/_local/operations", self._list_operations, "local.operations.list"),
            Route("GET", "/_local/rates", self._tell_rates, "local.rates.get"),
            Route("GET", "/_local/faults", self._list, "local.faults.list"),
            Route("POST", "/_local/faults", self._set, "local.faults.set"),
            Route("DELETE", "/_local/faults", self._clear, "local.faults.clear"),
            Route("DELETE", "/_local/faults/{id}", self._clear, "local.faults.clear"),
        ]

    def know(self, names: Iterable[str]) -> None:
        """Be told of all operations that there are."""
        self._operations = operations.known(names)

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Hold no connection any longer, and write the rest of the request log."""
        self.gate.let_go()
        await self._log.close()

    def status(self) -> dict[str, Any]:
        told: dict[str, Any] = {"requests_per_s": self._rates.per_second(), "requests_logged": len(self._log)}
        if self._log.dropped:
            told["requests_not_logged"] = self._log.dropped
        active = [
            {key: fault[key] for key in ("id", "on", "kind", "seen", "fired")} | {"left": _left(fault)}
            for fault in self.faults()
        ]
        return told | {"faults": active}

    def faults(self) -> list[dict[str, Any]]:
        """For other rooms: the faults that are set, with their counts, the oldest first."""
        return [fault.described() for fault in self._faults.listed()]

    def rates(self) -> list[dict[str, Any]]:
        """For other rooms: calls and services' requests in each minute of the last hour, the oldest first."""
        return self._rates.per_minute()

    def set_fault(self, asked: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """For other rooms: set a fault and describe it. Raises ApiError 400 for what cannot be meant."""
        faults = Faults() if dry_run else self._faults
        on = asked.get("on")
        if isinstance(on, str) and on:
            operations.check(on, self._operations)
        return faults.add(asked, self._context.now()).described()

    def clear_faults(self, id: str = "") -> list[dict[str, Any]]:
        """For other rooms: remove one fault or all, and describe what was removed. Raises ApiError 404."""
        return [fault.described() for fault in self._faults.clear(id)]

    async def requests(self, asked: dict[str, str]) -> dict[str, Any]:
        """For other rooms: the answer of /_local/requests. Raises ApiError 400."""
        await self._settled()
        return await self._log.find(Query.of(asked, self._context.clock()))

    def finished(self, call: Call, status: int, bytes_in: int, bytes_out: int) -> None:
        """A call's answer was sent, or its connection is gone. status 0: there was no answer."""
        call.status, call.bytes_in, call.bytes_out = status, bytes_in, bytes_out
        self.gate.finish(call)

    def _note(self, call: Call) -> None:
        self._names.learn(call)
        self._rates.count(API, call.status >= 400 or call.status == 0, call.operation.partition(".")[0])
        self._log.add(call)

    def _served(self, event: Any) -> None:
        self._rates.count(str(event.service), event.status >= 500)

    async def _find(self, request: Request) -> Response:
        return Response.of_json(await self.requests(request.query))

    async def _list_operations(self, request: Request) -> Response:
        return Response.of_json({"operations": list(self._operations)})

    async def _tell_rates(self, request: Request) -> Response:
        return Response.of_json({"requests_per_s": self._rates.per_second(), "minutes": self.rates()})

    async def _settled(self) -> None:
        """A client can have the last byte of its answer before its call is over here: those under way get a moment."""
        for _ in range(_MOMENTS):
            if not self.gate.under_way:
                return
            await asyncio.sleep(_MOMENT_S)

    async def _list(self, request: Request) -> Response:
        await self._settled()
        return Response.of_json({"faults": self.faults(), "kinds": KINDS})

    async def _set(self, request: Request) -> Response:
        asked = await request.json_object()
        dry_run = asked.pop("dry_run", False) is True
        return Response.of_json(self.set_fault(asked, dry_run=dry_run))

    async def _clear(self, request: Request) -> Response:
        return Response.of_json({"cleared": self.clear_faults(request.params.get("id", ""))})


def _left(fault: dict[str, Any]) -> Any:
    return "forever" if fault["left"] is None else fault["left"]
