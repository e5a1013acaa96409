"""The console: a page at / for browsers, the JSON behind each panel, a few guarded actions; all else is read-only."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

from scripts.localcloud.console import page
from scripts.localcloud.console.actions import Actions, Guard, Refused, port_of
from scripts.localcloud.console.inside import Inside
from scripts.localcloud.console.ledger import Ledger
from scripts.localcloud.console.panels import Panels, Sources
from scripts.localcloud.console.tail import tail
from scripts.localcloud.context import Context, Room
from scripts.localcloud.web import ApiError, Headers, Request, Response, Route

_BASE = "/_local/console"
_LOOPBACK = ("127.0.0.1", "localhost")
_HTML = "text/html; charset=utf-8"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_SECURITY: Headers = (
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    # same-origin and not no-referrer: with the latter browsers send "Origin: null" with our own forms
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)
_MOST_SAID = 20


class ConsoleRoom:
    """Reads the other rooms. Register it first: GET / is the page for browsers, and for everybody else what it was."""

    def __init__(self, context: Context, rooms: Mapping[str, Room], sources: Sources) -> None:
        self._context = context
        self._logging = sources.logging
        self._inside = Inside(rooms)
        self._actions = Actions(self._inside)
        self._guard = Guard(port_of(context.url))
        self._ledger = Ledger(context.state / "state.db")
        self._panels = Panels(context, sources, self._inside, self._ledger)
        self._said: dict[str, tuple[bool, str]] = {}

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/", self._page, "local.console.page"),
            Route("GET", f"{_BASE}/panels.html", self._all_panels, "local.console.panels"),
            Route("GET", f"{_BASE}/logs.html", self._log_lines, "local.console.logs"),
            Route("GET", f"{_BASE}/logs.json", self._log_json, "local.console.logs"),
            Route("GET", f"{_BASE}/static/{{name}}", self._static, "local.console.static"),
            Route("GET", f"{_BASE}/{{panel}}.json", self._panel_json, "local.console.panel"),
            Route("POST", f"{_BASE}/actions", self._act, "local.console.act"),
        ]

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        self._panels.stop()
        await self._ledger.close()

    def status(self) -> dict[str, Any]:
        return {"url": f"{self._context.url}/"}

    # Answers

    async def _page(self, request: Request) -> Response:
        """The whole page for a browser; other clients, and Google's hosts, get what the other rooms answer."""
        host = request.headers.get("host", "").partition(":")[0]
        if "text/html" not in request.headers.get("accept", "") or host not in _LOOPBACK:
            return await self._inside.forward(request)
        self._panels.traffic.seen(request)
        done, said = self._said.pop(request.query.get("said", ""), (True, ""))
        data = {
            **await self._values(),
            "logs": await self._tail(request),
            "operations": (await self._inside.call("GET", "/_local/operations"))["operations"],
            "said": said,
            "done": done,
        }
        return await self._html("page.html", data, (self._guard.header(),))

    async def _all_panels(self, request: Request) -> Response:
        self._panels.traffic.seen(request)
        return await self._html("panels.html", await self._values())

    async def _log_lines(self, request: Request) -> Response:
        self._panels.traffic.seen(request)
        return await self._html("lines.html", {"logs": await self._tail(request)})

    async def _log_json(self, request: Request) -> Response:
        self._panels.traffic.seen(request)
        return Response.of_json(await self._tail(request), headers=_SECURITY)

    async def _panel_json(self, request: Request) -> Response:
        self._panels.traffic.seen(request)
        name = request.params["panel"]
        if name not in self._panels.names:
            known = ", ".join([*self._panels.names, "logs"])
            raise ApiError(404, f"There is no panel {name[:50]!r}; there are: {known}", "notFound")
        found = await self._panels.one(name)
        return Response(200, await self._ledger.beside(lambda: _json(found)), _SECURITY)

    async def _static(self, request: Request) -> Response:
        self._panels.traffic.seen(request)
        name = request.params["name"]
        if name not in page.ASSETS:
            raise ApiError(404, f"Not found: {name}", "notFound")
        return Response(200, page.asset(name), _SECURITY, page.ASSETS[name])

    async def _act(self, request: Request) -> Response:
        """Carry a form's action out and go back to the page, which says what was done."""
        self._panels.traffic.seen(request)
        try:
            fields = await self._guard.form(request)
        except Refused as refused:
            return await self._html("refused.html", {"why": str(refused)}, status=403)
        except ValueError:  # more fields than a form of ours has
            return await self._html("refused.html", {"why": "The request is not a form of this page."}, status=403)
        action = fields.get("action", "")
        try:
            said = (True, await self._actions.do(action, fields))
        except ApiError as error:
            said = (False, error.message)
        key = secrets.token_urlsafe(9)
        self._said[key] = said
        while len(self._said) > _MOST_SAID:
            del self._said[next(iter(self._said))]
        return Response(303, b"", (*_SECURITY, ("Location", f"/?said={key}#{self._actions.panel(action)}")), _HTML)

    async def _values(self) -> dict[str, Any]:
        return {**await self._panels.every(), "token": self._guard.token}

    async def _tail(self, request: Request) -> dict[str, Any]:
        wanted, since = request.query.get("filter", ""), request.query.get("since", "")
        return await tail(self._logging.search, wanted, since)

    async def _html(self, template: str, data: dict[str, Any], headers: Headers = (), status: int = 200) -> Response:
        made = await self._ledger.beside(lambda: page.render(template, data))
        return Response(status, made, (*_SECURITY, *headers), _HTML)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
