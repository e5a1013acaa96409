"""The reference service: small, real, and honest about what it serves.

GET /health          200 as long as the process answers
GET /ready           200 once the embedding model is loaded, else 503 with the reason
GET, POST /warmup    encodes one text; {"ms", "model", …}
POST /embed          {"texts": [str, …]} -> {"embeddings": [[float, …], …], "model", "dimension", "manifest_version"}
GET /info            what this instance is, what it decided at start, where its models are

Every answer names its instance in x-modelshelf-instance. Problems answer {"error", "remedy"}: 400 for a bad body, 413
for a huge one, 501 when the reference encoder does not implement the configured model, 503 while it loads. An `ollama`
binary in the image is never started: /info says whether the store holds what Ollama would look for, and that is all
this service does with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from scripts.container import encoder, logs, payload
from scripts.container.stores import Served, Stores, describe
from scripts.errors import BadInput, ExitCode, OpsError, Refused
from scripts.settings.runtime import INSTANCE_HEADER, Runtime

WARMUP_TEXT = "a text to warm up with"
DRAIN_S = 5
# Longer than any proxy in front keeps an idle connection (Google's keep theirs 600 s): the proxy must be the one to
# close it, or a request now and then meets a connection that was just closed.
KEEP_ALIVE_S = 620


@dataclass(frozen=True)
class Active:
    """What the start decided and what it leads to; cache_hit tells the decision, not what happened after a miss."""

    cache_hit: bool
    reason: str
    origin: str
    manifest_version: str | None
    serial: int | None
    stores: Stores
    models: tuple[Served, ...]

    @property
    def embedder(self) -> Served | None:
        """The model that /embed uses: the first Hugging Face model."""
        return next((model for model in self.models if model.kind == "huggingface"), None)


class Instance:
    """One running instance: its model, its workers, its answers."""

    def __init__(self, runtime: Runtime, active: Active, environ: dict[str, str], began: float) -> None:
        self._runtime = runtime
        self._active = active
        self._environ = environ
        self._began = began
        self._encoder: encoder.Encoder | None = None
        self._unsupported: encoder.Unsupported | None = None
        self.failed: BaseException | None = None
        self.stop: Callable[[], None] = lambda: None
        self._stopping = False
        # one worker a core, each with one BLAS thread (see __main__): more would only wait for each other
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._workers = ThreadPoolExecutor(max(1, min(4, cores)), thread_name_prefix="encode")

    def app(self) -> Starlette:
        """The ASGI application; loading the model begins when the server has started."""
        routes = [
            Route("/health", self.health),
            Route("/ready", self.ready),
            Route("/warmup", self.warmup, methods=["GET", "POST"]),
            Route("/embed", self.embed, methods=["POST"]),
            Route("/info", self.info),
        ]
        handlers: Any = {
            HTTPException: _http_problem,
            OpsError: _problem,
            InterruptedError: _shutting_down,
            Exception: _unexpected,
        }
        return Starlette(routes=routes, exception_handlers=handlers, lifespan=self._lifespan)

    async def health(self, request: Request) -> Response:
        return _answer({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        reason = self._not_ready()
        if reason:
            return _answer({"ready": False, "reason": reason}, 503)
        return _answer({"ready": True, "manifest_version": self._active.manifest_version})

    async def warmup(self, request: Request) -> Response:
        model, began = self._loaded(), time.perf_counter()
        await self._work(model.encode, [WARMUP_TEXT], self._going)
        spent_ms = round((time.perf_counter() - began) * 1000, 3)
        return _answer({"ms": spent_ms, "model": self._model_name(), "manifest_version": self._active.manifest_version})

    async def embed(self, request: Request) -> Response:
        texts = payload.texts(await _body(request))
        model = self._loaded()
        return Response(await self._work(self._embeddings, model, texts), media_type="application/json")

    async def info(self, request: Request) -> Response:
        return _answer(await asyncio.to_thread(self._info))

    def _embeddings(self, model: encoder.Encoder, texts: list[str]) -> bytes:
        vectors = model.encode(texts, self._going)
        document = {
            "embeddings": vectors.tolist(),
            "model": self._model_name(),
            "dimension": model.dimension,
            "manifest_version": self._active.manifest_version,
        }
        return json.dumps(document).encode()

    def _info(self) -> dict[str, Any]:
        runtime, active = self._runtime, self._active
        paths = {name: self._environ[name] for name in sorted(self._environ)}
        return {
            "service": runtime.service,
            "revision": runtime.revision,
            "instance_id": runtime.instance_id,
            "environment": runtime.environment,
            "mount_mode": runtime.mount_mode or "mount",
            "cache_hit": active.cache_hit,
            "reason": active.reason,
            "source": active.origin,
            "bucket": runtime.bucket,
            "manifest_version": active.manifest_version,
            "serial": active.serial,
            "models": [describe(model) for model in active.models],
            "paths": {"MODEL_CACHE_PATH": str(runtime.mount_path)} | paths,
            "served_bytes": self._encoder.served_bytes if self._encoder else 0,
            "ready": not self._not_ready(),
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - self._began, 3),
        }

    def _not_ready(self) -> str:
        if self.failed is not None:
            return f"the model could not be loaded: {self.failed}"
        if self._unsupported is not None:
            return self._unsupported.message
        return "the model is loading" if self._active.embedder and self._encoder is None else ""

    def _loaded(self) -> encoder.Encoder:
        if self._encoder is not None:
            return self._encoder
        if self._unsupported is not None:
            raise _Problem(501, self._unsupported.message, self._unsupported.remedy)
        if self._active.embedder is None:
            raise _Problem(501, "no embedding model is configured", "Add a huggingface model under models.")
        raise _Problem(503, self._not_ready(), "Ask GET /ready until it answers 200.")

    def _model_name(self) -> str | None:
        return self._active.embedder.source if self._active.embedder else None

    def _going(self) -> bool:
        return not self._stopping

    async def _work(self, call: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._workers, call, *arguments)

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        loading = asyncio.create_task(self._load())
        yield
        self._stopping = True
        loading.cancel()
        self._workers.shutdown(wait=False, cancel_futures=True)

    async def _load(self) -> None:
        model = self._active.embedder
        fields = {
            "model": model.source if model is not None else None,
            "manifest_version": self._active.manifest_version,
            "serial": self._active.serial,
            "bucket": self._runtime.bucket,
            "source": self._active.origin,
        }
        if model is None:
            logs.info("no model to load: others read theirs from the store", **fields, served_bytes=0)
            return
        try:
            loaded = await self._work(encoder.load, model.folder)
        except encoder.Unsupported as problem:
            self._unsupported = problem
            told = logs.failure(problem)
            logs.warning("model not supported by the reference encoder", **fields, served_bytes=0, **told)
        except Exception as problem:  # told, then the instance ends: Cloud Run starts another one
            self.failed = problem
            logs.error("model load failed", **fields, **logs.failure(problem))
            self.stop()
        else:
            self._encoder = loaded
            logs.info("model loaded", **fields, served_bytes=loaded.served_bytes, duration_s=loaded.load_s)


class _Problem(OpsError):
    """A refusal with an HTTP status of its own."""

    def __init__(self, status: int, message: str, remedy: str) -> None:
        super().__init__(message, remedy)
        self.status = status


def serve(runtime: Runtime, active: Active, environ: dict[str, str], began: float) -> int:
    """Bind the port, answer until SIGTERM, return the exit code. Raises Refused when the port is in use.

    environ: the variables that point into the active version. began: time.monotonic() of the process's start.
    """
    import uvicorn

    listener = bind(runtime.port, runtime.bind)
    instance = Instance(runtime, active, environ, began)
    identity = [(INSTANCE_HEADER, runtime.instance_id)] if runtime.instance_id else []
    config = uvicorn.Config(
        instance.app(), log_config=None, access_log=False, lifespan="on", server_header=False, date_header=False,
        timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=DRAIN_S, headers=identity,
    )  # fmt: skip
    server = uvicorn.Server(config)

    def stop() -> None:
        server.should_exit = True

    instance.stop = stop
    # uvicorn raises the signal that stopped it once more when it is done: by then it means nothing
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    logs.info("service started", port=runtime.port, manifest_version=active.manifest_version, serial=active.serial)
    server.run(sockets=[listener])
    logs.info("service stopped", duration_s=time.monotonic() - began)
    if isinstance(instance.failed, OpsError):
        return instance.failed.exit_code
    return ExitCode.FAILED if instance.failed is not None else ExitCode.OK


def bind(port: int, address: str = "0.0.0.0") -> socket.socket:
    """A listening socket; on Cloud Run it has to be every interface. Raises Refused when it cannot be had."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise Refused(f"port {port} is in use", "Stop what listens there, or set PORT to a free one.") from error
        raise Refused(f"cannot listen on port {port}: {error.strerror}", "Set PORT to a port from 1024 on.") from error
    return listener


