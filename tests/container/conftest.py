"""What the container's tests share: the real MiniLM as a Hugging Face cache, and a client without sockets."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

# As in the container, and before numpy is imported: BLAS threads that wait for each other on a busy machine take ten
# times as long.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from scripts.cloud.connect import connect_runtime
from scripts.container import sync
from scripts.localcloud.upstream import corpus
from scripts.models import signing
from scripts.settings.runtime import Runtime, to_environ
from scripts.settings.types import ModelSpec
from tests.conftest import free_port

ROOT = Path(__file__).resolve().parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
ENTRY = "models--sentence-transformers--all-MiniLM-L6-v2"


@pytest.fixture(scope="session")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache entry models--ORG--NAME with the real model; fetched once per machine, so tests need the process mark."""
    entry = tmp_path_factory.mktemp("sbert") / ENTRY
    for file in corpus.ensure(ROOT / ".local"):
        place = entry / "snapshots" / COMMIT / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file.content.place, place)
        except OSError:  # another file system
            shutil.copyfile(file.content.place, place)
    (entry / "refs").mkdir()
    (entry / "refs" / "main").write_text(COMMIT, encoding="ascii")
    return entry


@pytest.fixture
def xlmr(tmp_path: Path) -> Path:
    """A cache entry with the tiny XLM-RoBERTa of tests/data: bge-m3's files, its weights in a torch checkpoint."""
    entry = tmp_path / "models--us--xlmr"
    shutil.copytree(ROOT / "tests/data/embeddings/xlmr", entry / "snapshots" / COMMIT)
    (entry / "refs").mkdir()
    (entry / "refs" / "main").write_text(COMMIT, encoding="ascii")
    return entry


@dataclass(frozen=True)
class Answer:
    """A response: status, headers, and the body as JSON."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)


class AsgiClient:
    """Calls an ASGI application in this process, within its lifespan, without a socket."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def run(self, scenario: Callable[..., Any]) -> Any:
        """Run `await scenario(call)` between the application's start-up and shutdown."""
        return asyncio.run(self._run(scenario))

    async def _run(self, scenario: Callable[..., Any]) -> Any:
        inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        lifespan = asyncio.create_task(self._app({"type": "lifespan"}, inbox.get, outbox.put))
        await inbox.put({"type": "lifespan.startup"})
        assert (await outbox.get())["type"] == "lifespan.startup.complete"
        try:
            return await scenario(self.call)
        finally:
            await inbox.put({"type": "lifespan.shutdown"})
            await outbox.get()
            await lifespan

    async def call(self, method: str, path: str, body: bytes = b"", chunk: int = 1 << 20) -> Answer:
        """One request; the body is sent in chunks."""
        pieces = [body[start : start + chunk] for start in range(0, len(body), chunk)] or [b""]
        received: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            piece = pieces.pop(0) if pieces else b""
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

        async def send(message: Any) -> None:
            received.append(message)

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
            "raw_path": path.encode(), "root_path": "", "scheme": "http", "query_string": b"", "headers": [],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
        }  # fmt: skip
        await self._app(scope, receive, send)
        headers = {name.decode(): value.decode() for name, value in received[0]["headers"]}
        return Answer(received[0]["status"], headers, b"".join(each.get("body", b"") for each in received[1:]))


@pytest.fixture
def run_app() -> Callable[[Any, Callable[..., Any]], Any]:
    """Run `await scenario(call)` against an ASGI application."""
    return lambda app, scenario: AsgiClient(app).run(scenario)


# -------------------------------------------------------------- a cloud, a mount and children that use them


@dataclass
class Child:
    """A running `python -m scripts.container`, its entries and how it ended."""

    process: subprocess.Popen[bytes]
    out: Path
    port: int

    @property
    def entries(self) -> list[dict[str, Any]]:
        """What it wrote to stdout; every complete line has to be one JSON object."""
        whole = self.out.read_bytes()
        return [json.loads(line) for line in whole[: whole.rfind(b"\n") + 1].splitlines()]

    def named(self, message: str) -> list[dict[str, Any]]:
        """The entries with this message."""
        return [entry for entry in self.entries if entry["message"] == message]

    def end(self, timeout_s: float = 60) -> int:
        """Wait until it ends by itself; nothing may have reached stderr."""
        code = self.process.wait(timeout=timeout_s)
        assert self.out.with_suffix(".err").read_text(encoding="utf-8") == ""
        return code

    def stop(self) -> int:
        """SIGTERM, then its exit code."""
        self.process.terminate()
        return self.end()

    def until(self, message: str) -> dict[str, Any]:
        """Wait for an entry with this message."""
        return self._wait(lambda: self.named(message), message)[0]

    def get(self, path: str, body: Any = None) -> tuple[int, Any]:
        """Ask its service; the status and the JSON."""
        data = json.dumps(body).encode() if body is not None else None
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", data, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def ready(self) -> dict[str, Any]:
        """Wait until /ready answers 200, then /info."""
        self.until("service started")
        self._wait(lambda: self.get("/ready")[0] == 200, "/ready")
        info: dict[str, Any] = self.get("/info")[1]
        return info

    def _wait(self, reached: Callable[[], Any], what: str) -> Any:
        for _ in range(3000):
            if found := reached():
                return found
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"{what} did not come: {self.entries} {self.out.with_suffix('.err').read_text()}")


