"""What rendering writes, a container reads: the same values, or an error that names the variable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.errors import BadInput
from scripts.settings.runtime import MANAGED, PLATFORM, Runtime, from_environ, to_environ
from scripts.settings.types import KINDS, ON_MISS, VERIFY, ModelSpec, TrustedKey

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=30)
SPECS = st.builds(
    ModelSpec, TEXT, st.sampled_from(KINDS), TEXT, st.one_of(st.just(""), TEXT), st.lists(TEXT, max_size=3).map(tuple)
)
KEYS = st.builds(TrustedKey, TEXT, TEXT)
NUMBERS = st.integers(0, 2**40)


def service_runtime(**changes: Any) -> Runtime:
    values: dict[str, Any] = {
        "environment": "staging",
        "project": "modelshelf-staging",
        "region": "europe-west1",
        "bucket": "tabular-model-cache-staging",
        "models": (ModelSpec("llama", "ollama", "library/llama3.2:1b"),),
    }
    return Runtime(**(values | changes))


@given(
    models=st.lists(SPECS, max_size=3).map(tuple),
    keys=st.lists(KEYS, max_size=2).map(tuple),
    enabled=st.booleans(),
    on_miss=st.sampled_from(ON_MISS),
    verify=st.sampled_from(VERIFY),
    serial=NUMBERS,
    version=st.one_of(st.just(""), TEXT),
    project=TEXT,
)
@settings(max_examples=60, deadline=None)
def test_a_service_reads_back_what_was_written(
    models: Any, keys: Any, enabled: bool, on_miss: Any, verify: Any, serial: int, version: str, project: str
) -> None:
    written = service_runtime(
        models=models, trusted_keys=keys, enabled=enabled, on_miss=on_miss, verify=verify, min_serial=serial,
        pinned_version=version, project=project, mount_path=Path("/m"), ollama_models=Path("/m/o"),
        sbert_home=Path("/m/s"), sync_job="sync", wait_timeout_s=7, keep=5 if on_miss == "publish" else 3,
        signing_key="k" if on_miss == "publish" else "",
    )  # fmt: skip
    assert from_environ(to_environ(written)) == written


@given(models=st.lists(SPECS, max_size=3).map(tuple), keep=st.integers(1, 50), key=st.one_of(st.just(""), TEXT))
@settings(max_examples=30, deadline=None)
def test_a_job_reads_back_what_was_written(models: Any, keep: int, key: str) -> None:
    written = service_runtime(models=models, keep=keep, signing_key=key, sync_mode=True)
    assert from_environ(to_environ(written)) == written


def test_the_variables_of_the_design_have_their_names() -> None:
    environ = to_environ(service_runtime())
    expected = {
        "OLLAMA_MODELS": "/models/ollama",
        "SENTENCE_TRANSFORMERS_HOME": "/models/sbert",
        "HUGGINGFACE_HUB_CACHE": "/models/sbert",
        "MODEL_CACHE_PATH": "/models",
        "SHARED_MODEL_VOLUME_ENABLED": "true",
        "MODEL_CACHE_VERSION": "",
        "MODEL_MIN_SERIAL": "0",
        "HF_HUB_OFFLINE": "1",
        "OLLAMA_NOPRUNE": "1",
    }
    assert expected.items() <= environ.items()
    assert "MODEL_SIGNING_KEY" not in environ


def test_only_a_container_that_publishes_is_told_the_signing_key() -> None:
    assert to_environ(service_runtime(signing_key="k", on_miss="publish"))["MODEL_SIGNING_KEY"] == "k"
    job = to_environ(service_runtime(signing_key="k", sync_mode=True))
    assert (job["MODEL_SIGNING_KEY"], job["MODEL_SYNC_MODE"], job["MODEL_CACHE_KEEP"]) == ("k", "1", "3")
    assert "HF_HUB_OFFLINE" not in job


def test_every_written_variable_is_managed_and_none_is_the_platforms() -> None:
    written = set(to_environ(service_runtime(on_miss="publish"))) | set(to_environ(service_runtime(sync_mode=True)))
    assert written <= MANAGED
    assert not MANAGED & PLATFORM


def test_paths_may_have_been_rewritten_by_the_platform() -> None:
    environ = to_environ(service_runtime())
    moved = {key: value.replace("/models", "/tmp/i1/models") for key, value in environ.items()}
    runtime = from_environ(moved | {"PORT": "9000", "K_SERVICE": "s", "CLOUD_RUN_TASK_INDEX": "2", "HOME": "/h"})
    assert runtime.mount_path == Path("/tmp/i1/models")
    assert runtime.ollama_models == Path("/tmp/i1/models/ollama")
    assert (runtime.port, runtime.service, runtime.task_index, runtime.home) == (9000, "s", 2, Path("/h"))


def test_without_an_endpoint_it_is_google_cloud() -> None:
    environ = to_environ(service_runtime())
    assert from_environ(environ | {"MODELSHELF_ENDPOINT": ""}).endpoint is None
    assert from_environ(environ | {"MODELSHELF_ENDPOINT": "http://127.0.0.1:1"}).endpoint == "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("MODEL_CACHE_BUCKET", None, "found nothing, expected a value"),
        ("GOOGLE_CLOUD_PROJECT", "", "found '', expected a value"),
        ("MODEL_MIN_SERIAL", "-1", "found '-1', expected a whole number from 0"),
        ("MODEL_MIN_SERIAL", "9" * 5000, "expected a whole number from 0"),
        ("MODEL_MIN_SERIAL", "٣", "expected a whole number from 0"),
        ("MODEL_WAIT_TIMEOUT_S", "4m", "found '4m', expected a whole number from 1"),
        ("PORT", "70000", "found '70000', expected a whole number from 1 to 65535"),
        ("SHARED_MODEL_VOLUME_ENABLED", "maybe", "found 'maybe', expected true or false"),
        ("VERIFY", "none", "found 'none', expected one of metadata, full"),
        ("MODEL_ON_MISS", "retry", "found 'retry', expected one of trigger, publish, wait, private, fail"),
        ("OLLAMA_MODELS", "models/ollama", "found 'models/ollama', expected an absolute path"),
        ("MODEL_SPECS", "{}", "found '{}', expected a JSON list of objects with name, kind, source"),
        ("MODEL_SPECS", None, "found nothing, expected a JSON list"),
        ("MODEL_SPECS", "[[[", "expected a JSON list"),
        ("MODEL_SPECS", json.dumps([{"name": "a", "kind": "onnx", "source": "b"}]), "expected a JSON list"),
        ("MODEL_SPECS", json.dumps([{"name": 1, "kind": "ollama", "source": "b"}]), "expected a JSON list"),
        ("MODEL_TRUSTED_KEYS", '[{"key_id": "a"}]', "expected a JSON list of objects with key_id and public_pem"),
    ],
)
def test_a_wrong_variable_is_named(name: str, value: str | None, expected: str) -> None:
    environ = to_environ(service_runtime()) | {name: value}
    with pytest.raises(BadInput) as refused:
        from_environ({key: text for key, text in environ.items() if text is not None})
    assert refused.value.message.startswith(f"{name}: ")
    assert expected in refused.value.message
    assert "environments/" in refused.value.remedy


def test_all_wrong_variables_are_named_at_once() -> None:
    with pytest.raises(BadInput, match=r"MODELSHELF_ENV: .*MODEL_CACHE_BUCKET: .*MODEL_SPECS: .*PORT: "):
        from_environ({"PORT": "http"})