async def _body(request: Request) -> bytes:
    received = bytearray()
    try:
        async for chunk in request.stream():
            received += chunk
            if len(received) > payload.MAX_BODY_BYTES:
                size = payload.MAX_BODY_BYTES >> 20
                raise _Problem(413, f"the body is larger than {size} MiB", "Send several requests.")
    except ClientDisconnect:
        raise BadInput("the client went away before the body was complete") from None
    return bytes(received)


def _answer(document: Any, status: int = 200) -> Response:
    return Response(json.dumps(document), status, media_type="application/json")


async def _problem(request: Request, problem: OpsError) -> Response:
    status = problem.status if isinstance(problem, _Problem) else 400 if isinstance(problem, BadInput) else 500
    if status == 500:
        logs.error("request failed", path=request.url.path, **logs.failure(problem))
    return _answer({"error": problem.message, "remedy": problem.remedy}, status)


async def _http_problem(request: Request, problem: HTTPException) -> Response:
    answer = _answer({"error": f"{request.method} {request.url.path}: {problem.detail}"}, problem.status_code)
    answer.headers.update(problem.headers or {})
    return answer


async def _shutting_down(request: Request, problem: Exception) -> Response:
    return _answer({"error": str(problem)}, 503)


async def _unexpected(request: Request, problem: Exception) -> Response:
    # the server raises it again after this answer, and its log record becomes the entry with the stack
    return _answer({"error": "an internal error; its entry is in the log"}, 500)
