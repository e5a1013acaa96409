"""What a container knows: the one table of the variables that rendering writes and a container reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from scripts.errors import BadInput
from scripts.settings.types import KINDS, ON_MISS, VERIFY, ModelSpec, OnMiss, TrustedKey, Verify

T = TypeVar("T")

# Tells one execution of the sync job to take what tags name upstream now; never rendered into the job itself.
ACCEPT = "MODEL_SYNC_ACCEPT"
# Every variable that rendering may write; an environment file may not define them again under `env`.
MANAGED = frozenset({
    "OLLAMA_MODELS", "OLLAMA_NOPRUNE", "SENTENCE_TRANSFORMERS_HOME", "HUGGINGFACE_HUB_CACHE", "HF_HUB_CACHE",
    "HF_HUB_OFFLINE", "HF_HUB_DISABLE_XET", "MODEL_CACHE_PATH", "SHARED_MODEL_VOLUME_ENABLED", "MODEL_CACHE_VERSION",
    "MODEL_MIN_SERIAL", "MODEL_CACHE_BUCKET", "MODEL_SPECS", "MODEL_TRUSTED_KEYS", "MODEL_ON_MISS",
    "MODEL_WAIT_TIMEOUT_S", "MODEL_SYNC_JOB", "MODEL_SYNC_MODE", "MODEL_SYNC_ACCEPT", "MODEL_SIGNING_KEY",
    "MODEL_CACHE_KEEP", "VERIFY", "MODELSHELF_ENV", "MODELSHELF_REGION", "GOOGLE_CLOUD_PROJECT",
})  # fmt: skip
# The header in which an instance says who it is, for whoever attributes answers to instances.
INSTANCE_HEADER = "x-modelshelf-instance"
# Set by Cloud Run (or its stand-in) in every container.
PLATFORM = frozenset({
    "PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION", "CLOUD_RUN_JOB", "CLOUD_RUN_EXECUTION",
    "CLOUD_RUN_TASK_INDEX", "CLOUD_RUN_TASK_COUNT", "CLOUD_RUN_TASK_ATTEMPT", "MODELSHELF_ENDPOINT",
    "MODELSHELF_INSTANCE_ID", "MODELSHELF_MOUNT_MODE", "MODELSHELF_BIND",
})  # fmt: skip


@dataclass(frozen=True)
class Runtime:
    """Settings and platform facts as one container sees them.

    pinned_version: MODEL_CACHE_VERSION, empty = follow the statements. signing_key and keep are told only to a
    container that publishes (the sync job; the service with on_miss=publish), accept to one execution of the job. port
    and all fields after it come from the platform; endpoint is the stand-in's address, None on Google Cloud.
    """

    environment: str
    project: str
    region: str
    bucket: str
    models: tuple[ModelSpec, ...]
    mount_path: Path = Path("/models")
    enabled: bool = True
    pinned_version: str = ""
    min_serial: int = 0
    trusted_keys: tuple[TrustedKey, ...] = ()
    on_miss: OnMiss = "trigger"
    wait_timeout_s: int = 180
    verify: Verify = "metadata"
    sync_job: str = ""
    signing_key: str = ""
    keep: int = 3
    sync_mode: bool = False
    accept: bool = False
    ollama_models: Path = Path("/models/ollama")
    sbert_home: Path = Path("/models/sbert")
    port: int = 8080
    service: str = ""
    revision: str = ""
    job: str = ""
    execution: str = ""
    task_index: int = 0
    task_count: int = 1
    endpoint: str | None = None
    instance_id: str = ""
    mount_mode: str = ""
    bind: str = "0.0.0.0"  # Cloud Run's container contract: every interface
    home: Path | None = None

    @property
    def publishes(self) -> bool:
        """Whether this container may write to the bucket and sign."""
        return self.sync_mode or self.on_miss == "publish"


def to_environ(runtime: Runtime) -> dict[str, str]:
    """The variables that a container is given; a job gets no mount, so none of the paths into it.

    What the platform sets by itself is left out. Inverse of from_environ.
    """
    environ = {
        "MODELSHELF_ENV": runtime.environment,
        "GOOGLE_CLOUD_PROJECT": runtime.project,
        "MODELSHELF_REGION": runtime.region,
        "MODEL_CACHE_BUCKET": runtime.bucket,
        "MODEL_SPECS": _dump([_spec_json(spec) for spec in runtime.models]),
        "MODEL_TRUSTED_KEYS": _dump([vars(key) for key in runtime.trusted_keys]),
        "HF_HUB_DISABLE_XET": "1",
    }
    if runtime.publishes:
        environ |= {"MODEL_SIGNING_KEY": runtime.signing_key, "MODEL_CACHE_KEEP": str(runtime.keep)}
    if runtime.sync_mode:
        return {"MODEL_SYNC_MODE": "1"} | ({ACCEPT: "1"} if runtime.accept else {}) | environ
    return environ | {
        "MODEL_CACHE_PATH": str(runtime.mount_path),
        "OLLAMA_MODELS": str(runtime.ollama_models),
        "SENTENCE_TRANSFORMERS_HOME": str(runtime.sbert_home),
        "HUGGINGFACE_HUB_CACHE": str(runtime.sbert_home),
        "SHARED_MODEL_VOLUME_ENABLED": "true" if runtime.enabled else "false",
        "MODEL_CACHE_VERSION": runtime.pinned_version,
        "MODEL_MIN_SERIAL": str(runtime.min_serial),
        "MODEL_ON_MISS": runtime.on_miss,
        "MODEL_WAIT_TIMEOUT_S": str(runtime.wait_timeout_s),
        "VERIFY": runtime.verify,
        "MODEL_SYNC_JOB": runtime.sync_job,
        # A starting Ollama deletes what no manifest of its own names; the store is shared and read-only.
        "OLLAMA_NOPRUNE": "1",
        "HF_HUB_OFFLINE": "1",
    }


def from_environ(environ: Mapping[str, str]) -> Runtime:
    """Read a container's variables. Raises BadInput naming every wrong variable, what was found and expected."""
    read = _Reader(environ)
    mount = read.path("MODEL_CACHE_PATH", Path("/models"))
    on_miss = read.choice("MODEL_ON_MISS", ON_MISS, "trigger")
    runtime = Runtime(
        environment=read.text("MODELSHELF_ENV"),
        project=read.text("GOOGLE_CLOUD_PROJECT"),
        region=read.text("MODELSHELF_REGION"),
        bucket=read.text("MODEL_CACHE_BUCKET"),
        models=read.items("MODEL_SPECS", _spec, "name, kind, source, revision and files", None),
        mount_path=mount,
        enabled=read.flag("SHARED_MODEL_VOLUME_ENABLED", True),
        pinned_version=environ.get("MODEL_CACHE_VERSION", ""),
        min_serial=read.number("MODEL_MIN_SERIAL", 0),
        trusted_keys=read.items("MODEL_TRUSTED_KEYS", _key, "key_id and public_pem", ()),
        on_miss=cast(OnMiss, on_miss),
        wait_timeout_s=read.number("MODEL_WAIT_TIMEOUT_S", 180, least=1),
        verify=cast(Verify, read.choice("VERIFY", VERIFY, "metadata")),
        sync_job=environ.get("MODEL_SYNC_JOB", ""),
        signing_key=environ.get("MODEL_SIGNING_KEY", ""),
        keep=read.number("MODEL_CACHE_KEEP", 3, least=1),
        sync_mode=read.flag("MODEL_SYNC_MODE", False),
        accept=read.flag(ACCEPT, False),
        ollama_models=read.path("OLLAMA_MODELS", mount / "ollama"),
        sbert_home=read.path("SENTENCE_TRANSFORMERS_HOME", mount / "sbert"),
        **_platform(read),
    )
    read.finish()
    return runtime


