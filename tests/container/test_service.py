"""The reference service's answers, through its ASGI application, with the real model."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.container import encoder, payload, service
from scripts.container.stores import Served, Stores
from scripts.errors import Refused
from scripts.settings.runtime import Runtime
from scripts.settings.types import ModelSpec

RunApp = Callable[..., Any]
SOURCE = "sentence-transformers/all-MiniLM-L6-v2"
VERSION = "20261120T020000Z-3f9a1c2b"


def instance(folder: Path | None, *, ollama: Path | None = None) -> service.Instance:
    spec = ModelSpec("embedder", "huggingface", SOURCE)
    runtime = Runtime(
        environment="test", project="p", region="r", bucket="b", models=(spec,), service="tabular-service",
        revision="tabular-service-00001", instance_id="i-1", mount_mode="rewritten",
    )  # fmt: skip
    models = [Served("embedder", "huggingface", SOURCE, "abc", folder)] if folder else []
    models += [Served("llm", "ollama", "library/llama3.2:1b", "sha256:aa", ollama)] if ollama else []
    stores = Stores(Path("/models/ollama") / VERSION, Path("/models/sbert") / VERSION, VERSION)
    active = service.Active(True, "trusted", "mount", VERSION, 7, stores, tuple(models))
    return service.Instance(runtime, active, {"HF_HUB_CACHE": str(stores.sbert)}, time.monotonic())


async def until(reached: Callable[[Any], bool], call: Any) -> Any:
    """Ask /ready until the answer is as wanted, and return it."""
    for _ in range(3000):
        answer = await call("GET", "/ready")
        if reached(answer):
            return answer
        await asyncio.sleep(0.01)
    raise AssertionError(answer)


async def until_ready(call: Any) -> None:
    await until(lambda answer: bool(answer.status == 200), call)


def body(texts: Any) -> bytes:
    return json.dumps({"texts": texts}).encode()


@pytest.mark.process
def test_it_becomes_ready_embeds_and_says_what_it_is(
    run_app: RunApp, minilm: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async def scenario(call: Any) -> dict[str, Any]:
        before = {"ready": await call("GET", "/ready"), "embed": await call("POST", "/embed", body(["x"]))}
        health = await call("GET", "/health")
        await until_ready(call)
        found = {"embed": await call("POST", "/embed", body(["a cat", "a kitten", "stock market"]), chunk=7)}
        warm = [await call(method, "/warmup") for method in ("GET", "POST")]
        return found | {"before": before, "health": health, "warm": warm, "info": await call("GET", "/info")}

    found = run_app(instance(minilm).app(), scenario)
    assert (found["before"]["ready"].status, found["before"]["embed"].status) == (503, 503)
    assert found["before"]["ready"].json == {"ready": False, "reason": "the model is loading"}
    assert found["health"].status == 200
    answer = found["embed"].json
    assert {key: answer[key] for key in ("model", "dimension", "manifest_version")} == {
        "model": SOURCE, "dimension": 384, "manifest_version": VERSION,
    }  # fmt: skip
    expected = encoder.load(minilm).encode(["a cat", "a kitten", "stock market"])
    assert np.abs(np.array(answer["embeddings"]) - expected).max() < 1e-6
    assert all(each.status == 200 and each.json["ms"] > 0 for each in found["warm"])
    info = found["info"].json
    assert info["served_bytes"] > 90_000_000
    assert (info["cache_hit"], info["reason"], info["manifest_version"], info["serial"]) == (
        True,
        "trusted",
        VERSION,
        7,
    )
    assert (info["service"], info["instance_id"], info["mount_mode"]) == ("tabular-service", "i-1", "rewritten")
    assert info["paths"]["HF_HUB_CACHE"] == f"/models/sbert/{VERSION}"
    (loaded,) = [json.loads(line) for line in capfd.readouterr().out.splitlines() if "model loaded" in line]
    assert loaded["served_bytes"] == info["served_bytes"]
    assert (loaded["severity"], loaded["manifest_version"]) == ("INFO", VERSION)


@pytest.mark.process
def test_bad_requests_are_refused_and_leave_the_service_well(run_app: RunApp, minilm: Path) -> None:
    async def scenario(call: Any) -> list[Any]:
        await until_ready(call)
        bodies = [b"", b"{", b"[]", b"{}", body([]), body("a"), body([1]), body(["a"] * 257), body(["a" * 40_000])]
        answers = [await call("POST", "/embed", each) for each in bodies]
        answers.append(await call("POST", "/embed", b'{"texts": ["\\ud800"]}'))
        huge = await call("POST", "/embed", b" " * (payload.MAX_BODY_BYTES + 1))
        wrong = [await call("GET", "/embed"), await call("GET", "/nowhere"), await call("DELETE", "/health")]
        fine = await call("POST", "/embed", body([""]))
        return [answers, huge, wrong, fine]

    answers, huge, wrong, fine = run_app(instance(minilm).app(), scenario)
    assert [answer.status for answer in answers] == [400] * 10
    assert all(answer.json["error"] and answer.json["remedy"] for answer in answers)
    assert (huge.status, huge.json["error"]) == (413, "the body is larger than 16 MiB")
    assert [answer.status for answer in wrong] == [405, 404, 405]
    assert wrong[0].json["error"] == "GET /embed: Method Not Allowed"
    assert wrong[0].headers["allow"] == "POST"
    assert fine.status == 200


@pytest.mark.process
def test_health_answers_while_long_work_runs(run_app: RunApp, minilm: Path) -> None:
    async def scenario(call: Any) -> list[str]:
        await until_ready(call)
        finished: list[str] = []

        async def named(name: str, *request: Any) -> None:
            assert (await call(*request)).status == 200
            finished.append(name)

        long = asyncio.create_task(named("embed", "POST", "/embed", body(["word " * 300] * 8)))
        await asyncio.sleep(0.02)
        await named("health", "GET", "/health")
        await long
        return finished

    assert run_app(instance(minilm).app(), scenario) == ["health", "embed"]


def test_xlm_roberta_in_a_torch_checkpoint_becomes_ready_and_embeds(run_app: RunApp, xlmr: Path) -> None:
    async def scenario(call: Any) -> list[Any]:
        await until_ready(call)
        return [await call("POST", "/embed", body(["hello", "hello"])), await call("GET", "/info")]

    embed, info = run_app(instance(xlmr).app(), scenario)
    first, second = embed.json["embeddings"]
    assert (embed.json["dimension"], len(first)) == (32, 32)
    assert first == second
    assert info.json["ready"] is True
    assert info.json["served_bytes"] > 150_000


def other_architecture(tmp_path: Path) -> Path:
    entry = tmp_path / "models--BAAI--bge-m3"
    (entry / "refs").mkdir(parents=True)
    (entry / "refs" / "main").write_text("5617a9f6", encoding="ascii")
    (entry / "snapshots" / "5617a9f6").mkdir(parents=True)
    config = {"model_type": "modernbert", "architectures": ["ModernBertModel"]}
    (entry / "snapshots" / "5617a9f6" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return entry


def test_another_architecture_starts_and_is_named(
    run_app: RunApp, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async def scenario(call: Any) -> dict[str, Any]:
        found = await until(lambda answer: "loading" not in answer.json.get("reason", ""), call)
        paths = {"/embed": "POST", "/warmup": "GET", "/health": "GET", "/info": "GET"}
        return {"/ready": found} | {path: await call(method, path, body(["x"])) for path, method in paths.items()}

    found = run_app(instance(other_architecture(tmp_path)).app(), scenario)
    assert {path: answer.status for path, answer in found.items()} == {
        "/ready": 503, "/embed": 501, "/warmup": 501, "/health": 200, "/info": 200,
    }  # fmt: skip
    for path in ("/ready", "/embed", "/warmup"):
        assert "ModernBertModel" in found[path].raw.decode()
    assert "sentence-transformers" in found["/embed"].json["remedy"]
    (warning,) = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert warning["severity"] == "WARNING"


def test_without_an_embedding_model_it_is_ready_for_what_it_has(run_app: RunApp, tmp_path: Path) -> None:
    async def scenario(call: Any) -> list[Any]:
        return [await call("GET", "/ready"), await call("POST", "/embed", body(["x"])), await call("GET", "/info")]

    ready, embed, info = run_app(instance(None, ollama=tmp_path).app(), scenario)
    assert (ready.status, embed.status) == (200, 501)
    assert embed.json["error"] == "no embedding model is configured"
    (model,) = info.json["models"]
    assert model["present"] is False
    assert str(tmp_path) in model["problem"]


def test_a_model_that_cannot_be_loaded_ends_the_instance(
    run_app: RunApp, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = instance(tmp_path / "models--a--b")
    stopped: list[bool] = []
    broken.stop = lambda: stopped.append(True)

    async def scenario(call: Any) -> Any:
        return await until(lambda _: bool(stopped), call)

    answer = run_app(broken.app(), scenario)
    assert (answer.status, "could not be loaded" in answer.json["reason"]) == (503, True)
    (entry,) = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert (entry["severity"], entry["message"]) == ("ERROR", "model load failed")
    assert "refs/main" in entry["error"]


@pytest.mark.process
def test_a_port_in_use_is_said_so() -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken, pytest.raises(Refused, match="is in use") as caught:
        service.bind(taken.getsockname()[1])
    assert "PORT" in caught.value.remedy