class World:
    """One test's bucket, key, models and mount at a stand-in, and the children that it starts."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.mount = folder / "models"
        self.mount.mkdir()
        self.name = f"b-{secrets.token_hex(6)}"
        cloud = connect_runtime("p", "europe-west1", url)
        self.bucket, self.run = cloud.bucket(self.name), cloud.run()
        self.bucket.create("europe-west1", {})
        self.key = signing.make_key(folder / "keys")
        self.python = sys.executable
        self.children: list[Child] = []

    def model(self, size_bytes: int = 50_000, seed: int = 1) -> ModelSpec:
        """A small Ollama model of this world's own at the upstream."""
        name = f"library/{self.name}"
        asked = {"kind": "ollama", "name": name, "tag": "1b", "size_bytes": size_bytes, "seed": seed}
        self.control("/_local/upstreams/tags", asked)
        return ModelSpec("llm", "ollama", f"{name}:1b")

    def control(self, path: str, body: Any = None) -> Any:
        """Ask the stand-in itself."""
        data = json.dumps(body).encode() if body is not None else None
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data), timeout=30) as answer:
            return json.load(answer)

    def runtime(self, *models: ModelSpec, **changes: Any) -> Runtime:
        """What a container of this world is told."""
        plain = Runtime(
            environment="test", project="p", region="europe-west1", bucket=self.name, models=models,
            mount_path=self.mount, ollama_models=self.mount / "ollama", sbert_home=self.mount / "sbert",
            trusted_keys=(self.key,), on_miss="wait", wait_timeout_s=1, sync_job="no-such-job",
            signing_key=f"file:{self.folder}/keys/signing.pem",
        )  # fmt: skip
        return replace(plain, **changes)

    def start(self, runtime: Runtime, *arguments: str, drop_root: bool = False, **more: str) -> Child:
        """Start a container as the platform would."""
        number = len(self.children)
        home = self.folder / f"disk-{number}"
        home.mkdir()
        port = free_port()
        environ = {
            "PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home), "PORT": str(port),
            "MODELSHELF_ENDPOINT": self.url, "MODELSHELF_INSTANCE_ID": f"i-{number}", "LANG": "C.UTF-8",
            "MODELSHELF_BIND": "127.0.0.1",
            "K_SERVICE": "tabular-service", "K_REVISION": "tabular-service-00001",
        } | to_environ(runtime) | more  # fmt: skip
        drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if drop_root and os.geteuid() == 0 else []
        out = self.folder / f"{number}.out"
        with out.open("wb") as stdout, out.with_suffix(".err").open("wb") as stderr:
            process = subprocess.Popen(
                [*drop, self.python, "-m", "scripts.container", *(arguments or ("start",))],
                cwd=ROOT, env=environ, stdout=stdout, stderr=stderr,
            )  # fmt: skip
        self.children.append(Child(process, out, port))
        return self.children[-1]

    def sync(self, *models: ModelSpec) -> dict[str, Any]:
        """Run the sync job to its success and return its last entry."""
        child = self.start(self.runtime(*models, sync_mode=True), "sync")
        assert child.end() == 0, child.entries
        return child.entries[-1]

    def publish(self, *models: ModelSpec) -> str:
        """Publish in this process, as the sync job does in its own (test_sync.py), and return the version."""
        cloud = connect_runtime("p", "europe-west1", self.url)
        return sync.publish(self.runtime(*models), cloud, os.environ.copy()).version

    def job(self, runtime: Runtime, tasks: int = 1, retries: int = 0) -> str:
        """Define the sync job at the stand-in's Cloud Run and return its name."""
        name = f"sync-{self.name}"
        container = {
            "image": "tabular:local",
            "env": [{"name": key, "value": value} for key, value in to_environ(runtime).items()],
        }
        task = {"spec": {"containers": [container], "maxRetries": retries, "timeoutSeconds": "120"}}
        execution = {"taskCount": tasks, "parallelism": tasks, "template": task}
        body = {
            "apiVersion": "run.googleapis.com/v1", "kind": "Job", "metadata": {"name": name, "namespace": "p"},
            "spec": {"template": {"metadata": {}, "spec": execution}},
        }  # fmt: skip
        self.run.apply_job(body)
        return name

    def mirror(self) -> None:
        """Bring the mount up to date with the bucket, as Cloud Storage FUSE would show it."""
        for found in self.bucket.list():
            place = self.mount / found.name
            if found.name.startswith(".tmp/") or (place.exists() and place.stat().st_size == found.size_bytes):
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            held = self.bucket.read(found.name, limit_bytes=1 << 30)
            if held is not None:
                place.write_bytes(held[0])


@pytest.fixture
def world(common_standin: Any, tmp_path: Path) -> Iterator[World]:
    """A bucket with a key, an empty mount and no children yet; those left at the end are killed."""
    made = World(common_standin.url, tmp_path)
    yield made
    for child in made.children:
        if child.process.poll() is None:
            child.process.kill()
            child.process.wait()
