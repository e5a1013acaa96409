"""The gate through which every call of an API passes: it is noted, and what was asked for goes wrong here."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from time import perf_counter

from scripts.localcloud.traffic.calls import Call, Names, instance_of
from scripts.localcloud.traffic.faults import Fault, Faults, Shot, due
from scripts.localcloud.traffic.operations import OWN, refined
from scripts.localcloud.traffic.pacing import Pace, cut_at, dispose, paced
from scripts.localcloud.traffic.refusals import refusal
from scripts.localcloud.web import Aborted, ApiError, Disconnected, Match, Request, Response
from scripts.localcloud.wire import EXTENSION, Wire

Carry = Callable[[Request], Awaitable[Response]]


class Gate:
    """note(call) is told of each call that is over. The stand-in's own API and services' requests pass by unseen."""

    def __init__(self, faults: Faults, names: Names, clock: Callable[[], float], note: Callable[[Call], None]) -> None:
        self._faults = faults
        self._names = names
        self._clock = clock
        self._note = note
        self.under_way = 0
        self._struck: set[Call] = set()

    async def __call__(self, match: Match, request: Request) -> Response:
        """Carry a call out. Raises what its handler raises, Aborted, Disconnected."""
        operation = match.operation
        if not operation or operation.startswith(OWN):
            return await match.handler(request)
        call = self.begin(refined(operation, request), request)
        if request.outer is not None:
            return await self._inside(call, match.handler)
        return await self._carried(call, match.handler)

    def begin(self, operation: str, request: Request) -> Call:
        """A call that is noted when finish() is told of it."""
        call = Call(operation, request, self._clock(), perf_counter())
        request.call = call
        self.under_way += 1
        return call

    def finish(self, call: Call) -> None:
        """A call is over, answered or not; counts of its bytes are set by now."""
        self.under_way -= 1
        call.ms = (perf_counter() - call.began_s) * 1e3
        self._struck.discard(call)
        if call.shot is not None:
            call.shot.end()
            if call.shot.fired:
                call.fault = f"{call.shot.fault.kind} {call.shot.fault.id}"
        self._note(call)

    def let_go(self) -> None:
        """Reset the connections that faults hold up: the daemon ends."""
        for call in self._struck:
            wire: Wire = call.request.extensions[EXTENSION]
            wire.reset()

    async def _carried(self, call: Call, handler: Carry) -> Response:
        request = call.request
        if request.query.get("uploadType") == "resumable" and "upload_id" not in request.query:
            await self._named(request)  # later requests of the upload do not tell it
        if self._faults.any:
            call.shot = await self._chosen(call)
            if call.shot is not None:
                self._struck.add(call)
        response = await (handler(call.request) if call.shot is None else self._faulty(call, call.shot, handler))
        call.answered(response)
        return response

    async def _inside(self, call: Call, handler: Carry) -> Response:
        """A call in a batch: it has no connection of its own, so its record ends here."""
        try:
            response = await self._carried(call, handler)
            call.status = response.status
            call.bytes_in = call.request.read_bytes
            call.bytes_out = len(response.body) if isinstance(response.body, bytes) else 0
            response.pace = None
            return response
        except ApiError as error:
            call.status = error.code
            raise
        finally:
            self.finish(call)

    async def _named(self, request: Request) -> None:
        request.facts.setdefault("object", (await self._names.read(request))[1])

    async def _chosen(self, call: Call) -> Shot | None:
        """Count the call at the faults that it matches; the one that is due."""
        request = call.request
        meant = self._faults.meant(call.operation, instance_of(request))
        if any(fault.bucket or fault.object for fault in meant):
            if any(fault.object for fault in meant):
                await self._named(request)
            bucket, name = self._names.of(request)
            meant = [fault for fault in meant if fault.matches_names(bucket, name)]
        return due(meant)

    async def _faulty(self, call: Call, shot: Shot, handler: Carry) -> Response:
        fault = shot.fault
        match fault.kind:
            case "503" | "429" | "403" | "403-quota":
                shot.fire()
                return refusal(int(fault.kind[:3]), call.operation, fault)
            case "lost-reply":
                return await self._lost(call, shot, handler)
            case "412-after-success":
                response = await handler(call.request)
                if not 200 <= response.status < 300:
                    return response
                await dispose(response)
                shot.fire()
                return refusal(412, call.operation, fault)
            case "truncate":
                response = await handler(call.request)
                at_bytes = cut_at(response, fault.after_bytes)
                bodiless = call.request.method == "HEAD" or response.status in (204, 304)
                response.pace = None if at_bytes is None or bodiless else Pace(shot, "cut", at_bytes)
                return response
            case "reset" if fault.after_bytes is None:
                shot.fire()
                raise Aborted
            case _:
                return await self._on_the_way(call, shot, handler)

    async def _lost(self, call: Call, shot: Shot, handler: Carry) -> Response:
        """Whatever the handler answers, also that it refused, gets lost."""
        with contextlib.suppress(ApiError):
            await dispose(await handler(call.request))
        shot.fire()
        raise Aborted

    async def _on_the_way(self, call: Call, shot: Shot, handler: Carry) -> Response:
        """Reset, stall and slow: in the request's body when there is one, else in the answer's; slow in both."""
        fault, request = shot.fault, call.request
        wire: Wire = request.extensions[EXTENSION]
        if fault.delay_s is not None if fault.kind == "slow" else fault.kind == "stall" and fault.after_bytes is None:
            shot.fire()
            if await wire.left(fault.delay_s):
                raise Disconnected
            if fault.rate_bytes_s is None:
                return await handler(request)
        pace = _pace(shot, fault)
        inward = _has_body(request)
        if inward:
            request.receive = paced(request.receive, pace, wire)
        response = await handler(request)
        if shot.fired and fault.kind == "reset":
            raise Aborted
        if not inward or fault.kind == "slow":
            response.pace = pace
        return response


def _pace(shot: Shot, fault: Fault) -> Pace:
    pace = Pace(shot, {"reset": "reset", "stall": "hold"}.get(fault.kind, "slow"), fault.after_bytes or 0)  # type: ignore[arg-type]
    pace.hold_s = fault.delay_s
    pace.rate_bytes_s = fault.rate_bytes_s or pace.rate_bytes_s
    return pace


def _has_body(request: Request) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
