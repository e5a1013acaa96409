from __future__ import annotations

import asyncio
from typing import Any

import pytest

from scripts.localcloud.console.inside import Inside
from scripts.localcloud.web import ApiError, Request, Response, Route


class EchoRoom:
    """One route that answers with what it got."""

    def routes(self) -> list[Route]:
        return [Route("POST", "/echo/{name}", self._echo)]

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def status(self) -> dict[str, Any]:
        return {}

    async def _echo(self, request: Request) -> Response:
        return Response.of_json({"name": request.params["name"], "body": await request.json()})


def test_a_route_answers_as_to_any_client() -> None:
    inside = Inside({"echo": EchoRoom()})
    assert asyncio.run(inside.call("POST", "/echo/a%2Fb", {"x": 1})) == {"name": "a/b", "body": {"x": 1}}
    assert asyncio.run(inside.call("POST", "/echo/a")) == {"name": "a", "body": {}}


@pytest.mark.parametrize(("method", "path", "code"), [("GET", "/echo/a", 405), ("GET", "/nothing", 404)])
def test_what_has_no_route_is_told(method: str, path: str, code: int) -> None:
    with pytest.raises(ApiError) as caught:
        asyncio.run(Inside({"echo": EchoRoom()}).call(method, path))
    assert caught.value.code == code
