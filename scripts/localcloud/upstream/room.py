"""The upstreams' room: registry, hub and blob host behind one switch, with counts, and the tags that tests move."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
import time
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from scripts.errors import OpsError
from scripts.localcloud.context import Context
from scripts.localcloud.upstream import corpus
from scripts.localcloud.upstream.blobs import Links, serve
from scripts.localcloud.upstream.catalog import Catalog
from scripts.localcloud.upstream.corpus import CorpusFile
from scripts.localcloud.upstream.counters import Counters, client_of
from scripts.localcloud.upstream.hub import Hub
from scripts.localcloud.upstream.registry import Registry
from scripts.localcloud.web import ApiError, Handler, Request, Response, Route

CORPUS_PATIENCE_S = 20.0
_KINDS = ("ollama", "huggingface")


class CorpusKeeper:
    """Fetches the real model in a thread when it is first asked for.

    A failure is remembered for forget_s: the tries of one client get the same answer, the next command a new attempt.
    """

    def __init__(self, context: Context, forget_s: float = 5.0) -> None:
        self._forget_s = forget_s
        self._failed_at = 0.0
        self._state = context.state.parent
        self._shared = context.project_root / ".local"
        self._cancel = threading.Event()
        self._task: asyncio.Future[tuple[CorpusFile, ...]] | None = None

    async def files(self, patience_s: float = CORPUS_PATIENCE_S) -> tuple[CorpusFile, ...]:
        """The files. Raises ApiError 503: with Retry-After while they are being fetched, else with the remedy."""
        stale = self._failed_at and time.monotonic() - self._failed_at >= self._forget_s
        if self._task is None or stale:
            self._failed_at = 0.0
            self._task = self._begin()
        task = self._task
        done, _ = await asyncio.wait([task], timeout=patience_s)
        if not done:
            raise ApiError(503, "The model is being fetched from the package index", headers=(("retry-after", "2"),))
        error = task.exception()
        if isinstance(error, OpsError):
            raise ApiError(503, f"{error.message}. {error.remedy}")
        return task.result()

    def stop(self) -> None:
        """End a fetch that is under way."""
        self._cancel.set()

    def status(self) -> dict[str, str]:
        if self._task is None:
            return {"state": "not asked for yet"}
        if not self._task.done():
            return {"state": "fetching"}
        error = self._task.exception()
        if error is None:
            return {"state": "ready"}
        return {"state": "failed", "error": str(error), "remedy": getattr(error, "remedy", "")}

    def _begin(self) -> asyncio.Future[tuple[CorpusFile, ...]]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[tuple[CorpusFile, ...]] = loop.create_future()

        def settle(files: tuple[CorpusFile, ...], error: Exception | None) -> None:
            self._failed_at = time.monotonic() if error is not None else 0.0
            if not future.done():
                future.set_result(files) if error is None else future.set_exception(error)

        def work() -> None:
            try:
                found, failed = corpus.ensure(self._state, shared=self._shared, cancel=self._cancel), None
            except Exception as error:
                found, failed = (), error
            if not self._cancel.is_set():
                loop.call_soon_threadsafe(settle, found, failed)

        threading.Thread(target=work, name="corpus", daemon=True).start()
        return future


class UpstreamRoom:
    """Routes under /upstream/ (counted, stoppable) and /_local/upstreams."""

    def __init__(self, context: Context) -> None:
        self._counters = Counters(context.db)
        self._keeper = CorpusKeeper(context)
        self._catalog = Catalog(context.db, self._keeper.files)
        secret = self._counters.setting("secret", secrets.token_hex(32))
        self._links = Links(secret, urlsplit(context.url).port or 80, context.clock)
        self._registry = Registry(self._catalog, self._links, secret, context.clock)
        self._hub = Hub(self._catalog, self._links, self._counters)

    def routes(self) -> list[Route]:
        served = [
            *self._registry.routes(),
            *self._hub.routes(),
            Route("GET", "/upstream/blobs/{sha256}", self._blob, "upstream.blobs.get"),
            Route("*", "/upstream/{rest*}", self._nothing, "upstream.unknown"),
        ]
        return [
            *(replace(route, handler=self._counted(route.handler)) for route in served),
            Route("GET", "/_local/upstreams", self._show, "local.upstreams.get"),
            Route("POST", "/_local/upstreams", self._switch, "local.upstreams.switch"),
            Route("POST", "/_local/upstreams/corpus", self._fetch, "local.upstreams.fetchCorpus"),
            Route("POST", "/_local/upstreams/reset", self._reset, "local.upstreams.reset"),
            Route("POST", "/_local/upstreams/tags", self._move, "local.upstreams.moveTag"),
        ]

    async def start(self) -> None:
        """Nothing to start: content is made on first use."""

    async def stop(self) -> None:
        self._keeper.stop()

    def status(self) -> dict[str, Any]:
        totals = self._counters.totals()
        return {key: totals[key] for key in ("running", "requests", "bytes")} | {"corpus": self._keeper.status()}

    def _counted(self, handler: Handler) -> Handler:
        async def answer(request: Request) -> Response:
            if not self._counters.running:
                raise ApiError(503, 'The upstreams are stopped; POST /_local/upstreams {"running": true} starts them')
            client = client_of(request)
            self._counters.request(client)
            try:
                response = await handler(request)
                if isinstance(response.body, bytes) and request.method != "HEAD":
                    self._counters.metadata(client, len(response.body))
                return response
            finally:
                self._counters.save(client)

        return answer

    async def _blob(self, request: Request) -> Response:
        sha256 = request.params["sha256"]
        self._links.check(request, sha256)
        content = await self._catalog.blob(sha256)
        if content is None:
            raise ApiError(404, "The specified key does not exist", "notFound")
        return serve(request, content, sha256, self._counters)

    async def _nothing(self, request: Request) -> Response:
        return Response.of_json({"error": "Sorry, we can't find the page you are looking for."}, 404)

    async def _show(self, request: Request) -> Response:
        return Response.of_json(self._counters.totals() | {"corpus": self._keeper.status()})

    async def _switch(self, request: Request) -> Response:
        wanted = (await request.json_object()).get("running")
        if not isinstance(wanted, bool):
            raise ApiError(400, 'Expected {"running": true} or {"running": false}')
        self._counters.switch(wanted)
        return await self._show(request)

    async def _fetch(self, request: Request) -> Response:
        """Begin to fetch the real model (anew after a failure), wait a moment for it, and answer its state."""
        with contextlib.suppress(ApiError):
            await self._keeper.files(patience_s=1.0)
        return Response.of_json(self._keeper.status())

    async def _reset(self, request: Request) -> Response:
        self._counters.reset()
        return await self._show(request)

    async def _move(self, request: Request) -> Response:
        """Point a tag at other content, or withdraw a model ({"withdrawn": true}); answers the new revision."""
        asked = await request.json_object()
        kind, name = asked.get("kind"), asked.get("name")
        if kind not in _KINDS or not isinstance(name, str) or name.count("/") != 1:
            raise ApiError(400, f"Expected kind (one of {', '.join(_KINDS)}) and name (OWNER/NAME)")
        tag = asked.get("tag", "latest" if kind == "ollama" else "main")
        if not isinstance(tag, str) or not tag:
            raise ApiError(400, "Expected tag to be a text")
        if asked.get("withdrawn") is True:
            self._catalog.withdraw(kind, name)
            return Response.of_json({"kind": kind, "name": name, "withdrawn": True})
        self._catalog.point(kind, name, tag, _recipe(kind, asked, self._catalog.recipe(kind, name, tag)))
        found = await self._catalog.find(kind, name, tag)
        return Response.of_json({"kind": kind, "name": name, "tag": tag, "revision": found and found.revision})


def _recipe(kind: str, asked: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
    """The recipe asked for; what is not said stays as it was."""
    seed = asked.get("seed", 1)
    if not isinstance(seed, int) or seed < 1:
        raise ApiError(400, "Expected seed to be a whole number from 1")
    if kind == "ollama":
        size = asked.get("size_bytes", (before or {}).get("size_bytes", 64 << 20))
        if not isinstance(size, int) or size < 0:
            raise ApiError(400, "Expected size_bytes to be a whole number from 0")
        return {"seed": seed, "size_bytes": size}
    files = asked.get("files", (before or {}).get("files"))
    if files is None:
        return {"seed": seed, "corpus": True}
    if not isinstance(files, dict) or not all(isinstance(size, int) and size >= 0 for size in files.values()):
        raise ApiError(400, "Expected files to be an object of path: size in bytes")
    return {"seed": seed, "files": files}