def _platform(read: _Reader) -> dict[str, Any]:
    environ = read.environ
    return {
        "port": read.number("PORT", 8080, least=1, most=65535),
        "service": environ.get("K_SERVICE", ""),
        "revision": environ.get("K_REVISION", ""),
        "job": environ.get("CLOUD_RUN_JOB", ""),
        "execution": environ.get("CLOUD_RUN_EXECUTION", ""),
        "task_index": read.number("CLOUD_RUN_TASK_INDEX", 0),
        "task_count": read.number("CLOUD_RUN_TASK_COUNT", 1, least=1),
        "endpoint": environ.get("MODELSHELF_ENDPOINT") or None,
        "instance_id": environ.get("MODELSHELF_INSTANCE_ID", ""),
        "mount_mode": environ.get("MODELSHELF_MOUNT_MODE", ""),
        "bind": environ.get("MODELSHELF_BIND") or "0.0.0.0",
        "home": Path(environ["HOME"]) if environ.get("HOME") else None,
    }


class _Reader:
    """Typed reads that note every problem and go on, so that one start shows them all."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self._problems: list[str] = []

    def finish(self) -> None:
        if self._problems:
            remedy = "Deploy again: the variables are rendered from environments/*.yaml."
            raise BadInput("; ".join(self._problems), remedy)

    def text(self, name: str) -> str:
        value = self.environ.get(name, "")
        if not value:
            self._note(name, "a value")
        return value

    def number(self, name: str, default: int, least: int = 0, most: int = 2**63 - 1) -> int:
        value = self.environ.get(name, "")
        if not value:
            return default
        if value.isascii() and value.isdigit() and len(value) < 20 and least <= int(value) <= most:
            return int(value)
        self._note(name, f"a whole number from {least}" + (f" to {most}" if most < 2**63 - 1 else ""))
        return default

    def flag(self, name: str, default: bool) -> bool:
        value = self.environ.get(name, "").strip().lower()
        if value in ("1", "true", "yes", "on"):
            return True
        if value in ("0", "false", "no", "off"):
            return False
        if value:
            self._note(name, "true or false")
        return default

    def choice(self, name: str, choices: tuple[str, ...], default: str) -> str:
        value = self.environ.get(name, "") or default
        if value in choices:
            return value
        self._note(name, "one of " + ", ".join(choices))
        return default

    def path(self, name: str, default: Path) -> Path:
        value = self.environ.get(name, "")
        if value and not value.startswith("/"):
            self._note(name, "an absolute path")
        return Path(value) if value else default

    def items(self, name: str, make: Callable[[Any], T], fields: str, default: tuple[T, ...] | None) -> tuple[T, ...]:
        value = self.environ.get(name, "")
        if not value and default is not None:
            return default
        try:
            found = json.loads(value)
            if not isinstance(found, list):
                raise TypeError
            return tuple(make(item) for item in found)
        except (ValueError, TypeError, KeyError, RecursionError):
            self._note(name, f"a JSON list of objects with {fields}")
            return ()

    def _note(self, name: str, expected: str) -> None:
        value = self.environ.get(name)
        found = "nothing" if value is None else repr(value if len(value) <= 80 else value[:79] + "…")
        self._problems.append(f"{name}: found {found}, expected {expected}")


def _spec_json(spec: ModelSpec) -> dict[str, Any]:
    return vars(spec) | {"files": list(spec.files)}


def _spec(found: Any) -> ModelSpec:
    kind = _text(found["kind"])
    files = found.get("files", [])
    if kind not in KINDS or not isinstance(files, list):
        raise ValueError
    return ModelSpec(
        name=_text(found["name"]),
        kind=kind,
        source=_text(found["source"]),
        revision=_text(found.get("revision", "")),
        files=tuple(_text(pattern) for pattern in files),
    )


def _key(found: Any) -> TrustedKey:
    return TrustedKey(_text(found["key_id"]), _text(found["public_pem"]))


def _text(found: Any) -> str:
    if not isinstance(found, str):
        raise TypeError
    return found


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)
