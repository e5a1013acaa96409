"""Logs by name, and what routes and keeps them at Google: sinks, buckets, views, settings, to read only.

Nothing is routed here: every entry is in the one bucket that there is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from scripts.localcloud.admin.documents import page
from scripts.localcloud.context import REGION, Context
from scripts.localcloud.logging.store import LogStore
from scripts.localcloud.web import ApiError, Request, Response, Route

_PROJECT = "/v2/projects/{project}"
_BUCKETS = f"{_PROJECT}/locations/{{location}}/buckets"
_IDS = "logging.projects"
_AT_ONCE = 1000
_AUDIT = " OR ".join(
    f'LOG_ID("{name}")' for name in ("cloudaudit.googleapis.com/activity", "cloudaudit.googleapis.com/system_event")
)
_KEPT_DAYS = {"_Required": 400, "_Default": 30}
_VIEWS = {"_AllLogs": "All logs", "_Default": "All logs but those of data access"}


class Logs:
    """The routes; flush() writes what other rooms still hold back."""

    def __init__(self, context: Context, store: LogStore, flush: Callable[[], None]) -> None:
        self._context = context
        self._store = store
        self._flush = flush

    def routes(self) -> list[Route]:
        views = f"{_BUCKETS}/{{bucket}}/views"
        return [
            Route("GET", f"{_PROJECT}/logs", self._list, f"{_IDS}.logs.list"),
            Route("DELETE", f"{_PROJECT}/logs/{{log*}}", self._delete, f"{_IDS}.logs.delete"),
            Route("POST", "/v2/entries:tail", self._tail, "logging.entries.tail"),
            Route("GET", f"{_PROJECT}/sinks", self._sinks, f"{_IDS}.sinks.list"),
            Route("GET", f"{_PROJECT}/sinks/{{sink}}", self._sink, f"{_IDS}.sinks.get"),
            Route("POST", f"{_PROJECT}/sinks", self._refuse, f"{_IDS}.sinks.create"),
            Route("GET", f"{_PROJECT}/exclusions", self._exclusions, f"{_IDS}.exclusions.list"),
            Route("GET", f"{_PROJECT}/locations", self._locations, "logging.locations.list"),
            Route("GET", _BUCKETS, self._buckets, f"{_IDS}.locations.buckets.list"),
            Route("GET", f"{_BUCKETS}/{{bucket}}", self._bucket, f"{_IDS}.locations.buckets.get"),
            Route("POST", _BUCKETS, self._refuse, f"{_IDS}.locations.buckets.create"),
            Route("GET", views, self._views, f"{_IDS}.locations.buckets.views.list"),
            Route("GET", f"{views}/{{view}}", self._view, f"{_IDS}.locations.buckets.views.get"),
            Route("GET", f"{_PROJECT}/settings", self._settings, f"{_IDS}.getSettings"),
            Route("GET", f"{_PROJECT}/cmekSettings", self._cmek, f"{_IDS}.getCmekSettings"),
        ]

    async def _list(self, request: Request) -> Response:
        self._flush()
        names = [{"name": each} for each in self._store.names(f"projects/{request.params['project']}")]
        shown = page(names, request, "logNames")
        return Response.of_json({**shown, "logNames": [each["name"] for each in shown["logNames"]]})

    async def _delete(self, request: Request) -> Response:
        """Entries that were written before; a log of this name may begin anew."""
        self._flush()
        log = request.params["log"]
        name = f"projects/{request.params['project']}/logs/{quote(log, safe='')}"
        removed = 0
        while count := self._store.delete(name, _AT_ONCE):
            removed += count
            await asyncio.sleep(0)  # others have their turn
        if not removed:
            raise ApiError(404, f"Log {log[:200]!r} does not exist.")
        return Response.of_json({})

    async def _tail(self, request: Request) -> Response:
        text = (
            "entries.tail streams over gRPC only, which the stand-in does not speak: ask entries.list again and again"
        )
        raise ApiError(400, f"{text} (invoke logs --follow does).", status="FAILED_PRECONDITION")

    async def _refuse(self, request: Request) -> Response:
        text = "The stand-in routes no logs: all of them are in the bucket _Default, and nothing else can be made."
        raise ApiError(400, text, status="FAILED_PRECONDITION")

    async def _sinks(self, request: Request) -> Response:
        return Response.of_json(page([self._one_sink(request, name) for name in _KEPT_DAYS], request, "sinks"))

    async def _sink(self, request: Request) -> Response:
        return Response.of_json(self._one_sink(request, _known(request, "sink", _KEPT_DAYS)))

    async def _exclusions(self, request: Request) -> Response:
        return Response.of_json({})

    async def _locations(self, request: Request) -> Response:
        prefix = f"projects/{request.params['project']}/locations"
        found = [{"name": f"{prefix}/{each}", "locationId": each} for each in ("global", REGION)]
        return Response.of_json(page(found, request, "locations"))

    async def _buckets(self, request: Request) -> Response:
        here = request.params["location"] in ("global", "-")
        found = [self._one_bucket(request, name) for name in _KEPT_DAYS] if here else []
        return Response.of_json(page(found, request, "buckets"))

    async def _bucket(self, request: Request) -> Response:
        return Response.of_json(self._one_bucket(request, _known(request, "bucket", _KEPT_DAYS)))

    async def _views(self, request: Request) -> Response:
        bucket = self._one_bucket(request, _known(request, "bucket", _KEPT_DAYS))
        return Response.of_json(page([_one_view(bucket, name) for name in _VIEWS], request, "views"))

    async def _view(self, request: Request) -> Response:
        bucket = self._one_bucket(request, _known(request, "bucket", _KEPT_DAYS))
        return Response.of_json(_one_view(bucket, _known(request, "view", _VIEWS)))

    async def _settings(self, request: Request) -> Response:
        name = f"projects/{request.params['project']}/settings"
        return Response.of_json({"name": name, "storageLocation": "global", "disableDefaultSink": False})

    async def _cmek(self, request: Request) -> Response:
        return Response.of_json({"name": f"projects/{request.params['project']}/cmekSettings"})

    def _one_sink(self, request: Request, name: str) -> dict[str, Any]:
        target = f"projects/{request.params['project']}/locations/global/buckets/{name}"
        text = _AUDIT if name == "_Required" else f"NOT ({_AUDIT})"
        return {
            "name": name, "destination": f"logging.googleapis.com/{target}", "filter": text,
            "resourceName": f"projects/{request.params['project']}/sinks/{name}",
        }  # fmt: skip

    def _one_bucket(self, request: Request, name: str) -> dict[str, Any]:
        place = f"projects/{request.params['project']}/locations/global/buckets/{name}"
        shown = {"name": place, "retentionDays": _KEPT_DAYS[name], "lifecycleState": "ACTIVE"}
        return {**shown, "description": "Everything that the stand-in keeps.", "locked": name == "_Required"}


def _one_view(bucket: dict[str, Any], name: str) -> dict[str, Any]:
    return {"name": f"{bucket['name']}/views/{name}", "description": _VIEWS[name]}


def _known(request: Request, kind: str, known: dict[str, Any]) -> str:
    name = request.params[kind]
    if name not in known or request.params.get("location", "global") not in ("global", "-"):
        raise ApiError(404, f"{kind.title()} `{name[:100]}` does not exist; there are {', '.join(known)} in global.")
    return name
