"""The mounts under /_local/mounts: which kind is made here, and how fast instances read through them."""

from __future__ import annotations

from typing import Any

from scripts.localcloud.run import mounts
from scripts.localcloud.run.mounting import Mounting
from scripts.localcloud.web import ApiError, Request, Response, Route

_LONGEST_LATENCY_MS = 60_000


class MountApi:
    """What a mount option cannot carry."""

    def __init__(self, mounting: Mounting) -> None:
        self._mounting = mounting

    def routes(self) -> list[Route]:
        """GET and POST /_local/mounts."""
        return [
            Route("GET", "/_local/mounts", self._tell, "local.mounts.get"),
            Route("POST", "/_local/mounts", self._set, "local.mounts.set"),
        ]

    async def _tell(self, request: Request) -> Response:
        await self._mounting.best()
        return Response.of_json(self._mounting.describe())

    async def _set(self, request: Request) -> Response:
        """{"bandwidth_bytes_s", "latency_ms", "mode"}: those that are given; null is no limit, or the best kind."""
        body = await request.json_object()
        unknown = set(body) - {"bandwidth_bytes_s", "latency_ms", "mode"}
        if unknown:
            raise ApiError(400, f"{min(unknown)}: expected bandwidth_bytes_s, latency_ms or mode.")
        pace = dict(self._mounting.pace)
        if "bandwidth_bytes_s" in body:
            pace["bandwidth_bytes_s"] = _number(body, "bandwidth_bytes_s", 1, 1e12)
        if "latency_ms" in body:
            pace["latency_ms"] = _number(body, "latency_ms", 0, _LONGEST_LATENCY_MS) or 0.0
        if "mode" in body:
            await self._choose(body["mode"])
        if pace != self._mounting.pace:
            self._mounting.set_pace(pace)
        return await self._tell(request)

    async def _choose(self, mode: Any) -> None:
        if mode is not None and mode not in mounts.MODES:
            raise ApiError(400, f"mode: expected one of {', '.join(mounts.MODES)}, found {str(mode)[:50]!r}.")
        try:
            await self._mounting.choose(mode)
        except ValueError as error:
            raise ApiError(400, f"mode: {error}.", status="FAILED_PRECONDITION") from None


def _number(body: dict[str, Any], key: str, least: float, most: float) -> float | None:
    value = body[key]
    if value is None:
        return None
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not least <= value <= most:
        raise ApiError(
            400, f"{key}: expected a number from {least:.0f} to {most:.0f}, or null, found {str(value)[:50]}."
        )
    return float(value)
